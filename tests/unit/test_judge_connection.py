"""The judgements on connections, as tables: what was seen, and what it comes to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts, Reach, Rule, Session, Setting
from pytest_costmgmt.judge import authentication as auth
from pytest_costmgmt.judge import connection as judge
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.postgres.attempt import Attempt
from pytest_costmgmt.requirements.reader import load

CHART = Path(__file__).parents[2] / "charts" / "cost-management-infrastructure"
NEEDS, ONPREM = load("koku-hive"), load("koku-onprem")
OWN = Attempt(
    role="koku", database="koku", offered="own", outcome="accepted", method="scram-sha-256",
    current_user="koku", current_database="koku", encrypted=True,
)  # fmt: skip
HIVE = msgspec.structs.replace(
    OWN, role="hive", database="hive", current_user="hive", current_database="hive"
)
NOTHING = Attempt(
    role="koku", database="koku", offered="none", outcome="refused", kind="password-missing"
)
WRONG = Attempt(role="koku", database="koku", offered="wrong", outcome="refused", sqlstate="28P01")
SESSION = Session(
    server_version=150000, in_recovery=False, pooled=False, local=False, encrypted=True,
    tls_version="TLSv1.3", clock_skew=0.0, clock_uncertainty=0.0, settings={}, identifier="7",
    replicas=0, oldest=("template0", 1_600_000_000),
)  # fmt: skip
REACH = Reach(
    label="db:5432", answered=True, accepted=True, kind="", sqlstate=None, message="", hint="",
    seconds=0.0,
)  # fmt: skip
HEALTHY = AccessFacts(
    reach=REACH,
    application=OWN,
    session=SESSION,
    without=(NOTHING,),
    wrong=WRONG,
    again=OWN,
    hive=HIVE,
    cross=(msgspec.structs.replace(HIVE, database="koku", outcome="refused", sqlstate="42501"),),
    administrator=OWN,
    administrator_identifier="7",
)


def but(**changes: Any) -> AccessFacts:
    """Return the healthy facts with some changed."""
    return msgspec.structs.replace(HEALTHY, **changes)


def own(**changes: Any) -> AccessFacts:
    """Return the healthy facts with another application's login."""
    return but(application=msgspec.structs.replace(OWN, **changes))


def session(**changes: Any) -> AccessFacts:
    """Return the healthy facts with another session."""
    return but(session=msgspec.structs.replace(SESSION, **changes))


def waiting(replicas: int = 0, **changes: str) -> AccessFacts:
    """Return the facts of a server whose commits wait for a standby, with some changed."""
    names = {
        "synchronous_standby_names": "ANY 1 (*)",
        "synchronous_commit": "on",
        "max_wal_senders": "10",
        **changes,
    }
    settings = {name: Setting(value, "", "configuration file") for name, value in names.items()}
    return session(settings=settings, replicas=replicas)


def none(**changes: Any) -> AccessFacts:
    """Return the healthy facts with another outcome of offering nothing."""
    given = {"outcome": "accepted", "kind": "", **changes}
    return but(without=(msgspec.structs.replace(NOTHING, **given),))


def plain(**changes: Any) -> AccessFacts:
    """Return the healthy facts with another outcome of offering nothing without TLS."""
    return but(in_plain=(msgspec.structs.replace(NOTHING, **changes),))


def outcome(judged: Judgement) -> str:
    """Return the outcome that the engine decides on."""
    if judged.findings:
        return "failed"
    if judged.unverified:
        return "unverifiable"
    return "not-supported" if judged.not_supported else "passed" if judged.examined else "error"


JUDGES = {
    "reach": judge.reach,
    "own": lambda facts: judge.own_database(facts, NEEDS),
    "primary": judge.primary,
    "hive": lambda facts: judge.hive_login(facts, NEEDS),
    "trust": auth.trust,
    "scram": auth.scram,
    "wrong": auth.wrong_password,
    "tls": judge.tls,
    "intrusion": lambda facts: judge.intrusion(facts, NEEDS),
    "administrator": judge.administrator,
}
READ_ONLY = "default_transaction_read_only"


@pytest.mark.parametrize("name", JUDGES)
def test_healthy_facts_pass(name: str) -> None:
    """Every judgement passes, and says what it looked at."""
    assert outcome(JUDGES[name](HEALTHY)) == "passed"


@pytest.mark.parametrize(
    ("name", "facts", "expected"),
    [
        ("own", own(kind="no-database", outcome="refused"), "failed"),
        ("own", own(kind="no-connect-privilege", outcome="refused"), "failed"),
        ("own", own(current_user="postgres"), "failed"),
        ("own", own(current_database="postgres"), "failed"),
        ("primary", session(in_recovery=True), "failed"),
        ("primary", session(settings={READ_ONLY: Setting("on", "", "configuration file")}),
         "failed"),
        ("primary", session(settings={READ_ONLY: Setting("on", "", "database")}), "passed"),
        ("primary", waiting(), "failed"),
        ("primary", waiting(synchronous_commit="remote_write"), "failed"),
        ("primary", waiting(synchronous_commit="local"), "passed"),
        ("primary", waiting(synchronous_commit="off"), "passed"),
        ("primary", waiting(synchronous_standby_names=""), "passed"),
        ("primary", waiting(max_wal_senders="0"), "passed"),
        ("primary", waiting(replicas=1), "passed"),
        # The server's own limit on 15 (tried there): 2^31 - 1 less three million.
        ("primary", session(oldest=("koku", 2**31 - 1 - 3_000_000 - 1)), "passed"),
        ("primary", session(oldest=("koku", 2**31 - 1 - 3_000_000)), "failed"),
        ("hive", but(hive=None), "unverifiable"),
        ("hive", but(hive=msgspec.structs.replace(HIVE, outcome="refused", sqlstate="28P01")),
         "failed"),
        ("hive", but(hive=msgspec.structs.replace(HIVE, current_user="postgres")), "failed"),
        ("trust", none(method="trust"), "failed"),
        ("trust", none(method="peer"), "passed"),
        ("trust", none(method="cert"), "passed"),
        ("trust", none(method="none-asked"), "unverifiable"),
        ("trust", but(without=(), application=msgspec.structs.replace(OWN, method="cert")),
         "passed"),
        ("trust", plain(outcome="refused", kind="not-admitted"), "passed"),
        ("trust", plain(outcome="accepted", method="trust"), "failed"),
        ("trust", plain(outcome="failed", kind="broken-off"), "unverifiable"),
        ("trust", plain(outcome="failed", kind="other"), "unverifiable"),
        ("trust", msgspec.structs.replace(
            plain(outcome="accepted", method="trust"), without=(),
            application=msgspec.structs.replace(OWN, method="cert")), "failed"),
        ("scram", own(method="md5"), "failed"),
        ("scram", own(method="password"), "failed"),
        ("scram", own(method="unknown"), "failed"),
        ("scram", own(method="cert"), "not-supported"),
        ("scram", own(method="gss"), "not-supported"),
        ("scram", but(method_provable=False), "unverifiable"),
        ("wrong", but(wrong=None, again=None), "unverifiable"),
        ("wrong", but(wrong=msgspec.structs.replace(WRONG, outcome="accepted")), "failed"),
        ("wrong", own(method="peer"), "not-supported"),
        ("tls", session(encrypted=False), "failed"),
        ("tls", session(encrypted=False, local=True), "not-supported"),
        ("intrusion", but(cross=()), "unverifiable"),
        ("intrusion", but(cross=(msgspec.structs.replace(HIVE, database="koku"),)), "failed"),
        ("intrusion", msgspec.structs.replace(
            session(pooled=True), cross=(msgspec.structs.replace(
                HIVE, outcome="failed", kind="no-answer"),)), "unverifiable"),
        ("administrator", but(administrator=None), "not-supported"),
        ("administrator", but(administrator_identifier="8"), "failed"),
        ("administrator", but(administrator_identifier=""), "unverifiable"),
    ],
)  # fmt: skip
def test_each_difference_has_its_outcome(name: str, facts: AccessFacts, expected: str) -> None:
    """One fact is another, and one judgement says so; a failure has a fix."""
    judged = JUDGES[name](facts)
    assert outcome(judged) == expected
    assert all(finding.fix and finding.fix.needs for finding in judged.findings)


FAILED = {"outcome": "failed", "message": "seen last", "hint": "what to do"}


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("reach", but(reach=msgspec.structs.replace(REACH, answered=False, message="seen last"))),
        ("own", own(outcome="refused", kind="wrong-password", message="seen last")),
        ("own", own(outcome="refused", kind="not-admitted", message="seen last")),
        ("own", own(outcome="refused", kind="password-missing", message="seen last")),
        ("primary", but(session=None, session_problem="seen last")),
        ("tls", but(session=None, session_problem="seen last")),
        ("hive", but(hive=msgspec.structs.replace(HIVE, **FAILED))),
        ("trust", none(**FAILED)),
        ("trust", plain(**FAILED, kind="full")),
        ("wrong", but(wrong=msgspec.structs.replace(WRONG, **FAILED))),
        ("wrong", but(again=msgspec.structs.replace(OWN, **FAILED))),
        ("intrusion", but(cross=(msgspec.structs.replace(HIVE, **FAILED),))),
        ("intrusion", but(cross=(msgspec.structs.replace(HIVE, **FAILED, kind="no-answer"),))),
        (
            "intrusion",
            msgspec.structs.replace(
                session(pooled=True), cross=(msgspec.structs.replace(HIVE, **FAILED, kind="full"),)
            ),
        ),
        ("administrator", but(administrator=msgspec.structs.replace(OWN, **FAILED))),
    ],
)
def test_what_was_not_seen_is_an_error(name: str, facts: AccessFacts) -> None:
    """What cannot be reached or authenticated is never a failed check, and is told."""
    with pytest.raises(FactUnavailable, match="seen last"):
        JUDGES[name](facts)


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        pytest.param([], "unverifiable", id="hidden"),
        pytest.param([(("all",), ("all",), "trust")], "failed", id="trust"),
        pytest.param([(("all",), ("all",), "peer")], "passed", id="peer"),
        pytest.param(
            [(("all",), ("postgres",), "trust"), (("sameuser",), ("all",), "peer")],
            "passed", id="first-match",
        ),
        pytest.param([(("all",), ("/^k",), "peer")], "unverifiable", id="pattern"),
        pytest.param([(("replication",), ("all",), "trust")], "unverifiable", id="replication"),
    ],
)  # fmt: skip
def test_an_old_servers_socket_is_judged_by_its_rules(rules: list[Any], expected: str) -> None:
    """Before 16 the server does not say how it let somebody in: pg_hba.conf does."""
    facts = none(method="none-asked")
    local = msgspec.structs.replace(SESSION, local=True)
    facts = msgspec.structs.replace(
        facts, session=local, local_rules=tuple(Rule(*rule) for rule in rules)
    )
    assert outcome(auth.trust(facts)) == expected


def test_a_pooler_s_socket_is_not_judged_by_the_server_s_rules() -> None:
    """Who let the login in is the pooler; the server's pg_hba.conf speaks of the pooler's own."""
    pooled = msgspec.structs.replace(SESSION, local=True, pooled=True)
    rules = (Rule(("all",), ("all",), "peer"),)
    facts = msgspec.structs.replace(none(method="none-asked"), session=pooled, local_rules=rules)
    assert outcome(auth.trust(facts)) == "unverifiable"


def test_a_pooler_s_trust_is_ended_where_it_is() -> None:
    """No line of the server's pg_hba.conf ends it."""
    pooled = msgspec.structs.replace(SESSION, pooled=True)
    facts = msgspec.structs.replace(none(method="trust"), session=pooled)
    (found,) = auth.trust(facts).findings
    assert found.fix is not None
    assert "auth_type = scram-sha-256" in found.fix.text
    assert "pg_hba.conf" not in found.found + found.fix.text


def test_hive_is_not_judged_where_it_is_forbidden() -> None:
    """Without hive its logins are not supported."""
    assert judge.hive_login(HEALTHY, ONPREM).not_supported
    assert judge.intrusion(HEALTHY, ONPREM).not_supported


def test_fixes_quote_every_name() -> None:
    """A fix can be pasted, whatever the names."""
    facts = own(role='k"o', database="Kök-u db", kind="no-connect-privilege", outcome="refused")
    fix = judge.own_database(facts, NEEDS).findings[0].fix
    assert fix is not None
    assert fix.text == 'GRANT CONNECT ON DATABASE "Kök-u db" TO "k""o";'


def test_a_release_s_tls_is_a_value_of_its_chart() -> None:
    """A server's own files and settings would go with its pod; elsewhere there is no chart."""
    plain = session(encrypted=False)
    of_release, elsewhere = (
        judge.tls(plain, mode=mode).findings[0].fix for mode in ("release", "external")
    )
    assert of_release is not None
    assert elsewhere is not None
    body = "\n".join(line for line in of_release.text.splitlines() if not line.startswith("#"))
    values = yaml.safe_load(body)
    chart = yaml.safe_load((CHART / "values.yaml").read_text())
    assert values["postgresql"]["tls"].keys() <= chart["postgresql"]["tls"].keys()
    assert values["migration"]["tls"].keys() <= chart["migration"]["tls"].keys()
    assert (of_release.kind, elsewhere.kind) == ("values", "sql")
    assert "ALTER SYSTEM" not in of_release.text
    assert "helm" not in elsewhere.text + elsewhere.needs
