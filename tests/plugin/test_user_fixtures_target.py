"""The fixtures on a server that is not ours: only when allowed, and nothing stays."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.spellings import url
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers import embedded
from tests.plugin.conftest import Run

ROLE, DATABASE = "Kök-u r", "Kök-u db"
TESTS = """
import pytest
def test_server(costmgmt_server):
    assert not costmgmt_server.ours
@pytest.mark.parametrize("number", range(3))
def test_database(costmgmt_connection, number):
    role, database = costmgmt_connection.execute(
        "SELECT current_user, current_database()").fetchone()
    assert role == "Kök-u r"
    assert database.startswith("costmgmt_")
    assert costmgmt_connection.execute("SELECT similarity('a', 'a')").fetchone() == (1,)
    costmgmt_connection.execute("CREATE TABLE mine ()")
    costmgmt_connection.commit()
"""


class Bed:
    """A server as a customer has it."""

    def __init__(self, administrator: Login, application: Login, log: Path) -> None:
        self.administrator, self.application, self.log = administrator, application, log

    def refused(self) -> int:
        """Return how many logins the server has refused."""
        return self.log.read_text().count("FATAL:  password authentication failed")

    def environ(self, **more: str) -> dict[str, str]:
        """Return the settings by environment, where passwords may stand."""
        return {
            "COSTMGMT_DSN": url(self.application),
            "COSTMGMT_ADMIN_DSN": url(self.administrator),
            **more,
        }

    def shape(self) -> list[tuple[object, ...]]:
        """Return what a fixture must leave as it was."""
        with connect(self.administrator, deadline=10) as connection:
            databases = connection.execute("SELECT datname, datdba, datacl::text FROM pg_database")
            roles = connection.execute("SELECT oid, rolname, rolcreatedb FROM pg_roles")
            return sorted(map(tuple, databases)) + sorted(map(tuple, roles))


@pytest.fixture(scope="module")
def bed(programs: Programs) -> Iterator[Bed]:
    """A server whose application's role and database have names that need quoting."""
    instance = embedded.start(run_id="target", programs=programs)
    try:
        needs = load().named(role=ROLE, database=DATABASE)
        done = initialize(instance.superuser, requirements=needs, ours=True).require()
        yield Bed(instance.superuser, done.application, instance.log)
    finally:
        instance.stop()


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_is_allowed_is_done_and_removed(run: Run, bed: Bed, workers: str) -> None:
    """With --costmgmt-allow=scratch databases are made on it, and none stays."""
    if workers != "0":
        pytest.importorskip("xdist")
    before = bed.shape()
    ran = run(
        *(["-n", workers] if workers != "0" else []),
        "--costmgmt-allow=scratch",
        files={"test_user.py": TESTS},
        environ=bed.environ(),
        report=False,
    )
    assert ran.status == 0, ran.out
    assert "4 passed" in ran.out
    assert bed.shape() == before


def test_without_leave_nothing_is_created(run: Run, bed: Bed) -> None:
    """A server that is not ours is read only: the test that would write errors with the way."""
    before = bed.shape()
    ran = run(files={"test_user.py": TESTS}, environ=bed.environ(), report=False)
    assert "1 passed, 3 errors" in ran.out, ran.out
    assert ran.out.count("give --costmgmt-allow=scratch") >= 1
    assert ran.out.count("\nas told above: ") == 2
    assert bed.shape() == before


def test_a_role_that_may_not_create_databases_says_who_may(run: Run, bed: Bed) -> None:
    """Without an administrator's login the cause names the option that gives one."""
    before = bed.shape()
    environ = {"COSTMGMT_DSN": url(bed.application)}
    ran = run(
        "--costmgmt-allow=scratch", files={"test_user.py": TESTS}, environ=environ, report=False
    )
    assert "1 passed, 3 errors" in ran.out, ran.out
    assert "--costmgmt-admin-dsn" in ran.out
    assert bed.shape() == before


def test_a_role_that_may_create_databases_needs_no_administrator(run: Run, bed: Bed) -> None:
    """CREATEDB is enough where the requirements' extensions are; the role keeps what it has."""
    with connect(bed.administrator, deadline=10) as connection:
        name = sql.Identifier(ROLE)
        connection.execute(sql.SQL("ALTER ROLE {} CREATEDB").format(name))
        try:
            before = bed.shape()
            ran = run(
                "--costmgmt-allow=scratch",
                files={"test_user.py": TESTS},
                environ={"COSTMGMT_DSN": url(bed.application)},
                report=False,
            )
            # Only a superuser may create pg_stat_statements: the cause says what to run.
            assert "1 passed, 3 errors" in ran.out, ran.out
            assert "pg_stat_statements" in ran.out
            assert bed.shape() == before
        finally:
            connection.execute(sql.SQL("ALTER ROLE {} NOCREATEDB").format(name))


def test_a_server_that_cannot_be_reached_is_asked_once(run: Run, bed: Bed) -> None:
    """A refused password counts at somebody else's server: two workers, one attempt."""
    pytest.importorskip("xdist")
    before = bed.refused()
    wrong = url(bed.application).replace("@", "-wrong@", 1)
    ran = run(
        "-n", "2", files={"test_user.py": TESTS}, environ={"COSTMGMT_DSN": wrong}, report=False
    )
    assert "4 errors" in ran.out, ran.out
    assert "28P01" in ran.out
    assert bed.refused() == before + 1
    bodies = ran.out.split("short test summary info")[0]
    assert bodies.count("\nas told above: ") == 3, ran.out
    assert bodies.count("\ncostmgmt_server: ") == 1, ran.out


STAYS = """
import os
from psycopg import sql
from pytest_costmgmt.postgres.connect import connect
def test_first(costmgmt_connection):
    pass
def test_marks(costmgmt_database, costmgmt_server):
    with connect(costmgmt_server.administrator, deadline=10) as c:
        c.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(
            sql.Identifier(costmgmt_database.name)))
def test_crashes(costmgmt_database):
    os._exit(1)
def test_last(costmgmt_connection):
    pass
"""


def test_one_that_cannot_be_removed_does_not_keep_the_others(run: Run, bed: Bed) -> None:
    """What a crashed worker left goes; the database that cannot is named, and is all that stays."""
    pytest.importorskip("xdist")
    before = {str(row[0]) for row in bed.shape()}
    ran = run(
        *("-n", "1", "--costmgmt-allow=scratch"),
        files={"test_user.py": STAYS},
        environ=bed.environ(),
        report=False,
    )
    left = {str(row[0]) for row in bed.shape()} - before
    with connect(bed.administrator, deadline=10) as connection:
        for name in left:
            place = sql.Identifier(name)
            connection.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE false").format(place))
            connection.execute(sql.SQL("DROP DATABASE {}").format(place))
    assert len(left) == 1, ran.out
    assert f"costmgmt: database {left.pop()} is left on " in ran.out, ran.out


FAILS = """
def test_fails(costmgmt_connection):
    assert costmgmt_connection.closed
def test_passes(costmgmt_connection):
    pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failed_test_keeps_its_database_there_too(run: Run, bed: Bed, workers: str) -> None:
    """With --costmgmt-keep=on-failure one database stays, is named, and is all that stays."""
    if workers != "0":
        pytest.importorskip("xdist")
    before = bed.shape()
    ran = run(
        *(["-n", workers] if workers != "0" else []),
        "--costmgmt-allow=scratch",
        "--costmgmt-keep=on-failure",
        files={"test_user.py": FAILS},
        environ=bed.environ(),
        report=False,
    )
    kept = {str(row[0]) for row in bed.shape()} - {str(row[0]) for row in before}
    with connect(bed.administrator, deadline=10) as connection:
        for name in kept:
            connection.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
    assert len(kept) == 1, ran.out
    assert f"costmgmt: kept: database {kept.pop()} on " in ran.out
    assert bed.shape() == before
