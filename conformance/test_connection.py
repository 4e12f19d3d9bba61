"""Connection: what answers, who is let in and by what, and whether it can be written to."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.judge import authentication
from pytest_costmgmt.judge import connection as judge
from pytest_costmgmt.requirements.model import Requirements


@check(
    id="CM-CON-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-002",),
    rationale="Whatever cannot be reached proves nothing about itself: one error, and all else is"
    " blocked by it.",
    reference="koku/configurator.py (DATABASE_SERVICE_HOST, DATABASE_SERVICE_PORT)",
)
def test_server_answers(costmgmt_access: AccessFacts) -> None:
    """A PostgreSQL MUST answer where the target says it is."""
    require(judge.reach(costmgmt_access))


@check(
    id="CM-CON-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-001",),
    rationale="koku gives exactly this role, password and database, and works as whoever it then"
    " is: another current_user would own what it creates.",
    reference="koku/configurator.py (DATABASE_USER, DATABASE_NAME, DATABASE_PASSWORD)",
)
def test_application_opens_its_database(
    costmgmt_access: AccessFacts, costmgmt_requirements: Requirements
) -> None:
    """The application's login MUST open its own database, as itself."""
    require(judge.own_database(costmgmt_access, costmgmt_requirements))


@check(
    id="CM-CON-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="A standby answers every query and refuses every write: koku's migrations and all"
    " ingestion fail on it. A primary whose synchronous standby is gone lets every commit wait; one"
    " that has no transaction ids left refuses every write.",
    reference="PostgreSQL: Hot Standby; pg_is_in_recovery(); synchronous_standby_names; Preventing"
    " Transaction ID Wraparound Failures",
)
def test_server_is_primary(costmgmt_access: AccessFacts) -> None:
    """The server MUST be a primary that can be written to."""
    require(judge.primary(costmgmt_access))


@check(
    id="CM-CON-004",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="koku's migration 0039 passes when role hive merely exists: only a login proves that"
    " the metastore can work.",
    reference="koku api/migrations/0039_create_hive_db.py",
)
def test_hive_opens_its_database(
    costmgmt_access: AccessFacts, costmgmt_requirements: Requirements
) -> None:
    """Where hive is required, its login MUST open its own database, as itself."""
    require(judge.hive_login(costmgmt_access, costmgmt_requirements))


@check(
    id="CM-CON-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="With trust in pg_hba.conf whoever reaches the port is the role that he names, with"
    " all cost data; one line for connections without TLS is enough. Certificates, Kerberos tickets"
    " and the system's accounts prove who one is.",
    reference="PostgreSQL: Trust Authentication; the sclorg image's pg_hba.conf (localhost)",
)
def test_nothing_offered_is_refused(costmgmt_access: AccessFacts) -> None:
    """A login that offers neither password nor certificate nor ticket MUST NOT be let in."""
    require(authentication.trust(costmgmt_access))


@check(
    id="CM-CON-006",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="md5's answer can be replayed from a stolen verifier, and password sends it in clear;"
    " PostgreSQL 18 warns of md5. Images of PostgreSQL 13 still use it.",
    reference="PostgreSQL: Password Authentication; libpq require_auth",
)
def test_scram_is_used(costmgmt_access: AccessFacts) -> None:
    """The server SHOULD ask for passwords by SCRAM-SHA-256."""
    require(authentication.scram(costmgmt_access))


@check(
    id="CM-CON-007",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="A right password that is let in proves nothing where any is: a login by a port-"
    "forward reaches trust lines of localhost.",
    reference="PostgreSQL: SQLSTATE 28P01; --costmgmt-failed-logins (lockouts are the customer's)",
)
def test_wrong_password_is_refused(costmgmt_access: AccessFacts) -> None:
    """A wrong password MUST be refused."""
    require(authentication.wrong_password(costmgmt_access))


@check(
    id="CM-CON-008",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="koku's default is libpq's sslmode prefer, which falls back to plain text without a"
    " word; DATABASE_SERVICE_CERT makes it verify-full.",
    reference="koku/database.py (DATABASE_SERVICE_CERT); libpq sslmode",
)
def test_connection_is_encrypted(costmgmt_access: AccessFacts, costmgmt_context: Context) -> None:
    """A connection over the network SHOULD be encrypted."""
    require(judge.tls(costmgmt_access, mode=costmgmt_context.mode))


@check(
    id="CM-CON-009",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-004",),
    rationale="The metastore has no business in cost data. The other way round is koku's own:"
    " migration 0039 grants its role CONNECT on hive's database.",
    reference="koku api/migrations/0039_create_hive_db.py (revoke connect)",
)
def test_hive_stays_out(costmgmt_access: AccessFacts, costmgmt_requirements: Requirements) -> None:
    """A login of hive to the application's database MUST be refused."""
    require(judge.intrusion(costmgmt_access, costmgmt_requirements))


@check(
    id="CM-CON-010",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="Catalogs are read by the administrator's login where there is one: of another"
    " server, they would prove nothing.",
    reference="PostgreSQL: pg_control_system()",
)
def test_administrator_reaches_the_same_server(costmgmt_access: AccessFacts) -> None:
    """An administrator's login that was given MUST lead to the same server."""
    require(judge.administrator(costmgmt_access))
