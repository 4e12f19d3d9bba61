"""The controller's side of a run: prepares once, collects results, decides, tells."""

from __future__ import annotations

import contextlib
import gc
import secrets
import time
from collections.abc import Generator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.engine import catalogue, outcome, shared
from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.collection import NODE_ID
from pytest_costmgmt.engine.outcome import Result
from pytest_costmgmt.engine.prepare import Preparation
from pytest_costmgmt.engine.present import LETTERS, present
from pytest_costmgmt.engine.report import assemble, folder, junit, terminal
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.facts.exhibit import Exhibit
from pytest_costmgmt.settings import Settings

PHASES = frozenset({"setup", "call", "teardown"})
VERDICT = f"{NODE_ID}::verdict"


class Controller:
    """Registered in the controller only; workers have the Runner alone."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.run_id = secrets.token_hex(4)
        self.started = time.perf_counter()
        self.began = datetime.now(timezone.utc)
        self.settings: Settings | None = None
        self.expected: tuple[Check, ...] = ()
        self.attempts: dict[str, list[Result]] = {}
        self.so_far: dict[str, Result] = {}
        self.failing = 0
        self.bends: list[str] = []
        self.crashed: set[str] = set()
        self.preparation: Preparation | None = None
        self.session: pytest.Session | None = None
        self.exhibits: tuple[Exhibit, ...] = ()

    # --- before the session ---------------------------------------------------------------

    def begin(self, settings: Settings) -> None:
        """Take the settings; raises UsageProblem for what the operator wrote wrongly."""
        self.settings = settings
        checks = catalogue.load()
        self.expected = catalogue.expected(checks, settings.profile)
        if unknown := sorted(set(settings.skip) - {check.id for check in checks}):
            raise UsageProblem(
                f"--costmgmt-skip names {unknown[0]}, which is no check of this version:"
                " `costmgmt catalogue` lists them."
            )
        self.preparation = Preparation(settings, self.run_id, say=self._say)

    def _say(self, line: str) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None and self.config.get_verbosity() >= 0:
            reporter.ensure_newline()
            reporter.write_line(f"costmgmt: {line}")

    def bend(self, why: str) -> None:
        """Record what bends the run: the verdict is at best inconclusive, and names it."""
        if why not in self.bends:
            self.bends.append(why)

    # --- pytest's hooks -------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Provision and gather facts once, before xdist starts its workers."""
        self.session = session
        if self.preparation is None:  # pragma: no cover - begin() always ran
            raise RuntimeError("the settings were not taken")
        self.config.add_cleanup(self._end_server)
        self.config.stash[shared.KEY] = self.preparation.run(
            expected=[check.id for check in self.expected]
        )
        # What was imported stays to the end: no collection need look at it, pytest's own neither.
        gc.freeze()

    def _end_server(self) -> None:
        if self.preparation is not None:
            self.preparation.end(conformant=self._verdict() == outcome.CONFORMANT)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Hand the facts to a worker, also to a replaced one."""
        node.workerinput[shared.WORKER_KEY] = shared.of(self.config).pack()

    @pytest.hookimpl(optionalhook=True, tryfirst=True)
    def pytest_xdist_make_scheduler(self, config: pytest.Config, log: Any) -> Any:
        """Keep the checks of one target in one scope, whatever --dist says."""
        from pytest_costmgmt.engine.schedule import OneScope  # noqa: PLC0415 - xdist is optional

        return OneScope(config, log)

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        """A deselected check has no result: say why."""
        if items:
            self.bend(f"{len(items)} checks were deselected (-k, -m, --deselect, --lf, ...)")

    @pytest.hookimpl(tryfirst=True)
    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A group that cannot be collected is told by its last line."""
        if report.failed:
            self.bend(f"{report.nodeid or 'the suite'} could not be collected")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> Generator[None, None, None]:
        """Record a result; consider dependencies before anybody else sees the report."""
        data = getattr(report, "costmgmt", None)
        if data is not None:
            self._record(report, outcome.borne_out(outcome.from_wire(data)))
        elif not report.nodeid.startswith(NODE_ID):
            self.bend(f"{report.nodeid}, which is no check, ran among the checks")
        elif report.when not in PHASES:
            self.bend(f"a worker crashed while it ran {report.nodeid}")
            self.crashed.add(report.nodeid)
        elif (report.when == "call" or report.failed) and report.nodeid != VERDICT:
            self.bend(f"the report of {report.nodeid} lost its result")
        self.failing += report.failed
        return (yield)

    def _record(self, report: pytest.TestReport, result: Result) -> None:
        attempts = self.attempts.setdefault(result.id, [])
        if report.when == "teardown" and attempts and result.outcome == "error":
            attempts[-1] = result
        else:
            attempts.append(result)
        check = next((check for check in self.expected if check.id == result.id), None)
        if check is None:
            return
        # The checks that it depends on came before it; the verdict settles all anew.
        gate = self.settings is not None and self.settings.profile == "release-gate"
        settled = outcome.settle_one(check, attempts, self.so_far, gate=gate)
        self.so_far[check.id] = settled
        # Always: another plugin may have given the report an outcome of its own.
        report.costmgmt = outcome.to_wire(settled)  # type: ignore[attr-defined]
        present(report, check, settled)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, str] | None:
        """Give each outcome its own letter and word; pytest's categories stay its own."""
        if (data := getattr(report, "costmgmt", None)) is None:
            return None
        letter, word = LETTERS[data["outcome"]]
        # The category decides what pytest's own sections list: one root cause, not sixty blocked.
        return data["outcome"], letter, word

    @pytest.hookimpl(wrapper=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, object, object]:
        """Report the verdict as a test of its own, so that JUnit and HTML count it."""
        try:
            return (yield)
        finally:
            session.testscollected += 1  # the verdict's own item, for pytest's percentage
            self._report_verdict()

    def _report_verdict(self) -> None:
        if self.preparation is not None and (why := self.preparation.disturbance()):
            self.bend(why)
        decided = self._verdict()
        if self.preparation is not None and decided != outcome.CONFORMANT:
            self.exhibits = self.preparation.exhibits()
        missing = [c for c in self.expected if c.id not in self.attempts]
        junit.add_missing(self.config, missing, self.settled(), told=self.crashed)
        for report in junit.verdict(self, decided):
            self.config.hook.pytest_runtest_logreport(report=report)
        if self.config.pluginmanager.has_plugin("allure_listener"):
            from pytest_costmgmt.engine.report import allure  # noqa: PLC0415 - if active

            allure.verdict(self, decided)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        """Make JUnit's file for its owner alone before pytest writes it."""
        junit.make_private(self.config)

    def pytest_report_header(self) -> list[str]:
        """Say what the target is, and where each setting came from."""
        return terminal.header(self)

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show the table by group."""
        terminal.table(self, terminalreporter)

    def pytest_keyboard_interrupt(self, excinfo: pytest.ExceptionInfo[BaseException]) -> None:
        """An interrupted run proves nothing about what it did not reach."""
        self.bend(f"the run was ended early ({excinfo.typename})")

    # --- deciding -------------------------------------------------------------------------

    def settled(self) -> dict[str, Result]:
        """Return the settled result of each expected check."""
        gate = self.settings is not None and self.settings.profile == "release-gate"
        return outcome.settle(
            self.expected, self.attempts, gate=gate, unfinished=self._unfinished()
        )

    def _unfinished(self) -> str:
        return "; ".join([*self.bends, *self._stopped()])

    def _stopped(self) -> list[str]:
        session = self.session
        stopped = session is not None and (session.shouldstop or session.shouldfail)
        return [str(stopped)] if stopped else []

    def _bends(self) -> list[str]:
        """Return all that bends the run, as it is known now."""
        disturbed = outcome.disturbances(self.expected, self.attempts)
        return [*self.bends, *self._stopped(), *disturbed]

    def _verdict(self) -> outcome.Verdict:
        return outcome.verdict(self.expected, self.settled(), self._bends())

    def _status(self, decided: outcome.Verdict, pytest_status: int) -> int:
        # Another plugin that counts a failure of its own (pytest-cov does) is not overruled.
        counted = self.session.testsfailed if self.session is not None else 0
        should_failed = 0 < counted <= self.failing
        return outcome.exit_status(decided, pytest_status, should_failed=should_failed)

    def reasons(self) -> list[str]:
        """Return in sentences why the verdict is not better, the worst first."""
        return assemble.reasons(self.expected, self.settled(), self._bends())

    # --- telling --------------------------------------------------------------------------

    def did_not_start(self, problem: str, report: str | None) -> None:
        """Write the report of a run that could not start; pytest tells the problem itself."""
        if report is not None:
            reason = f"the run could not start: {problem}"
            with contextlib.suppress(OSError):  # it may be the problem
                folder.write(Path(report).expanduser(), folder.unfinished(reason), "")
        with terminal.perhaps_unread():
            terminal.verdict_line(self.config, "inconclusive", ["the run could not start"], [], 0.0)

    def finish(self, pytest_status: int) -> int:
        """Write the reports, print the verdict line; return the exit status."""
        if pytest_status in {2, 3, 4}:
            self.bend(f"pytest ended with status {pytest_status}")
        decided = self._verdict()
        report = assemble.report(self, decided)
        status = self._status(decided, pytest_status)
        if self.settings is not None and self.settings.report is not None:
            try:
                folder.write(self.settings.report, report, assemble.fixes(report))
            except OSError as error:
                self.bend(f"the report could not be written to {self.settings.report}: {error}")
                decided = self._verdict()
                status = self._status(decided, pytest_status)
        with terminal.perhaps_unread():
            terminal.aftermath(self)
            terminal.verdict_line(
                self.config, decided, self.reasons(), list(report.weakens), report.run.seconds
            )
        return status
