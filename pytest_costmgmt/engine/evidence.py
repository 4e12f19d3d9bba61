"""A pass is evidence: ``require`` hands a Judgement to the running check's item."""

from __future__ import annotations

from contextvars import ContextVar

from pytest_costmgmt.judge.finding import Judgement


class Unmet(AssertionError):
    """A requirement is not met. Raised by :func:`require` and nowhere else."""


class Undecided(Exception):
    """The check is unverifiable or not supported; the Judgement says why."""


class Evidence:
    """Where the running check's Judgement is kept until its outcome is decided."""

    def __init__(self) -> None:
        self.judgement: Judgement | None = None


running: ContextVar[Evidence | None] = ContextVar("running", default=None)


def require(judgement: Judgement) -> None:
    """Record the Judgement of the running check; raise Unmet if it has findings."""
    __tracebackhide__ = True
    evidence = running.get()
    if evidence is None:
        raise RuntimeError("require() was called outside of a check")
    if evidence.judgement is not None:
        raise RuntimeError("require() was called twice in one check")
    if not isinstance(judgement, Judgement):
        raise TypeError(f"require() takes a Judgement, not {type(judgement).__name__}")
    evidence.judgement = judgement
    if judgement.findings:
        raise Unmet("; ".join(finding.summary for finding in judgement.findings))
    if judgement.unverified or judgement.not_supported:
        raise Undecided(judgement.not_supported or judgement.unverified[0].what)
