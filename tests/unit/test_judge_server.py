"""The server's judgements, on facts that no server here has."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_costmgmt.facts.access import Session
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.server import (
    AppliedSetting,
    CollationVersion,
    Connections,
    DatabaseAge,
    KeepingSetting,
    ServerFacts,
)
from pytest_costmgmt.facts.support_table import TAKEN
from pytest_costmgmt.judge import collations, server, session
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load

CONTEXT = Context(
    mode="external",
    profile="smoke",
    ours=False,
    writable=False,
    role="Kök-u",
    database="Kök-u db",
    has_administrator=False,
    failed_logins=0,
    application="",
    run_id="r",
    today="2026-11-23",
)
NEEDS = load("koku-hive").named(role=CONTEXT.role, database=CONTEXT.database)
FACTS = ServerFacts(
    version_num=160004,
    version="16.4",
    seen_by="Kök-u",
    database="Kök-u db",
    encoding="UTF8",
    in_recovery=False,
    connections=Connections(
        maximum=100,
        reserved=3,
        used_by_application=0,
        used_by_others=0,
        used_by_others_here=0,
        role_limit=-1,
        database_limit=-1,
    ),
    locks_per_transaction=64,
    prepared_transactions=0,
    preload=("pg_stat_statements",),
    witnesses=(),
    pending_restart=(),
    settings=(),
    role_is_superuser=False,
    schemas=("public",),
    denied_tablespaces=("slow",),
    own_tablespace="pg_default",
    collations=(),
    event_triggers=(),
    keeping=(
        KeepingSetting(name="autovacuum", value="on", source="default"),
        KeepingSetting(name="fsync", value="on", source="default"),
    ),
    ages=(DatabaseAge(database="postgres", connects=True, transactions=5000, multixacts=1),),
    freeze_max_age=200_000_000,
    multixact_freeze_max_age=400_000_000,
    hidden={},
)


def having(**facts: Any) -> ServerFacts:
    """Return the healthy facts with some changed."""
    return msgspec.structs.replace(FACTS, **facts)


def at(**counts: int) -> ServerFacts:
    """Return the healthy facts with other counts of connections."""
    return having(connections=msgspec.structs.replace(FACTS.connections, **counts))


def fixes(judged: Judgement) -> str:
    """Return the text of all fixes."""
    return "\n".join(f.fix.text for f in judged.findings if f.fix is not None)


@pytest.mark.parametrize(
    ("version", "floor", "right"),
    [(130023, 13, True), (120022, 13, False), (90624, 13, False), (200000, 14, True)],
)
def test_version_floor(version: int, floor: int, right: bool) -> None:
    """The requirement set's oldest major version itself is new enough."""
    of_server = msgspec.structs.replace(NEEDS.server, minimum_major=floor)
    needs: Requirements = msgspec.structs.replace(NEEDS, server=of_server)
    judged = server.version_floor(having(version_num=version), needs)
    assert (not judged.findings) is right
    assert judged.examined


@pytest.mark.parametrize(
    ("version", "today", "right"),
    [
        pytest.param(130000, "2025-11-12", True, id="13-the-day-before"),
        pytest.param(130000, "2025-11-13", False, id="13-on-its-last-day"),
        pytest.param(140000, "2026-11-23", False, id="14"),
        pytest.param(150000, "2026-11-23", True, id="15"),
        pytest.param(180000, "2030-11-14", False, id="18-in-2030"),
        pytest.param(90624, "2026-11-23", False, id="older-than-the-table"),
        pytest.param(990000, "2099-01-01", True, id="newer-than-the-table"),
    ],
)
def test_end_of_life(version: int, today: str, right: bool) -> None:
    """The table decides, and the judgement says on which day it was taken."""
    context = msgspec.structs.replace(CONTEXT, today=today)
    judged = server.supported(having(version_num=version), context)
    assert (not judged.findings) is right
    told = judged.summary if right else judged.findings[0].expected
    assert TAKEN in told


@pytest.mark.parametrize(
    ("zone", "right"),
    [
        ("UTC", True),
        ("Etc/UTC", True),
        ("utc", True),
        ("GMT", True),
        ("Europe/London", False),
        ("America/New_York", False),
    ],
)
def test_time_zone(zone: str, right: bool) -> None:
    """UTC has several names; London is not one of them, though its clocks agree in winter."""
    judged = server.time_zone(FACTS, {"TimeZone": zone}, NEEDS, CONTEXT)
    assert (not judged.findings) is right


def test_a_time_zone_that_was_not_told_is_unverified() -> None:
    """Absence of evidence is no pass."""
    assert server.time_zone(FACTS, {}, NEEDS, CONTEXT).unverified


def test_the_time_zone_is_fixed_where_it_was_set() -> None:
    """A setting of the role is not ended by one of the server."""
    zone = AppliedSetting(name="TimeZone", value="CET", scope="role", wins=True)
    judged = server.time_zone(having(settings=(zone,)), {"TimeZone": "CET"}, NEEDS, CONTEXT)
    assert fixes(judged) == "ALTER ROLE \"Kök-u\" SET timezone = 'UTC';"


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        pytest.param(at(), 0, id="default"),
        pytest.param(at(maximum=43), 0, id="exactly"),
        pytest.param(at(maximum=42), 1, id="one-less"),
        pytest.param(at(used_by_others=58), 1, id="others"),
        pytest.param(at(used_by_application=97), 0, id="its-own-do-not-count"),
        pytest.param(at(reserved=61), 1, id="reserved"),
        pytest.param(at(role_limit=39), 1, id="role"),
        pytest.param(at(role_limit=40), 0, id="role-exactly"),
        pytest.param(at(role_limit=0, database_limit=0), 2, id="both"),
        pytest.param(at(database_limit=50, used_by_others_here=11), 1, id="database"),
    ],
)
def test_connection_headroom(facts: ServerFacts, found: int) -> None:
    """Forty connections must be there beside the reserved, others' and within both limits."""
    assert NEEDS.server.connections == 40
    assert len(server.connection_headroom(facts, NEEDS, CONTEXT).findings) == found


def test_a_value_that_waits_for_a_restart_asks_for_the_restart() -> None:
    """Setting it again would not help."""
    facts = msgspec.structs.replace(at(maximum=10), pending_restart=("max_connections",))
    assert "restart" in fixes(server.connection_headroom(facts, NEEDS, CONTEXT))
    assert "ALTER SYSTEM" not in fixes(server.connection_headroom(facts, NEEDS, CONTEXT))


def test_preload_keeps_the_libraries_that_are_there() -> None:
    """The fix adds to the list; it does not replace it."""
    judged = server.preloaded(having(preload=("auto_explain",)), NEEDS)
    assert "= 'auto_explain', 'pg_stat_statements';" in fixes(judged)


def test_a_hidden_list_of_libraries_is_judged_by_its_witness() -> None:
    """The library's own setting, which everybody may see, says whether it was loaded."""
    there = having(preload=None, witnesses=("pg_stat_statements.max",))
    assert not server.preloaded(there, NEEDS).findings
    assert server.preloaded(having(preload=None), NEEDS).findings


def test_a_collation_of_a_provider_without_versions_is_not_refreshed() -> None:
    """REFRESH would be refused: the data must move by dump and restore."""
    version = CollationVersion(kind="database", name=CONTEXT.database, recorded="2.36", actual=None)
    judged = collations.databases(having(collations=(version,)), NEEDS, CONTEXT)
    assert "pg_dump" in fixes(judged)
    assert "REFRESH" not in fixes(judged)


def test_old_servers_record_no_version_of_a_database() -> None:
    """Before 15 the target cannot have what the check is about."""
    assert collations.databases(having(version_num=140000), NEEDS, CONTEXT).not_supported


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("statement_timeout", "0ms", True),
        ("statement_timeout", "299999ms", False),
        ("statement_timeout", "300000ms", True),
        ("statement_timeout", "5min", True),
        ("statement_timeout", "0.05h", False),
        ("transaction_timeout", "1000ms", False),
        ("lock_timeout", "29s", False),
        ("idle_in_transaction_session_timeout", "1d", True),
        ("default_transaction_read_only", "off", True),
        ("default_transaction_read_only", "on", False),
        ("standard_conforming_strings", "off", False),
        ("default_transaction_isolation", "read committed", True),
        ("default_transaction_isolation", "repeatable read", False),
        ("search_path", '"$user", public', True),
        ("search_path", "not_there, public", True),
        ("search_path", '""', False),
        ("search_path", "pg_catalog, public", False),
        ("session_replication_role", "replica", False),
        ("default_tablespace", "", True),
        ("default_tablespace", "fast", True),
        ("default_tablespace", "slow", False),
        ("default_tablespace", "pg_default", False),
    ],
)
def test_settings_of_the_server_s_files(name: str, value: str, right: bool) -> None:
    """What no ALTER ROLE or ALTER DATABASE explains is the server's configuration."""
    judged = session.session_settings(FACTS, {name: value}, CONTEXT)
    assert (not judged.findings) is right
    if not right:
        assert f"ALTER SYSTEM SET {name} = " in fixes(judged)


def test_a_schema_of_the_role_s_name_takes_what_is_meant_for_public() -> None:
    """The default search_path looks into the role's own schema first, if there is one."""
    facts = having(schemas=("public", "Kök-u"))
    judged = session.session_settings(facts, {"search_path": '"$user", public'}, CONTEXT)
    assert "Kök-u" in judged.findings[0].summary


def test_sessions_that_differ_from_the_catalogs_are_a_pooler_s() -> None:
    """A right setting that sessions do not have was made after they began."""
    good = AppliedSetting(name="lock_timeout", value="0", scope="role", wins=True)
    judged = session.session_settings(having(settings=(good,)), {"lock_timeout": "5ms"}, CONTEXT)
    assert "pooler" in fixes(judged)


def test_sessions_that_a_pooler_shares_are_not_verified() -> None:
    """What the application sets by itself may be another client's: no word of the server's."""
    seen = {"lock_timeout": "0"}
    assert not session.session_settings(FACTS, seen, CONTEXT).unverified
    judged = session.session_settings(FACTS, seen, CONTEXT, shared=True)
    assert not judged.findings
    assert ["search_path" in unseen.what for unseen in judged.unverified] == [True]


@pytest.mark.parametrize(
    ("skew", "uncertainty", "right"),
    [
        pytest.param(0.0, 0.01, True, id="together"),
        pytest.param(4.9, 0.01, True, id="within"),
        pytest.param(-5.2, 0.01, False, id="behind"),
        pytest.param(5.2, 0.01, False, id="ahead"),
        pytest.param(6.0, 2.0, True, id="a-slow-line-proves-no-skew"),
        pytest.param(3600.0, 2.0, False, id="an-hour-on-a-slow-line"),
    ],
)
def test_clock(skew: float, uncertainty: float, right: bool) -> None:
    """Five seconds are allowed, and what the round trip may hide is no finding."""
    seen = Session(
        server_version=160004, in_recovery=False, pooled=False, local=False, encrypted=True,
        tls_version="TLSv1.3", clock_skew=skew, clock_uncertainty=uncertainty, settings={},
        identifier="", replicas=0, oldest=("koku", 1),
    )  # fmt: skip
    judged = server.clock(seen)
    assert judged.examined
    assert (not judged.findings) is right


def test_a_clock_that_was_not_read_is_unverified() -> None:
    """Absence of evidence is no pass."""
    assert server.clock(None).unverified
