"""The one place that decides: outcomes, what is blocked, the verdict, the exit status.

An outcome follows from evidence, blocked from dependencies, the verdict from the outcomes.
Pure functions over plain data: no pytest, no connections.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec

from pytest_costmgmt.engine.check import MUST, Check
from pytest_costmgmt.judge.finding import Judgement

Outcome = Literal[
    "passed", "failed", "error", "blocked", "skipped", "not-supported", "unverifiable"
]
Verdict = Literal["conformant", "non-conformant", "inconclusive"]

CONFORMANT: Verdict = "conformant"
NON_CONFORMANT: Verdict = "non-conformant"
INCONCLUSIVE: Verdict = "inconclusive"

EXIT_STATUS: Mapping[Verdict, int] = {CONFORMANT: 0, NON_CONFORMANT: 1, INCONCLUSIVE: 8}

# A check whose dependency came out as one of these knows nothing: it is blocked. (A dependency
# that is not supported or not verifiable leaves the dependent to its own evidence:
# docs/decisions/0003-blocked.md)
BLOCKING: frozenset[str] = frozenset({"failed", "error", "blocked", "skipped"})


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What one attempt of one check came to, before dependencies are considered."""

    id: str
    outcome: Outcome
    summary: str = ""
    seconds: float = 0.0
    judgement: Judgement | None = None
    blocked_by: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    "What earlier attempts in the same process came to, also those that nobody reported."
    foreign: bool = False
    "The error is none of ours: something from outside kept the check from its evidence."


def outcome_of(judgement: Judgement | None, problem: str) -> tuple[Outcome, str]:
    """Decide a check's outcome from its Judgement and from what else went wrong.

    ``problem`` names any exception other than the two that ``require`` raises. A pass is
    evidence, not the absence of an exception: no Judgement, or nothing examined, is an error.

    >>> outcome_of(None, "")
    ('error', 'the check ended without a judgement: nothing was proved')
    >>> outcome_of(Judgement(), "")
    ('error', 'the check examined nothing: nothing was proved')
    >>> outcome_of(Judgement(examined=("role koku",), summary="role koku exists"), "")
    ('passed', 'role koku exists')
    """
    if problem:
        return "error", problem
    if judgement is None:
        return "error", "the check ended without a judgement: nothing was proved"
    if judgement.findings:
        return "failed", "; ".join(finding.summary for finding in judgement.findings)
    if judgement.unverified:
        first = judgement.unverified[0]
        others = [each.what for each in judgement.unverified[1:]]
        more = f" (and {len(others)} more: {'; '.join(others)})" if others else ""
        return "unverifiable", f"{first.what}; {first.who} can verify it: {first.how}{more}"
    if judgement.not_supported:
        return "not-supported", judgement.not_supported
    if not judgement.examined:
        return "error", "the check examined nothing: nothing was proved"
    return "passed", judgement.summary or f"examined: {', '.join(judgement.examined)}"


def borne_out(result: Result) -> Result:
    """Return a told result, or an error where its own Judgement does not say what it says.

    Another plugin may have given it another word on its way.

    >>> borne_out(Result(id="CM-ROL-001", outcome="passed")).summary
    'told as passed, which its evidence does not bear out'
    """
    if result.outcome not in {"passed", "failed", "unverifiable", "not-supported"}:
        return result
    if outcome_of(result.judgement, "")[0] == result.outcome:
        return result
    told = f"told as {result.outcome}, which its evidence does not bear out"
    return msgspec.structs.replace(result, outcome="error", summary=told, foreign=True)


def settle(
    expected: Iterable[Check],
    attempts: Mapping[str, list[Result]],
    *,
    gate: bool = False,
    unfinished: str = "",
) -> dict[str, Result]:
    """Return one settled Result for each expected check, in catalogue order.

    An expected check without a result, or with more than one attempt, is an error that says so;
    an earlier attempt's failure stays visible. ``gate`` (release-gate) turns a MUST that is
    skipped or unverifiable into an error. ``unfinished`` says why results may be missing.
    """
    settled: dict[str, Result] = {}
    for check in expected:
        settled[check.id] = settle_one(
            check, attempts.get(check.id, []), settled, gate=gate, unfinished=unfinished
        )
    return settled


def settle_one(
    check: Check,
    attempts: list[Result],
    settled: Mapping[str, Result],
    *,
    gate: bool = False,
    unfinished: str = "",
) -> Result:
    """Return the settled Result of one check; ``settled`` has those that it depends on."""
    result = _single(check, attempts, unfinished)
    if causes := _causes(check, settled):
        return Result(
            id=check.id,
            outcome="blocked",
            summary=f"blocked by {', '.join(causes)}",
            seconds=result.seconds,
            blocked_by=causes,
        )
    if result.outcome == "blocked":  # said by a worker, but its cause is not seen here
        return msgspec.structs.replace(result, outcome="error")
    return gated(check, result) if gate else result


def gated(check: Check, result: Result) -> Result:
    """Return what release-gate makes of a result: nothing stands in for a MUST's pass."""
    if check.level != MUST or result.outcome not in {"skipped", "unverifiable"}:
        return result
    told = f"release-gate accepts nothing in place of a pass; it is {result.outcome}"
    return msgspec.structs.replace(result, outcome="error", summary=f"{told}: {result.summary}")


def _single(check: Check, attempts: list[Result], unfinished: str) -> Result:
    if not attempts:
        why = unfinished or "it was not run, though the profile expects it"
        return Result(id=check.id, outcome="error", summary=f"no result: {why}")
    told = _all_attempts(attempts)
    if len(told) == 1:
        return attempts[0]
    worst = next((a for a in attempts if a.outcome == "failed"), attempts[0])
    return msgspec.structs.replace(
        worst,
        outcome="error",
        summary=f"{len(told)} attempts ({', '.join(told)}), where one is right: {worst.summary}",
    )


def _all_attempts(attempts: Sequence[Result]) -> tuple[str, ...]:
    """Return each attempt's outcome, with those that were made but never reported."""
    seen = tuple(attempt.outcome for attempt in attempts)
    known = max((attempt.earlier for attempt in attempts), key=len)
    return seen if len(known) < len(seen) else (*known, attempts[-1].outcome)


def disturbances(
    expected: Iterable[Check], attempts: Mapping[str, Sequence[Result]]
) -> Iterator[str]:
    """Yield what came between the checks and their evidence, whatever level they have.

    A SHOULD does not decide a verdict, but one that was taken out, repeated or kept from its
    evidence shows that the run was not the one that was asked for.
    """
    lost, again, kept = [], [], []
    for check in expected:
        made = attempts.get(check.id, ())
        if not made:
            lost.append(check.id)
        elif len(told := _all_attempts(made)) > 1:
            again.append(f"{check.id} ({len(told)} attempts: {', '.join(told)})")
        elif made[0].foreign:
            kept.append(f"{check.id} ({made[0].summary})")
    for ids, words in (
        (lost, "no result of"), (again, "repeated:"), (kept, "kept from its evidence:"),
    ):  # fmt: skip
        if ids:
            more = f" and {len(ids) - 1} more" if ids[1:] else ""
            yield f"{words} {ids[0]}{more}"


def _causes(check: Check, settled: Mapping[str, Result]) -> tuple[str, ...]:
    causes: list[str] = []
    for dependency in check.after:
        result = settled.get(dependency)
        if result is None or result.outcome not in BLOCKING:
            continue
        # Name the root cause, not the chain to it.
        roots = result.blocked_by if result.outcome == "blocked" else (dependency,)
        causes.extend(root for root in roots if root not in causes)
    return tuple(causes)


def verdict(
    expected: Iterable[Check], settled: Mapping[str, Result], bends: Collection[str] = ()
) -> Verdict:
    """Return the verdict: the worst MUST decides, and nothing run is inconclusive."""
    must = [settled[check.id].outcome for check in expected if check.level == MUST]
    if "failed" in must:
        return NON_CONFORMANT
    if bends or "passed" not in must:
        return INCONCLUSIVE
    if all(outcome in {"passed", "not-supported", "unverifiable"} for outcome in must):
        return CONFORMANT
    return INCONCLUSIVE


def exit_status(decided: Verdict, pytest_status: int, *, should_failed: bool = False) -> int:
    """Return the process's exit status, never lower than what pytest or a plugin said.

    ``should_failed``: a SHOULD did not pass, which makes pytest say 1 and no verdict worse.

    >>> exit_status(CONFORMANT, 0), exit_status(CONFORMANT, 1), exit_status(INCONCLUSIVE, 0)
    (0, 1, 8)
    >>> exit_status(NON_CONFORMANT, 1), exit_status(INCONCLUSIVE, 1), exit_status(INCONCLUSIVE, 2)
    (1, 8, 2)
    >>> exit_status(CONFORMANT, 1, should_failed=True)
    0
    """
    # 1 (tests failed) and 5 (none collected) are what our own reports make pytest say. The
    # system keeps a status' last eight bits alone: 256 would arrive as 0.
    said = pytest_status if pytest_status % 256 else 0
    if said not in {0, 1, 5}:
        return said
    return EXIT_STATUS[decided] or (0 if should_failed else said)


def counts(settled: Mapping[str, Result]) -> dict[str, int]:
    """Return how many checks came to each outcome, in a fixed order, without zeros."""
    order = ("passed", "failed", "error", "blocked", "skipped", "unverifiable", "not-supported")
    totals = {o: sum(r.outcome == o for r in settled.values()) for o in order}
    return {outcome: total for outcome, total in totals.items() if total}


def from_wire(data: Mapping[str, Any]) -> Result:
    """Return the Result that travelled in a report's ``costmgmt`` dict."""
    return msgspec.convert(dict(data), Result)


def to_wire(result: Result) -> dict[str, Any]:
    """Return ``result`` as the plain dict that survives xdist."""
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return plain
