"""The judgements on credentials that no real password can show: what is hidden, and the reports."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts, Reach
from pytest_costmgmt.facts.credentials import Credential, CredentialFacts, PasswordFile
from pytest_costmgmt.facts.roles import RoleFacts, Verifier
from pytest_costmgmt.judge import credentials as judge
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.postgres.appraise import Appraisal
from pytest_costmgmt.postgres.attempt import Attempt
from pytest_costmgmt.requirements.reader import load

NEEDS, ONPREM = load("koku-hive"), load("koku-onprem")
GOOD = Appraisal(
    length=24, newline=False, outer_space=False, control=False, breaks_uri=False,
    breaks_sql=False, unreserved=True, is_name=False, guessable=False, forbidden=False,
)  # fmt: skip
OWN = Attempt(role="koku", database="koku", offered="own", outcome="accepted")
GUESS = Attempt(role="hive", database="hive", offered="guess", outcome="refused")
ACCESS = AccessFacts(
    reach=Reach(
        label="db:5432", answered=True, accepted=True, kind="", sqlstate=None, message="",
        hint="", seconds=0.0,
    ),
    application=OWN,
)  # fmt: skip


def facts(hive: Appraisal | None = GOOD, **changes: Any) -> CredentialFacts:
    """Return the credentials of both roles; ``changes`` are of the application's shape."""
    shape = msgspec.structs.replace(GOOD, **changes)
    return CredentialFacts(
        credentials=(
            Credential(who="application", role="koku", shape=shape),
            Credential(who="hive", role="hive", shape=hive),
        )
    )


def guessed(**changes: Any) -> AccessFacts:
    """Return logins among which hive's default was tried."""
    return msgspec.structs.replace(ACCESS, guessed=(msgspec.structs.replace(GUESS, **changes),))


def stored(koku: str = "scram-sha-256", hive: str = "scram-sha-256") -> RoleFacts:
    """Return how the server stores both passwords."""
    return RoleFacts(
        reader="postgres", version=150000, roles=(), memberships=(), databases=(),
        verifiers=(Verifier(role="koku", kind=koku), Verifier(role="hive", kind=hive)),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("roles", "koku", "hive", "expected"),
    [
        pytest.param(stored(), {}, {}, [], id="stored"),
        pytest.param(
            stored(hive="none"), {}, {"outcome": "refused"},
            ["the password of role hive: the server has none"], id="hive-has-none",
        ),
        pytest.param(
            stored(koku="none"), {"method": "trust"}, {},
            ["the password of role koku: the server has none"], id="trust-needs-none",
        ),
        pytest.param(stored("none", "none"), {}, {}, [], id="a-directory-knows-them"),
        pytest.param(stored(koku="none"), {"method": "cert"}, {}, [], id="certificate"),
        pytest.param(
            msgspec.structs.replace(stored(), verifiers=None), {}, {"outcome": "refused"}, [],
            id="hidden",
        ),
    ],
)  # fmt: skip
def test_a_password_that_the_server_lacks(
    roles: RoleFacts, koku: dict[str, str], hive: dict[str, str], expected: list[str]
) -> None:
    """A role without a stored password has none, unless another proof lets it in."""
    his = Attempt(role="hive", database="hive", offered="own", outcome="accepted")
    access = msgspec.structs.replace(
        ACCESS,
        application=msgspec.structs.replace(OWN, **koku),
        hive=msgspec.structs.replace(his, **hive),
    )
    found = judge.present(facts(), access, roles).findings
    assert [finding.summary for finding in found] == expected


@pytest.mark.parametrize("judged", [judge.plain, judge.long_enough, judge.not_trivial])
def test_no_fix_that_is_run_asks_for_a_password(judged: Callable[..., Judgement]) -> None:
    r"""fix.sql holds no \password: without a terminal psql would take the role's password away."""
    bad = facts(unreserved=False, length=3, guessable=True)
    fix = judged(bad).findings[0].fix
    assert fix is not None
    assert fix.kind != "sql"
    assert "\\password" in fix.text


def test_each_role_is_named_in_its_finding() -> None:
    """A finding says whose password it is, and how to change it, without a password."""
    bad = msgspec.structs.replace(GOOD, length=3)
    found = judge.long_enough(facts(bad, length=5)).findings
    assert [finding.summary for finding in found] == [
        "the password of role koku: it is shorter",
        "the password of role hive: it is shorter",
    ]
    assert found[0].fix is not None
    assert '\\password "koku"' in found[0].fix.text


def test_an_unknown_password_of_hive_leaves_the_rest_judged() -> None:
    """Only its presence is unverifiable: the other checks judge what is known."""
    known = facts(None)
    assert judge.present(known, ACCESS, stored()).unverified
    assert judge.whole(known).examined == ("password of role koku",)


@pytest.mark.parametrize(
    ("hive", "access", "expected"),
    [
        pytest.param(GOOD, ACCESS, "", id="known-and-good"),
        pytest.param(
            msgspec.structs.replace(GOOD, forbidden=True), ACCESS, "it is koku's default", id="hive"
        ),
        pytest.param(None, guessed(), "", id="tried-and-refused"),
        pytest.param(None, guessed(outcome="accepted"), "koku's default was let in", id="tried"),
        pytest.param(
            GOOD,
            msgspec.structs.replace(
                guessed(outcome="accepted"),
                hive=msgspec.structs.replace(GUESS, offered="own", outcome="refused"),
            ),
            "koku's default was let in",
            id="known-wrongly",
        ),
    ],
)
def test_hives_default_is_judged_by_value_or_by_trying(
    hive: Appraisal | None, access: AccessFacts, expected: str
) -> None:
    """What the server says goes before what the operator believes."""
    found = judge.hive_default(facts(hive), access, NEEDS)
    assert [finding.found for finding in found.findings] == [expected] * bool(expected)
    assert found.examined


def test_a_try_that_came_to_nothing_is_an_error() -> None:
    """A broken connection is no refusal."""
    with pytest.raises(FactUnavailable, match="no answer"):
        judge.hive_default(facts(None), guessed(outcome="failed", message="no answer"), NEEDS)


def test_without_hive_its_password_is_not_judged() -> None:
    """Where hive is forbidden there is none."""
    assert judge.hive_default(facts(), ACCESS, ONPREM).not_supported


def test_hidden_arguments_are_unverifiable() -> None:
    """Without /proc nothing was seen, and nothing is passed."""
    hidden = CredentialFacts(
        credentials=(Credential(who="application", role="koku", shape=GOOD, shown_by=None),)
    )
    found = judge.unseen_in_arguments(hidden)
    assert (bool(found.unverified), found.examined) == (True, ())


def test_a_file_is_told_by_name_and_mode() -> None:
    """The fix is a command that can be pasted, whatever the path."""
    file = PasswordFile(what="libpq's password file", path="/h/it's mine", mode=0o644)
    found = judge.private_files(CredentialFacts(credentials=(), files=(file,))).findings[0]
    assert found.found == "/h/it's mine has mode 0644"
    assert found.fix is not None
    assert found.fix.text == """chmod 600 '/h/it'"'"'s mine'"""
