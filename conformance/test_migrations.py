"""Migrations: what the application has, and what every schema of it records."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.migrations import MigrationFacts
from pytest_costmgmt.judge import migrations as judge
from pytest_costmgmt.requirements.model import Requirements

_LOADER = "Django's MigrationLoader, as `migrate_schemas --check` uses it in every schema"
_TENANTS = "koku api/iam/models.py (Tenant); django-tenants (migrate_schemas)"


@check(
    id="CM-MIG-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="Without its django_migrations a schema is taken for an empty one: the next start"
    " applies every migration to tables that are already there, and fails. It fails too where rows"
    " came without their sequences, as logical replication brings them.",
    reference=_TENANTS,
)
def test_every_schema_records_its_migrations(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """Every schema of the application MUST record its migrations; an empty database has none."""
    require(judge.recorded(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-001"),
    rationale="koku's own check compares only the last name of each app and ignores org* schemas:"
    " a migration missing in the middle, or in one tenant, is an error at that customer's first"
    " request.",
    reference=_LOADER,
)
def test_every_migration_is_applied(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """Every schema MUST have every migration of the application."""
    require(judge.missing(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-001"),
    rationale="After a rollback of the application, or a restore from a newer one, tables are not"
    " what its code reads and writes; Django says nothing of it.",
    reference=_LOADER,
)
def test_no_schema_is_ahead(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """A schema MUST NOT have migrations that are newer than the application."""
    require(judge.ahead(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-004",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-001"),
    rationale="Django refuses to migrate such a schema at all (InconsistentMigrationHistory), so"
    " the next upgrade stops in the middle of the tenants.",
    reference="Django's MigrationLoader.check_consistent_history",
)
def test_dependencies_are_applied_first(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """A migration MUST NOT be applied while one that it depends on is not."""
    require(judge.inconsistent(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-001"),
    rationale="A tenant whose schema is gone has lost its data, and stops the migration of all"
    " tenants that come after it. One of which a part is gone, though its migrations are recorded,"
    " is what a restore leaves that went on after an error.",
    reference=_TENANTS,
)
def test_every_tenant_has_its_schema(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """Every tenant MUST have its schema, with the tables, keys and triggers of its template."""
    require(judge.tenants(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-006",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-005"),
    rationale="New tenants are cloned from the template schema. Without it koku makes it anew while"
    " the first request of the next customer waits, for minutes.",
    reference="koku api/iam/models.py (Tenant.create_schema)",
)
def test_the_template_schema_is_there(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """The template schema SHOULD be there once there are tenants."""
    require(judge.template(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-007",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-005"),
    rationale="The application neither serves nor migrates a schema without a tenant: it works, but"
    " a customer's data is out of reach if it was the tenant's row that went.",
    reference=_TENANTS,
)
def test_every_schema_has_its_tenant(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """A schema that records migrations SHOULD belong to a tenant."""
    require(judge.orphans(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-MIG-008",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002", "CM-MIG-001"),
    rationale="Records that outlived their migrations (squashed, or of an app that was removed) are"
    " ignored by Django, until a new migration gets the same name: it is never applied.",
    reference="Django's `migrate --prune`",
)
def test_every_record_is_known(
    costmgmt_migration_facts: MigrationFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """A record of a migration that the application gave up SHOULD be pruned."""
    require(judge.leftovers(costmgmt_migration_facts, costmgmt_requirements, costmgmt_context))
