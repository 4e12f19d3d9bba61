"""Extensions: installable, present, in schema public, and usable by the application's login."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.usability import UsabilityFacts
from pytest_costmgmt.judge import extensions as judge
from pytest_costmgmt.requirements.model import Requirements


@check(
    id="CM-EXT-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="The migrations create uuid-ossp and pg_trgm. That takes the extensions' files on the"
    " server (postgresql-contrib), extensions that are trusted, and CREATE on the database.",
    reference="koku api/migrations/0001_initial_squashed, reporting/migrations/0300;"
    " PostgreSQL: CREATE EXTENSION (trusted)",
)
def test_extensions_can_be_installed(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """Required extensions MUST be there, or installable by whoever is to create them."""
    require(
        judge.installable(
            costmgmt_catalog.extensions,
            costmgmt_requirements,
            costmgmt_catalog.privileges.used,
            costmgmt_catalog.server.event_triggers,
        )
    )


@check(
    id="CM-EXT-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-001",),
    rationale="pg_stat_statements is not trusted: only a superuser may create it, and koku's role"
    " is none, so its migration fails unless the extension is there before.",
    reference="koku api/migrations/0055_install_pg_stat_statements.py",
)
def test_administrators_extensions_are_there(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """Extensions that only an administrator may create MUST be there before the application."""
    require(judge.prepared(costmgmt_catalog.extensions, costmgmt_requirements))


@check(
    id="CM-EXT-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-002",),
    rationale="Without its library in shared_preload_libraries the extension can be created, and"
    " answers every query with an error.",
    reference="koku api/migrations/0055_install_pg_stat_statements.py",
)
def test_pg_stat_statements_answers(
    costmgmt_catalog: Catalog,
    costmgmt_usability: UsabilityFacts,
    costmgmt_requirements: Requirements,
) -> None:
    """pg_stat_statements MUST answer queries, not merely be installed."""
    require(
        judge.usable(
            costmgmt_catalog.extensions,
            costmgmt_usability,
            costmgmt_requirements,
            "pg_stat_statements",
        )
    )


@check(
    id="CM-EXT-004",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-001",),
    rationale="A migration that is recorded as applied does not run again: an extension that was"
    " dropped since, or lost in a restore, does not come back by itself.",
    reference="koku api/migrations/0001_initial_squashed (uuid-ossp),"
    " reporting/migrations/0300 (pg_trgm, with the first tenant)",
)
def test_migrated_extensions_are_there(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """Extensions that migrations have created MUST be there once these have run."""
    require(judge.migrated(costmgmt_catalog.extensions, costmgmt_requirements))


@check(
    id="CM-EXT-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="koku's CREATE EXTENSION IF NOT EXISTS is content with any schema, but its statements"
    " find functions and operator classes by the search path alone, which it sets to a tenant's"
    " schema and public: uuid_generate_v4() does not exist where uuid-ossp is elsewhere.",
    reference="koku api/migrations/0001_initial_squashed (SCHEMA public); django-tenants"
    " (search_path)",
)
def test_extensions_are_in_their_schema(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """Extensions that the application's statements use MUST be in schema public."""
    require(
        judge.schemas(costmgmt_catalog.extensions, costmgmt_requirements, created_by="application")
    )


@check(
    id="CM-EXT-006",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-004",),
    rationale="Primary keys are made by uuid_generate_v4(). The extension can be in the catalog"
    " while its library cannot be loaded (a lost libossp-uuid, a half-done upgrade).",
    reference="koku api/migrations/0001_initial_squashed (uuid_generate_v4())",
)
def test_uuid_ossp_generates(
    costmgmt_catalog: Catalog,
    costmgmt_usability: UsabilityFacts,
    costmgmt_requirements: Requirements,
) -> None:
    """uuid-ossp MUST generate random UUIDs for the application's login."""
    require(
        judge.usable(
            costmgmt_catalog.extensions, costmgmt_usability, costmgmt_requirements, "uuid-ossp"
        )
    )


@check(
    id="CM-EXT-007",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-004",),
    rationale="Searches by part of a name use trigram indexes: without a working pg_trgm they, and"
    " every write to the indexed tables, fail.",
    reference="koku reporting/migrations/0300 (gin_trgm_ops)",
)
def test_pg_trgm_compares(
    costmgmt_catalog: Catalog,
    costmgmt_usability: UsabilityFacts,
    costmgmt_requirements: Requirements,
) -> None:
    """pg_trgm MUST compare texts for the application's login."""
    require(
        judge.usable(
            costmgmt_catalog.extensions, costmgmt_usability, costmgmt_requirements, "pg_trgm"
        )
    )


@check(
    id="CM-EXT-008",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-003",),
    rationale="With pg_stat_statements.track = none or compute_query_id = off the view answers and"
    " stays empty: the day a query is slow, there is nothing to look at. koku works without.",
    reference="PostgreSQL: pg_stat_statements (configuration parameters)",
)
def test_pg_stat_statements_counts(
    costmgmt_usability: UsabilityFacts, costmgmt_requirements: Requirements
) -> None:
    """pg_stat_statements SHOULD count the calls of the application's queries."""
    require(judge.counted(costmgmt_usability, costmgmt_requirements))


@check(
    id="CM-EXT-009",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-EXT-002",),
    rationale="Whoever looks for slow queries asks the view by its name alone, with a search path"
    " of public: a provider's own schema hides it. koku works without.",
    reference="koku api/migrations/0055_install_pg_stat_statements.py",
)
def test_pg_stat_statements_is_in_its_schema(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """pg_stat_statements SHOULD be in schema public."""
    require(
        judge.schemas(
            costmgmt_catalog.extensions, costmgmt_requirements, created_by="administrator"
        )
    )
