"""Faults of the application's privileges, judged from catalogs and used."""

from __future__ import annotations

from tests.faults.model import Fault, Sql

SCRATCH = ("--costmgmt-allow", "scratch")


def _sql(*statements: str) -> tuple[Sql, ...]:
    return (Sql(statements=statements),)


FAULTS = [
    Fault(
        id="prv-no-create-on-database",
        check="CM-PRV-001",
        plant=_sql("REVOKE CREATE ON DATABASE {database} FROM {role}, PUBLIC"),
    ),
    Fault(
        id="prv-no-create-on-database-used",
        check="CM-PRV-001",
        plant=_sql("REVOKE CREATE ON DATABASE {database} FROM {role}, PUBLIC"),
        options=SCRATCH,
    ),
    Fault(
        id="prv-no-create-on-public",
        check="CM-PRV-002",
        plant=_sql("REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC, {role}"),
    ),
    Fault(
        id="prv-no-create-on-public-used",
        check="CM-PRV-002",
        plant=_sql("REVOKE CREATE ON SCHEMA public FROM pg_database_owner, PUBLIC, {role}"),
        options=SCRATCH,
    ),
    Fault(
        id="prv-no-temporary-tables",
        check="CM-PRV-003",
        plant=_sql("REVOKE TEMPORARY ON DATABASE {database} FROM {role}, PUBLIC"),
    ),
    Fault(
        id="prv-no-plpgsql",
        check="CM-PRV-004",
        plant=_sql("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC, {role}"),
    ),
    Fault(
        id="prv-no-plpgsql-used",
        check="CM-PRV-004",
        plant=_sql("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC, {role}"),
        options=SCRATCH,
    ),
    Fault(
        id="prv-owner-shut-out-of-a-tenants-tables",
        check="CM-PRV-006",
        plant=_sql("REVOKE ALL ON ALL TABLES IN SCHEMA org1000002 FROM PUBLIC, {role}"),
    ),
    Fault(
        id="prv-owner-shut-out-of-one-right",
        check="CM-PRV-006",
        plant=_sql("REVOKE UPDATE ON acct1000001.reporting_costline FROM {role}"),
        as_admin=False,
    ),
    Fault(
        id="prv-owner-shut-out-of-a-schema",
        check="CM-PRV-006",
        plant=_sql("REVOKE USAGE ON SCHEMA acct1000001 FROM {role}"),
    ),
    Fault(
        id="prv-owner-shut-out-of-a-sequence",
        check="CM-PRV-006",
        plant=_sql("REVOKE ALL ON SEQUENCE acct1000001.django_migrations_id_seq FROM {role}"),
    ),
    Fault(
        # Whoever hardens a server: every function is closed, also to who owns it.
        id="prv-owner-shut-out-of-its-functions",
        check="CM-PRV-006",
        plant=_sql(
            "REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA org1000002 FROM PUBLIC, {role}",
        ),
    ),
    Fault(
        # An administrator sees the rows, and a backup as superuser has them.
        id="prv-rows-hidden-by-row-security",
        check="CM-PRV-006",
        plant=_sql(
            "ALTER TABLE acct1000001.reporting_rate ENABLE ROW LEVEL SECURITY",
            "ALTER TABLE acct1000001.reporting_rate FORCE ROW LEVEL SECURITY",
            "CREATE POLICY readers ON acct1000001.reporting_rate FOR SELECT USING (true)",
        ),
    ),
    Fault(
        id="prv-rule-instead-of-a-record",
        check="CM-PRV-006",
        plant=_sql(
            "CREATE RULE frozen AS ON INSERT TO org1000002.django_migrations DO INSTEAD NOTHING",
        ),
    ),
    Fault(
        # Nothing shows before the next table is made.
        id="prv-owner-shut-out-of-what-is-to-come",
        check="CM-PRV-006",
        plant=_sql(
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} REVOKE ALL ON TABLES FROM {role}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} REVOKE ALL ON SCHEMAS FROM {role}",
            "ALTER DEFAULT PRIVILEGES FOR ROLE {role} REVOKE ALL ON FUNCTIONS FROM {role}, PUBLIC",
        ),
        as_admin=False,
    ),
    Fault(
        id="prv-restored-as-postgres",
        check="CM-PRV-005",
        plant=_sql(
            "ALTER TABLE public.django_migrations OWNER TO CURRENT_USER",
            "GRANT ALL ON public.django_migrations TO {role}",
        ),
    ),
]
