"""What is said of initialization that ran again."""

from __future__ import annotations

import msgspec
import pytest

from pytest_costmgmt.facts.initialization import Again, SeenRun, SeenStep
from pytest_costmgmt.judge.initialization import unchanged

PRESENT = SeenStep(name="role koku", action="present")
QUIET = SeenRun(steps=(PRESENT,))
GOOD = Again(runs=(QUIET, QUIET), parts=9, before="a", after="a")


def with_(**changes: object) -> Again:
    """Return the good case with changes."""
    return msgspec.structs.replace(GOOD, **changes)


def test_quiet_runs_pass_with_evidence() -> None:
    """Runs that changed nothing pass, and each step of each run was examined."""
    judged = unchanged(GOOD, runs=2)
    assert (judged.findings, len(judged.examined)) == ((), 2)


@pytest.mark.parametrize(
    ("again", "found"),
    [
        pytest.param(with_(after="b"), "changed the catalog", id="catalog"),
        pytest.param(
            with_(runs=(QUIET, SeenRun(steps=(PRESENT,), error="boom"))), "failed", id="error"
        ),
        pytest.param(
            with_(runs=(QUIET, SeenRun(steps=(PRESENT,), applied=("api.0001",)))),
            "applied migrations",
            id="migrations",
        ),
        pytest.param(
            with_(runs=(QUIET, SeenRun(steps=(SeenStep(name="x", action="changed"),)))),
            "x was changed again",
            id="step",
        ),
        pytest.param(
            Again(pending=(SeenStep(name="x", action="planned", sql=("GRANT",)),)),
            "not complete: x",
            id="pending",
        ),
    ],
)
def test_each_difference_is_a_finding(again: Again, found: str) -> None:
    """Whatever a second run did, or would do, is a finding with expected and found."""
    (finding,) = unchanged(again, runs=2).findings
    assert found in finding.summary
    assert finding.expected
    assert finding.found


@pytest.mark.parametrize("again", [Again(), with_(runs=(QUIET,)), with_(before="", after="")])
def test_nothing_run_is_no_evidence(again: Again) -> None:
    """Without the runs, or without fingerprints, nothing was examined: never a pass."""
    assert unchanged(again, runs=2).examined == ()


def test_without_means_it_is_unverifiable() -> None:
    """Where it could not run, who can verify it and how is said."""
    judged = unchanged(Again(why_not="no administrator", how="give --costmgmt-admin-dsn"), runs=1)
    assert judged.unverified[0].how == "give --costmgmt-admin-dsn"
    assert judged.findings == ()


def test_a_fix_never_drops_and_never_holds_a_verifier() -> None:
    """SQL that drops is a person's to decide, and a role's password cannot be pasted."""
    steps = (
        SeenStep(name="a", action="refused", sql=('DROP ROLE "hive"',)),
        SeenStep(name="b", action="planned", sql=("CREATE ROLE x PASSWORD :'password'",)),
        SeenStep(name="c", action="planned", sql=("GRANT x TO y",), database="koku"),
    )
    fixes = [finding.fix for finding in unchanged(Again(pending=steps), runs=1).findings]
    assert fixes[0] is None
    assert fixes[1] is not None
    assert (fixes[1].kind, "PASSWORD" in fixes[1].text) == ("shell", False)
    assert fixes[2] is not None
    assert (fixes[2].text, fixes[2].database) == ("GRANT x TO y;", "koku")
