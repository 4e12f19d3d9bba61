"""Outcomes, blocked checks, the verdict and the exit status are decided in one place."""

from __future__ import annotations

import pytest

from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.outcome import (
    CONFORMANT,
    INCONCLUSIVE,
    NON_CONFORMANT,
    Result,
    exit_status,
    outcome_of,
    settle,
    verdict,
)
from pytest_costmgmt.judge.finding import Finding, Judgement, Unverified

FINDING = Finding(summary="it is not there", expected="there", found="not there")
UNVERIFIED = Unverified(what="the password's hash", who="a superuser", how="SELECT ...")


def a_check(id_: str = "X-1", level: str = "MUST", after: tuple[str, ...] = ()) -> Check:
    """Return a declared check."""
    return Check(
        id=id_, group="g", title="t", level="MUST" if level == "MUST" else "SHOULD",
        effect="read-only", since="1", rationale="r", reference="r", after=after,
    )  # fmt: skip


def a_result(id_: str, outcome: str) -> Result:
    """Return a result."""
    return Result(id=id_, outcome=outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("judged", "problem", "expected"),
    [
        pytest.param(None, "", "error", id="no-judgement-is-no-pass"),
        pytest.param(Judgement(), "", "error", id="nothing-examined-is-no-pass"),
        pytest.param(Judgement(examined=("a",)), "", "passed", id="examined-and-nothing-found"),
        pytest.param(Judgement(examined=("a",), findings=(FINDING,)), "", "failed", id="a-finding"),
        pytest.param(
            Judgement(examined=("a",), findings=(FINDING,), unverified=(UNVERIFIED,)), "", "failed",
            id="a-finding-outweighs-what-could-not-be-seen",
        ),
        pytest.param(
            Judgement(examined=("a",), unverified=(UNVERIFIED,)), "", "unverifiable",
            id="a-part-that-could-not-be-seen",
        ),
        pytest.param(Judgement(not_supported="no"), "", "not-supported", id="not-supported"),
        pytest.param(Judgement(examined=("a",)), "KeyError: 'x'", "error", id="any-exception"),
    ],
)  # fmt: skip
def test_a_pass_is_evidence(judged: Judgement | None, problem: str, expected: str) -> None:
    """Only a Judgement that examined something and found nothing passes."""
    assert outcome_of(judged, problem)[0] == expected


@pytest.mark.parametrize(
    ("cause", "dependent", "expected"),
    [
        pytest.param("failed", "passed", "blocked", id="failed"),
        pytest.param("error", "passed", "blocked", id="error"),
        pytest.param("skipped", "failed", "blocked", id="left-out"),
        pytest.param("passed", "failed", "failed", id="passed"),
        pytest.param("not-supported", "passed", "passed", id="not-supported-blocks-nothing"),
        pytest.param("unverifiable", "passed", "passed", id="unverifiable-blocks-nothing"),
    ],
)
def test_blocked_is_decided_from_dependencies(cause: str, dependent: str, expected: str) -> None:
    """A check whose dependency did not come to a judgement that holds knows nothing."""
    checks = [a_check("X-1"), a_check("X-2", after=("X-1",))]
    attempts = {"X-1": [a_result("X-1", cause)], "X-2": [a_result("X-2", dependent)]}
    assert settle(checks, attempts)["X-2"].outcome == expected


def test_blocked_names_the_root_cause() -> None:
    """A chain of blocked checks names what began it."""
    checks = [a_check("X-1"), a_check("X-2", after=("X-1",)), a_check("X-3", after=("X-2",))]
    attempts = {c.id: [a_result(c.id, "error")] for c in checks}
    assert settle(checks, attempts)["X-3"].blocked_by == ("X-1",)


def test_an_expected_check_without_a_result_is_an_error_that_says_why() -> None:
    """What did not run proves nothing."""
    settled = settle([a_check()], {}, unfinished="3 checks were deselected")
    assert settled["X-1"].outcome == "error"
    assert "3 checks were deselected" in settled["X-1"].summary


def test_a_second_attempt_does_not_heal_the_first() -> None:
    """A rerun that passes is an error, and the earlier failure stays in the words."""
    settled = settle([a_check()], {"X-1": [a_result("X-1", "failed"), a_result("X-1", "passed")]})
    assert settled["X-1"].outcome == "error"
    assert "failed, passed" in settled["X-1"].summary


@pytest.mark.parametrize("outcome", ["skipped", "unverifiable"])
def test_the_gate_accepts_nothing_in_place_of_a_pass(outcome: str) -> None:
    """In release-gate a MUST that is left out or cannot be verified is an error."""
    settled = settle([a_check()], {"X-1": [a_result("X-1", outcome)]}, gate=True)
    assert settled["X-1"].outcome == "error"


@pytest.mark.parametrize(
    ("must", "should", "expected"),
    [
        pytest.param(["passed", "not-supported"], [], CONFORMANT, id="not-supported-is-neutral"),
        pytest.param(["passed", "unverifiable"], [], CONFORMANT, id="unverifiable-is-counted"),
        pytest.param(["passed"], ["failed"], CONFORMANT, id="a-should-does-not-decide"),
        pytest.param(["passed", "failed"], [], NON_CONFORMANT, id="one-failed"),
        pytest.param(["failed", "error"], [], NON_CONFORMANT, id="failed-outweighs-error"),
        pytest.param(["passed", "error"], [], INCONCLUSIVE, id="one-error"),
        pytest.param(["passed", "blocked"], [], INCONCLUSIVE, id="one-blocked"),
        pytest.param(["passed", "skipped"], [], INCONCLUSIVE, id="one-left-out"),
        pytest.param([], [], INCONCLUSIVE, id="nothing-run-proves-nothing"),
        pytest.param(["unverifiable"], ["passed"], INCONCLUSIVE, id="no-must-was-proved"),
        pytest.param(["not-supported"], [], INCONCLUSIVE, id="only-not-supported"),
    ],
)
def test_verdict(must: list[str], should: list[str], expected: str) -> None:
    """The worst MUST outcome decides the verdict."""
    checks = [a_check(f"M-{n}") for n in range(len(must))]
    checks += [a_check(f"S-{n}", "SHOULD") for n in range(len(should))]
    outcomes = dict(zip((c.id for c in checks), [*must, *should], strict=True))
    settled = {id_: a_result(id_, outcome) for id_, outcome in outcomes.items()}
    assert verdict(checks, settled) == expected


def test_a_bend_is_at_best_inconclusive() -> None:
    """A run that was bent from outside is never conformant."""
    checks = [a_check()]
    settled = {"X-1": a_result("X-1", "passed")}
    assert verdict(checks, settled, ["3 checks were deselected"]) == INCONCLUSIVE


@pytest.mark.parametrize(
    ("decided", "pytest_said", "expected"),
    [
        pytest.param(CONFORMANT, 0, 0, id="conformant"),
        pytest.param(CONFORMANT, 1, 1, id="never-lower-than-another-plugin"),
        pytest.param(NON_CONFORMANT, 1, 1, id="non-conformant"),
        pytest.param(NON_CONFORMANT, 0, 1, id="a-plugin-said-0"),
        pytest.param(INCONCLUSIVE, 0, 8, id="inconclusive"),
        pytest.param(INCONCLUSIVE, 1, 8, id="inconclusive-whatever-pytest-counted"),
        pytest.param(INCONCLUSIVE, 5, 8, id="nothing-collected"),
        pytest.param(INCONCLUSIVE, 2, 2, id="interrupted"),
        pytest.param(INCONCLUSIVE, 3, 3, id="internal-error"),
        pytest.param(INCONCLUSIVE, 4, 4, id="usage-error"),
        pytest.param(CONFORMANT, 77, 77, id="another-plugin's-own"),
    ],
)
def test_exit_status(decided: str, pytest_said: int, expected: int) -> None:
    """0 conformant, 1 non-conformant, 8 inconclusive; 2, 3, 4 as pytest means them."""
    assert exit_status(decided, pytest_said) == expected  # type: ignore[arg-type]


def test_a_should_that_fails_does_not_fail_a_gate() -> None:
    """Pytest counts a failed SHOULD and says 1; the verdict is conformant, and so is the status."""
    assert exit_status(CONFORMANT, 1, should_failed=True) == 0
    assert exit_status(CONFORMANT, 77, should_failed=True) == 77
    assert exit_status(NON_CONFORMANT, 1, should_failed=True) == 1


def test_unverifiable_names_everything_that_cannot_be_seen() -> None:
    """The one line says who can see the first thing, and names the others."""
    unseen = [Unverified(what=f"what {n}", who="an administrator", how="by asking") for n in "ab"]
    assert outcome_of(Judgement(unverified=tuple(unseen)), "") == (
        "unverifiable",
        "what a; an administrator can verify it: by asking (and 1 more: what b)",
    )
