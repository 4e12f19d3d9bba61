"""From the controller's state to the report: every word of it is decided here."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from pytest_costmgmt import __version__
from pytest_costmgmt.engine import shared
from pytest_costmgmt.engine.check import MUST, Check
from pytest_costmgmt.engine.outcome import Result, Verdict, counts
from pytest_costmgmt.engine.report import fixes as fix_sql
from pytest_costmgmt.engine.report.logs import without_passwords
from pytest_costmgmt.engine.report.model import (
    API_VERSION,
    ConformanceReport,
    ReportedCheck,
    RequirementSet,
    RunFacts,
    Target,
)
from pytest_costmgmt.facts.exhibit import Exhibit
from pytest_costmgmt.options import BY_NAME, OPTIONS
from pytest_costmgmt.settings import Settings, spelling

if TYPE_CHECKING:
    from pytest_costmgmt.engine.controller import Controller

_WORSE = ("failed", "error", "blocked", "skipped")


def reasons(
    expected: Iterable[Check], settled: Mapping[str, Result], bends: Sequence[str]
) -> list[str]:
    """Return why the verdict is not *conformant*, the worst first; empty if it is."""
    must = [check for check in expected if check.level == MUST]
    told = [f"bent: {bend}" for bend in bends]
    for outcome in _WORSE:
        ids = [check.id for check in must if settled[check.id].outcome == outcome]
        if ids and outcome == "blocked":
            told.append(f"blocked: {len(ids)} that depend on these")
        elif ids:
            first = settled[ids[0]].summary
            more = f" (and {len(ids) - 1} more: {', '.join(ids[1:6])})" if ids[1:] else ""
            told.append(f"{outcome}: {ids[0]} {first}{more}")
    if not any(settled[check.id].outcome == "passed" for check in must):
        told.append("no requirement was proved")
    return told


def weakens(controller: Controller) -> tuple[str, ...]:
    """Return what a verdict's reader must know: it weakens what the verdict says."""
    data = controller.config.stash.get(shared.KEY, None)
    told: list[str] = []
    if data is not None and data.server is not None:
        told.extend(data.server.weakens)
    if data is not None and data.means.example:
        told.append("example application")
    unverifiable = counts(controller.settled()).get("unverifiable", 0)
    if unverifiable:
        told.append(f"{unverifiable} unverifiable")
    if plugins := foreign_plugins(controller.config):
        told.append(f"other plugins active: {', '.join(plugins)}")
    return tuple(told)


# Plugins that we know to leave outcomes alone: what we build on, and what it brings.
_HARMLESS = frozenset(
    {
        "pytest-costmgmt", "pytest-xdist", "pytest-order", "allure-pytest", "platformdirs",
        "hypothesis",
    }
)  # fmt: skip


def foreign_plugins(config: pytest.Config) -> list[str]:
    """Return the third-party plugins that are active beside the ones that we build on."""
    names = {dist.project_name for _, dist in config.pluginmanager.list_plugin_distinfo()}
    return sorted(names - _HARMLESS)


def all_plugins(config: pytest.Config) -> tuple[str, ...]:
    """Return every active third-party plugin with its version."""
    found = {
        f"{dist.project_name} {dist.version}"
        for _, dist in config.pluginmanager.list_plugin_distinfo()
    }
    return tuple(sorted(found))


def from_addopts(config: pytest.Config) -> str:
    """Return the options that came from addopts and PYTEST_ADDOPTS, as they were written."""
    import os  # noqa: PLC0415
    import shlex  # noqa: PLC0415

    ini = config.getini("addopts") or []
    return " ".join(filter(None, [os.environ.get("PYTEST_ADDOPTS", ""), shlex.join(ini)]))


def sources(settings: Settings) -> dict[str, str]:
    """Return where each value that was given came from, without the values of DSNs."""
    return {
        option.name: f"{source} ({spelling(BY_NAME[option.name], source)})"
        for option in OPTIONS
        if (source := settings.source(option.name)) != "default"
    }


def report(controller: Controller, decided: Verdict) -> ConformanceReport:
    """Return the whole report of a run."""
    settled = controller.settled()
    data = controller.config.stash.get(shared.KEY, None)
    settings = controller.settings
    return ConformanceReport(
        api_version=API_VERSION,
        kind="ConformanceReport",
        verdict=decided,
        reasons=tuple(controller.reasons()),
        weakens=weakens(controller),
        profile="" if settings is None else settings.profile,
        target=_target(data),
        requirements=_requirements(data),
        run=RunFacts(
            id=controller.run_id,
            started=controller.began.isoformat(timespec="seconds"),
            seconds=round(time.perf_counter() - controller.started, 3),
            tool=f"pytest-costmgmt {__version__}",
            python=platform.python_version(),
            pytest=pytest.__version__,
            plugins=all_plugins(controller.config),
            addopts=from_addopts(controller.config),
            settings={} if settings is None else sources(settings),
        ),
        counts=counts(settled),
        checks=tuple(_reported(check, settled[check.id]) for check in controller.expected),
        exhibits=tuple(
            Exhibit(title=each.title, text=without_passwords(each.text))
            for each in controller.exhibits
        ),
    )


def _target(data: shared.Shared | None) -> Target | None:
    if data is None or data.server is None or data.context is None:
        return None
    catalog = data.facts.catalog
    return Target(
        mode=data.server.mode,
        label=data.server.label,
        server="" if catalog is None else f"PostgreSQL {catalog.server.version}",
        database=data.context.database,
        role=data.context.role,
        programs=data.server.programs,
    )


APPLICATIONS = {
    "example": "the example application that ships with pytest-costmgmt",
    "given": "the given application (--costmgmt-manage)",
    "manifest": "a manifest of migrations (--costmgmt-migrations)",
    "image": "the release's own (the image of its migrations)",
    "": "none given",
}


def _requirements(data: shared.Shared | None) -> RequirementSet | None:
    if data is None or data.requirements is None:
        return None
    kind = data.context.application if data.context is not None else ""
    return RequirementSet(
        name=data.requirements.name,
        title=data.requirements.title,
        application=APPLICATIONS[kind],
    )


def _reported(check: Check, result: Result) -> ReportedCheck:
    judged = result.judgement
    return ReportedCheck(
        id=check.id,
        group=check.group,
        title=check.title,
        level=check.level,
        effect=check.effect,
        outcome=result.outcome,
        seconds=result.seconds,
        summary=result.summary,
        examined=judged.examined if judged is not None else (),
        blocked_by=result.blocked_by,
        rationale=check.rationale,
        reference=check.reference,
        findings=judged.findings if judged is not None else (),
        unverified=judged.unverified if judged is not None else (),
    )


def fixes(whole: ConformanceReport) -> str:
    """Return the text of fix.sql, or "" if no finding has SQL that ends it."""
    return fix_sql.render(whole)
