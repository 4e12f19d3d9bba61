"""The reports of a user's tests: a cause is told once, and a test's failure keeps its database.

Registered when the first of our fixtures needs it: other runs never see these hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

import pytest

from pytest_costmgmt.engine.user_fixtures_handover import Handover
from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.secret import redact

FAILED: pytest.StashKey[bool] = pytest.StashKey()
END: pytest.StashKey[Callable[[bool], None]] = pytest.StashKey()
"What is done with the test's database when all of it is over, told whether it failed."
NOTES: pytest.StashKey[dict[str, Callable[[], str]]] = pytest.StashKey()

_SHORT = 160


class Told:
    """Knows what this process raised for want of a server, and what was told of it."""

    def __init__(self, handover: Handover) -> None:
        self.handover = handover
        self._raised: list[BaseException] = []

    def unavailable(self, name: str, error: CostMgmtError) -> BaseException:
        """Return what the fixture ``name`` raises: the cause in words, without a traceback."""
        raised = pytest.fail.Exception(f"{name}: {redact(str(error))}", pytrace=False)
        self._raised.append(raised)
        return raised

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Shorten what was told before; remember a failure for the database's sake."""
        report = yield
        if report.failed:
            item.stash[FAILED] = True
            for title, note in item.stash.get(NOTES, {}).items():
                report.sections.append((title, note()))
        if call.when == "teardown" and (end := item.stash.get(END, None)) is not None:
            del item.stash[END]
            end(item.stash[FAILED])
        if call.excinfo is not None and any(call.excinfo.value is r for r in self._raised):
            text = str(call.excinfo.value)
            if not self.handover.first_to_tell(text.partition(": ")[2]):
                report.longrepr = f"as told above: {text.splitlines()[0][:_SHORT]}"
        return report
