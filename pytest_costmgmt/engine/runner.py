"""Runs the checks: in the controller without xdist, in each worker with it."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any

import pytest

from pytest_costmgmt.engine import shared
from pytest_costmgmt.engine.collection import CheckItem
from pytest_costmgmt.engine.evidence import Undecided, Unmet
from pytest_costmgmt.engine.outcome import BLOCKING, Result, gated, outcome_of, to_wire
from pytest_costmgmt.engine.present import present
from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.secret import redact


class NotRun(Exception):
    """A check that was left out, or that a dependency blocks."""

    def __init__(self, outcome: str, text: str, blocked_by: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.outcome, self.text, self.blocked_by = outcome, text, blocked_by


class Runner:
    """Decides each item's outcome where the exception's type is still known."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.outcomes: dict[str, str] = {}
        self.allure: Any = None
        self.history: dict[str, list[str]] = {}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Restore the catalogue's order; take out what the profile leaves out.

        Taken out, not deselected: nobody chose it.
        """
        order = {id_: place for place, id_ in enumerate(shared.of(self.config).expected)}
        kept = [i for i in items if not isinstance(i, CheckItem) or i.check.id in order]
        last = len(order)
        kept.sort(key=lambda i: order[i.check.id] if isinstance(i, CheckItem) else last)
        items[:] = kept

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Do not run what was left out, or what is blocked already."""
        if not isinstance(item, CheckItem):
            return
        data = shared.of(self.config)
        causes = tuple(d for d in item.check.after if self.outcomes.get(d) in BLOCKING)
        if causes:
            raise NotRun("blocked", f"blocked by {', '.join(causes)}", causes)
        if (reason := data.skip.get(item.check.id)) is not None:
            raise NotRun("skipped", reason)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Compute the outcome from the exception and the Judgement, never from the report's."""
        report = yield
        if not isinstance(item, CheckItem):
            return report
        if (result := self._result(item, call)) is not None:
            self.outcomes[item.check.id] = result.outcome
            if call.when != "teardown":
                self.history.setdefault(item.check.id, []).append(result.outcome)
            report.costmgmt = to_wire(result)  # type: ignore[attr-defined]
            present(report, item.check, result)
            self._tell_allure(item, result)
        elif not call.excinfo:
            report.outcome, report.longrepr = "passed", None
        return report

    def _tell_allure(self, item: CheckItem, result: Result) -> None:
        if not self.config.pluginmanager.has_plugin("allure_listener"):
            return
        if self.allure is None:
            from pytest_costmgmt.engine.report.allure import Allure  # noqa: PLC0415 - if active

            self.allure = Allure(self.config)
        context = shared.of(self.config).context
        if context is not None and context.profile == "release-gate":
            result = gated(item.check, result)
        self.allure.tell(item.nodeid, item.check, result)

    def _result(self, item: CheckItem, call: pytest.CallInfo[None]) -> Result | None:
        """Return the result that this phase decides, or None if another phase will."""
        error = call.excinfo.value if call.excinfo else None
        if call.when != "call" and error is None:
            return None
        if isinstance(error, NotRun):
            return self._made(item, error.outcome, error.text, blocked_by=error.blocked_by)
        if call.when == "teardown":
            text = f"after the check: {told(error)}"
            foreign = not isinstance(error, CostMgmtError)
            return self._made(item, "error", text, foreign=foreign, when="teardown")
        if isinstance(error, (Unmet, Undecided)) or error is None:
            outcome, summary = outcome_of(item.evidence.judgement, "")
            if isinstance(error, Unmet) and outcome != "failed":
                outcome, summary = "error", "Unmet was raised, but not by require()"
            return self._made(item, outcome, summary, foreign=item.evidence.judgement is None)
        outcome, summary = outcome_of(item.evidence.judgement, told(error))
        return self._made(item, outcome, summary, foreign=not isinstance(error, CostMgmtError))

    def _made(
        self,
        item: CheckItem,
        outcome: Any,
        summary: str,
        *,
        blocked_by: tuple[str, ...] = (),
        foreign: bool = False,
        when: str = "call",
    ) -> Result:
        return Result(
            id=item.check.id,
            outcome=outcome,
            summary=redact(" ".join(summary.split())),
            seconds=round(time.perf_counter() - item.started, 4),
            judgement=item.evidence.judgement if outcome != "blocked" else None,
            blocked_by=blocked_by,
            earlier=self._earlier(item, ended=when == "teardown"),
            foreign=foreign,
        )

    def _earlier(self, item: CheckItem, *, ended: bool) -> tuple[str, ...]:
        """Return what earlier attempts came to: a plugin may repeat a check and hide the first."""
        known = self.history.get(item.check.id, [])
        known = known[:-1] if ended else known
        unseen = max(0, item.runs - 1 - len(known))
        return (*known, *["not told"] * unseen)


def sentences(error: CostMgmtError) -> str:
    """Return an error's message and hint as sentences in one line."""
    lines = [*error.message.splitlines(), *error.hint.splitlines()]
    parts = [" ".join(line.split()) for line in lines]
    return " ".join(part if part[-1] in ".?!:;," else f"{part}." for part in parts if part)


def told(error: BaseException | None) -> str:
    """Return an exception as one line for a person; ours speak for themselves."""
    if error is None:
        return ""
    if isinstance(error, CostMgmtError):
        return sentences(error)
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
