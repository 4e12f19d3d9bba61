"""Planted faults of the group connection.

Standbys and strangers on the port are no copies of the healthy server:
tests/server/test_access_logins.py and test_connect_strangers.py plant them.
"""

from __future__ import annotations

from tests.faults.model import Fault, Sql


def admin(*statements: str, database: str = "postgres") -> tuple[Sql, ...]:
    """Return what the administrator runs."""
    return (Sql(statements=statements, database=database),)


# The report can only say \password: the test keeps the verifier and puts it back.
KEEP_HIVES = (
    "CREATE TABLE kept AS SELECT rolpassword AS verifier FROM pg_authid WHERE rolname = 'hive'"
)
RESTORE_HIVES = admin(
    "DO $do$ BEGIN EXECUTE format('ALTER ROLE {hive_role} PASSWORD %L',"
    " (SELECT verifier FROM kept)); END $do$",
    "DROP TABLE kept",
)

FAULTS = (
    Fault(
        id="con-no-connections-for-the-database",
        check="CM-CON-001",
        plant=admin("ALTER DATABASE {database} CONNECTION LIMIT 0"),
        expected="error",
        options=("--costmgmt-connect-timeout", "1"),
        fix=admin("ALTER DATABASE {database} CONNECTION LIMIT -1"),
    ),
    Fault(
        id="con-password-changed",
        check="CM-CON-002",
        plant=admin(
            "CREATE TABLE kept_koku AS SELECT rolpassword AS verifier"
            " FROM pg_authid WHERE rolname = 'koku'",
            "ALTER ROLE {role} PASSWORD 'changed-behind-our-back'",
        ),
        expected="error",
        fix=admin(
            "DO $do$ BEGIN EXECUTE format('ALTER ROLE {role} PASSWORD %L',"
            " (SELECT verifier FROM kept_koku)); END $do$",
            "DROP TABLE kept_koku",
        ),
    ),
    Fault(
        id="con-no-privilege-connect",
        check="CM-CON-002",
        plant=admin("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, {role}"),
    ),
    Fault(
        id="con-database-closed",
        check="CM-CON-002",
        plant=admin("ALTER DATABASE {database} ALLOW_CONNECTIONS false"),
    ),
    Fault(
        id="con-database-missing",
        check="CM-CON-002",
        plant=admin("ALTER DATABASE {database} RENAME TO costmgmt_gone"),
        # The report's fix makes an empty one: right for who has none.
        fix=admin("ALTER DATABASE costmgmt_gone RENAME TO {database}"),
    ),
    Fault(
        id="con-server-read-only",
        check="CM-CON-003",
        plant=admin(
            "ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"
        ),
        also=("CM-SRV-011",),
        why_also="the same setting breaks the application's sessions",
    ),
    Fault(
        id="con-all-roles-read-only",
        check="CM-CON-003",
        plant=admin("ALTER ROLE ALL SET default_transaction_read_only = on"),
        also=("CM-SRV-011",),
        why_also="the same setting breaks the application's sessions",
    ),
    Fault(
        id="con-commits-wait-for-a-standby-that-is-gone",
        check="CM-CON-003",
        plant=admin(
            "ALTER DATABASE {database} SET synchronous_commit = on",
            "ALTER SYSTEM SET synchronous_standby_names = 'gone'",
            "SELECT pg_reload_conf()",
        ),
    ),
    Fault(
        id="con-hives-password-changed",
        check="CM-CON-004",
        plant=admin(KEEP_HIVES, "ALTER ROLE {hive_role} PASSWORD 'changed-behind-our-back'"),
        fix=RESTORE_HIVES,
    ),
    Fault(
        id="con-hive-without-its-database",
        check="CM-CON-004",
        plant=admin("REVOKE CONNECT ON DATABASE {hive_database} FROM {hive_role}"),
    ),
    Fault(
        id="con-trust-for-everybody",
        check="CM-CON-005",
        hba=("local all koku trust", "local all hive trust"),
        also=("CM-CON-006", "CM-CON-007"),
        why_also="no password is asked, so there is no SCRAM, and a wrong one is let in",
        fix="shell",
    ),
    Fault(
        id="con-trust-for-hive",
        check="CM-CON-005",
        hba=("local hive hive trust",),
        fix="shell",
    ),
    Fault(
        id="con-trust-for-a-group",
        check="CM-CON-005",
        plant=admin("CREATE ROLE costmgmt_team", "GRANT costmgmt_team TO {role}"),
        hba=("local samerole +costmgmt_nobody reject", "local samerole +costmgmt_team trust"),
        also=("CM-CON-006", "CM-CON-007"),
        why_also="no password is asked, so there is no SCRAM, and a wrong one is let in",
        fix="shell",
    ),
    Fault(
        id="con-trust-for-whoever-comes-without-tls",
        check="CM-CON-005",
        hba=("hostssl all all all scram-sha-256", "hostnossl all koku all trust"),
        fix="shell",
        network=True,
    ),
    Fault(
        id="con-trust-for-hive-without-tls",
        check="CM-CON-005",
        hba=("hostnossl hive hive all trust",),
        fix="shell",
        network=True,
    ),
    Fault(
        id="con-password-in-clear",
        check="CM-CON-006",
        hba=("local all koku password",),
        fix=(),
    ),
    Fault(
        id="con-wrong-password-let-in",
        check="CM-CON-007",
        hba=("local koku koku trust",),
        also=("CM-CON-005", "CM-CON-006"),
        why_also="it is trust that lets a wrong password in",
        fix="shell",
    ),
    Fault(
        id="con-hive-enters",
        check="CM-CON-009",
        plant=admin("GRANT CONNECT ON DATABASE {database} TO {hive_role}"),
        also=("CM-ROL-009",),
        why_also="the privilege is there, and the login uses it",
    ),
    Fault(
        id="con-server-without-tls",
        check="CM-CON-008",
        conf=("ssl = off",),
        network=True,
    ),
    Fault(
        id="con-tls-turned-away-in-favour-of-plain-text",
        check="CM-CON-008",
        hba=("hostssl all koku all reject",),
        fix=(),
        network=True,
    ),
    Fault(
        id="con-tls-not-asked-for",
        check="CM-CON-008",
        plant_environ={"PGSSLMODE": "disable"},
        fix=(),
        network=True,
    ),
    Fault(
        id="con-administrator-of-another-server",
        check="CM-CON-010",
        elsewhere="stranger",
        fix=(),
    ),
    Fault(
        id="con-administrator-of-a-clone",
        check="CM-CON-010",
        elsewhere="clone",
        fix=(),
    ),
    Fault(
        id="con-identity-that-may-not-be-seen",
        check="CM-CON-010",
        plant=(Sql(statements=("REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC",)),),
        expected="unverifiable",
        fix=(Sql(statements=("GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC",)),),
    ),
)
