"""A server with the application's and hive's roles, and PgBouncer in front of it."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret
from tests.server.access_server import OwnServer, _free_port, own_server
from tests.server.run_support import Place, Ran

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
needs_pgbouncer = pytest.mark.skipif(PGBOUNCER is None, reason="no pgbouncer on this machine")

ROLE, DATABASE, PASSWORD, HIVE = "Kök-u r", "Kök-u db", "the-applications-own", "the-metastores-own"
KNOWN = {ROLE: PASSWORD, "hive": HIVE}


@contextmanager
def pooled_server(programs: Programs) -> Iterator[OwnServer]:
    """Start a server with the application's and hive's roles and databases."""
    with own_server(programs, ("max_connections=60", "timezone=UTC")) as started:
        started.sql(
            f"CREATE ROLE \"{ROLE}\" LOGIN PASSWORD '{PASSWORD}'",
            f"CREATE ROLE hive LOGIN PASSWORD '{HIVE}'",
            f'CREATE DATABASE "{DATABASE}" OWNER "{ROLE}"',
            "CREATE DATABASE hive OWNER hive",
            f'REVOKE CONNECT ON DATABASE "{DATABASE}", hive FROM PUBLIC',
        )
        yield started


class Pooler:
    """PgBouncer; in transaction mode with one session to each role and database."""

    def __init__(
        self, server: OwnServer, auth: str, secrets: dict[str, str], mode: str = "transaction"
    ) -> None:
        self.port = str(_free_port())
        self.folder = server.folder / f"pooler-{self.port}"
        self.folder.mkdir()
        if server.account:
            shutil.chown(self.folder, server.account["user"], server.account["group"])
        name = self.folder.name
        lines = [f'"{role}" "{secret}"' for role, secret in secrets.items()]
        users = server.write(f"{name}/users", "\n".join(lines) + "\n")
        ini = server.write(
            f"{name}/ini",
            f"[databases]\n* = host=127.0.0.1 port={server.port}\n[pgbouncer]\n"
            f"listen_addr = 127.0.0.1\nlisten_port = {self.port}\nunix_socket_dir =\n"
            f"auth_type = {auth}\nauth_file = {users}\npool_mode = {mode}\n"
            f"default_pool_size = {1 if mode == 'transaction' else 10}\n",
        )
        assert PGBOUNCER is not None
        self.process = subprocess.Popen(
            [PGBOUNCER, "-q", str(ini)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, start_new_session=True, **server.account,
        )  # fmt: skip

    def login(self, role: str = ROLE, password: str = PASSWORD, database: str = DATABASE) -> Login:
        """Return a login through it."""
        where = {"host": "127.0.0.1", "port": self.port}
        return Login(role=role, database=database, where=where, password=Secret(password))

    def wait(self) -> None:
        """Wait until it lets the application in."""
        until = time.monotonic() + 120
        while True:
            try:
                connect(self.login(), deadline=60).close()
            except ConnectionError:
                assert time.monotonic() < until
                time.sleep(0.05)
            else:
                return


@contextmanager
def pooler(
    server: OwnServer, auth: str, secrets: dict[str, str], mode: str = "transaction"
) -> Iterator[Pooler]:
    """Run one that knows these roles' secrets, and asks for them by ``auth``."""
    started = Pooler(server, auth, secrets, mode)
    try:
        started.wait()
        yield started
    finally:
        started.process.kill()
        started.process.wait()


def verifiers(server: OwnServer) -> dict[str, str]:
    """Return what the server keeps of each password, with which a pooler logs in as the client."""
    rows = server.sql("SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword IS NOT NULL")
    return dict(rows)


def judged(where: Place, port: str) -> Ran:
    """Judge what answers at a port."""
    given = where.secret("password", PASSWORD)
    hive = where.secret("hive", HIVE)
    return where.run(
        f"--costmgmt-dsn=host=127.0.0.1 port={port} user='{ROLE}' dbname='{DATABASE}'",
        f"--costmgmt-password-file={given}", f"--costmgmt-hive-password-file={hive}",
        "--costmgmt-failed-logins=2", command="check",
    )  # fmt: skip
