"""Planted faults of the group roles."""

from __future__ import annotations

from pathlib import Path

from tests.faults.model import Fault, Sql

# The healthy server has hive, so what is forbidden bears another name.
FORBIDDEN = str(Path(__file__).with_name("forbidden_metastore.toml"))


def admin(*statements: str, database: str = "") -> tuple[Sql, ...]:
    """Return what the administrator runs."""
    return (Sql(statements=statements, database=database),)


FAULTS = (
    Fault(
        id="rol-hive-may-not-log-in",
        check="CM-ROL-001",
        plant=admin("ALTER ROLE {hive_role} NOLOGIN"),
        also=("CM-CON-004",),
        why_also="hive's own login is refused",
    ),
    Fault(
        id="rol-hive-may-have-no-session",
        check="CM-ROL-001",
        plant=admin("ALTER ROLE {hive_role} CONNECTION LIMIT 0"),
        also=("CM-CON-004",),
        why_also="hive's own login is refused",
    ),
    Fault(
        id="rol-hive-role-missing",
        check="CM-ROL-001",
        # Renaming keeps its password, which no report could give back.
        plant=admin("ALTER ROLE {hive_role} RENAME TO costmgmt_gone"),
        also=("CM-ROL-011", "CM-CON-004"),
        why_also="hive's database belongs to another role, and hive's own login is refused",
        fix=admin("ALTER ROLE costmgmt_gone RENAME TO {hive_role}"),
    ),
    Fault(
        id="rol-database-is-a-template",
        check="CM-ROL-002",
        plant=admin("ALTER DATABASE {database} IS_TEMPLATE true"),
    ),
    Fault(
        id="rol-database-of-a-stranger",
        check="CM-ROL-003",
        plant=admin(
            "CREATE ROLE costmgmt_stranger",
            "ALTER DATABASE {database} OWNER TO costmgmt_stranger",
            "GRANT ALL ON DATABASE {database} TO {role}",
            "GRANT ALL ON SCHEMA public TO {role}",
        ),
    ),
    Fault(
        id="rol-superuser",
        check="CM-ROL-004",
        plant=admin("ALTER ROLE {role} SUPERUSER"),
    ),
    Fault(
        id="rol-superuser-by-membership",
        check="CM-ROL-004",
        plant=admin(
            "CREATE ROLE costmgmt_dba SUPERUSER",
            "CREATE ROLE costmgmt_team",
            "GRANT costmgmt_dba TO costmgmt_team",
            "GRANT costmgmt_team TO {hive_role}",
        ),
    ),
    Fault(
        id="rol-superuser-without-inherit",
        check="CM-ROL-004",
        plant=admin(
            "CREATE ROLE costmgmt_dba SUPERUSER",
            "ALTER ROLE {hive_role} NOINHERIT",
            "GRANT costmgmt_dba TO {hive_role}",
        ),
    ),
    Fault(
        # As RDS has it: what the role gives stands in no attribute.
        id="rol-superuser-of-a-managed-service",
        check="CM-ROL-004",
        plant=admin(
            "CREATE ROLE rds_superuser",
            "CREATE ROLE costmgmt_team",
            "GRANT rds_superuser TO costmgmt_team",
            "GRANT costmgmt_team TO {role}",
        ),
    ),
    Fault(
        id="rol-createrole",
        check="CM-ROL-005",
        plant=admin("ALTER ROLE {role} CREATEROLE"),
    ),
    Fault(
        id="rol-createdb",
        check="CM-ROL-005",
        plant=admin("ALTER ROLE {hive_role} CREATEDB"),
    ),
    Fault(
        id="rol-createdb-by-membership",
        check="CM-ROL-005",
        plant=admin("CREATE ROLE costmgmt_team CREATEDB", "GRANT costmgmt_team TO {role}"),
    ),
    Fault(
        id="rol-bypassrls",
        check="CM-ROL-006",
        plant=admin("ALTER ROLE {role} BYPASSRLS"),
    ),
    Fault(
        id="rol-bypassrls-by-membership",
        check="CM-ROL-006",
        plant=admin("CREATE ROLE costmgmt_team BYPASSRLS", "GRANT costmgmt_team TO {role}"),
    ),
    Fault(
        id="rol-reads-files",
        check="CM-ROL-007",
        plant=admin("GRANT pg_read_server_files TO {role}"),
    ),
    Fault(
        id="rol-runs-programs-by-membership",
        check="CM-ROL-007",
        plant=admin(
            "CREATE ROLE costmgmt_team",
            "GRANT pg_execute_server_program TO costmgmt_team",
            "GRANT costmgmt_team TO {hive_role}",
        ),
    ),
    Fault(
        id="rol-reads-files-by-function",
        check="CM-ROL-007",
        plant=admin("GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {role}"),
    ),
    Fault(
        id="rol-names-the-servers-programs",
        check="CM-ROL-007",
        plant=admin("GRANT ALTER SYSTEM ON PARAMETER archive_command TO {role}"),
    ),
    Fault(
        id="rol-loads-libraries-by-membership",
        check="CM-ROL-007",
        plant=admin(
            "CREATE ROLE costmgmt_team",
            "GRANT SET ON PARAMETER session_preload_libraries TO costmgmt_team",
            "GRANT costmgmt_team TO {hive_role}",
        ),
    ),
    Fault(
        id="rol-everybody-configures-the-server",
        check="CM-ROL-007",
        plant=admin(
            "CREATE ROLE costmgmt_team",
            "GRANT ALTER SYSTEM ON PARAMETER log_directory TO {hive_role} WITH GRANT OPTION",
            "SET ROLE {hive_role}",
            "GRANT ALTER SYSTEM ON PARAMETER log_directory TO {role}, costmgmt_team",
            "RESET ROLE",
            "GRANT SET, ALTER SYSTEM ON PARAMETER dynamic_library_path TO PUBLIC",
        ),
    ),
    Fault(
        id="rol-replication",
        check="CM-ROL-008",
        plant=admin("ALTER ROLE {hive_role} REPLICATION"),
    ),
    Fault(
        id="rol-database-open-to-all",
        check="CM-ROL-009",
        plant=admin("GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
        also=("CM-CON-009",),
        why_also="hive's login does enter it",
    ),
    Fault(
        id="rol-hive-database-open-to-the-application",
        check="CM-ROL-009",
        plant=admin("GRANT CONNECT ON DATABASE {hive_database} TO PUBLIC"),
    ),
    Fault(
        id="rol-application-is-a-member-of-hive",
        check="CM-ROL-009",
        plant=admin("GRANT {hive_role} TO {role}"),
    ),
    Fault(
        id="rol-database-open-to-all-without-hive",
        check="CM-ROL-010",
        plant=admin("GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
        requirements=FORBIDDEN,
    ),
    Fault(
        id="rol-hive-database-missing",
        check="CM-ROL-011",
        plant=admin("ALTER DATABASE {hive_database} RENAME TO costmgmt_gone"),
        also=("CM-CON-004",),
        why_also="hive's own login finds no database",
    ),
    Fault(
        id="rol-hive-database-of-a-stranger",
        check="CM-ROL-011",
        plant=admin(
            "CREATE ROLE costmgmt_stranger",
            "ALTER DATABASE {hive_database} OWNER TO costmgmt_stranger",
            "GRANT CONNECT ON DATABASE {hive_database} TO {hive_role}",
        ),
    ),
    Fault(
        id="rol-hive-database-closed",
        check="CM-ROL-011",
        plant=admin("ALTER DATABASE {hive_database} ALLOW_CONNECTIONS false"),
        also=("CM-CON-004",),
        why_also="hive's own login is refused",
    ),
    Fault(
        id="rol-forbidden-role-exists",
        check="CM-ROL-012",
        plant=admin("CREATE ROLE metastore LOGIN"),
        requirements=FORBIDDEN,
    ),
    Fault(
        id="rol-forbidden-database-exists",
        check="CM-ROL-012",
        plant=admin("CREATE DATABASE metastore"),
        # The report says to dump it first; that is a person's decision.
        fix=admin("DROP DATABASE metastore"),
        requirements=FORBIDDEN,
    ),
    Fault(
        id="rol-password-stored-as-md5",
        check="CM-ROL-013",
        plant=admin(
            "CREATE TABLE costmgmt_kept AS SELECT rolname, rolpassword FROM pg_catalog.pg_authid",
            "ALTER ROLE {hive_role} PASSWORD 'md5dc6bd4b4d1d3b0f1a9c0d8a7e6f5c4b3'",
            database="postgres",
        ),
        also=("CM-CON-004",),
        why_also="the planted verifier is of no password, so hive's own login is refused",
        # The report can only ask a person for the password.
        fix=admin(
            "DO $$ BEGIN EXECUTE (SELECT format('ALTER ROLE %I PASSWORD %L', rolname, rolpassword)"
            " FROM costmgmt_kept WHERE rolname = 'hive'); END $$",
            "DROP TABLE costmgmt_kept",
            database="postgres",
        ),
    ),
    Fault(
        id="rol-password-expired",
        check="CM-ROL-014",
        plant=admin("ALTER ROLE {hive_role} VALID UNTIL '2020-01-01'"),
        also=("CM-CON-004",),
        why_also="hive's own login is refused",
    ),
    Fault(
        id="rol-password-expires-soon",
        check="CM-ROL-015",
        plant=admin(
            "DO $$ BEGIN EXECUTE format('ALTER ROLE %s VALID UNTIL %L', '{hive_role}',"
            " now() + interval '10 days'); END $$"
        ),
    ),
)
