"""What Allure shows of a check; imported only where ``--alluredir`` made its listener active."""

from __future__ import annotations

import hashlib
import os
import time
import uuid
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import allure_commons
import pytest
from allure_commons.model2 import Attachment, Label, Link, Status, StatusDetails, TestResult
from allure_commons.types import AttachmentType, LabelType, LinkType, Severity

from pytest_costmgmt.engine.check import MUST, Check
from pytest_costmgmt.engine.collection import NODE_ID
from pytest_costmgmt.engine.outcome import Result
from pytest_costmgmt.engine.present import told
from pytest_costmgmt.engine.report.logs import without_passwords
from pytest_costmgmt.judge.finding import Finding
from pytest_costmgmt.secret import redact

if TYPE_CHECKING:
    from pytest_costmgmt.engine.controller import Controller

STATUS = {
    "passed": Status.PASSED,
    "failed": Status.FAILED,
    "error": Status.BROKEN,
    "blocked": Status.BROKEN,
}
VERDICTS = {
    "conformant": Status.PASSED,
    "non-conformant": Status.FAILED,
    "inconclusive": Status.BROKEN,
}
SEVERITY = {True: Severity.CRITICAL, False: Severity.NORMAL}


class Allure:
    """Stands before Allure's file logger: each result is ours, redacted, and 0600."""

    def __init__(self, config: pytest.Config) -> None:
        self._known: dict[str, tuple[Check, Result]] = {}
        # Captured output would be attached as it is; a check's evidence is what it returns.
        config.option.attach_capture = False
        allure_commons.plugin_manager.register(self)
        config.add_cleanup(lambda: allure_commons.plugin_manager.unregister(self))

    def tell(self, nodeid: str, check: Check, result: Result) -> None:
        """Attach the evidence of the check that runs; its result is written at its end."""
        self._known[_full_name(nodeid)] = (check, result)
        evidence = "\n".join(_evidence(check, result))
        _attach(evidence, "evidence")
        findings = result.judgement.findings if result.judgement is not None else ()
        if fixes := "\n\n".join(filter(None, map(_fix, findings))):
            _attach(fixes, "fix")

    # --- Allure's own hooks ---------------------------------------------------------------

    @allure_commons.hookimpl(hookwrapper=True, tryfirst=True)
    def report_result(self, result: Any) -> Generator[None, Any, None]:
        """Say of a check what we decided, whatever its exception or another plugin said."""
        if (ours := self._known.get(result.fullName or "")) is not None:
            _fill(result, *ours)
        _clean(result)
        with _private():
            yield

    @allure_commons.hookimpl(hookwrapper=True, tryfirst=True)
    def report_container(self, container: Any) -> Generator[None, Any, None]:
        """A fixture's failure is there with its traceback: redact it."""
        _clean(container)
        with _private():
            yield

    @allure_commons.hookimpl(hookwrapper=True, tryfirst=True)
    def report_attached_data(self, body: Any, file_name: str) -> Generator[None, Any, None]:  # noqa: ARG002
        """Attachments are 0600 too."""
        with _private():
            yield


def verdict(controller: Controller, decided: str) -> None:
    """Write the verdict as a result of its own, with what the target showed attached to it."""
    tell = allure_commons.plugin_manager.hook
    shown = []
    with _private():
        for each in controller.exhibits:
            name = f"{uuid.uuid4()}-attachment.txt"
            tell.report_attached_data(body=without_passwords(each.text), file_name=name)
            shown.append(Attachment(name=redact(each.title), source=name, type="text/plain"))
        full, reasons = f"{NODE_ID}#verdict", redact("\n".join(controller.reasons()))
        known = hashlib.sha256(full.encode()).hexdigest()[:32]
        moment = time.time_ns() // 1_000_000
        told = TestResult(
            uuid=str(uuid.uuid4()),
            name=f"verdict: {decided}",
            fullName=full,
            historyId=known,
            testCaseId=known,
            status=VERDICTS[decided],
            attachments=shown,
            start=moment,
            stop=moment,
            description=reasons or None,
            labels=[
                Label(name=LabelType.FEATURE, value="verdict"),
                Label(name=LabelType.SEVERITY, value=Severity.CRITICAL.value),
            ],
        )
        if decided != "conformant":
            told.statusDetails = StatusDetails(message=decided, trace=reasons)
        tell.report_result(result=told)


def _full_name(nodeid: str) -> str:
    """Return Allure's name of a test.

    >>> _full_name("costmgmt/roles::test_login")
    'costmgmt.roles#test_login'
    """
    group, _, function = nodeid.partition("::")
    return f"{group.replace('/', '.')}#{function}"


def _attach(text: str, name: str) -> None:
    allure_commons.plugin_manager.hook.attach_data(
        body=redact(text), name=name, attachment_type=AttachmentType.TEXT, extension=None
    )


def _fill(test: Any, check: Check, result: Result) -> None:
    test.name = f"{check.id} {check.title}"
    test.description = f"{check.title}\n\n{check.rationale}\n\nRequired by: {check.reference}"
    test.status = STATUS.get(result.outcome, Status.SKIPPED)
    test.statusDetails = None
    if result.outcome != "passed":
        test.statusDetails = StatusDetails(
            message=f"{result.outcome}: {result.summary}", trace="\n".join(told(check, result))
        )
    kept = {LabelType.FEATURE, LabelType.SEVERITY}
    test.labels = [label for label in test.labels if label.name not in kept]
    test.labels.append(Label(name=LabelType.FEATURE, value=check.group))
    test.labels.append(Label(name=LabelType.SEVERITY, value=SEVERITY[check.level == MUST].value))
    if check.reference.startswith(("https://", "http://")):
        test.links.append(Link(type=LinkType.LINK, url=check.reference, name="required by"))


def _evidence(check: Check, result: Result) -> Iterator[str]:
    yield f"{check.id} {result.outcome}: {result.summary}"
    if result.judgement is not None and result.judgement.examined:
        yield "examined:"
        yield from (f"  {each}" for each in result.judgement.examined)
    if result.outcome == "failed":
        yield ""
        yield from told(check, result)


def _fix(finding: Finding) -> str:
    if (fix := finding.fix) is None:
        return ""
    where = f", in database {fix.database}" if fix.database else ""
    needs = f", needs {fix.needs}" if fix.needs else ""
    return f"-- {fix.kind}{where}{needs}: {finding.summary}\n{fix.text}"


def _clean(thing: Any) -> None:
    """Redact every text of one of Allure's values, in place."""
    for name, value in vars(thing).items():
        if isinstance(value, str):
            setattr(thing, name, redact(value))
        elif isinstance(value, list):
            for each in value:
                if hasattr(each, "__dict__"):
                    _clean(each)
        elif hasattr(value, "__dict__") and not isinstance(value, type):
            _clean(value)


@contextmanager
def _private() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)
