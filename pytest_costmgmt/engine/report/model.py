"""The shape of report.json, a versioned API.

Keys with ``volatile`` in the schema differ between equal runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from pytest_costmgmt.facts.exhibit import Exhibit
from pytest_costmgmt.judge.finding import Finding, Unverified

API_VERSION: Literal["costmgmt.conformance/v1"] = "costmgmt.conformance/v1"

_VOLATILE = msgspec.Meta(extra_json_schema={"volatile": True})
VolatileText = Annotated[str, _VOLATILE]
VolatileSeconds = Annotated[float, _VOLATILE]

OutcomeName = Literal[
    "passed", "failed", "error", "blocked", "skipped", "not-supported", "unverifiable"
]


class ReportedCheck(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One check of the profile with its outcome."""

    id: str
    group: str
    title: str
    level: Literal["MUST", "SHOULD"]
    effect: Literal["read-only", "probe", "scratch", "disruptive"]
    outcome: OutcomeName
    seconds: VolatileSeconds
    summary: str
    examined: tuple[str, ...]
    blocked_by: tuple[str, ...]
    rationale: str
    reference: str
    findings: tuple[Finding, ...]
    unverified: tuple[Unverified, ...] = ()
    "Each thing that the given login may not see, also beside findings."


class Target(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The server that was judged."""

    mode: Literal["embedded", "external", "release"]
    label: VolatileText
    server: str
    database: str
    role: str
    programs: VolatileText


class RequirementSet(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What it was judged by."""

    name: str
    title: str
    application: str


class RunFacts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """When and how it ran."""

    id: VolatileText
    started: VolatileText
    seconds: VolatileSeconds
    tool: str
    python: str
    pytest: str
    plugins: Annotated[tuple[str, ...], _VOLATILE]
    addopts: str
    settings: Annotated[dict[str, str], _VOLATILE]


class ConformanceReport(
    msgspec.Struct, frozen=True, kw_only=True, rename={"api_version": "apiVersion"}
):
    """The whole report; ``reasons`` say in sentences why the verdict is not better."""

    api_version: Literal["costmgmt.conformance/v1"]
    kind: Literal["ConformanceReport"]
    verdict: Literal["conformant", "non-conformant", "inconclusive"]
    reasons: tuple[str, ...]
    weakens: tuple[str, ...]
    profile: str
    target: Target | None
    requirements: RequirementSet | None
    run: RunFacts
    counts: dict[str, int]
    checks: tuple[ReportedCheck, ...]
    exhibits: Annotated[tuple[Exhibit, ...], _VOLATILE] = ()
    "What the cluster says of a release, if the verdict is not conformant."
