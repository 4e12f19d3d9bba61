"""The probes, the shutdown and `helm test`, run for real against a server like the image's."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from tests.chart.chart_server import PASSWORD, POD_IP, client_programs, image, script
from tests.server.access_server import OwnServer


class Pod:
    """The chart's scripts as they run beside a server."""

    def __init__(self, server: OwnServer, bindir: Path) -> None:
        self.server, self.bindir = server, bindir

    def run(self, name: str, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run a script with the container's environment."""
        given = {
            "POD_IP": POD_IP,
            "PGPORT": self.server.port,
            "PGHOST": str(self.server.folder),
            "PGDATA": str(self.server.data),
            **environ,
        }
        account = self.server.account
        return script(name, *arguments, path=self.bindir, environ=given, cwd="/", **account)

    @property
    def ready(self) -> bool:
        """What the readiness probe says."""
        return self.run("ready.sh").returncode == 0

    @property
    def alive(self) -> bool:
        """What the liveness probe says."""
        return self.run("alive.sh").returncode == 0

    def helm_test(self, password: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Run what `helm test` runs, from elsewhere, with the Secret's password."""
        given = {"PGHOST": POD_IP, "PGUSER": "koku", "PGDATABASE": "koku"}
        return self.run("test.sh", SECRET_PASSWORD=password, **{**given, **environ})


@pytest.fixture(scope="module")
def pod(programs: Programs) -> Iterator[Pod]:
    """A server in its second start, and the scripts."""
    with image(programs) as server:
        yield Pod(server, client_programs(programs))


@pytest.fixture
def passing(programs: Programs) -> Iterator[Pod]:
    """The same, for a test that ends the server."""
    with image(programs) as server:
        yield Pod(server, client_programs(programs))


@contextmanager
def clients(pod: Pod, number: int, role: str) -> Iterator[None]:
    """Hold that many connections."""
    login = pod.server.login(role, PASSWORD, "koku", host=str(pod.server.folder))
    with ExitStack() as stack:
        for _ in range(number):
            stack.enter_context(connect(login, deadline=5))
        yield


def test_a_running_server(pod: Pod) -> None:
    """A server that serves is ready and alive."""
    assert (pod.ready, pod.alive) == (True, True)


def test_the_first_start_is_not_the_second(passing: Pod) -> None:
    """The image's first start has no TCP and is neither: the startup probe waits on."""
    passing.server.stop()
    passing.server.start("listen_addresses=")
    assert (passing.ready, passing.alive) == (False, False)


def test_a_full_server_stays(pod: Pod) -> None:
    """A server without a free connection keeps its endpoint, and its pod."""
    with clients(pod, 9, "koku"):  # of 12, 3 are the superusers'
        with pytest.raises(ConnectionError, match="are taken"):
            connect(pod.server.login("koku", PASSWORD, "koku"), deadline=1)
        assert (pod.ready, pod.alive) == (True, True)


def test_a_server_full_to_the_last_slot_lives(pod: Pod) -> None:
    """Even where no superuser comes in, the pod is not killed for it."""
    with clients(pod, 9, "koku"), clients(pod, 3, "postgres"):
        assert pod.alive


def test_a_rotated_password_is_no_outage(pod: Pod) -> None:
    """Whatever passwords roles get, the probes need none."""
    pod.server.sql("ALTER ROLE anybody PASSWORD 'another'", "ALTER ROLE postgres PASSWORD 'new'")
    assert (pod.ready, pod.alive) == (True, True)


def test_a_server_that_refuses_is_alive(passing: Pod) -> None:
    """A server that waits for its clients to leave gets none, and is not killed."""
    with clients(passing, 1, "koku"):
        assert passing.server.process is not None
        passing.server.process.send_signal(signal.SIGTERM)
        refused = False
        while not refused:
            try:
                psycopg.connect(
                    host=str(passing.server.folder),
                    port=passing.server.port,
                    user="koku",
                    dbname="koku",
                ).close()
            except psycopg.OperationalError:
                refused = True
        assert (passing.ready, passing.alive) == (False, True)


def test_a_stuck_server_is_dead(pod: Pod) -> None:
    """A server that does not answer at all is not ready, and is restarted."""
    assert pod.server.process is not None
    pod.server.process.send_signal(signal.SIGSTOP)
    try:
        assert (pod.ready, pod.alive) == (False, False)
    finally:
        pod.server.process.send_signal(signal.SIGCONT)


def test_a_gone_server_is_dead(passing: Pod) -> None:
    """Where nothing listens, nothing is ready or alive."""
    passing.server.stop()
    assert (passing.ready, passing.alive) == (False, False)


def test_shutdown_does_not_wait_for_clients(passing: Pod) -> None:
    """The preStop hook ends a server that has clients, cleanly."""
    with clients(passing, 2, "koku"):
        done = passing.run("stop.sh", "50")
        assert passing.server.process is not None
        assert (done.returncode, passing.server.process.wait(30)) == (0, 0)
    assert "received fast shutdown request" in (passing.server.folder / "log").read_text()


def test_shutdown_of_nothing_is_no_failure(passing: Pod) -> None:
    """The preStop hook of a server that is gone does not fail the pod's end."""
    passing.server.stop()
    assert passing.run("stop.sh", "5").returncode == 0


def test_helm_test_passes(pod: Pod) -> None:
    """The Secret's password opens the database, a wrong one does not, the right one does again."""
    done = pod.helm_test(PASSWORD)
    assert done.returncode == 0
    assert "ended with 0 2 0 by" in done.stdout


FAILURES = [
    pytest.param("the wrong one", {}, "2 2 2", "does not open koku", id="wrong-secret"),
    pytest.param(PASSWORD + "\n", {}, "2 2 2", "does not open koku", id="newline"),
    pytest.param(PASSWORD, {"PGDATABASE": "kok"}, "2 2 2", "does not open kok", id="database"),
    pytest.param(PASSWORD, {"PGUSER": "anybody"}, "0 0 0", "lets anybody in", id="trust"),
]


@pytest.mark.parametrize(("password", "environ", "sequence", "told"), FAILURES)
def test_helm_test_fails(
    pod: Pod, password: str, environ: dict[str, str], sequence: str, told: str
) -> None:
    """Any other sequence fails, with what it means; no password is printed."""
    done = pod.helm_test(password, **environ)
    assert done.returncode == 1
    assert f"ended with {sequence} by" in done.stdout
    assert told in done.stderr
    assert password.strip() not in done.stdout + done.stderr


def instead(pod: Pod, name: str, text: str) -> str:
    """Put another program before the machine's; returns the PATH."""
    pod.server.write(name, f"#!/bin/sh\n{text}\n", 0o755)
    return f"{pod.server.folder}:{pod.bindir}:/usr/bin:/bin"


def test_helm_test_without_a_server(passing: Pod) -> None:
    """A server that is gone is no refused password: the test fails."""
    passing.server.stop()
    # The waiting itself is not what is tried.
    done = passing.helm_test(PASSWORD, PATH=instead(passing, "sleep", ":"))
    assert done.returncode == 1
    assert "ended with 2 2 2 by" in done.stdout


def test_helm_test_where_the_right_password_fails_later(pod: Pod) -> None:
    """The third answer counts: a server that lets us in once only does not pass."""
    asked = pod.server.folder / "asked"
    once = f'[ -e {asked} ] && exit 2\n: >{asked}\nexec {pod.bindir}/psql "$@"'
    done = pod.helm_test(PASSWORD, PATH=instead(pod, "psql", once))
    assert done.returncode == 1
    assert "ended with 0 2 2 by" in done.stdout
