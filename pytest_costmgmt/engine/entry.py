"""The ways from pytest's hooks into the engine, loaded only when the suite runs."""

from __future__ import annotations

import os
import sys
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.engine import activation, redaction
from pytest_costmgmt.engine.collection import NODE_ID, ConformanceDirectory
from pytest_costmgmt.engine.controller import Controller
from pytest_costmgmt.engine.report import folder as report_folder
from pytest_costmgmt.engine.resolved import changed, given, settings_of
from pytest_costmgmt.engine.runner import Runner
from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.options import BY_NAME
from pytest_costmgmt.resources import resource
from pytest_costmgmt.settings import environment

Status = int | pytest.ExitCode | None

RUNNER, CONTROLLER, GUARD = "costmgmt-runner", "costmgmt-controller", "costmgmt-guard"

_STREAMS = 3

_GIVEN: pytest.StashKey[Mapping[str, Any]] = pytest.StashKey()
_REPORT: pytest.StashKey[str | None] = pytest.StashKey()
_REPORT_PROBLEM: pytest.StashKey[str] = pytest.StashKey()


def enter(config: pytest.Config, args: list[str], effective: Any, problem: str) -> None:
    """Point this run at the suite, and replace what an earlier run reported.

    The previous report must not survive a run that does not start: it is replaced at once by an
    inconclusive one that says so, which the run's end replaces in its turn.
    """
    _open_streams()
    folder = resource("conformance")
    # Both: pytest decides rootdir and conftests from the first, tests from the second.
    effective.file_or_dir = [str(folder)]
    effective.confcutdir = str(folder)
    if not problem:
        args.extend([str(folder), f"--confcutdir={folder}"])
    config.stash[_GIVEN] = given(effective)
    if not activation.in_xdist_worker():
        report = _early(config, effective, "report")
        if report is not None:  # as at the run's end: where a plugin went meanwhile is not asked
            report = str(config.invocation_params.dir / Path(report).expanduser())
        config.stash[_REPORT] = report
        config.stash[_REPORT_PROBLEM] = report_folder.clear(
            report, getattr(effective, "xmlpath", None)
        )
    config.pluginmanager.register(Runner(config), RUNNER)
    config.pluginmanager.register(Guard(problem), GUARD)
    redaction.enter(config)


class Guard:
    """Around the whole run. Registered late, and so around other plugins' wrappers too."""

    def __init__(self, problem: str) -> None:
        self.problem = problem

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config: pytest.Config) -> Generator[None, Status, Status]:
        """Decide the exit status: the one place that holds whatever other plugins do."""
        if hasattr(config, "workerinput"):
            return (yield)
        return (yield from guarded(config, self.problem))

    @pytest.hookimpl(tryfirst=True)
    def pytest_collect_directory(
        self, path: Path, parent: pytest.Collector
    ) -> pytest.Collector | None:
        """Collect the suite's folder by our own collectors."""
        if path != resource("conformance"):
            return None
        collector: ConformanceDirectory = ConformanceDirectory.from_parent(
            parent, path=path, nodeid=NODE_ID
        )
        return collector

    @pytest.hookimpl(tryfirst=True)
    def pytest_ignore_collect(self) -> bool:
        """Let nobody ignore the suite."""
        return False


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


def guarded(config: pytest.Config, problem: str) -> Generator[None, Status, Status]:
    """Run the suite's session; decide its status, write its reports, tell its verdict."""
    controller = Controller(config)
    status: Status = pytest.ExitCode.INTERNAL_ERROR
    try:
        _begin(config, controller, problem)
        status = yield
    except pytest.UsageError as error:
        if controller.attempts:  # somebody's, after the checks
            controller.bend(f"the session ended with a usage error: {error}")
            controller.finish(pytest.ExitCode.USAGE_ERROR)
            raise
        controller.did_not_start(str(error), config.stash.get(_REPORT, None))
        raise
    except (SystemExit, pytest.exit.Exception) as error:
        # Somebody's way out after the session, e.g. sys.exit(0) in pytest_unconfigure: the
        # status is ours to say.
        controller.bend(f"the session ended with {type(error).__name__}")
        return controller.finish(int(status or 0))
    except Exception as error:  # noqa: BLE001 - Python would make it 1, which is non-conformant
        if not isinstance(error, BrokenPipeError):
            sys.excepthook(type(error), error, error.__traceback__)
        controller.bend(f"the session ended with {type(error).__name__}")
        return controller.finish(pytest.ExitCode.INTERNAL_ERROR)
    except BaseException as error:
        controller.bend(f"the session ended with {type(error).__name__}")
        controller.finish(int(status or 0))
        raise
    return controller.finish(int(status or 0))


def _open_streams() -> None:
    """Give Python the streams that whoever started it closed: pytest does not do without.

    Before pytest captures them: it puts back at the end what it found.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) < _STREAMS:  # the lowest number that is free
        os.set_inheritable(opened, True)
    os.close(opened)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115, PTH123 - until Python ends


def _begin(config: pytest.Config, controller: Controller, problem: str) -> None:
    try:
        _settle(config, controller, problem)
    except pytest.UsageError:
        raise
    except CostMgmtError as error:
        raise pytest.UsageError(str(error)) from None
    except (SystemExit, pytest.exit.Exception) as error:
        raise pytest.UsageError(f"the run was ended while it began: {error}") from None
    except Exception as error:  # noqa: BLE001 - Python would make it 1, which is non-conformant
        sys.excepthook(type(error), error, error.__traceback__)
        raise pytest.UsageError(f"{type(error).__name__}, as told above") from None
    config.pluginmanager.register(controller, CONTROLLER)


def _settle(config: pytest.Config, controller: Controller, problem: str) -> None:
    problem = problem or config.stash.get(_REPORT_PROBLEM, "") or _blocked(config)
    if problem := problem or changed(config, config.stash[_GIVEN]):
        raise pytest.UsageError(problem)
    controller.begin(settings_of(config))


def _blocked(config: pytest.Config) -> str:
    """Say which part of us ``-p no:NAME`` took out, or ""."""
    for name in (RUNNER, CONTROLLER, GUARD):
        if config.pluginmanager.is_blocked(name):
            return f"-p no:{name} takes out what decides the verdict: leave it out."
    for name in (redaction.NAME, redaction.INNER):
        if config.pluginmanager.is_blocked(name):
            return f"-p no:{name} takes out what keeps passwords out of reports: leave it out."
    return ""
