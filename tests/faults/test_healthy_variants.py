"""What is unlike the healthy server and as right: nothing is said that was not said before."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.beds import Beds
from tests.faults.faults_migrations import MANAGE, ODD, app, copy_of_records
from tests.faults.faults_server import MAKE_SLOW, NEVER_VACUUMED
from tests.faults.harness import outcomes, told
from tests.faults.model import Fault, Sql

SCRATCH = ("--costmgmt-allow", "scratch")


def admin(*statements: str) -> tuple[Sql, ...]:
    """Return what the administrator runs in the application's database."""
    return (Sql(statements=statements),)


VARIANTS = (
    Fault(
        id="the-owner-is-a-group",
        check="",
        plant=admin(
            "CREATE ROLE costmgmt_owners",
            "GRANT costmgmt_owners TO {role}",
            "ALTER DATABASE {database} OWNER TO costmgmt_owners",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="nothing-for-public",
        check="",
        plant=admin(
            "REVOKE ALL ON SCHEMA public FROM PUBLIC",
            "GRANT ALL ON SCHEMA public TO {role}",
            "REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            "REVOKE ALL ON DATABASE {hive_database} FROM PUBLIC",
            "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC",
            "GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA public TO {role}",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="more-than-is-needed",
        check="",
        plant=admin(
            "GRANT pg_monitor, pg_signal_backend TO {role}",
            "CREATE EXTENSION pgcrypto",
            "CREATE SCHEMA reports",
            "CREATE VIEW reports.one AS SELECT 1 AS a",
            "CREATE DATABASE another",
            "CREATE ROLE auditor LOGIN PASSWORD 'nobody-asks-for-it'",
            "GRANT CONNECT ON DATABASE {database} TO auditor",
            "GRANT SET ON PARAMETER log_min_duration_statement, archive_command TO {role}",
            "GRANT ALTER SYSTEM ON PARAMETER archive_command TO auditor",
        ),
    ),
    Fault(
        id="settings-that-are-no-harm",
        check="",
        plant=admin(
            "ALTER ROLE {role} SET search_path = public, pg_catalog",
            "ALTER ROLE {role} SET statement_timeout = '1h'",
            "ALTER ROLE {role} SET TimeZone = 'Etc/UTC'",
            "ALTER DATABASE {database} SET work_mem = '64MB'",
            "ALTER DATABASE {database} SET lc_messages = 'C'",
            "ALTER DATABASE {database} SET default_transaction_isolation = 'read uncommitted'",
            "ALTER ROLE {hive_role} SET default_transaction_read_only = on",
            "ALTER ROLE {hive_role} SET statement_timeout = '1s'",
            "ALTER ROLE {role} CONNECTION LIMIT 60",
            "ALTER ROLE {role} VALID UNTIL 'infinity'",
        ),
    ),
    Fault(
        id="row-security-rules-and-default-privileges-that-leave-the-owner-its-own",
        check="",
        plant=admin(
            "CREATE ROLE auditor",
            "ALTER TABLE acct1000001.reporting_rate ENABLE ROW LEVEL SECURITY",
            "CREATE POLICY auditors ON acct1000001.reporting_rate TO auditor USING (false)",
            "CREATE RULE noted AS ON UPDATE TO acct1000001.reporting_tag DO ALSO SELECT 1",
            "CREATE RULE off AS ON DELETE TO acct1000001.reporting_tag DO INSTEAD NOTHING",
            "ALTER TABLE acct1000001.reporting_tag DISABLE RULE off",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT SELECT ON TABLES TO auditor",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} IN SCHEMA public"
            " GRANT SELECT ON TABLES TO auditor",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="a-tablespace-in-which-the-role-may-create",
        check="",
        plant=admin(
            *MAKE_SLOW,
            "GRANT CREATE ON TABLESPACE slow TO {role}",
            "ALTER SYSTEM SET default_tablespace = slow",
            "SELECT pg_reload_conf()",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="the-database-in-a-tablespace-of-the-administrator-s",
        check="",
        plant=(
            Sql(
                statements=(*MAKE_SLOW, "ALTER DATABASE {database} SET TABLESPACE slow"),
                database="postgres",
            ),
        ),
        options=SCRATCH,
    ),
    Fault(
        id="commits-that-wait-for-no-standby",
        check="",
        plant=admin(
            "ALTER ROLE {role} SET synchronous_commit = local",
            "ALTER SYSTEM SET synchronous_standby_names = 'gone'",
            "SELECT pg_reload_conf()",
        ),
    ),
    Fault(
        id="no-standby-can-ever-come",
        check="",
        conf=(
            "synchronous_commit = on",
            "synchronous_standby_names = 'gone'",
            "max_wal_senders = 0",
            "wal_level = minimal",
            "archive_mode = off",
        ),
    ),
    Fault(
        id="a-schema-before-public-that-may-not-be-used",
        check="",
        plant=admin(
            "CREATE SCHEMA dba",
            "ALTER DATABASE {database} SET search_path = dba, public",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="transactions-enough-though-autovacuum-is-behind",
        check="",
        next_transaction=1_500_000_000,
        conf=NEVER_VACUUMED,
    ),
    Fault(
        id="autovacuum-was-told-to-freeze-late",
        check="",
        next_transaction=1_900_000_000,
        conf=("autovacuum_freeze_max_age = 2000000000",),
    ),
    Fault(
        id="files-that-say-it-otherwise",
        check="",
        conf=(
            "shared_preload_libraries = ' \"$libdir/pg_stat_statements\" , auto_explain'",
            "pg_stat_statements.track = all",
            "compute_query_id = on",
            "timezone = 'GMT'",
            "max_connections = 60",
            "max_locks_per_transaction = 64",
            "password_encryption = 'scram-sha-256'",
        ),
        hba=("local sameuser +koku scram-sha-256", "local hive,koku hive,koku md5"),
    ),
    Fault(
        id="nobody-without-tls",
        check="",
        hba=("hostssl all all all scram-sha-256", "hostnossl all all all reject"),
        network=True,
    ),
    Fault(
        id="event-triggers-that-look-on",
        check="",
        plant=admin(
            "CREATE FUNCTION public.looks() RETURNS event_trigger LANGUAGE plpgsql AS"
            " 'BEGIN PERFORM tg_tag; END'",
            "CREATE EVENT TRIGGER looks ON ddl_command_start EXECUTE FUNCTION public.looks()",
            "CREATE EVENT TRIGGER looks_back ON ddl_command_end WHEN TAG IN"
            " ('CREATE EXTENSION', 'GRANT', 'DROP SCHEMA', 'ALTER TYPE', 'SELECT INTO',"
            " 'ALTER MATERIALIZED VIEW', 'COMMENT', 'DROP PROCEDURE')"
            " EXECUTE FUNCTION public.looks()",
            "CREATE EVENT TRIGGER off ON sql_drop EXECUTE FUNCTION public.looks()",
            "ALTER EVENT TRIGGER off DISABLE",
        ),
        options=SCRATCH,
    ),
    Fault(
        id="a-tenant-whose-name-needs-quotes",
        check="",
        plant=app(
            f"CREATE SCHEMA {ODD}",
            *copy_of_records(ODD),
            "INSERT INTO public.api_tenant (schema_name) VALUES ('Kök-u % \"t\" {{0}}')",
        ),
        options=MANAGE,
    ),
)


@pytest.mark.parametrize("variant", VARIANTS, ids=[variant.id for variant in VARIANTS])
def test_a_healthy_variant_is_judged_alike(variant: Fault, beds: Beds, tmp_path: Path) -> None:
    """A server that is set up otherwise, and rightly, has the healthy server's outcomes."""
    healthy = outcomes(beds.baseline(variant))
    with beds.copy(tmp_path, variant) as bed:
        bed.plant(variant)
        report = bed.check(variant, harmed=True)
    assert outcomes(report) == healthy, told(report, healthy)
