"""Whole runs against targets that are wrong: one clear answer each, the same by both commands."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator

import pytest

from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.resources import resource
from tests.server.access_server import OwnServer, own_server
from tests.server.run_support import Place, Ran, place
from tests.server.test_connect_strangers import Serve, Stranger, fatal, hangs_up, http, silent

PASSWORD, WRONG = "kök-u's own password", "not-the-one-that-it-has"
ROLE, DATABASE = "Kök-u r", "Kök-u db"


@pytest.fixture
def where() -> Iterator[Place]:
    """A place for a test's runs."""
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[OwnServer]:
    """A server with the application's role and database, and roles that are not let in."""
    with own_server(programs, ("max_connections=60", "timezone=UTC")) as started:
        started.sql(
            f"CREATE ROLE {ident(ROLE)} LOGIN PASSWORD $${PASSWORD}$$",
            f"CREATE DATABASE {ident(DATABASE)} OWNER {ident(ROLE)}",
            f"REVOKE CONNECT ON DATABASE {ident(DATABASE)} FROM PUBLIC",
            f"CREATE ROLE full_up LOGIN PASSWORD $${PASSWORD}$$ CONNECTION LIMIT 0",
            f"GRANT {ident(ROLE)} TO full_up",
            f"CREATE ROLE outsider LOGIN PASSWORD $${PASSWORD}$$",
            f"CREATE ROLE asleep NOLOGIN PASSWORD $${PASSWORD}$$",
        )
        yield started


@pytest.fixture(scope="module")
def standby(server: OwnServer) -> Iterator[OwnServer]:
    """A hot standby of it, which speaks German where its programs can."""
    copy = OwnServer(server.bindir, server.folder / "standby", server.account)
    server.run("pg_basebackup", "-D", str(copy.data), "-R", "-c", "fast", "-X", "stream",
               "-h", "127.0.0.1", "-p", server.port, "-U", "postgres")  # fmt: skip
    try:
        copy.start("lc_messages=C.UTF-8", "max_connections=60", LC_ALL="C.UTF-8", LANGUAGE="de")
        yield copy
    finally:
        copy.stop()


def dsn(host: str, port: str, role: str = ROLE, database: str = DATABASE) -> str:
    """Return the option that names a server."""
    return f"--costmgmt-dsn=host={host} port={port} user='{role}' dbname='{database}'"


def judged(where: Place, option: str, *more: str, password: str = PASSWORD) -> Ran:
    """Return what ``costmgmt check`` came to on a target."""
    given = where.secret("password", password)
    return where.run(option, f"--costmgmt-password-file={given}", *more, command="check")


@pytest.fixture
def stranger() -> Iterator[Callable[[Serve], Stranger]]:
    """A maker of what only listens."""
    made: list[Stranger] = []

    def make(serve: Serve) -> Stranger:
        made.append(Stranger(serve))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_a_closed_port(where: Place) -> None:
    """Nothing that listens is one error, at once, and all else is blocked: by both commands."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    given = where.secret("password", PASSWORD)
    both = where.both(dsn("127.0.0.1", port), f"--costmgmt-password-file={given}")
    for ran in both:
        assert "nothing listens there" in ran.unreachable(PASSWORD)
    assert both[0].outcomes == both[1].outcomes


def test_a_closed_port_with_workers(where: Place) -> None:
    """With xdist it is the same one error."""
    pytest.importorskip("xdist")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    ran = where.run(dsn("127.0.0.1", port), "-n2")
    assert "nothing listens there" in ran.unreachable()


@pytest.mark.parametrize(
    ("serve", "deadline", "words"),
    [
        pytest.param(silent, 1, "no answer came within 1.0 s", id="accepts-and-never-answers"),
        pytest.param(http, 60, "not PostgreSQL", id="web-server"),
        pytest.param(hangs_up, 60, "closes it without a word", id="closes-at-once"),
        pytest.param(fatal("57P03", "x"), 5, "is starting up", id="starting-up"),
        pytest.param(fatal("53300", "x"), 5, "are taken", id="out-of-connections"),
    ],
)
def test_what_cannot_be_reached(
    where: Place, stranger: Callable[[Serve], Stranger], serve: Serve, deadline: int, words: str
) -> None:
    """Strangers and servers that are not ready are told apart, within the deadline."""
    there = stranger(serve).where
    option = f"--costmgmt-connect-timeout={deadline}"
    ran = judged(where, dsn(there["host"], there["port"]), option)
    assert words in ran.unreachable(PASSWORD)


def test_a_server_of_another_language(where: Place, stranger: Callable[[Serve], Stranger]) -> None:
    """A refused password is known by its SQLSTATE, whatever text and severity say."""
    there = stranger(fatal("28P01", "роль: 57P03 28000", severity="ВАЖНО")).where
    ran = judged(where, dsn(there["host"], there["port"])).sound(8, "inconclusive", PASSWORD)
    assert "refused the password" in ran.summary("CM-CON-002")


@pytest.mark.parametrize(
    ("role", "database", "password", "status", "words"),
    [
        pytest.param(ROLE, DATABASE, WRONG, 8, "refused the password", id="wrong-password"),
        pytest.param("nobody", DATABASE, PASSWORD, 8, "refused the password", id="no-role"),
        pytest.param("asleep", DATABASE, PASSWORD, 8, "does not admit", id="may-not-log-in"),
        pytest.param("outsider", DATABASE, PASSWORD, 1, "may not connect", id="may-not-connect"),
        pytest.param(ROLE, "no such db", PASSWORD, 1, "does not exist", id="no-database"),
    ],
)
def test_a_login_that_is_refused(  # noqa: PLR0917 - the table's columns
    where: Place,
    server: OwnServer,
    role: str,
    database: str,
    password: str,
    status: int,
    words: str,
) -> None:
    """The server answers, the application is not let in: why is told, all else is blocked by it.

    What the operator gave wrongly proves nothing about the server; what the server lacks, it fails.
    """
    ran = judged(where, dsn("127.0.0.1", server.port, role, database), password=password)
    ran.sound(status, {1: "non-conformant", 8: "inconclusive"}[status], PASSWORD, WRONG)
    outcomes = ran.outcomes
    assert outcomes.pop("CM-CON-001") == "passed"
    assert outcomes.pop("CM-CON-002") == {1: "failed", 8: "error"}[status]
    assert set(outcomes.values()) == {"blocked"}
    assert words in ran.summary("CM-CON-002")


def test_a_role_without_a_free_connection(where: Place, server: OwnServer) -> None:
    """A limit that is reached is an error that names it: it may be free a moment later."""
    option = dsn("127.0.0.1", server.port, "full_up")
    ran = judged(where, option, "--costmgmt-connect-timeout=8")
    assert "full_up" in (said := ran.unreachable(PASSWORD))
    assert "are taken" in said


def test_a_hot_standby(where: Place, standby: OwnServer) -> None:
    """A standby fails for what it is, with the reason; no check of it ends in an error."""
    ran = judged(where, dsn("127.0.0.1", standby.port)).sound(1, "non-conformant", PASSWORD)
    assert ran.outcomes["CM-CON-001"] == ran.outcomes["CM-CON-002"] == "passed"
    assert ran.outcomes["CM-CON-003"] == "failed"
    assert "standby" in ran.summary("CM-CON-003")
    assert "error" not in ran.outcomes.values()


def test_a_real_server_of_another_language(where: Place, standby: OwnServer) -> None:
    """A real server's German refusal is understood."""
    ran = judged(where, dsn("127.0.0.1", standby.port), password=WRONG)
    if "fehlgeschlagen" not in (standby.folder / "log").read_text():
        pytest.skip("this PostgreSQL speaks no German here")
    ran.sound(8, "inconclusive", PASSWORD, WRONG)
    assert "refused the password" in ran.summary("CM-CON-002")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--costmgmt-dsn=postgresql://koku:tr0ub4dor&3x@db/koku"], "PGPASSFILE"),
        (["--costmgmt-dsn=host=db", "--costmgmt-password-file=/nonexistent/p"], "/nonexistent/p"),
        (["--costmgmt-dsn=host=a,b"], "several servers"),
        (["--costmgmt-dsn=host=db", "--costmgmt-connect-timeout=soon"], "soon"),
    ],
    ids=["password", "password-file", "two-hosts", "timeout"],
)
def test_what_the_operator_wrote_wrongly(where: Place, arguments: list[str], words: str) -> None:
    """A usage error is exit 4 by both commands, in a sentence that repeats no password."""
    for ran in where.both(*arguments):
        ran.sound(4, "inconclusive", "tr0ub4dor&3x", "tr0ub4dor")
        assert words in ran.err


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('minimum_major = "13"', "key `server.minimum_major`: expected an integer"),
        ("minimum_major = [", "is not TOML"),
        ("minimum_mayor = 13", "did you mean `minimum_major`?"),
    ],
    ids=["wrong-type", "no-toml", "unknown-key"],
)
def test_requirements_that_cannot_be_read(where: Place, line: str, words: str) -> None:
    """A requirements file of a wrong shape is exit 4 by both commands: file, key, what it takes."""
    shipped = resource("requirements/koku-hive.toml").read_text()
    assert "minimum_major = 13" in shipped
    file = where.script("mine.toml", shipped.replace("minimum_major = 13", line))
    for ran in where.both(dsn("db", "5432"), f"--costmgmt-requirements={file}"):
        ran.sound(4, "inconclusive")
        assert "mine.toml: " in ran.err
        assert words in ran.err
