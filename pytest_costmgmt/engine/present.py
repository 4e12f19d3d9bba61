"""Our outcomes in pytest's three words, so that JUnit, HTML and Allure count them rightly."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.outcome import Result
from pytest_costmgmt.judge.finding import Finding
from pytest_costmgmt.secret import redact

LETTERS = {
    "passed": (".", "PASSED"),
    "failed": ("F", "FAILED"),
    "error": ("E", "ERROR"),
    "blocked": ("B", "BLOCKED"),
    "skipped": ("s", "SKIPPED"),
    "not-supported": ("n", "NOT-SUPPORTED"),
    "unverifiable": ("u", "UNVERIFIABLE"),
}


def present(report: pytest.TestReport, check: Check, result: Result) -> None:
    """Give ``report`` the outcome that ENGINE's table maps ours to.

    failed: failed in call. error and blocked: failed in setup, one line. The rest: skipped, with
    our word first in the reason.
    """
    if result.outcome == "passed":
        report.outcome, report.longrepr = "passed", None
    elif result.outcome == "failed":
        report.outcome, report.when = "failed", "call"
        report.longrepr = redact("\n".join(told(check, result)))
    elif result.outcome in {"error", "blocked"}:
        report.outcome = "failed"
        if report.when == "call":
            report.when = "setup"
        report.longrepr = redact(f"{result.outcome}: {result.summary}")
    else:
        report.outcome = "skipped"
        report.longrepr = (
            f"costmgmt/{check.group}", 0, redact(f"Skipped: {result.outcome}: {result.summary}"),
        )  # fmt: skip
    # A pass that another plugin called xfail, or a failure that it called xfailed, is neither.
    if hasattr(report, "wasxfail"):
        del report.wasxfail


def told(check: Check, result: Result) -> Iterator[str]:
    """Yield a failure's lines: what must hold, what was found, the fix, where it is required."""
    yield f"{check.level}: {check.title}"
    findings = result.judgement.findings if result.judgement is not None else ()
    for finding in findings:
        yield ""
        yield from _finding(finding)
    yield ""
    yield f"why:       {check.rationale}"
    yield f"required:  {check.reference}"


def _finding(finding: Finding) -> Iterator[str]:
    yield f"  {finding.summary}"
    yield from _field("expected", finding.expected)
    yield from _field("found", finding.found)
    if finding.fix is not None:
        where = f" in database {finding.fix.database}" if finding.fix.database else ""
        who = (
            f" ({finding.fix.kind}{where}; needs {finding.fix.needs})" if finding.fix.needs else ""
        )
        yield f"  fix{who}:"
        yield from (f"      {line}" for line in finding.fix.text.splitlines())


def _field(name: str, text: str) -> Iterator[str]:
    first, *rest = text.splitlines() or [""]
    yield f"  {name + ':':<10}{first}"
    yield from (f"            {line}" for line in rest)
