"""Connections to what is not a PostgreSQL, or is none yet: each ends in time and is named."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

from pytest_costmgmt.errors import ConnectFailed
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import Refused, connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.secret import Secret
from tests.nameless import nameless, needs_root

PASSWORD = "a-secret-that-never-shows"
Serve = Callable[[socket.socket, int], None]


def login(**where: str) -> Login:
    """Return a login with a password that no message may hold."""
    return Login(role="Kök-u r", database="Kök-u db", where=where, password=Secret(PASSWORD))


class Stranger:
    """A socket whose connections are served, each in its turn, by a function."""

    def __init__(self, serve: Serve) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.count = 0
        self.kept: list[socket.socket] = []
        self.serve = serve
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    @property
    def where(self) -> dict[str, str]:
        """Where libpq finds it."""
        host, port = self.listener.getsockname()
        return {"host": host, "port": str(port)}

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.count += 1
            self.kept.append(connection)
            try:
                self.serve(connection, self.count)
            except OSError:
                continue

    def close(self) -> None:
        """End it."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(10)
        for connection in self.kept:
            connection.close()


@pytest.fixture
def stranger() -> Iterator[Callable[[Serve], Stranger]]:
    """A maker of strangers, all of which end with the test."""
    made: list[Stranger] = []

    def make(serve: Serve) -> Stranger:
        made.append(Stranger(serve))
        return made[-1]

    yield make
    for each in made:
        each.close()


def silent(_connection: socket.socket, _count: int) -> None:
    """Accept, and never answer."""


def http(connection: socket.socket, _count: int) -> None:
    """Answer as a web server does."""
    connection.recv(64)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    connection.close()


def ssh(connection: socket.socket, _count: int) -> None:
    """Greet as an SSH server does: its first byte is that of a PostgreSQL which has TLS."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
    connection.close()


def hangs_up(connection: socket.socket, _count: int) -> None:
    """Close without a word."""
    connection.close()


def no_tls(connection: socket.socket, _count: int) -> None:
    """Be a PostgreSQL without TLS."""
    connection.recv(8)
    connection.sendall(b"N")


def fatal(sqlstate: str, text: str, severity: str = "FATAL") -> Serve:
    """Return a PostgreSQL that says one error, in the wire's format, in its own language."""

    def serve(connection: socket.socket, _count: int) -> None:
        request = connection.recv(8)
        if struct.unpack("!II", request) == (8, 80877103):
            connection.sendall(b"N")
            connection.recv(8)
        connection.recv(4096)
        fields = f"S{severity}\0VFATAL\0C{sqlstate}\0M{text}\0\0".encode()
        connection.sendall(b"E" + struct.pack("!I", 4 + len(fields)) + fields)
        connection.close()

    return serve


def breaks_off(connection: socket.socket, _count: int) -> None:
    """Be a PostgreSQL whose process dies when it reads who wants to log in."""
    request = connection.recv(8)
    if struct.unpack("!II", request) == (8, 80877103):
        connection.sendall(b"N")
        connection.recv(8)
    connection.recv(4096)
    connection.close()


def breaks_off_twice(connection: socket.socket, count: int) -> None:
    """Die as that does at the first attempt and its look at the reason; then say no."""
    (breaks_off if count < 3 else fatal("28P01", "nein"))(connection, count)


@pytest.mark.parametrize(
    ("serve", "kind", "deadline"),
    [
        # The one that is waited for; the others answer, if the machine lets them.
        pytest.param(silent, "no-answer", 1.0, id="accepts-and-never-answers"),
        pytest.param(http, "not-postgresql", 60.0, id="web-server"),
        pytest.param(ssh, "not-postgresql", 60.0, id="ssh-server"),
        pytest.param(hangs_up, "hung-up", 60.0, id="closes-at-once"),
    ],
)
def test_a_stranger_is_named(
    stranger: Callable[[Serve], Stranger], serve: Serve, kind: str, deadline: float
) -> None:
    """Something that is no PostgreSQL is told from one, once, without the password."""
    with pytest.raises(Refused) as caught:
        connect(login(**stranger(serve).where), deadline=deadline)
    assert (caught.value.kind, caught.value.sqlstate, caught.value.attempts) == (kind, None, 1)
    assert caught.value.hint
    assert PASSWORD not in str(caught.value)


def test_a_login_that_is_broken_off_is_tried_again(
    stranger: Callable[[Serve], Stranger],
) -> None:
    """A server that crashed comes back: what it says then counts."""
    with pytest.raises(Refused) as caught:
        connect(login(**stranger(breaks_off_twice).where, sslmode="disable"), deadline=60.0)
    assert (caught.value.kind, caught.value.attempts) == ("wrong-password", 2)


def test_a_login_that_is_broken_off_is_no_refusal(
    stranger: Callable[[Serve], Stranger],
) -> None:
    """Who never said no has proved nothing about a wrong password."""
    tried = attempt(login(**stranger(breaks_off).where), offered="wrong", deadline=60.0)
    assert (tried.outcome, tried.kind) == ("failed", "broken-off")


def test_missing_tls_is_not_silently_gone_without() -> None:
    """A server without TLS is refused when the login asks for it."""
    server = Stranger(no_tls)
    try:
        with pytest.raises(Refused) as caught:
            connect(login(**server.where, sslmode="require"), deadline=60.0)
    finally:
        server.close()
    assert caught.value.kind == "tls-missing"


def test_a_closed_port_is_named_at_once() -> None:
    """Nothing that listens is one attempt: waiting does not heal it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectFailed) as caught:
        connect(login(host="127.0.0.1", port=str(port)), deadline=60.0)
    assert isinstance(caught.value, Refused)
    assert (caught.value.kind, caught.value.attempts) == ("closed-port", 1)


@pytest.mark.parametrize(
    ("where", "kind"),
    [
        pytest.param({"host": "/nonexistent"}, "no-socket", id="no-socket"),
        pytest.param({"host": "no-such-host.invalid"}, "unknown-host", id="unknown-host"),
        pytest.param({"service": "no such service"}, "configuration", id="unknown-service"),
        pytest.param({"host": "127.0.0.1", "sslmode": "no"}, "configuration", id="sslmode"),
    ],
)
def test_what_cannot_be_dialled_is_named(where: dict[str, str], kind: str) -> None:
    """A wrong address and a wrong parameter are told apart."""
    assert attempt(login(**where), offered="own", deadline=60.0).kind == kind


@pytest.mark.parametrize(
    ("sqlstate", "kind", "retried"),
    [
        pytest.param("57P03", "starting", True, id="starting-up"),
        pytest.param("53300", "full", True, id="too-many-connections"),
        pytest.param("08006", "other", True, id="connection-failure"),
        pytest.param("08P01", "pooler", False, id="a-poolers-refusal"),
        pytest.param("28P01", "wrong-password", False, id="wrong-password"),
        pytest.param("28000", "not-admitted", False, id="no-line-in-pg-hba"),
        pytest.param("42501", "no-connect-privilege", False, id="may-not-connect"),
        pytest.param("3D000", "no-database", False, id="no-database"),
    ],
)
def test_only_what_waiting_heals_is_tried_again(
    stranger: Callable[[Serve], Stranger], sqlstate: str, kind: str, retried: bool
) -> None:
    """The SQLSTATE decides, in whatever language and severity the server speaks."""
    # Russian PostgreSQL translates the severity too; the text imitates another state.
    server = stranger(fatal(sqlstate, "пароль:  28P01", severity="ВАЖНО"))
    with pytest.raises(Refused) as caught:
        # Time for two attempts on a busy machine, or for one, which is the last.
        connect(login(**server.where), deadline=4 if retried else 60.0)
    assert (caught.value.sqlstate, caught.value.kind) == (sqlstate, kind)
    assert (caught.value.attempts > 1) is retried
    if not retried:
        assert server.count == 1
    assert PASSWORD not in str(caught.value)


def test_a_server_that_comes_up_is_waited_for(stranger: Callable[[Serve], Stranger]) -> None:
    """Each attempt asks anew: the last answer is the one that is told."""
    answers = {1: "57P03", 2: "57P03"}

    def serve(connection: socket.socket, count: int) -> None:
        fatal(answers.get(count, "3D000"), "x")(connection, count)

    server = stranger(serve)
    with pytest.raises(Refused) as caught:
        connect(login(**server.where), deadline=60.0)
    assert (caught.value.sqlstate, caught.value.attempts) == ("3D000", 3)


def test_what_the_server_said_outlives_an_attempt_that_was_cut_off(
    stranger: Callable[[Serve], Stranger],
) -> None:
    """The deadline ends the last attempt before its answer: the one before it is told."""

    def serve(connection: socket.socket, count: int) -> None:
        (fatal("53300", "x") if count == 1 else silent)(connection, count)

    with pytest.raises(Refused) as caught:
        connect(login(**stranger(serve).where), deadline=4)
    assert (caught.value.sqlstate, caught.value.kind) == ("53300", "full")


@needs_root
def test_a_user_without_a_name_connects_as_the_role(
    stranger: Callable[[Serve], Stranger],
) -> None:
    """In a container whose user id has no name, the login's own role is all that is needed."""
    there = login(**stranger(fatal("28P01", "no")).where)
    with pytest.raises(Refused, match="refused the password"):
        connect(there, deadline=60)
    with nameless(), pytest.raises(Refused, match="refused the password"):
        connect(there, deadline=60)
