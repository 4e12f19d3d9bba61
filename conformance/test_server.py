"""The server as a whole: version, encoding, clock, limits, libraries, settings, event triggers."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.judge import collations, keeping, session
from pytest_costmgmt.judge import server as judge
from pytest_costmgmt.requirements.model import Requirements


@check(
    id="CM-SRV-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Django refuses an older server when it connects, and koku's migrations use what older"
        " servers do not have."
    ),
    reference="Django's release notes, supported PostgreSQL (4.2: 12, 5.2: 14); koku Pipfile",
    after=("CM-CON-002",),
)
def test_version_floor(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """The server MUST be at least as new as the requirement set's oldest major version."""
    require(judge.version_floor(costmgmt_catalog.server, costmgmt_requirements))


@check(
    id="CM-SRV-002",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "After its end of life a major version gets no more corrections, also of security faults"
        " and of faults that lose data."
    ),
    reference="https://www.postgresql.org/support/versioning/",
    after=("CM-CON-002",),
)
def test_supported_version(costmgmt_catalog: Catalog, costmgmt_context: Context) -> None:
    """The server's major version SHOULD be supported by PostgreSQL's community."""
    require(judge.supported(costmgmt_catalog.server, costmgmt_context))


@check(
    id="CM-SRV-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Tags, account aliases and provider names are whatever customers wrote; another encoding"
        " refuses some of them, and SQL_ASCII takes bytes that no dump gives back."
    ),
    reference="koku docker-compose.yml (service db); Django's notes on databases: encoding UTF8",
    after=("CM-CON-002",),
)
def test_encoding(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """The application's database MUST be encoded in UTF8."""
    require(judge.encoding(costmgmt_catalog.server, costmgmt_requirements))


@check(
    id="CM-SRV-004",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "koku keeps its own time in UTC; in another zone a day that SQL cuts out of a timestamp is"
        " another day, and costs move from one to the next."
    ),
    reference="koku/settings.py (TIME_ZONE); koku docker-compose.yml (service db)",
    after=("CM-CON-002",),
)
def test_time_zone(
    costmgmt_catalog: Catalog,
    costmgmt_access: AccessFacts,
    costmgmt_requirements: Requirements,
    costmgmt_context: Context,
) -> None:
    """The application's sessions SHOULD be in UTC."""
    require(
        judge.time_zone(
            costmgmt_catalog.server,
            session.values(costmgmt_access),
            costmgmt_requirements,
            costmgmt_context,
        )
    )


@check(
    id="CM-SRV-005",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "koku compares timestamps of its own clock with those of the database (expiry of manifests,"
        " workers' heartbeats): a clock that is wrong starts work twice or never."
    ),
    reference="koku/settings.py (USE_TZ); masu/database/report_manifest_db_accessor.py",
    after=("CM-CON-002",),
)
def test_clock(costmgmt_access: AccessFacts) -> None:
    """The server's clock SHOULD agree with this machine's within five seconds."""
    require(judge.clock(costmgmt_access.session))


@check(
    id="CM-SRV-006",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "When the library that sorts text changes under an index (a new base image is enough),"
        " lookups miss rows and unique indexes admit duplicates."
    ),
    reference="PostgreSQL's documentation, ALTER DATABASE: REFRESH COLLATION VERSION",
    after=("CM-CON-002",),
)
def test_database_collation(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements, costmgmt_context: Context
) -> None:
    """The application's databases MUST sort text by the version that built their indexes."""
    require(collations.databases(costmgmt_catalog.server, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-SRV-007",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "A mismatch in template1 makes CREATE DATABASE fail (hive's, a restore's); one in a"
        " collation that a column uses spoils its indexes."
    ),
    reference="PostgreSQL's documentation, CREATE DATABASE; ALTER COLLATION: REFRESH VERSION",
    after=("CM-CON-002",),
)
def test_other_collations(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements, costmgmt_context: Context
) -> None:
    """template1 and the collations that objects use SHOULD be of the version that sorts now."""
    require(collations.others(costmgmt_catalog.server, costmgmt_requirements, costmgmt_context))


@check(
    id="CM-SRV-008",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "API, workers, masu and listener hold one connection for each process; the one that finds"
        " none left fails with 'too many connections', mostly at the busiest hour."
    ),
    reference="koku docker-compose.yml (service db: max_connections=1710)",
    after=("CM-CON-002",),
)
def test_connection_headroom(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements, costmgmt_context: Context
) -> None:
    """As many connections as the application opens at once MUST be there for it."""
    require(
        judge.connection_headroom(costmgmt_catalog.server, costmgmt_requirements, costmgmt_context)
    )


@check(
    id="CM-SRV-009",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "Creating, dropping and dumping a tenant's schema locks its 264 tables and 1,500 indexes in"
        " one transaction; a small table of locks ends it with 'out of shared memory'."
    ),
    reference="koku docker-compose.yml (service db: max_locks_per_transaction=72)",
    after=("CM-CON-002",),
)
def test_lock_table(costmgmt_catalog: Catalog, costmgmt_requirements: Requirements) -> None:
    """max_locks_per_transaction SHOULD be at least what the requirement set asks for."""
    require(judge.lock_table(costmgmt_catalog.server, costmgmt_requirements))


@check(
    id="CM-SRV-010",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "pg_stat_statements can be created without its library, and koku's migration passes; every"
        " query of it then fails with 'must be loaded via shared_preload_libraries'."
    ),
    reference="koku api/migrations/0055_install_pg_stat_statements.py; koku docker-compose.yml",
    after=("CM-CON-002",),
)
def test_preloaded_libraries(
    costmgmt_catalog: Catalog, costmgmt_requirements: Requirements
) -> None:
    """The libraries that the requirement set names MUST be loaded at the server's start."""
    require(judge.preloaded(costmgmt_catalog.server, costmgmt_requirements))


@check(
    id="CM-SRV-011",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "What ALTER ROLE, ALTER DATABASE or the server's files set reaches every session of the"
        " application: read-only by default, another search_path, a statement_timeout shorter than"
        " the creation of a tenant's schema (86 to 106 s) break it far from their cause. A"
        " pooler in transaction mode lets one tenant's search_path reach another's request."
    ),
    reference="koku db_functions/clone_schema.sql; PostgreSQL's documentation, ALTER ROLE",
    after=("CM-CON-002",),
)
def test_session_settings(
    costmgmt_catalog: Catalog, costmgmt_access: AccessFacts, costmgmt_context: Context
) -> None:
    """No setting of role, database or server MUST break the application's sessions."""
    require(
        session.session_settings(
            costmgmt_catalog.server,
            session.values(costmgmt_access),
            costmgmt_context,
            shared=costmgmt_access.session is not None and costmgmt_access.session.shared,
        )
    )


@check(
    id="CM-SRV-012",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "An event trigger can refuse any CREATE, ALTER or DROP, whatever the privileges say:"
        " migrations, new tenants and monthly partitions then fail."
    ),
    reference="koku's migrations; PostgreSQL's documentation, Event Triggers",
    after=("CM-CON-002",),
)
def test_event_triggers(costmgmt_catalog: Catalog, costmgmt_context: Context) -> None:
    """Event triggers MUST NOT forbid the application's data definition."""
    require(
        judge.event_triggers(
            costmgmt_catalog.server, costmgmt_catalog.privileges.used, costmgmt_context
        )
    )


@check(
    id="CM-SRV-013",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    rationale=(
        "fsync or autovacuum is turned off for a fast import or a repair, and stays so: all is"
        " well until the machine crashes, or until dead rows have filled the disk. A forgotten"
        " prepared transaction or replication slot keeps rows from being frozen: all is well until"
        " no transaction id is left, and the server refuses every write."
    ),
    reference="PostgreSQL's documentation, Write Ahead Log (fsync); Routine Vacuuming (Preventing"
    " Transaction ID Wraparound Failures); Developer Options",
    after=("CM-CON-002",),
)
def test_what_is_stored_is_kept(costmgmt_catalog: Catalog, costmgmt_context: Context) -> None:
    """No setting, and no lack of transaction ids, SHOULD put what is stored at risk."""
    require(keeping.kept(costmgmt_catalog.server, costmgmt_context))
