"""The judgements of privileges, on facts that no server here has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_costmgmt.facts.privileges import ForeignObjects, PrivilegeFacts
from pytest_costmgmt.facts.server import EventTrigger
from pytest_costmgmt.facts.used_privileges import Attempted, UsedPrivileges
from pytest_costmgmt.judge import privileges
from pytest_costmgmt.requirements.reader import load

NEEDS = load("koku-hive").named(role="Kök-u", database="Kök-u db")
FACTS = PrivilegeFacts(
    role="Kök-u",
    database="Kök-u db",
    version_num=150000,
    role_exists=True,
    superuser=False,
    database_owner="Kök-u",
    owns_database=True,
    create_on_database=True,
    temporary_on_database=True,
    public_exists=True,
    public_owner="pg_database_owner",
    create_on_public=True,
    usage_on_public=True,
    plpgsql_exists=True,
    usage_on_plpgsql=True,
    schemas=1,
    foreign=(),
)


def having(*attempts: Attempted, problem: str = "", **facts: Any) -> PrivilegeFacts:
    """Return the healthy facts with some changed, and with what was tried."""
    used = UsedPrivileges(attempts=attempts, problem=problem)
    return msgspec.structs.replace(FACTS, used=used if attempts or problem else None, **facts)


def refused(sqlstate: str, *, where: str = "", what: str = "table") -> Attempted:
    """Return a refused statement in schema public."""
    return Attempted(place="public", what=what, sqlstate=sqlstate, message="nein", where=where)


TRIGGER = EventTrigger(
    name="t", event="ddl_command_start", tags=(), function="No DDL", owner="postgres"
)
WORKED = Attempted(place="public", what="table")


@pytest.mark.parametrize(
    ("attempt", "outcome"),
    [
        pytest.param(WORKED, "passed", id="worked"),
        pytest.param(refused("42501"), "failed", id="denied-though-granted"),
        pytest.param(refused("55P03"), "unverified", id="busy"),
        pytest.param(refused("53100"), "unverified", id="disk-full"),
        pytest.param(
            refused("42501", where='PL/pgSQL-Funktion "No DDL"() Zeile 1 bei RAISE'),
            "passed",
            id="an-event-trigger-s-word",
        ),
        pytest.param(
            refused("42501", what="function"), "passed", id="the-language-has-its-own-check"
        ),
    ],
)
def test_use_decides(attempt: Attempted, outcome: str) -> None:
    """Only a missing privilege is a finding here; what else refused is another's, or unknown."""
    judged = privileges.create_on_public(having(attempt), (TRIGGER,))
    told = "failed" if judged.findings else "unverified" if judged.unverified else "passed"
    assert told == outcome


def test_a_trial_that_did_not_happen_is_unverified() -> None:
    """The catalogs' yes is not taken for use where use was meant."""
    assert privileges.create_on_database(having(problem="no connection"), ()).unverified


def test_without_use_the_catalogs_decide() -> None:
    """Where nothing may be written, the judgement says that it is the catalogs' word."""
    judged = privileges.create_on_database(FACTS, ())
    assert "judged from catalogs" in judged.summary
    assert not judged.unverified


def test_a_missing_privilege_is_a_finding_even_where_a_trigger_refused_first() -> None:
    """What the catalogs deny stays denied."""
    attempt = refused("P0001", where='function "No DDL"() line 1')
    judged = privileges.create_on_public(having(attempt, create_on_public=False), (TRIGGER,))
    assert judged.findings[0].fix is not None
    assert judged.findings[0].fix.text == 'GRANT USAGE, CREATE ON SCHEMA public TO "Kök-u";'


@pytest.mark.parametrize(("count", "commits"), [(1, False), (5000, True)])
def test_many_objects_change_hands_in_many_transactions(count: int, commits: bool) -> None:
    """One transaction for all of them would exhaust the table of locks."""
    group = ForeignObjects(kind="table", owner="postgres", count=count, examples=("public.t",))
    judged = privileges.ownership(having(foreign=(group,)), NEEDS)
    fix = judged.findings[0].fix
    assert fix is not None
    assert ("COMMIT;" in fix.text) is commits


def test_a_schema_public_that_is_gone_is_made_anew() -> None:
    """Nothing can be granted on what does not exist."""
    facts = having(public_exists=False, create_on_public=False, usage_on_public=False)
    fix = privileges.create_on_public(facts, ()).findings[0].fix
    assert fix is not None
    assert fix.text == 'CREATE SCHEMA IF NOT EXISTS public AUTHORIZATION "Kök-u";'
