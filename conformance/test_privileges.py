"""What the application's role may do in its database: used where writing is allowed."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.judge import privileges as judge
from pytest_costmgmt.judge.own_use import own_use
from pytest_costmgmt.requirements.model import Requirements


@check(
    id="CM-PRV-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Every tenant is a schema, which koku creates while it runs; without CREATE on the"
        " database the first customer's data has nowhere to go."
    ),
    reference="koku api/iam/models.py (Tenant); db_functions/clone_schema.sql (CREATE SCHEMA)",
    after=("CM-CON-002",),
)
def test_create_on_database(costmgmt_catalog: Catalog) -> None:
    """The application's role MUST be able to create schemas in its database."""
    require(
        judge.create_on_database(
            costmgmt_catalog.privileges, costmgmt_catalog.server.event_triggers
        )
    )


@check(
    id="CM-PRV-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "The first migration creates tables in public. Since PostgreSQL 15 GRANT ALL ON DATABASE"
        " to a role that does not own it is not enough for that."
    ),
    reference="koku api/migrations/0001_initial.py; PostgreSQL 15's release notes (schema public)",
    after=("CM-CON-002",),
)
def test_create_on_public(costmgmt_catalog: Catalog) -> None:
    """The application's role MUST be able to use schema public and to create in it."""
    require(
        judge.create_on_public(costmgmt_catalog.privileges, costmgmt_catalog.server.event_triggers)
    )


@check(
    id="CM-PRV-003",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Every new database grants it to PUBLIC, so software takes it for granted; a hardening that"
        " revokes what PUBLIC has takes it away, and the first query that needs it fails."
    ),
    reference="PostgreSQL's documentation, Privileges: TEMPORARY is a default privilege of PUBLIC",
    after=("CM-CON-002",),
)
def test_temporary_tables(costmgmt_catalog: Catalog) -> None:
    """The application's role SHOULD be able to create temporary tables."""
    require(
        judge.temporary_tables(costmgmt_catalog.privileges, costmgmt_catalog.server.event_triggers)
    )


@check(
    id="CM-PRV-004",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Partitions are kept by triggers, and tenants cloned by functions, that migrations write in"
        " plpgsql."
    ),
    reference="koku db_functions/clone_schema.sql, partitioned_manage_trigger.sql",
    after=("CM-CON-002",),
)
def test_language(costmgmt_catalog: Catalog) -> None:
    """The application's role MUST be able to create functions in plpgsql."""
    require(judge.language(costmgmt_catalog.privileges))


@check(
    id="CM-PRV-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Only an owner may alter or drop. After a restore as postgres everything is there and"
        " readable, and the next migration fails with 'must be owner of table'."
    ),
    reference="PostgreSQL's documentation, ALTER TABLE and pg_restore --role; koku's migrations",
    after=("CM-CON-002",),
)
def test_ownership(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """What is in the application's schemas MUST belong to its role."""
    require(judge.ownership(costmgmt_catalog.privileges, costmgmt_requirements))


@check(
    id="CM-PRV-006",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "A REVOKE that is meant for others can shut out the owner, too, and so can row level"
        " security that is forced, a rule, and default privileges, which wait for the next table:"
        " the application fails, while an administrator sees all in order."
    ),
    reference="PostgreSQL's documentation, Privileges (an owner can revoke its own); Row Security"
    " Policies; ALTER DEFAULT PRIVILEGES",
    after=("CM-CON-002",),
)
def test_use_of_what_is_owned(costmgmt_catalog: Catalog) -> None:
    """The application's role MUST be able to use what it owns, and what it will create."""
    require(own_use(costmgmt_catalog.privileges))
