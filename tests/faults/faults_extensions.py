"""Planted faults of the group extensions."""

from __future__ import annotations

from tests.faults.model import Fault, Sql


def admin(*statements: str, database: str = "") -> tuple[Sql, ...]:
    """Return what the administrator runs."""
    return (Sql(statements=statements, database=database),)


FAULTS = (
    Fault(
        id="ext-missing-and-the-role-may-not-create",
        check="CM-EXT-001",
        plant=admin(
            "DROP EXTENSION pg_trgm CASCADE",
            "REVOKE CREATE ON DATABASE {database} FROM {role}",
        ),
        also=("CM-PRV-001",),
        why_also="CREATE on the database is a privilege that the group privileges judges",
    ),
    Fault(
        id="ext-missing-and-not-allowed-by-the-provider",
        check="CM-EXT-001",
        plant=admin(
            "DROP EXTENSION pg_trgm CASCADE",
            "ALTER DATABASE {database} SET azure.extensions = 'PG_STAT_STATEMENTS, UUID-OSSP'",
        ),
        fix=admin(
            "ALTER DATABASE {database} SET azure.extensions = 'uuid-ossp,pg_trgm'",
            "CREATE EXTENSION pg_trgm SCHEMA public",
        ),
    ),
    Fault(
        id="ext-missing-and-not-allowed-by-amazon",
        check="CM-EXT-001",
        plant=admin(
            "DROP EXTENSION pg_trgm CASCADE",
            "ALTER DATABASE {database} SET rds.allowed_extensions = 'pg_stat_statements,uuid-ossp'",
        ),
        fix=admin(
            "ALTER DATABASE {database} SET rds.allowed_extensions = '*'",
            "CREATE EXTENSION pg_trgm SCHEMA public",
        ),
    ),
    Fault(
        # What a dump without its extensions leaves, once it was restored.
        id="ext-missing-and-its-place-is-taken",
        check="CM-EXT-001",
        plant=admin(
            "DROP EXTENSION pg_trgm CASCADE",
            "CREATE FUNCTION public.similarity(text, text) RETURNS real LANGUAGE sql"
            " AS 'SELECT 1.0::real'",
            "ALTER FUNCTION public.similarity(text, text) OWNER TO {role}",
        ),
        fix=admin(
            "DROP FUNCTION public.similarity(text, text)",
            "CREATE EXTENSION pg_trgm SCHEMA public",
        ),
        options=("--costmgmt-allow", "scratch"),
    ),
    Fault(
        id="ext-pg-stat-statements-missing",
        check="CM-EXT-002",
        plant=admin("DROP EXTENSION pg_stat_statements"),
    ),
    Fault(
        id="ext-pg-stat-statements-not-preloaded",
        check="CM-EXT-003",
        conf=("shared_preload_libraries = ''",),
        also=("CM-SRV-010",),
        why_also="the setting itself is one of the server's",
    ),
    Fault(
        id="ext-pg-stat-statements-not-for-the-role",
        check="CM-EXT-003",
        plant=admin("REVOKE SELECT ON public.pg_stat_statements FROM PUBLIC"),
    ),
    Fault(
        id="ext-uuid-ossp-dropped-after-the-migrations",
        check="CM-EXT-004",
        plant=admin('DROP EXTENSION "uuid-ossp" CASCADE'),
    ),
    Fault(
        id="ext-pg-trgm-dropped-after-the-migrations",
        check="CM-EXT-004",
        plant=admin("DROP EXTENSION pg_trgm CASCADE"),
    ),
    Fault(
        id="ext-pg-trgm-in-another-schema",
        check="CM-EXT-005",
        plant=admin(
            "CREATE SCHEMA costmgmt_elsewhere",
            "GRANT USAGE ON SCHEMA costmgmt_elsewhere TO {role}",
            "ALTER EXTENSION pg_trgm SET SCHEMA costmgmt_elsewhere",
        ),
    ),
    Fault(
        id="ext-uuid-ossp-in-another-schema",
        check="CM-EXT-005",
        plant=admin(
            "CREATE SCHEMA costmgmt_elsewhere",
            "GRANT USAGE ON SCHEMA costmgmt_elsewhere TO {role}",
            'ALTER EXTENSION "uuid-ossp" SET SCHEMA costmgmt_elsewhere',
        ),
    ),
    Fault(
        id="ext-pg-stat-statements-in-another-schema",
        check="CM-EXT-009",
        plant=admin(
            "CREATE SCHEMA costmgmt_elsewhere",
            "GRANT USAGE ON SCHEMA costmgmt_elsewhere TO {role}",
            "ALTER EXTENSION pg_stat_statements SET SCHEMA costmgmt_elsewhere",
        ),
    ),
    Fault(
        id="ext-uuid-ossp-not-for-the-role",
        check="CM-EXT-006",
        plant=admin("REVOKE EXECUTE ON FUNCTION public.uuid_generate_v4() FROM PUBLIC"),
    ),
    Fault(
        id="ext-uuid-ossp-repeats-itself",
        check="CM-EXT-006",
        plant=admin(
            "ALTER FUNCTION public.uuid_generate_v4() RENAME TO costmgmt_kept",
            "CREATE FUNCTION public.uuid_generate_v4() RETURNS uuid LANGUAGE sql AS"
            " $$ SELECT '9c8df3b4-5c0e-4f0e-9d5c-0a4f0d9f2f11'::uuid $$",
            "ALTER FUNCTION public.uuid_generate_v4() OWNER TO {role}",
        ),
        # What was put there, and why, only a person can tell.
        fix=admin(
            "DROP FUNCTION public.uuid_generate_v4()",
            "ALTER FUNCTION public.costmgmt_kept() RENAME TO uuid_generate_v4",
        ),
    ),
    Fault(
        id="ext-pg-trgm-not-for-the-role",
        check="CM-EXT-007",
        plant=admin("REVOKE EXECUTE ON FUNCTION public.similarity(text, text) FROM PUBLIC"),
    ),
    Fault(
        id="ext-pg-stat-statements-tracks-nothing",
        check="CM-EXT-008",
        plant=admin("ALTER DATABASE {database} SET pg_stat_statements.track = 'none'"),
    ),
    Fault(
        id="ext-no-queryid-for-the-role",
        check="CM-EXT-008",
        plant=admin("ALTER ROLE {role} SET compute_query_id = 'off'"),
    ),
)
