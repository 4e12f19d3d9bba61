"""What the judges of roles say of facts, as tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pytest_costmgmt.facts.roles import (
    PUBLIC,
    Database,
    Membership,
    ParameterGrant,
    Role,
    RoleFacts,
    Verifier,
)
from pytest_costmgmt.judge import powers, reach
from pytest_costmgmt.judge import roles as judge
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load

Judge = Callable[[RoleFacts, Requirements], Judgement]

HIVE = load("koku-hive")
ONPREM = load("koku-onprem")

KOKU = Role(name="koku", login=True)
HIVE_ROLE = Role(name="hive", login=True)
OWN = Database(name="koku", owner="koku", connect=("koku",))
HIVES = Database(name="hive", owner="hive", connect=("hive",))


def facts(
    *memberships: Membership,
    roles: tuple[Role, ...] = (KOKU, HIVE_ROLE),
    databases: tuple[Database, ...] = (OWN, HIVES),
    version: int = 150000,
) -> RoleFacts:
    """Return healthy facts but for what is given."""
    return RoleFacts(
        reader="koku", version=version, roles=roles, memberships=memberships, databases=databases
    )


def edge(
    member: str, role: str, *, inherit: bool = True, set_role: bool = True, admin: bool = False
) -> Membership:
    """Return a grant as PostgreSQL 16 knows it."""
    return Membership(
        member=member, role=role, inherit=inherit, set_role=set_role, admin=admin, grantor="dba"
    )


@pytest.mark.parametrize(
    ("chain", "becomes", "reached"),
    [
        pytest.param([edge("koku", "a"), edge("a", "b")], {"a", "b"}, {"a", "b"}, id="all"),
        pytest.param([edge("koku", "a", set_role=False), edge("a", "b")], set(), {"a", "b"},
                     id="privileges-do-not-become"),
        pytest.param([edge("koku", "a", inherit=False), edge("a", "b", set_role=False)],
                     {"a"}, {"a", "b"}, id="become-then-inherit"),
        pytest.param([edge("koku", "a", set_role=False), edge("a", "b", inherit=False)],
                     set(), {"a"}, id="inherit-then-set-leads-nowhere"),
        pytest.param([edge("koku", "a", inherit=False, set_role=False), edge("a", "b")],
                     set(), set(), id="empty-grant"),
        pytest.param([edge("koku", "a", inherit=False, set_role=False, admin=True)],
                     {"a"}, {"a"}, id="admin-grants-itself-the-rest"),
        pytest.param([edge("koku", "a", set_role=False),
                      edge("a", "b", inherit=False, set_role=False, admin=True)],
                     {"b"}, {"a", "b"}, id="admin-of-a-role-that-is-inherited"),
        pytest.param([edge("other", "a")], set(), set(), id="of-another"),
        pytest.param([edge("koku", "a", set_role=False), edge("koku", "b"), edge("b", "a")],
                     {"a", "b"}, {"a", "b"}, id="the-better-of-two-paths"),
    ],
)  # fmt: skip
def test_reach(chain: list[Membership], becomes: set[str], reached: set[str]) -> None:
    """A role becomes what a chain of SET leads to, and has what it inherits from there."""
    held = reach.holds(chain, "koku")
    assert {hold.role for hold in held if hold.becomes} == becomes
    assert {hold.role for hold in held} == reached


def test_each_first_step_is_told_once() -> None:
    """Whoever revokes only one of two memberships must read of the other too."""
    dba = Role(name="dba", login=False, superuser=True)
    seen = facts(
        edge("koku", "a"), edge("koku", "b"), edge("a", "dba"), edge("b", "dba"),
        roles=(KOKU, HIVE_ROLE, dba, Role(name="a", login=False), Role(name="b", login=False)),
    )  # fmt: skip
    found = powers.superusers(seen, HIVE).findings
    assert [finding.found for finding in found] == [
        "koku -> a -> dba: SUPERUSER by SET ROLE",
        "koku -> b -> dba: SUPERUSER by SET ROLE",
    ]


@pytest.mark.parametrize(
    ("judged", "attribute", "count"),
    [
        (powers.superusers, "superuser", 1),
        (powers.creators, "createrole", 1),
        (powers.creators, "createdb", 1),
        (powers.row_security, "bypassrls", 1),
        (powers.replication, "replication", 1),
    ],
)
def test_attributes_are_never_inherited(judged: Judge, attribute: str, count: int) -> None:
    """An attribute counts where SET ROLE leads, and not where only privileges are inherited."""
    mighty = msgspec.structs.replace(Role(name="m", login=False), **{attribute: True})
    roles = (KOKU, HIVE_ROLE, mighty)
    by_set = facts(edge("koku", "m", inherit=False), roles=roles)
    by_inherit = facts(edge("koku", "m", set_role=False), roles=roles)
    assert len(judged(by_set, HIVE).findings) == count
    assert not judged(by_inherit, HIVE).findings


@pytest.mark.parametrize(
    "role", ["pg_read_server_files", "pg_write_server_files", "pg_execute_server_program"]
)
def test_predefined_roles_are_inherited(role: str) -> None:
    """A predefined role's power is a privilege: inheriting it is enough."""
    predefined = Role(name=role, login=False)
    seen = facts(edge("hive", role, set_role=False), roles=(KOKU, HIVE_ROLE, predefined))
    (finding,) = powers.server_files(seen, HIVE).findings
    assert finding.fix is not None
    assert finding.fix.text == f'REVOKE "{role}" FROM "hive";'


@pytest.mark.parametrize(
    ("role", "fix"),
    [
        pytest.param({"connection_limit": 1}, "", id="one-session"),
        pytest.param({"connection_limit": 0}, 'ALTER ROLE "hive" CONNECTION LIMIT -1;', id="none"),
        pytest.param({"connection_limit": 0, "superuser": True}, "", id="superusers-are-let-in"),
    ],
)
def test_a_role_that_may_have_no_session_may_not_log_in(role: dict[str, Any], fix: str) -> None:
    """LOGIN is not enough where the role's sessions are limited to none."""
    seen = facts(roles=(KOKU, msgspec.structs.replace(HIVE_ROLE, **role)))
    findings = judge.login_roles(seen, HIVE).findings
    assert [f.fix.text for f in findings if f.fix] == ([fix] if fix else [])


@pytest.mark.parametrize(
    ("given", "revoked"),
    [
        pytest.param({}, 'REVOKE SET ON PARAMETER "a"."b" FROM "koku";', id="by-a-superuser"),
        pytest.param(
            {"grantable": True},
            'REVOKE SET ON PARAMETER "a"."b" FROM "koku" CASCADE;',
            id="and-granted-on",
        ),
        pytest.param(
            {"grantor": "t\n;"},
            'REVOKE GRANT OPTION FOR SET ON PARAMETER "a"."b" FROM "t\n;" CASCADE;',
            id="by-another",
        ),
        pytest.param(
            {"grantee": ""}, 'REVOKE SET ON PARAMETER "a"."b" FROM PUBLIC;', id="to-everybody"
        ),
    ],
)
def test_a_privilege_on_a_setting_is_revoked_from_whom_has_it(
    given: dict[str, Any], revoked: str
) -> None:
    """A superuser's REVOKE ends what superusers granted: else the one who granted loses that."""
    grant = ParameterGrant(**{"parameter": "a.b", "privilege": "SET", "grantee": "koku", **given})
    (finding,) = powers.server_files(
        msgspec.structs.replace(facts(), parameter_grants=(grant,)), HIVE
    ).findings
    assert finding.fix is not None
    code = [line for line in finding.fix.text.split("\n") if not line.startswith("--")]
    assert "\n".join(code) == revoked


@pytest.mark.parametrize("role", ["pg_monitor", "pg_read_all_stats", "pg_read_all_settings"])
def test_harmless_predefined_roles_are_no_finding(role: str) -> None:
    """What only shows statistics is fit for the application."""
    seen = facts(edge("koku", role), roles=(KOKU, HIVE_ROLE, Role(name=role, login=False)))
    for judged in (powers.superusers, powers.creators, powers.server_files, powers.row_security):
        assert not judged(seen, HIVE).findings


def test_the_bootstrap_superuser_cannot_be_altered() -> None:
    """An application that runs as initdb's own superuser needs another role, not an ALTER ROLE."""
    own = msgspec.structs.replace(KOKU, superuser=True, bootstrap=True)
    (finding,) = powers.superusers(facts(roles=(own, HIVE_ROLE)), HIVE).findings
    assert finding.fix is not None
    assert finding.fix.kind == "values"


@pytest.mark.parametrize(
    ("judged", "requirements"),
    [
        (judge.hive_database, ONPREM),
        (judge.strangers, ONPREM),
        (judge.hive_absent, HIVE),
        (judge.public_entry, HIVE),
    ],
)
def test_what_the_other_era_needs_is_not_supported(
    judged: Judge, requirements: Requirements
) -> None:
    """Hive required and hive forbidden exclude each other: a reason, and no finding."""
    judgement = judged(facts(), requirements)
    assert judgement.not_supported
    assert not judgement.findings


def test_forbidden_hive_is_nobodys_subject() -> None:
    """Where hive is forbidden it must go; what it may do until then is not judged."""
    mighty = msgspec.structs.replace(HIVE_ROLE, superuser=True)
    seen = facts(roles=(KOKU, mighty))
    assert not powers.superusers(seen, ONPREM).findings
    assert len(judge.hive_absent(seen, ONPREM).findings) == 2


@pytest.mark.parametrize(
    ("databases", "chain", "found"),
    [
        pytest.param((OWN, HIVES), (), [], id="closed"),
        pytest.param((msgspec.structs.replace(OWN, connect=(PUBLIC, "koku")), HIVES), (),
                     ["hive may enter database koku"], id="public"),
        pytest.param((OWN, msgspec.structs.replace(HIVES, connect=("hive", "koku"))), (),
                     [], id="kokus-own-grant"),
        pytest.param((OWN, msgspec.structs.replace(HIVES, connect=("hive", PUBLIC))), (),
                     ["koku may enter database hive"], id="hives-is-public"),
        pytest.param((msgspec.structs.replace(OWN, connect=("koku", "hive")), HIVES), (),
                     ["hive may enter database koku"], id="hive-by-name"),
        pytest.param((OWN, HIVES), (edge("koku", "hive"),),
                     ["koku may enter database hive"], id="by-membership"),
        pytest.param((OWN, HIVES), (edge("koku", "hive", inherit=False),), [],
                     id="set-role-comes-after-the-door"),
    ],
)  # fmt: skip
def test_strangers(
    databases: tuple[Database, ...], chain: tuple[Membership, ...], found: list[str]
) -> None:
    """CONNECT counts by PUBLIC, by name and by inheritance, from both sides."""
    judgement = judge.strangers(facts(*chain, databases=databases), HIVE)
    assert [finding.summary for finding in judgement.findings] == found
    assert len(judgement.examined) == 2


@pytest.mark.parametrize("name", ["postgres", "template1"])
def test_the_servers_own_databases_are_not_the_applications(name: str) -> None:
    """An application that was put into database postgres by mistake is told to move."""
    misplaced = Database(name=name, owner="koku")
    needs = HIVE.named(role="koku", database=name)
    (finding,) = judge.own_database(facts(databases=(misplaced, HIVES)), needs).findings
    assert finding.fix is not None
    assert "pg_dump" in finding.fix.text


def test_nothing_to_look_at_is_no_evidence() -> None:
    """Without the role or the database nothing is examined, which is never a pass."""
    empty = facts(roles=(), databases=())
    for judged in (judge.database_owner, powers.superusers, powers.server_files, judge.expired):
        assert not judged(empty, HIVE).examined
    assert judge.login_roles(empty, HIVE).findings
    assert judge.own_database(empty, HIVE).findings


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("scram-sha-256", 0), ("none", 0), ("md5", 1), ("unknown", 1)],
)
def test_verifiers(kind: str, expected: int) -> None:
    """Only a verifier that is there, and is not SCRAM, is weak."""
    kept = (Verifier(role="koku", kind=kind),)
    seen = msgspec.structs.replace(facts(), verifiers=kept)
    assert len(judge.verifiers(seen, HIVE).findings) == expected


@pytest.mark.parametrize(
    ("days", "expired", "ended", "ends"),
    [(None, False, 0, 0), (29.9, False, 0, 1), (30.1, False, 0, 0), (-1.0, True, 1, 0)],
)
def test_validity(days: float | None, expired: bool, ended: int, ends: int) -> None:
    """What has ended is one check's word, what ends within 30 days another's: never both."""
    until = "" if days is None else "2026-12-01T00:00:00Z"
    role = msgspec.structs.replace(KOKU, valid_until=until, valid_days=days, expired=expired)
    seen = facts(roles=(role, HIVE_ROLE))
    assert len(judge.expired(seen, HIVE).findings) == ended
    assert len(judge.expiring(seen, HIVE).findings) == ends
