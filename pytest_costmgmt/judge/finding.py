"""What a judge returns: findings, and what was examined to come to them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

FixKind = Literal["sql", "values", "shell"]


class Fix(msgspec.Struct, frozen=True, kw_only=True):
    """What ends a finding.

    ``text`` is complete: it can be pasted. ``needs`` names who can run it ("superuser",
    "owner of database koku", "an administrator of the server's files", ...).
    ``database`` is where SQL must be run (fix.sql connects there first).
    """

    kind: FixKind
    text: str
    needs: str = ""
    database: str = ""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A difference between a requirement and a fact."""

    summary: str
    expected: str
    found: str
    fix: Fix | None = None


class Unverified(msgspec.Struct, frozen=True, kw_only=True):
    """What the given login may not see: who can verify it, and how."""

    what: str
    who: str
    how: str


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The evidence of a check.

    ``examined`` names each thing that was looked at; nothing examined is never a pass. The
    outcome follows from it, in this order: findings (failed), ``unverified`` (unverifiable),
    ``not_supported`` (a reason: the target cannot have this), else passed.
    ``summary`` is one line for the table and the report: what was found to be right.
    """

    examined: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    unverified: tuple[Unverified, ...] = ()
    not_supported: str = ""
    summary: str = ""


def judgement(
    examined: Iterable[str],
    findings: Iterable[Finding] = (),
    *,
    unverified: Iterable[Unverified] = (),
    summary: str = "",
) -> Judgement:
    """Return a Judgement of what was examined."""
    return Judgement(
        examined=tuple(examined),
        findings=tuple(findings),
        unverified=tuple(unverified),
        summary=summary,
    )


def not_supported(reason: str) -> Judgement:
    """Return the Judgement that the target cannot have what the check is about."""
    return Judgement(not_supported=reason)
