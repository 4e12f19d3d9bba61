"""Faults of the server as a whole: encoding, clock, collations, limits, settings, triggers.

The version floor and end of life, and the clocks' skew, are no state of a database: they are
planted into facts in tests/unit/test_judge_server.py.
"""

from __future__ import annotations

from tests.faults.model import Fault, Sql

SCRATCH = ("--costmgmt-allow", "scratch")


def _sql(*statements: str) -> tuple[Sql, ...]:
    return (Sql(statements=statements),)


_FORBID = (
    "CREATE FUNCTION public.\"No DDL\"() RETURNS event_trigger LANGUAGE plpgsql AS '{body}'",
    'CREATE EVENT TRIGGER "no ddl" ON ddl_command_start EXECUTE FUNCTION public."No DDL"()',
)


def _trigger(body: str) -> tuple[Sql, ...]:
    return _sql(_FORBID[0].replace("{body}", f"BEGIN {body}; END"), _FORBID[1])


FAULTS = [
    Fault(
        id="srv-encoding-sql-ascii",
        check="CM-SRV-003",
        plant=_sql("UPDATE pg_database SET encoding = 0 WHERE datname = current_database()"),
        fix=_sql("UPDATE pg_database SET encoding = 6 WHERE datname = current_database()"),
    ),
    Fault(
        id="srv-time-zone-of-the-role",
        check="CM-SRV-004",
        plant=_sql("ALTER ROLE {role} SET TimeZone = 'America/New_York'"),
    ),
    Fault(
        id="srv-time-zone-of-the-server",
        check="CM-SRV-004",
        conf=("timezone = 'Asia/Kolkata'",),
    ),
    Fault(
        id="srv-collation-of-the-database",
        check="CM-SRV-006",
        plant=_sql(
            "UPDATE pg_database SET datcollversion = '2.17' WHERE datname = current_database()"
        ),
        fix=_sql("UPDATE pg_database SET datcollversion = NULL WHERE datname = current_database()"),
    ),
    Fault(
        id="srv-collation-of-template1",
        check="CM-SRV-007",
        plant=_sql("UPDATE pg_database SET datcollversion = '2.17' WHERE datname = 'template1'"),
    ),
    Fault(
        id="srv-too-few-connections",
        check="CM-SRV-008",
        conf=("max_connections = 30",),
    ),
    Fault(
        id="srv-reserved-connections",
        check="CM-SRV-008",
        conf=("max_connections = 60", "superuser_reserved_connections = 30"),
    ),
    Fault(
        id="srv-connection-limit-of-the-role",
        check="CM-SRV-008",
        plant=_sql("ALTER ROLE {role} CONNECTION LIMIT 20"),
    ),
    Fault(
        id="srv-connection-limit-of-the-database",
        check="CM-SRV-008",
        plant=_sql("ALTER DATABASE {database} CONNECTION LIMIT 20"),
    ),
    Fault(
        id="srv-small-table-of-locks",
        check="CM-SRV-009",
        conf=("max_locks_per_transaction = 20",),
    ),
    Fault(
        id="srv-nothing-preloaded",
        check="CM-SRV-010",
        conf=("shared_preload_libraries = ''",),
        also=("CM-EXT-003",),
        why_also="without its library pg_stat_statements answers no query",
    ),
    Fault(
        id="srv-nothing-preloaded-seen-by-the-application",
        check="CM-SRV-010",
        conf=("shared_preload_libraries = ''",),
        also=("CM-EXT-003",),
        why_also="without its library pg_stat_statements answers no query",
        as_admin=False,
    ),
    Fault(
        id="srv-read-only-by-default",
        check="CM-SRV-011",
        plant=_sql("ALTER ROLE {role} SET default_transaction_read_only = on"),
    ),
    Fault(
        id="srv-read-only-database",
        check="CM-SRV-011",
        plant=_sql("ALTER DATABASE {database} SET default_transaction_read_only = on"),
    ),
    Fault(
        id="srv-search-path",
        check="CM-SRV-011",
        plant=_sql("ALTER ROLE {role} IN DATABASE {database} SET search_path = pg_catalog, public"),
    ),
    Fault(
        id="srv-schema-of-the-role-s-name",
        check="CM-SRV-011",
        plant=_sql("CREATE SCHEMA AUTHORIZATION {role}"),
        fix=_sql("DROP SCHEMA {role}"),
    ),
    Fault(
        id="srv-escaped-strings",
        check="CM-SRV-011",
        plant=_sql("ALTER ROLE {role} SET standard_conforming_strings = off"),
    ),
    Fault(
        id="srv-statement-timeout-too-short-to-clone",
        check="CM-SRV-011",
        plant=_sql("ALTER ROLE {role} SET statement_timeout = '90s'"),
    ),
    Fault(
        id="srv-lock-timeout-of-the-server",
        check="CM-SRV-011",
        conf=("lock_timeout = '1s'",),
    ),
    Fault(
        id="srv-event-trigger-forbids",
        check="CM-SRV-012",
        plant=_trigger("RAISE insufficient_privilege USING MESSAGE = ''change freeze''"),
        options=SCRATCH,
    ),
    Fault(
        id="srv-event-trigger-untried",
        check="CM-SRV-012",
        plant=_trigger("PERFORM 1"),
        expected="unverifiable",
        fix=_sql('ALTER EVENT TRIGGER "no ddl" DISABLE'),
    ),
]
