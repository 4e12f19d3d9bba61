"""Faults of recorded migrations and tenants, planted behind the application's back."""

# ruff: noqa: S608 - the names are our own

from __future__ import annotations

import shlex
import sys

from pytest_costmgmt.resources import resource
from tests.faults.model import Fault, Sql

MANAGE = (
    "--costmgmt-manage",
    shlex.join([sys.executable, str(resource("examples/django-project") / "manage.py")]),
)

ACCT, ORG = "acct1000001", "org1000002"
ODD = '"Kök-u % ""t"" {{0}}"'


def app(*statements: str) -> tuple[Sql, ...]:
    """Run as the application, in its database."""
    return (Sql(statements=statements, who="app"),)


def copy_of_records(schema: str, source: str = "template0") -> tuple[str, ...]:
    """Return what gives a schema the tables and records of another, with ids of its own."""
    tables = (
        "DO $$ DECLARE one name; BEGIN FOR one IN SELECT relname FROM pg_class"
        f" WHERE relnamespace = '{source}'::regnamespace AND relkind IN ('r', 'p')"
        " AND NOT relispartition LOOP EXECUTE format("
        "'CREATE TABLE IF NOT EXISTS %s.%I (LIKE %s.%I INCLUDING ALL)',"
        f" '{schema}', one, '{source}', one); END LOOP; END $$"
    )
    return (
        tables,
        copy_of_foreign_keys(schema, source),
        copy_of_triggers(schema, source),
        copy_of_rows(schema, source),
    )


def copy_of_foreign_keys(schema: str, source: str = "template0") -> str:
    """Return what gives the tables of a schema the foreign keys of another's that they lack."""
    return (
        "DO $$ DECLARE one record; BEGIN FOR one IN SELECT c.relname, k.conname,"
        " pg_get_constraintdef(k.oid) AS key FROM pg_constraint k JOIN pg_class c"
        f" ON c.oid = k.conrelid AND c.relnamespace = '{source}'::regnamespace"
        f" JOIN pg_class d ON d.relname = c.relname AND d.relnamespace = '{schema}'::regnamespace"
        " WHERE k.contype = 'f' AND k.conparentid = 0 AND NOT EXISTS (SELECT FROM pg_constraint o"
        " WHERE o.conrelid = d.oid AND o.conname = k.conname) LOOP"
        f" EXECUTE format('ALTER TABLE %s.%I ADD CONSTRAINT %I %s', '{schema}', one.relname,"
        f" one.conname, replace(one.key, ' {source}.', ' {schema}.')); END LOOP; END $$"
    )


def copy_of_triggers(schema: str, source: str = "template0") -> str:
    """Return what gives the tables of a schema the triggers of another's that they lack."""
    return (
        "DO $$ DECLARE one text; BEGIN FOR one IN SELECT pg_get_triggerdef(t.oid) FROM pg_trigger t"
        f" JOIN pg_class c ON c.oid = t.tgrelid AND c.relnamespace = '{source}'::regnamespace"
        f" JOIN pg_class d ON d.relname = c.relname AND d.relnamespace = '{schema}'::regnamespace"
        " WHERE NOT t.tgisinternal AND NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_trigger"
        " o WHERE o.tgrelid = d.oid AND o.tgname = t.tgname) LOOP"
        f" EXECUTE replace(one, ' ON {source}.', ' ON {schema}.'); END LOOP; END $$"
    )


def copy_of_rows(schema: str, source: str = "template0") -> str:
    """Return what fills a table of records as another is, in the same order."""
    return (
        f"INSERT INTO {schema}.django_migrations (app, name, applied)"
        f" SELECT app, name, applied FROM {source}.django_migrations ORDER BY id"
    )


FAULTS = [
    Fault(
        id="mig-record-lost-in-the-middle",
        check="CM-MIG-002",
        plant=app(
            f"DELETE FROM {ORG}.django_migrations"
            " WHERE app = 'reporting' AND name = '0300_tag_key_trigram'"
        ),
        also=("CM-MIG-004",),
        why_also="what depends on it is applied, so Django refuses to migrate",
        options=MANAGE,
    ),
    Fault(
        id="mig-records-of-a-whole-app-lost",
        check="CM-MIG-002",
        plant=app(f"DELETE FROM {ORG}.django_migrations WHERE app = 'api'"),
        also=("CM-MIG-004",),
        why_also="what depends on them is applied",
        # The report writes back what others depend on; whether the rest was applied, nobody knows.
        fix=app(
            f"INSERT INTO {ORG}.django_migrations (app, name, applied)"
            " SELECT app, name, applied FROM template0.django_migrations WHERE app = 'api'"
        ),
        options=MANAGE,
    ),
    Fault(
        id="mig-leaf-not-applied",
        check="CM-MIG-002",
        plant=app(
            f"DROP TRIGGER summarize ON {ORG}.reporting_costline",
            f"DROP FUNCTION {ORG}.reporting_summarize()",
            f"DELETE FROM {ORG}.django_migrations WHERE name = '0345_summary_trigger'",
        ),
        fix=app(
            f"INSERT INTO {ORG}.django_migrations (app, name, applied)"
            " VALUES ('reporting', '0345_summary_trigger', now())",
            copy_of_triggers(ORG),
        ),
        options=MANAGE,
    ),
    Fault(
        id="mig-half-migrated-before-an-install",
        check="CM-MIG-002",
        plant=app("DELETE FROM public.django_migrations WHERE app = 'reporting'"),
        fix=app(
            "INSERT INTO public.django_migrations (app, name, applied)"
            " SELECT app, name, applied FROM template0.django_migrations WHERE app = 'reporting'"
        ),
        profile="preflight",
        options=MANAGE,
    ),
    Fault(
        id="mig-name-that-needs-quotes",
        check="CM-MIG-002",
        plant=app(
            f"CREATE SCHEMA {ODD}",
            *copy_of_records(ODD),
            f"DELETE FROM {ODD}.django_migrations WHERE name = '0039_create_hive_db'",
            "INSERT INTO public.api_tenant (schema_name) VALUES ('Kök-u % \"t\" {{0}}')",
        ),
        also=("CM-MIG-004",),
        why_also="what depends on it is applied",
        options=MANAGE,
    ),
    Fault(
        id="mig-database-ahead",
        check="CM-MIG-003",
        plant=app(
            f"INSERT INTO {ORG}.django_migrations (app, name, applied)"
            " VALUES ('reporting', '9999_from_the_future', now())"
        ),
        fix=app(f"DELETE FROM {ORG}.django_migrations WHERE name = '9999_from_the_future'"),
        options=MANAGE,
    ),
    Fault(
        id="mig-dependency-not-applied",
        check="CM-MIG-004",
        plant=app("DELETE FROM public.django_migrations WHERE name = '0039_create_hive_db'"),
        also=("CM-MIG-002",),
        why_also="it is missing as well",
        options=MANAGE,
    ),
    Fault(
        id="mig-records-table-dropped",
        check="CM-MIG-001",
        plant=app(f"DROP TABLE {ACCT}.django_migrations"),
        fix=app(*copy_of_records(ACCT)),
    ),
    Fault(
        id="mig-records-lost",
        check="CM-MIG-001",
        plant=app(f"TRUNCATE {ORG}.django_migrations"),
        fix=app(copy_of_rows(ORG)),
    ),
    Fault(
        # As after logical replication, which leaves the sequences where they were.
        id="mig-sequences-left-behind",
        check="CM-MIG-001",
        plant=app(
            f"SELECT setval('{ORG}.django_migrations_id_seq', 1, false)",
            "SELECT setval('public.django_migrations_id_seq', 1)",
        ),
    ),
    Fault(
        # As a migration service leaves it, which makes the tables by itself.
        id="mig-ids-that-nothing-gives",
        check="CM-MIG-001",
        plant=app(
            f"ALTER TABLE {ORG}.django_migrations ALTER id DROP IDENTITY IF EXISTS",
            f"ALTER TABLE {ORG}.django_migrations ALTER id DROP DEFAULT",
        ),
    ),
    Fault(
        id="mig-tenant-schema-dropped",
        check="CM-MIG-005",
        plant=app(f"DROP SCHEMA {ORG} CASCADE"),
        fix=app(f"CREATE SCHEMA {ORG}", *copy_of_records(ORG)),
    ),
    Fault(
        # What `psql < dump` leaves, which went on after an error.
        id="mig-tenant-table-lost",
        check="CM-MIG-005",
        plant=app(f"ALTER TABLE {ACCT}.reporting_invoice RENAME TO gone"),
        fix=app(f"ALTER TABLE {ACCT}.gone RENAME TO reporting_invoice"),
    ),
    Fault(
        # What `psql < dump` leaves where rows broke the keys that come after them.
        id="mig-tenant-keys-lost",
        check="CM-MIG-005",
        plant=app(f"ALTER TABLE {ORG}.reporting_tag DROP CONSTRAINT reporting_tag_pkey"),
        fix=app(f"ALTER TABLE {ORG}.reporting_tag ADD PRIMARY KEY (id)"),
    ),
    Fault(
        # What `pg_restore --data-only --disable-triggers` leaves, which stopped halfway.
        id="mig-tenant-triggers-left-disabled",
        check="CM-MIG-005",
        plant=app(f"ALTER TABLE {ORG}.reporting_costline DISABLE TRIGGER USER"),
        fix=app(f"ALTER TABLE {ORG}.reporting_costline ENABLE TRIGGER USER"),
    ),
    Fault(
        id="mig-template-dropped",
        check="CM-MIG-006",
        plant=app(
            "DELETE FROM public.api_tenant WHERE schema_name = 'template0'",
            "DROP SCHEMA template0 CASCADE",
        ),
        fix=app("CREATE SCHEMA template0", *copy_of_records("template0", ACCT)),
    ),
    Fault(
        id="mig-tenant-row-lost",
        check="CM-MIG-007",
        plant=app(f"DELETE FROM public.api_tenant WHERE schema_name = '{ORG}'"),
        fix=app(f"INSERT INTO public.api_tenant (schema_name) VALUES ('{ORG}')"),
    ),
    Fault(
        id="mig-leftover-of-a-squash",
        check="CM-MIG-008",
        plant=app(
            "INSERT INTO public.django_migrations (id, app, name, applied)"
            " VALUES (-1, 'reporting', '0100_squashed_away', now())"
        ),
        fix=app("DELETE FROM public.django_migrations WHERE id = -1"),
        options=MANAGE,
    ),
    Fault(
        id="mig-schema-closed-to-the-application",
        check="CM-MIG-001",
        plant=(Sql(statements=(f"ALTER SCHEMA {ORG} OWNER TO CURRENT_USER",)),),
        also=("CM-PRV-005", "CM-BKP-001"),
        why_also="the schema belongs to another role than the application's, which cannot dump it",
        as_admin=False,
    ),
    Fault(
        id="mig-catalog-hidden-from-the-application",
        check="CM-MIG-001",
        plant=(Sql(statements=("REVOKE SELECT ON pg_catalog.pg_attribute FROM PUBLIC",)),),
        expected="error",
        also=("CM-BKP-001", "CM-BKP-002", "CM-BKP-003"),
        why_also="what a backup would lose is read from the same catalog",
        fix=(Sql(statements=("GRANT SELECT ON pg_catalog.pg_attribute TO PUBLIC",)),),
        as_admin=False,
    ),
]
