"""A PostgreSQL behind an API server: psycopg comes to it by streams, and learns of every break."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.relay import Loopback, Network
from pytest_costmgmt.kubernetes.socket_door import NAME, Door, tcp_door, unix_door
from pytest_costmgmt.kubernetes.streams import execute, run
from pytest_costmgmt.kubernetes.trouble import AccessDenied, StreamBroken
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import Refused, connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret
from tests.server.access_server import OwnServer, own_server
from tests.server.pod_api import TOKEN, Fault, PodApi, pod_api, status

# As the database's image has it: nobody on the pod's localhost is asked, everybody else is.
HBA = ("local all all trust", "host all all 127.0.0.1/32 scram-sha-256")
PASSWORD = "an application/s p@ssword"
POD = "/api/v1/namespaces/cost-mgmt/pods/postgres-0"


class Bed(NamedTuple):
    """A cluster whose pod is a server of ours."""

    cluster: PodApi
    api: Api
    server: OwnServer

    def loopback(self) -> Loopback:
        """The way that the image trusts."""
        return Loopback(self.api, "cost-mgmt", "postgres-0")

    def network(self, host: str = "postgres") -> Network:
        """The way of an application."""
        return Network(self.api, "cost-mgmt", "probe-1", container="probe", host=host)

    def sessions(self) -> int:
        """How many sessions are there through the streams."""
        found = self.server.sql(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'through'"
        )
        return int(found[0][0])


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[OwnServer]:
    """A server that trusts its own localhost, and asks the network for a password."""
    with own_server(programs, hba=HBA) as made:
        made.sql(f"CREATE ROLE koku LOGIN PASSWORD '{PASSWORD}'", "CREATE DATABASE koku OWNER koku")
        yield made


@pytest.fixture
def bed(server: OwnServer, tmp_path: Path) -> Iterator[Bed]:
    """The cluster around it."""

    def localhost() -> socket.socket:
        reached = socket.socket(socket.AF_UNIX)
        reached.connect(f"{server.folder}/.s.PGSQL.{server.port}")
        return reached

    with pod_api() as cluster:
        cluster.target = localhost
        cluster.hosts = {"postgres": "127.0.0.1", "5432": server.port, "nowhere": "127.0.0.9"}
        kubeconfig = cluster.kubeconfig(tmp_path / "kubeconfig")
        yield Bed(cluster, Api(access(kubeconfig=kubeconfig, environ={})), server)


def superuser(door: Door) -> Login:
    """Return the superuser's login, with any password at all."""
    return Login(role="postgres", database="koku", where=door.where, password=Secret("x" * 12))


def application(door: Door, password: str = PASSWORD, **where: str) -> Login:
    """Return the application's login."""
    secret = Secret(password)
    return Login(role="koku", database="koku", where={**door.where, **where}, password=secret)


def digest(connection: psycopg.Connection[Any], query: str) -> tuple[int, str]:
    """Return size and hash of what COPY sends."""
    size, seen = 0, hashlib.sha256()
    with connection.cursor() as cursor, cursor.copy(query.encode()) as copy:
        for piece in copy:
            size += len(piece)
            seen.update(piece)
    return size, seen.hexdigest()


MANY = "COPY (SELECT repeat(md5(i::text), 8) FROM generate_series(1, {}) AS i) TO STDOUT"


def test_the_loopback_way_is_a_superusers(bed: Bed) -> None:
    """Over the port-forward the image trusts whoever comes; a session works as any other."""
    with unix_door(bed.loopback()) as door, connect(superuser(door), deadline=10) as connection:
        rows = connection.execute("SELECT current_user, current_database()").fetchall()
    assert rows == [("postgres", "koku")]
    assert door.troubles == ()


def test_the_network_way_asks_for_the_password(bed: Bed) -> None:
    """Over the relay a wrong password is refused between two right ones."""
    with unix_door(bed.network()) as door:
        told = [
            attempt(application(door), offered=offered, deadline=10)
            for offered in ("own", "wrong", "own")
        ]
    assert [(each.outcome, each.sqlstate) for each in told] == [
        ("accepted", None), ("refused", "28P01"), ("accepted", None),
    ]  # fmt: skip
    assert door.troubles == ()


@pytest.mark.parametrize(
    ("way", "v5"),
    [
        pytest.param("loopback", False, id="loopback"),
        pytest.param("network", True, id="network-v5"),
        pytest.param("network", False, id="network-v4"),
    ],
)
def test_200_mb_arrive_whole_and_equal(bed: Bed, way: str, v5: bool) -> None:
    """What comes out of COPY through a door is what the server sends without one."""
    bed.cluster.v5 = v5
    query = MANY.format(820_000)
    with connect(bed.server.admin, deadline=10) as direct:
        expected = digest(direct, query)
    assert expected[0] > 200_000_000
    with unix_door(getattr(bed, way)()) as door:
        login = superuser(door) if way == "loopback" else application(door)
        with connect(login, deadline=10) as connection:
            assert digest(connection, query) == expected


@pytest.mark.parametrize("way", ["loopback", "network"])
def test_what_is_sent_arrives_whole(bed: Bed, way: str) -> None:
    """A COPY into the server through a door keeps every byte."""
    with unix_door(getattr(bed, way)()) as door:
        login = superuser(door) if way == "loopback" else application(door)
        with connect(login, deadline=10, autocommit=False) as connection:
            connection.execute("CREATE TEMPORARY TABLE sent (line text)")
            with connection.cursor() as cursor, cursor.copy("COPY sent FROM STDIN") as copy:
                for number in range(20_000):
                    copy.write(f"{number} {'x' * 1000}\n")
            row = connection.execute(
                "SELECT count(*), md5(string_agg(line, '|' ORDER BY line COLLATE \"C\")) FROM sent"
            ).fetchone()
    lines = [f"{number} {'x' * 1000}" for number in range(20_000)]
    expected = hashlib.md5("|".join(sorted(lines)).encode()).hexdigest()  # noqa: S324
    assert row == (20_000, expected)


FAULTS = [
    pytest.param(Fault(after=3_000_000), id="cut"),
    pytest.param(Fault(after=3_000_000, reset=True), id="reset"),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("way", ["loopback", "network"])
def test_a_break_in_the_middle_is_a_connection_error(bed: Bed, way: str, fault: Fault) -> None:
    """A stream that breaks is an OperationalError in psycopg, never a short result."""
    bed.cluster.fault = fault
    with unix_door(getattr(bed, way)()) as door:
        login = superuser(door) if way == "loopback" else application(door)
        connection = connect(login, deadline=10)
        with pytest.raises(psycopg.OperationalError):
            digest(connection, MANY.format(100_000))
        assert connection.broken
    assert len(door.troubles) == 1
    assert "broke" in door.troubles[0] or "cut off" in door.troubles[0]


def test_a_reset_behind_the_port_forward_is_a_connection_error(bed: Bed) -> None:
    """The kubelet says a clean end for a server that died: PostgreSQL's framing shows it."""
    with unix_door(bed.loopback()) as door:
        connection = connect(superuser(door), deadline=10)
        pid = connection.info.backend_pid
        with connect(bed.server.admin, deadline=10) as other, pytest.raises(psycopg.Error) as said:
            threading.Timer(0.3, other.execute, [f"SELECT pg_terminate_backend({pid})"]).start()
            connection.execute("SELECT pg_sleep(30)")
        assert said.value.sqlstate == "57P01"
        assert connection.broken


def test_an_api_server_that_dies_breaks_every_connection(bed: Bed) -> None:
    """All open sessions end with an error at once, and the next one after its return works."""
    with unix_door(bed.loopback()) as door:
        connections = [connect(superuser(door), deadline=10) for _ in range(3)]
        bed.cluster.cut()
        for connection in connections:
            with pytest.raises(psycopg.OperationalError):
                connection.execute("SELECT 1")
        with connect(superuser(door), deadline=10) as again:
            assert again.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("way", ["loopback", "network"])
@pytest.mark.parametrize("politely", [True, False], ids=["closed", "vanished"])
@pytest.mark.parametrize("v5", [True, False], ids=["v5", "v4"])
def test_a_client_that_ends_leaves_no_session(bed: Bed, way: str, v5: bool, politely: bool) -> None:
    """Whether it says goodbye or is killed: the server's session and the relay are gone."""
    bed.cluster.v5 = v5
    with unix_door(getattr(bed, way)()) as door:
        login = superuser(door) if way == "loopback" else application(door)
        connection = connect(login, deadline=10, application_name="through")
        assert bed.sessions() == 1
        if politely:
            connection.close()
        else:
            with socket.socket(fileno=os.dup(connection.fileno())) as same:
                same.shutdown(socket.SHUT_RDWR)
        until = time.monotonic() + 20
        while bed.sessions() and time.monotonic() < until:
            time.sleep(0.05)
        assert bed.sessions() == 0
        for process in bed.cluster.processes:
            process.wait(20)
    if not politely:
        connection.close()


def test_a_door_that_closes_cuts_what_is_connected(bed: Bed) -> None:
    """After the door, no session goes on, and neither socket nor folder is left."""
    with unix_door(bed.loopback()) as door:
        connection = connect(superuser(door), deadline=10)
        folder = Path(door.where["host"])
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


STRANGER = """
import os, socket, sys
os.setgroups([])
os.setresgid(65534, 65534, 65534)
os.setresuid(65534, 65534, 65534)
reached = socket.socket(socket.AF_UNIX) if len(sys.argv) == 2 else socket.socket()
reached.settimeout(20)
try:  # refused may be before connect() has returned
    reached.connect(sys.argv[1] if len(sys.argv) == 2 else (sys.argv[1], int(sys.argv[2])))
    reached.sendall((8).to_bytes(4, "big") + (80877103).to_bytes(4, "big"))
    print(reached.recv(100))
except ConnectionError:
    print(b"")
"""


def stranger(*where: str) -> subprocess.CompletedProcess[str]:
    """Connect as another local user."""
    return subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, *where], timeout=60,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")


@only_root
def test_another_user_gets_nothing_at_the_socket(bed: Bed) -> None:
    """The folder keeps others out, and were it open, the kernel says who they are."""
    with unix_door(bed.loopback()) as door:
        folder = Path(door.where["host"])
        assert "PermissionError" in stranger(str(folder / NAME)).stderr
        assert not door.troubles
        folder.chmod(0o711)
        (folder / NAME).chmod(0o777)
        done = stranger(str(folder / NAME))
        assert (done.stdout.strip(), done.stderr) == ("b''", "")
        assert "uid 65534 was refused" in door.troubles[0]
    assert not bed.cluster.streams


@only_root
def test_another_user_gets_nothing_at_the_tcp_door(bed: Bed) -> None:
    """A stranger is refused without using up the one connection, which ours then is."""
    with tcp_door(bed.network(), host="postgres.example") as door:
        done = stranger(door.where["hostaddr"], door.where["port"])
        assert done.stdout.strip() == "b''"
        assert "uid 65534 was refused" in door.troubles[0]
        login = application(door, sslmode="disable")
        with connect(login, deadline=10) as connection:
            assert connection.info.host == "postgres.example"
        with pytest.raises(ConnectionRefusedError), closing(socket.socket()) as second:
            second.connect((door.where["hostaddr"], int(door.where["port"])))


def test_a_trusted_way_gets_no_tcp_port(bed: Bed) -> None:
    """The superuser is never at a port of this machine."""
    with pytest.raises(UsageProblem, match="every local user"), tcp_door(bed.loopback(), host="x"):
        pass


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "::1", "[::1]", "LOCALHOST.", "0.0.0.0"],  # noqa: S104
)
def test_the_network_way_does_not_lead_to_localhost(bed: Bed, host: str) -> None:
    """What the image trusts is not an application's way."""
    with pytest.raises(UsageProblem, match="own localhost"):
        bed.network(host)


def test_a_folder_that_others_may_enter_is_refused(bed: Bed, tmp_path: Path) -> None:
    """A socket is put into no folder that is not ours alone."""
    tmp_path.chmod(0o755)
    with pytest.raises(UsageProblem, match="nobody else"):
        unix_door(bed.loopback(), folder=tmp_path).__enter__()
    tmp_path.chmod(0o700)
    with unix_door(bed.loopback(), folder=tmp_path) as door:
        assert door.where == {"host": str(tmp_path), "port": "5432"}
    assert tmp_path.exists()
    assert not (tmp_path / NAME).exists()


def test_a_way_that_is_forbidden_says_so_to_the_client(bed: Bed) -> None:
    """The API server's words reach whoever connects, and the door's troubles."""
    said = 'pods "postgres-0" is forbidden: User "tester" cannot create pods/portforward'
    bed.cluster.objects[f"{POD}/portforward"] = status(403, "Forbidden", said)
    with unix_door(bed.loopback()) as door:
        with pytest.raises(Refused) as refused:
            connect(superuser(door), deadline=1)
        with pytest.raises(psycopg.OperationalError, match="cannot create pods/portforward"):
            psycopg.connect(user="postgres", dbname="koku", **door.where)  # type: ignore[arg-type]
    assert refused.value.sqlstate == "08001"
    assert "cannot create pods/portforward" in door.troubles[0]


def test_an_address_that_does_not_answer_is_named(bed: Bed) -> None:
    """The relay's own exit status tells an address that nobody listens at."""
    said = pytest.raises(psycopg.OperationalError, match="does not reach it")
    with unix_door(bed.network("nowhere")) as door, said:
        psycopg.connect(user="koku", dbname="koku", **door.where)  # type: ignore[arg-type]
    assert "refused" in door.troubles[0]


def test_a_port_forward_to_nothing_is_named(bed: Bed) -> None:
    """What the kubelet says on the channel for errors reaches the client."""

    def nobody() -> socket.socket:
        raise ConnectionRefusedError(111, "Connection refused")

    bed.cluster.target = nobody
    said = pytest.raises(psycopg.OperationalError, match="error forwarding port 5432")
    with unix_door(bed.loopback()) as door, said:
        psycopg.connect(user="postgres", dbname="koku", **door.where)  # type: ignore[arg-type]


def test_a_command_returns_status_and_output(bed: Bed) -> None:
    """Both streams and the exit status come back, binary data included."""
    ran = run(
        bed.api, "cost-mgmt", "probe-1",
        ["sh", "-c", "printf 'a\\nb\\377'; echo oops >&2; exit 3"], container="probe",
    )  # fmt: skip
    assert (ran.status, ran.stdout, ran.stderr) == (3, "a\nb\\xff", "oops\n")


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        pytest.param(Fault(no_status=True), "without the command's status", id="no-status"),
        pytest.param(Fault(lose_tail=5), "without its end", id="tail-lost"),
        pytest.param(Fault(after=100), "cut off|broke", id="cut"),
    ],
)
def test_a_command_whose_end_was_not_said_is_an_error(bed: Bed, fault: Fault, why: str) -> None:
    """Neither an exit without a status nor an output without its tail counts as one."""
    bed.cluster.fault = fault
    argv = ["sh", "-c", "seq 1 1000"]
    with pytest.raises(StreamBroken, match=why):
        run(bed.api, "cost-mgmt", "probe-1", argv, container="probe")


def test_a_command_that_does_not_end_is_an_error(bed: Bed) -> None:
    """The deadline ends the wait, and says what was heard."""
    argv = ["sh", "-c", "echo so far >&2; sleep 60"]
    with pytest.raises(StreamBroken, match=r"did not end in time\. It said: so far"):
        run(bed.api, "cost-mgmt", "probe-1", argv, container="probe", deadline=1.0)


def test_an_exec_that_is_forbidden_is_access_denied(bed: Bed) -> None:
    """A refused handshake has the API server's own words."""
    path = "/api/v1/namespaces/cost-mgmt/pods/probe-1/exec"
    bed.cluster.objects[path] = status(403, "Forbidden", "cannot create pods/exec")
    with pytest.raises(AccessDenied, match="cannot create pods/exec"):
        execute(bed.api, "cost-mgmt", "probe-1", ["true"], container="probe")


def test_whom_we_act_as_goes_with_every_stream(bed: Bed, tmp_path: Path) -> None:
    """A stream is opened as the user that requests are made as, all groups too."""
    user = {"as": "system:serviceaccount:cost-mgmt:tester", "as-groups": ["one", "two"]}
    kubeconfig = bed.cluster.kubeconfig(tmp_path / "as", user=user)
    api = Api(access(kubeconfig=kubeconfig, environ={}))
    with unix_door(Loopback(api, "cost-mgmt", "postgres-0")) as door:
        connect(superuser(door), deadline=10).close()
    run(api, "cost-mgmt", "probe-1", ["true"], container="probe")
    assert len(bed.cluster.asked) == 2
    for asked in bed.cluster.asked:
        acting = [item for item in asked.headers if item[0].startswith("Impersonate-")]
        assert acting == [
            ("Impersonate-User", "system:serviceaccount:cost-mgmt:tester"),
            ("Impersonate-Group", "one"), ("Impersonate-Group", "two"),
        ]  # fmt: skip


def test_no_password_is_in_what_is_asked_of_the_cluster(bed: Bed) -> None:
    """Neither a request, a command's words, nor a trouble holds the password or the token."""
    with unix_door(bed.network()) as door:
        connect(application(door), deadline=10).close()
        attempt(application(door), offered="wrong", deadline=10)
        bed.cluster.fault = Fault(after=10)
        with pytest.raises(Refused):
            connect(application(door), deadline=1)
    words = [" ".join(map(str, process.args)) for process in bed.cluster.processes]  # type: ignore[arg-type]
    asked = [asked.path for asked in bed.cluster.asked]
    everything = "\n".join([*words, *asked, *door.troubles, repr(bed.api.access), repr(door)])
    assert door.troubles
    assert "/dev/tcp" in everything
    for secret in (PASSWORD, TOKEN):
        assert secret not in everything
