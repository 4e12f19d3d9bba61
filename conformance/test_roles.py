"""Databases and roles: who exists, who owns, who may too much, who may enter."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.judge import powers
from pytest_costmgmt.judge import roles as judge
from pytest_costmgmt.requirements.model import Requirements


@check(
    id="CM-ROL-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="api.0039 creates role hive or fails; the application's role may not create roles, so"
    " it must be there before. The migration swallows refusals: its success proves nothing.",
    reference="koku/configurator.py (DATABASE_USER); koku api/migrations/0039_create_hive_db.py",
)
def test_roles_may_log_in(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """The application's role, and hive's where it is required, MUST exist and have LOGIN."""
    require(judge.login_roles(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="Tools take database postgres for granted and may use or drop what is in it; a"
    " template is copied into each new database and cannot be dropped or restored over.",
    reference="koku/configurator.py (DATABASE_NAME); PostgreSQL: Template Databases",
)
def test_application_has_its_own_database(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's database MUST be its own: not postgres, and no template."""
    require(judge.own_database(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="Owning the database gives CREATE on it (tenant schemas, trusted extensions) and,"
    " from PostgreSQL 15 on, on schema public. GRANT ALL ON DATABASE does not: migrations then"
    " fail with 'permission denied for schema public'.",
    reference="koku api/migrations/0001_initial_squashed; PostgreSQL 15 release notes (public)",
)
def test_application_owns_its_database(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's role MUST own its database, by itself or by inheritance."""
    require(judge.database_owner(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-004",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="A superuser reads every database and runs programs on the server: one SQL injection"
    " would be the server's end. koku needs none of it.",
    reference="koku-onprem's own tests (attributes of role koku); PostgreSQL: Role Attributes",
)
def test_no_superuser(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """The application's roles MUST NOT be superusers, nor be able to become one."""
    require(powers.superusers(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="CREATEROLE gives, before PostgreSQL 16, every role that is no superuser, those that"
    " run programs included; hive is prepared by the administrator instead.",
    reference="koku-onprem's own tests (role koku lacks CREATEROLE and CREATEDB);"
    " PostgreSQL: Role Attributes",
)
def test_no_creation_of_roles_or_databases(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's roles MUST NOT have CREATEROLE or CREATEDB, nor get them by SET ROLE."""
    require(powers.creators(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-006",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="BYPASSRLS makes row level security void, on every table of every database that the"
    " role may read. koku has no use for it.",
    reference="PostgreSQL: Row Security Policies",
)
def test_no_bypass_of_row_security(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's roles MUST NOT have BYPASSRLS, nor get it by SET ROLE."""
    require(powers.row_security(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-007",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="Who reads the server's files reads every password's verifier and every table; who"
    " runs its programs is the server's account. Either is a superuser by another name.",
    reference="PostgreSQL: Predefined Roles (pg_read_server_files, pg_write_server_files,"
    " pg_execute_server_program); GRANT ... ON PARAMETER",
)
def test_no_way_to_the_servers_files(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's roles MUST NOT be able to reach the server's files or programs."""
    require(powers.server_files(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-008",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="REPLICATION lets a role copy the whole server, all databases and verifiers, if"
    " pg_hba.conf has a line for it; and its slots can fill the disk.",
    reference="PostgreSQL: Role Attributes (initiating replication)",
)
def test_no_replication(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """The application's roles SHOULD NOT have REPLICATION, nor get it by SET ROLE."""
    require(powers.replication(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-009",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-ROL-001", "CM-ROL-011"),
    rationale="PostgreSQL lets every role into every database unless CONNECT is taken from PUBLIC."
    " koku's migration takes it for its own database only, and only if it is allowed to.",
    reference="koku api/migrations/0039_create_hive_db.py",
)
def test_roles_stay_in_their_databases(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's role and hive MUST NOT be able to enter each other's databases."""
    require(judge.strangers(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-010",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="PostgreSQL lets every role into every database unless CONNECT is taken from PUBLIC;"
    " without hive no migration of koku does that.",
    reference="koku api/migrations/0039_create_hive_db.py (returns early with ONPREM=True)",
)
def test_database_is_not_open_to_all(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """Where there is no hive, the application's database SHOULD NOT be open to every role."""
    require(judge.public_entry(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-011",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="The metastore keeps its tables in this database and creates them itself, so it must"
    " own it; api.0039 creates it or fails, and the application's role may not create databases.",
    reference="koku api/migrations/0039_create_hive_db.py",
)
def test_hive_owns_its_database(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """Where hive is required, its database MUST exist, be owned by hive and accept connections."""
    require(judge.hive_database(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-012",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="With ONPREM=True nothing uses hive: a login that nobody watches, often with the"
    " password 'hive'. The product's own tests assert that role and database are absent.",
    reference="koku api/migrations/0039_create_hive_db.py (ONPREM=True); koku-onprem's own tests",
)
def test_hive_is_absent(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """Where hive is forbidden, neither its role nor its database MUST exist."""
    require(judge.hive_absent(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-013",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="An md5 verifier is as good as the password to whoever reads it (from a dump, say),"
    " and PostgreSQL 18 calls it deprecated. PostgreSQL 13 stores md5 by default.",
    reference="PostgreSQL: Password Authentication; PostgreSQL 18 release notes (md5)",
)
def test_passwords_are_stored_as_scram(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The passwords of the application's roles SHOULD be stored as SCRAM verifiers."""
    require(judge.verifiers(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-014",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="The server takes a password no more once its validity ended, and says only that"
    " authentication failed: it looks like a wrong password.",
    reference="PostgreSQL: ALTER ROLE (VALID UNTIL)",
)
def test_passwords_are_valid(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The validity of the application's roles' passwords MUST NOT have ended."""
    require(judge.expired(costmgmt_catalog.roles, costmgmt_requirements))


@check(
    id="CM-ROL-015",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-ROL-014",),
    rationale="From that moment on every new connection is refused, while those that are open stay:"
    " the application fails piece by piece, and not when anything was changed.",
    reference="PostgreSQL: ALTER ROLE (VALID UNTIL)",
)
def test_passwords_stay_valid(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The application's roles' passwords SHOULD stay valid for the next 30 days."""
    require(judge.expiring(costmgmt_catalog.roles, costmgmt_requirements))
