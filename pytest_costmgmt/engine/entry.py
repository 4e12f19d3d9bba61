"""The ways from pytest's hooks into the engine, loaded only when the suite runs."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.engine import activation
from pytest_costmgmt.engine.collection import NODE_ID, ConformanceDirectory
from pytest_costmgmt.engine.controller import Controller
from pytest_costmgmt.engine.report import folder as report_folder
from pytest_costmgmt.engine.resolved import settings_of
from pytest_costmgmt.engine.runner import Runner
from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.options import BY_NAME
from pytest_costmgmt.resources import resource
from pytest_costmgmt.settings import environment

Status = int | pytest.ExitCode | None

_REPORT: pytest.StashKey[str | None] = pytest.StashKey()
_REPORT_PROBLEM: pytest.StashKey[str] = pytest.StashKey()


def enter(config: pytest.Config, args: list[str], effective: Any, *, runnable: bool) -> None:
    """Point this run at the suite, and replace what an earlier run reported.

    The previous report must not survive a run that does not start: it is replaced at once by an
    inconclusive one that says so, which the run's end replaces in its turn.
    """
    folder = resource("conformance")
    # Both: pytest decides rootdir and conftests from the first, tests from the second.
    effective.file_or_dir = [str(folder)]
    effective.confcutdir = str(folder)
    if runnable:
        args.extend([str(folder), f"--confcutdir={folder}"])
    if not activation.in_xdist_worker():
        report = config.stash[_REPORT] = _early(config, effective, "report")
        config.stash[_REPORT_PROBLEM] = report_folder.clear(
            report, getattr(effective, "xmlpath", None)
        )
    config.pluginmanager.register(Runner(config), "costmgmt-runner")


def _early(config: pytest.Config, effective: Any, name: str) -> str | None:
    """Return a setting before Settings are resolved (a bad one is told later)."""
    option = BY_NAME[name]
    given = getattr(effective, option.key, None)
    for value in (given, environment().get(option.variable)):
        if value is not None:
            return str(value)
    try:
        ini = config.getini(option.key)
    except (ValueError, TypeError, pytest.UsageError):
        return None
    return None if ini is None else str(ini)


def directory(path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Return our collector if ``path`` is the suite's folder."""
    if path != resource("conformance"):
        return None
    collector: ConformanceDirectory = ConformanceDirectory.from_parent(
        parent, path=path, nodeid=NODE_ID
    )
    return collector


def guarded(config: pytest.Config, problem: str) -> Generator[None, Status, Status]:
    """Run the suite's session; decide its status, write its reports, tell its verdict."""
    controller = Controller(config)
    status: Status = pytest.ExitCode.INTERNAL_ERROR
    try:
        _begin(config, controller, problem)
        status = yield
    except pytest.UsageError as error:
        controller.did_not_start(str(error), config.stash.get(_REPORT, None))
        raise
    except BaseException as error:
        controller.bend(f"the session ended with {type(error).__name__}")
        controller.finish(int(status or 0))
        raise
    return controller.finish(int(status or 0))


def _begin(config: pytest.Config, controller: Controller, problem: str) -> None:
    if problem := problem or config.stash.get(_REPORT_PROBLEM, ""):
        raise pytest.UsageError(problem)
    try:
        controller.begin(settings_of(config))
    except UsageProblem as error:
        raise pytest.UsageError(str(error)) from None
    except CostMgmtError as error:
        raise pytest.UsageError(str(error)) from None
    config.pluginmanager.register(controller, "costmgmt-controller")
