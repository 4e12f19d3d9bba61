"""The migration's container: waits for the database, migrates alone, and says why it failed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.postgres.programs import Programs
from tests.chart.chart_server import PASSWORD, POD_IP, image
from tests.chart.rendering import CHART
from tests.server.access_server import OwnServer

Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[OwnServer]:
    """A server as the image leaves it."""
    with image(programs) as running:
        yield running


class Container:
    """The container's command, with this Python for the image's."""

    def __init__(self, server: OwnServer) -> None:
        self.environ = {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C",
            "DATABASE_SERVICE_NAME": "my-database",
            "MY_DATABASE_SERVICE_HOST": POD_IP,
            "MY_DATABASE_SERVICE_PORT": server.port,
            "DATABASE_NAME": "koku",
            "DATABASE_USER": "koku",
            "DATABASE_PASSWORD": PASSWORD,
            "COSTMGMT_WAIT_SECONDS": "20",
        }

    def start(self, *command: str, **environ: str) -> subprocess.Popen[str]:
        """Start it with that migration command."""
        text = (CHART / "files" / "migrate.py").read_text()
        return subprocess.Popen(
            [sys.executable, "-u", "-c", text, *command],
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *command: str, **environ: str) -> Run:
        """Run it to its end."""
        with self.start(*command, **environ) as process:
            told, _ = process.communicate(timeout=60)
            return subprocess.CompletedProcess(command, process.returncode, told)

    def python(self, text: str, **environ: str) -> Run:
        """Run it with a migration command in Python, which has psycopg's connection as ``db``."""
        return self.run(sys.executable, "-c", CONNECT + text, **environ)


CONNECT = """
import os, psycopg
db = psycopg.connect(host=os.environ["MY_DATABASE_SERVICE_HOST"],
    port=os.environ["MY_DATABASE_SERVICE_PORT"], user=os.environ["DATABASE_USER"],
    dbname=os.environ["DATABASE_NAME"], password=os.environ["DATABASE_PASSWORD"], autocommit=True)
def ask(sql):
    return db.execute(sql).fetchone()[0]
"""


@pytest.fixture
def container(server: OwnServer) -> Container:
    """The container beside a running server."""
    return Container(server)


def test_migrates(container: Container) -> None:
    """The command runs with the container's environment, its output is kept, the end is told."""
    done = container.python("print('applying', ask('SELECT 41 + 1'))")
    assert done.returncode == 0
    assert "applying 42" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("cost-mgmt-migration: migrated in")
    assert PASSWORD not in done.stdout


def test_the_lock_is_held_while_it_migrates(container: Container) -> None:
    """While the command runs a lock is held; afterwards it is free."""
    held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
    done = container.python(f"print('locks', ask({held!r}))")
    assert "locks 1" in done.stdout


def test_the_lock_holds_up_nothing(container: Container) -> None:
    """The lock's transaction has no snapshot: a concurrent index is built beside it."""
    done = container.python(
        "db.execute('CREATE TABLE IF NOT EXISTS t (i int)')\n"
        "db.execute('CREATE INDEX CONCURRENTLY ON t (i)')\n"
        "print('oldest', ask(\"SELECT count(backend_xmin) FROM pg_stat_activity"
        " WHERE application_name = 'cost-mgmt-migration'\"))"
    )
    assert done.returncode == 0, done.stdout
    assert "oldest 0" in done.stdout


def test_settings_of_the_database_do_not_end_it(server: OwnServer, container: Container) -> None:
    """Timeouts that an operator gave the role do not take the lock away."""
    settings = ("idle_in_transaction_session_timeout", "statement_timeout")
    isolation = "default_transaction_isolation = 'repeatable read'"
    server.sql(*(f"ALTER ROLE koku SET {name} = '300ms'" for name in settings))
    server.sql(f"ALTER ROLE koku SET {isolation}")
    try:
        done = container.run(sys.executable, "-c", "import time; time.sleep(7); print('slept')")
        assert (done.returncode, "slept" in done.stdout) == (0, True), done.stdout
    finally:
        server.sql("ALTER ROLE koku RESET ALL")


def test_two_pods_migrate_one_after_the_other(container: Container, tmp_path: Path) -> None:
    """A pod that Kubernetes started twice waits for the other, and says so."""
    log, go = tmp_path / "log", tmp_path / "go"
    text = (
        "import os, sys, time\n"
        "log = open(sys.argv[1], 'a', buffering=1)\n"
        "log.write('begin\\n')\n"
        "while not os.path.exists(sys.argv[2]): time.sleep(0.05)\n"
        "log.write('end\\n')\n"
    )
    command = (sys.executable, "-c", text, str(log), str(go))
    first = container.start(*command)
    try:
        while not log.exists() or not log.read_text():
            assert first.poll() is None
        second = container.start(*command)
        assert second.stdout is not None
        told: list[str] = []
        while "another migration runs" not in "".join(told):
            told.append(second.stdout.readline())
            assert told[-1], told
        assert log.read_text() == "begin\n"
        go.touch()
        assert (second.wait(30), first.wait(30)) == (0, 0)
        assert log.read_text() == "begin\nend\nbegin\nend\n"
        second.stdout.close()
    finally:
        first.kill()
        first.communicate()


REFUSED = [
    pytest.param({"DATABASE_PASSWORD": "wrong"}, "authentication failed", id="password"),
    pytest.param({"DATABASE_NAME": "kok"}, 'database "kok" does not exist', id="database"),
    pytest.param({"DATABASE_PASSWORD": PASSWORD + "\n"}, "authentication failed", id="newline"),
    pytest.param(
        {"DATABASE_SERVICE_CERT": "x", "DATABASE_SERVICE_CERTFILE": "/dev/null"},
        "does not support SSL",
        id="tls",
    ),
]


@pytest.mark.parametrize(("environ", "told"), REFUSED)
def test_a_refusal_ends_the_wait(container: Container, environ: dict[str, str], told: str) -> None:
    """What no waiting heals fails at once, with the server's words and no password."""
    done = container.run("true", COSTMGMT_WAIT_SECONDS="3600", **environ)
    assert done.returncode == 1
    assert "cost-mgmt-migration: the database refused" in done.stdout
    assert told in done.stdout
    assert PASSWORD not in done.stdout


def test_waits_for_an_authenticated_answer(programs: Programs) -> None:
    """A server that is not there yet is waited for, and migrated once it lets us in."""
    with image(programs) as server:
        server.stop()
        process = Container(server).start(sys.executable, "-c", "print('applied')")
        assert process.stdout is not None
        try:
            told = process.stdout.readline()
            assert "waiting for koku at 127.0.0.2" in told
            server.start(f"listen_addresses=127.0.0.1,{POD_IP}")
            rest, _ = process.communicate(timeout=60)
            assert process.returncode == 0, told + rest
            assert rest.index("connected as") < rest.index("applied")
        finally:
            process.kill()
            process.wait()


def test_gives_up_with_the_last_answer(container: Container) -> None:
    """After its deadline it fails, and says what it saw last."""
    done = container.run("true", COSTMGMT_WAIT_SECONDS="0", MY_DATABASE_SERVICE_PORT="1")
    assert done.returncode == 1
    assert "no answer for koku at 127.0.0.2:1, database koku; the last one was:" in done.stdout
    assert "refused" in done.stdout


FAILURES = [
    pytest.param("print('broken'); exit(3)", "failed with status 3: see its last lines", id="3"),
    pytest.param("import os; os.kill(os.getpid(), 9)", "signal 9 (killed: out of", id="killed"),
]


@pytest.mark.parametrize(("text", "told"), FAILURES)
def test_failures_are_the_jobs(container: Container, text: str, told: str) -> None:
    """A command that fails fails the Job, and the last line says how."""
    done = container.run(sys.executable, "-c", text)
    assert done.returncode == 1
    assert told in done.stdout.splitlines()[-1]


def test_a_command_that_is_not_there(container: Container) -> None:
    """An image without the command is told in a sentence."""
    done = container.run("no-such-command")
    assert done.returncode == 1
    assert "cannot start no-such-command: No such file" in done.stdout.splitlines()[-1]


def test_an_image_without_a_driver(container: Container, tmp_path: Path) -> None:
    """An image that is not the application's is told in a sentence."""
    for name in ("psycopg", "psycopg2"):
        (tmp_path / f"{name}.py").write_text("raise ImportError\n")
    done = container.run("true", PYTHONPATH=str(tmp_path))
    assert "neither psycopg nor psycopg2" in done.stdout


def test_a_deadline_ends_the_command(container: Container) -> None:
    """SIGTERM, a Job's deadline, ends the command before it ends the container."""
    text = (
        "import os, signal, sys, time\n"
        "def back(*_):\n"
        "    os.write(1, b'rolled' + b' back\\n')  # print may be at work just then\n"
        "    sys.exit()\n"
        "signal.signal(signal.SIGTERM, back)\n"
        "print('apply' + 'ing', flush=True)\n"
        "time.sleep(60)\n"
    )
    process = container.start(sys.executable, "-c", text)
    assert process.stdout is not None
    try:
        while "applying" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=30)
        assert process.returncode == 1
        assert rest.index("rolled back") < rest.index("ended from outside (SIGTERM)")
    finally:
        process.kill()
        process.wait()


def test_a_lost_lock_ends_the_command(container: Container) -> None:
    """Whoever no longer holds the lock does not migrate on."""
    done = container.python(
        'ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity'
        " WHERE application_name = 'cost-mgmt-migration'\")\n"
        "import time; time.sleep(60)\n"
        "print('went' + ' on')\n"
    )
    assert done.returncode == 1
    assert "lost the database while it was migrated" in done.stdout.splitlines()[-1]
    assert "went on" not in done.stdout


def test_django_gets_a_secret_key(container: Container) -> None:
    """The application's settings load: a key is made for the run, unless one is given."""
    ask = "import os; print(len(os.environ['DJANGO_SECRET_KEY']))"
    assert "64\n" in container.run(sys.executable, "-c", ask).stdout
    assert "3\n" in container.run(sys.executable, "-c", ask, DJANGO_SECRET_KEY="own").stdout
