"""What is wrong with a release's objects, one thing at a time, and that nothing else is said."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release_seen import NO_RELEASE, ReleaseFacts, decoded
from pytest_costmgmt.judge import secrets
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.kubernetes.leaks import found_in
from pytest_costmgmt.secret import Secret
from tests import release_objects as made
from tests.unit.release_faults import (
    ALSO,
    FAULTS,
    HEALTHY,
    JUDGES,
    facts,
    outcome,
    outcomes,
    raw,
)
from tests.unit.release_faults_data import ASTRAY
from tests.unit.release_faults_policies import POLICED
from tests.unit.release_faults_restricted import LOOSE
from tests.unit.release_faults_tokens import CHECK, TOKENS

EVERY = {**FAULTS, **ASTRAY, **LOOSE, **POLICED}


def test_a_healthy_release_passes() -> None:
    """Nothing is said of what the chart renders."""
    assert outcomes(raw()) == HEALTHY


@pytest.mark.parametrize("name", EVERY)
def test_one_thing_wrong_is_one_check(name: str) -> None:
    """It is the one that says so; where the same fact decides two, the other is named here."""
    check, expected, plant = EVERY[name]
    found = raw()
    plant(found)
    wanted = {**HEALTHY, check: expected, **ALSO.get(name, {})}
    assert outcomes(found) == {id_: said for id_, said in wanted.items() if said != "passed"}


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_is_told_wherever_it_comes_from(name: str) -> None:
    """The pod that runs shows whether it holds one; without a pod, whoever decides is asked."""
    check, expected, plant = TOKENS[name]
    found = raw()
    plant(found)
    assert outcome(JUDGES[check], facts(found)) == expected


def test_who_holds_a_token_is_named() -> None:
    """The container and the volume; what nobody mounts is no reason to fail, and is told."""
    found = raw()
    TOKENS["account-says-yes"][2](found)
    (finding,) = JUDGES[CHECK](facts(found)).findings
    assert finding.found.startswith("container postgresql mounts volume kube-api-access-x7k2p")
    found = raw()
    TOKENS["for-nobody"][2](found)
    assert "no container mounts volume api" in JUDGES[CHECK](facts(found)).summary
    found = raw()
    TOKENS["template-leaves-it-to-an-account-unread"][2](found)
    (unverified,) = JUDGES[CHECK](facts(found)).unverified
    assert "ServiceAccount default was not read (forbidden)" in unverified.what


@pytest.mark.parametrize("lacking", ["database", "username", "password"])
def test_a_key_that_is_missing_is_told(lacking: str) -> None:
    """Each of the three."""
    values = {"database": "koku", "username": "koku", "password": made.PASSWORD}
    del values[lacking]
    found = raw()
    found["secret"] = made.secret(**values)
    assert outcomes(found)["CM-SEC-001"] == "failed"


def test_a_secrets_names_are_kept_by_the_fix_of_a_missing_key() -> None:
    """Only what is missing is written by name, for another name would open nothing."""
    found = raw()
    found["secret"] = made.secret(database="cost", username="owner")
    (finding,) = secrets.keys(facts(found)).findings
    assert finding.fix is not None
    assert "for key in database username; do" in finding.fix.text
    assert "koku" not in finding.fix.text
    found["secret"] = made.secret(database="cost", password=made.PASSWORD)
    (finding,) = secrets.keys(facts(found)).findings
    assert finding.fix is not None
    assert "for key in database; do" in finding.fix.text
    assert 'printf %s koku > "$folder/username"' in finding.fix.text


def test_a_secret_that_is_gone_fails_and_one_that_is_not_seen_does_not() -> None:
    """Not there, and not permitted, are different things."""
    gone, unseen = raw(), raw()
    gone["secret"] = unseen["secret"] = None
    unseen["refused"] = {"Secret postgres-credentials": "forbidden"}
    assert outcome(secrets.keys, facts(gone)) == "failed"
    assert outcome(secrets.keys, facts(unseen)) == "error"


def test_a_pod_that_does_not_exist_is_told_once() -> None:
    """The pod's own check says it; what needs the pod knows nothing."""
    found = raw()
    found["pod"] = None
    said = outcomes(found)
    assert said.pop("CM-REL-002") == "failed"
    assert said == {**HEALTHY, "CM-SEC-006": "error", "CM-PER-001": "error"}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_no_other_target_is_judged(judge: Callable[[ReleaseFacts], Judgement]) -> None:
    """On an embedded or external server each says why it is not supported."""
    assert judge(decoded("")).not_supported == NO_RELEASE


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_nothing_known_is_never_a_pass(judge: Callable[[ReleaseFacts], Judgement]) -> None:
    """A release of which nothing was read passes no check."""
    with pytest.raises(FactUnavailable):
        judge(ReleaseFacts())


def test_a_password_is_found_where_it_stands_and_named_by_its_path() -> None:
    """In clear, in a URI and in base64, also below lists; a path never shows it."""
    password = Secret(made.PASSWORD)
    encoded = "VnE3aGZOZDJrTHc5eFJ6NG1UYjY="
    manifest = {
        "spec": {"args": ["a", f"--url=postgresql://koku:{made.PASSWORD}@db"]},
        "data": {"x": encoded, made.PASSWORD: made.PASSWORD},
        "fine": "nothing",
    }
    found = found_in(manifest, [password])
    assert found == ("spec.args[1]", "data.x", "data.********")
