"""Faults of the server as a whole: version, clock, collations, limits, settings, triggers."""

from __future__ import annotations

from tests.faults.model import Fault, Sql

SCRATCH = ("--costmgmt-allow", "scratch")


def _sql(*statements: str) -> tuple[Sql, ...]:
    return (Sql(statements=statements),)


_FORBID = (
    "CREATE FUNCTION public.\"No DDL\"() RETURNS event_trigger LANGUAGE plpgsql AS '{body}'",
    'CREATE EVENT TRIGGER "no ddl" ON ddl_command_start EXECUTE FUNCTION public."No DDL"()',
)


def _trigger(body: str, when: str = "") -> tuple[Sql, ...]:
    fires = _FORBID[1].replace(" EXECUTE", f" {when} EXECUTE")
    return _sql(_FORBID[0].replace("{body}", f"BEGIN {body}; END"), fires)


def _version(number: int, told: str) -> str:
    """Return what makes the server tell another version, after VERSION_IS_TOLD."""
    return (
        "CREATE OR REPLACE FUNCTION pg_catalog.current_setting(name text) RETURNS text"
        " LANGUAGE sql STABLE STRICT PARALLEL SAFE AS $$ SELECT CASE name"
        f" WHEN 'server_version_num' THEN '{number}' WHEN 'server_version' THEN '{told}'"
        " ELSE pg_catalog.true_setting(name) END $$"
    )


# A server of another version cannot be had from a copy, but one that says so. The healthy one is
# of a version that never reaches its end: this test must not either.
NEW = _version(990001, "99.1")
VERSION_IS_TOLD = _sql(
    "ALTER FUNCTION pg_catalog.current_setting(text) RENAME TO true_setting", NEW
)


def _clock(seconds: int) -> tuple[Sql, ...]:
    """Return what sets the server's clock, as its sessions read it."""
    return _sql(
        "ALTER FUNCTION pg_catalog.clock_timestamp() RENAME TO true_clock",
        "CREATE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE"
        f" AS $$ SELECT pg_catalog.true_clock() + make_interval(secs => {seconds}) $$",
    )


CLOCK_IS_SET = _sql(
    "DROP FUNCTION pg_catalog.clock_timestamp()",
    "ALTER FUNCTION pg_catalog.true_clock() RENAME TO clock_timestamp",
)

MAKE_SLOW = ("SET allow_in_place_tablespaces = on", "CREATE TABLESPACE slow LOCATION ''")

# Autovacuum is on, but its next turn is too late: else it would mend the server by itself.
NEVER_VACUUMED = ("autovacuum_naptime = '20d'",)

FAULTS = [
    Fault(
        id="srv-older-than-the-floor",
        check="CM-SRV-001",
        given=VERSION_IS_TOLD,
        plant=_sql(_version(120022, "12.22")),
        also=("CM-SRV-002",),
        why_also="12 has reached its end of life too",
        fix=_sql(NEW),
    ),
    Fault(
        id="srv-past-its-end-of-life",
        check="CM-SRV-002",
        given=VERSION_IS_TOLD,
        plant=_sql(_version(130023, "13.23")),
        fix=_sql(NEW),
    ),
    Fault(
        id="srv-clock-behind",
        check="CM-SRV-005",
        plant=_clock(-60),
        fix=CLOCK_IS_SET,
    ),
    Fault(
        id="srv-clock-of-another-time-zone",
        check="CM-SRV-005",
        plant=_clock(3600),
        fix=CLOCK_IS_SET,
    ),
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
        id="srv-schema-before-public-that-may-be-used",
        check="CM-SRV-011",
        plant=_sql(
            "CREATE SCHEMA dba",
            "GRANT USAGE ON SCHEMA dba TO {role}",
            "ALTER DATABASE {database} SET search_path = dba, public",
        ),
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
        # By hardening; then nobody knows what the server's files set.
        id="srv-session-that-cannot-be-looked-at",
        check="CM-SRV-011",
        plant=_sql("REVOKE SELECT ON pg_catalog.pg_stat_replication FROM PUBLIC"),
        expected="unverifiable",
        also=("CM-CON-003", "CM-CON-008", "CM-SRV-004", "CM-SRV-005"),
        why_also="they judge the same session: CM-CON-003 says what kept us from it",
        fix=_sql("GRANT SELECT ON pg_catalog.pg_stat_replication TO PUBLIC"),
        as_admin=False,
    ),
    Fault(
        id="srv-lock-timeout-of-the-server",
        check="CM-SRV-011",
        conf=("lock_timeout = '1s'",),
    ),
    Fault(
        id="srv-tablespace-of-the-role",
        check="CM-SRV-011",
        plant=_sql(*MAKE_SLOW, "ALTER ROLE {role} SET default_tablespace = slow"),
    ),
    Fault(
        id="srv-tablespace-of-the-server",
        check="CM-SRV-011",
        plant=_sql(
            *MAKE_SLOW, "ALTER SYSTEM SET default_tablespace = slow", "SELECT pg_reload_conf()"
        ),
    ),
    Fault(
        id="srv-database-s-own-tablespace-named",
        check="CM-SRV-011",
        plant=_sql("ALTER ROLE {role} SET default_tablespace = pg_default"),
    ),
    Fault(
        id="srv-pg-default-where-the-database-lies-elsewhere",
        check="CM-SRV-011",
        plant=(
            Sql(
                statements=(*MAKE_SLOW, "ALTER DATABASE {database} SET TABLESPACE slow"),
                database="postgres",
            ),
            *_sql("ALTER ROLE {role} SET default_tablespace = pg_default"),
        ),
    ),
    Fault(
        id="srv-event-trigger-forbids",
        check="CM-SRV-012",
        plant=_trigger("RAISE insufficient_privilege USING MESSAGE = ''change freeze''"),
        options=SCRATCH,
    ),
    Fault(
        id="srv-event-trigger-forbids-extensions",
        check="CM-SRV-012",
        plant=_trigger(
            "RAISE insufficient_privilege USING MESSAGE = ''no''",
            "WHEN TAG IN ('CREATE EXTENSION')",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="srv-event-trigger-forbids-one-command-of-all",
        check="CM-SRV-012",
        plant=_trigger(
            "IF tg_tag = ''DROP SCHEMA'' THEN RAISE insufficient_privilege; END IF",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="srv-event-trigger-untried",
        check="CM-SRV-012",
        plant=_trigger("PERFORM 1"),
        expected="unverifiable",
        fix=_sql('ALTER EVENT TRIGGER "no ddl" DISABLE'),
    ),
    Fault(
        id="srv-no-fsync",
        check="CM-SRV-013",
        conf=("fsync = off",),
    ),
    Fault(
        id="srv-damage-is-hidden-and-nothing-is-vacuumed",
        check="CM-SRV-013",
        plant=_sql(
            "ALTER SYSTEM SET zero_damaged_pages = on",
            "ALTER SYSTEM SET ignore_checksum_failure = on",
            "ALTER SYSTEM SET autovacuum = off",
            "ALTER SYSTEM SET track_counts = off",
            "SELECT pg_reload_conf()",
        ),
    ),
    Fault(
        id="srv-damage-is-hidden-from-the-application",
        check="CM-SRV-013",
        plant=_sql(
            "ALTER ROLE {role} SET zero_damaged_pages = yes",
            "ALTER DATABASE {database} SET ignore_checksum_failure = on",
            "ALTER ROLE {role} IN DATABASE {database} SET track_counts = off",
        ),
    ),
    Fault(
        id="srv-damage-is-hidden-from-the-administrator",
        check="CM-SRV-013",
        plant=_sql("ALTER ROLE CURRENT_USER SET zero_damaged_pages = on"),
    ),
    Fault(
        id="srv-few-transactions-left",
        check="CM-SRV-013",
        next_transaction=1_700_000_000,
        conf=NEVER_VACUUMED,
    ),
    Fault(
        id="srv-few-transactions-left-seen-by-the-application",
        check="CM-SRV-013",
        next_transaction=1_700_000_000,
        conf=NEVER_VACUUMED,
        as_admin=False,
    ),
]
