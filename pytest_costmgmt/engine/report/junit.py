"""pytest's own JUnit file: private, complete, with the verdict as a case of its own."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.collection import NODE_ID, properties
from pytest_costmgmt.engine.outcome import Result, counts
from pytest_costmgmt.engine.present import present
from pytest_costmgmt.engine.report import assemble
from pytest_costmgmt.engine.report.logs import without_passwords
from pytest_costmgmt.secret import redact

if TYPE_CHECKING:
    from pytest_costmgmt.engine.controller import Controller


def path(given: str | os.PathLike[str]) -> Path:
    """Return where pytest writes, which expands variables too."""
    return Path(os.path.expandvars(os.path.expanduser(given)))  # noqa: PTH111 - as pytest does


def make_private(config: pytest.Config) -> None:
    """Make this run's file before pytest opens it: pytest keeps the mode of what is there."""
    given = getattr(config.option, "xmlpath", None)
    if not given or _writer(config) is None:
        return
    with contextlib.suppress(OSError):  # pytest says it when it cannot write either
        place = path(given)
        place.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)


def add_missing(
    config: pytest.Config,
    checks: Iterable[Check],
    settled: Mapping[str, Result],
    *,
    told: Collection[str],
) -> None:
    """Tell JUnit of expected checks that did not come to run (it hears only of those that did).

    To JUnit alone: a person at the terminal reads one root cause, not sixty.
    """
    if (writer := _writer(config)) is None:
        return
    for check in checks:
        nodeid = f"{NODE_ID}/{check.group}::{check.function}"
        if nodeid in told:  # by xdist, of a worker that crashed
            continue
        report = _report(nodeid, "setup", properties(check))
        present(report, check, settled[check.id])
        writer.pytest_runtest_logreport(report)
        writer.pytest_runtest_logreport(_report(nodeid, "teardown", properties(check)))


def verdict(controller: Controller, decided: str) -> Iterable[pytest.TestReport]:
    """Yield the reports of the verdict as a test: failed unless conformant."""
    totals = counts(controller.settled())
    facts: list[tuple[str, object]] = [
        ("costmgmt_verdict", decided),
        ("costmgmt_profile", controller.settings.profile if controller.settings else ""),
        ("costmgmt_run", controller.run_id),
        ("costmgmt_counts", ", ".join(f"{number} {word}" for word, number in totals.items())),
        *(("costmgmt_weakens", redact(weak)) for weak in assemble.weakens(controller)),
        *(
            (f"costmgmt_exhibit {each.title}", without_passwords(each.text))
            for each in controller.exhibits
        ),
    ]
    call = _report(f"{NODE_ID}::verdict", "call", facts)
    if decided != "conformant":
        call.outcome = "failed"
        call.longrepr = redact("\n".join([decided, *controller.reasons()]))
    yield call
    # JUnit closes a case, with its properties, at its teardown.
    yield _report(f"{NODE_ID}::verdict", "teardown", facts)


def _report(nodeid: str, when: Any, facts: list[tuple[str, object]]) -> pytest.TestReport:
    folder, _, name = nodeid.partition("::")
    return pytest.TestReport(
        nodeid=nodeid,
        location=(folder, None, name),
        keywords={},
        outcome="passed",
        longrepr=None,
        when=when,
        user_properties=facts,
    )


def _writer(config: pytest.Config) -> Any:
    plugins = config.pluginmanager.get_plugins()
    return next((plugin for plugin in plugins if type(plugin).__name__ == "LogXML"), None)
