"""A PostgreSQL whose files a test may write: pg_hba.conf, certificates, a standby."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret

ADMIN = "a-superuser's password"
HBA = (
    "local all postgres scram-sha-256",
    "local all peer_by_map peer map=everybody",
    "local all trusted trust",
    "local all all scram-sha-256",
    "host replication all 127.0.0.1/32 trust",
    "host all trusted 127.0.0.1/32 trust",
    "host all by_md5 127.0.0.1/32 md5",
    "host all in_clear 127.0.0.1/32 password",
    "host all all 127.0.0.1/32 scram-sha-256",
)


class OwnServer:
    """A server in a folder of its own; ``where`` is its socket, ``tcp`` its port on localhost."""

    def __init__(self, bindir: Path, folder: Path, account: dict[str, Any]) -> None:
        self.bindir, self.folder, self.account = bindir, folder, account
        self.data = folder / "data"
        self.port = str(_free_port())
        self.where = {"host": str(folder), "port": self.port}
        self.tcp = {"host": "127.0.0.1", "port": self.port}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def admin(self) -> Login:
        """The superuser's login over the socket."""
        return Login(role="postgres", database="postgres", where=self.where, password=Secret(ADMIN))

    def login(self, role: str, password: str | None, database: str = "", **where: str) -> Login:
        """Return a login over TCP."""
        secret = None if password is None else Secret(password)
        there = {**self.tcp, **where}
        return Login(role=role, database=database or "postgres", where=there, password=secret)

    def run(self, program: str, *arguments: str) -> None:
        """Run a program of PostgreSQL to its end, as the account that owns the files."""
        done = subprocess.run(
            [str(self.bindir / program), *arguments],
            cwd="/", check=False, capture_output=True, **self.account,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr.decode(errors="replace")

    def write(self, name: str, text: str, mode: int = 0o600) -> Path:
        """Write a file that the server's account owns."""
        path = self.folder / name
        path.write_text(text)
        path.chmod(mode)
        if self.account:
            shutil.chown(path, self.account["user"], self.account["group"])
        return path

    def start(self, *settings: str, **environ: str) -> None:
        """Start it; every setting is NAME=VALUE, ``environ`` is added to its environment."""
        given = [f"-c{setting}" for setting in ("fsync=off", "max_connections=12", *settings)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(self.bindir / "postgres"), "-D", str(self.data), "-k", str(self.folder),
                 "-p", self.port, "-clisten_addresses=127.0.0.1", *given],
                cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
                start_new_session=True, env={**os.environ, **environ}, **self.account,
            )  # fmt: skip
        self.wait(self.admin)

    def wait(self, login: Login) -> None:
        """Wait until the login is let in."""
        until = time.monotonic() + 120
        while True:
            try:
                connect(login, deadline=5).close()
            except ConnectionError:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.05)
            else:
                return

    def stop(self) -> None:
        """Stop it at once."""
        if self.process is not None:
            self.process.send_signal(3)
            self.process.wait(30)
            self.process = None

    def sql(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Run statements as the superuser; return the last one's rows, if it has any."""
        with connect(self.admin.on(database), deadline=10) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []


@contextmanager
def own_server(
    programs: Programs, settings: Sequence[str] = (), hba: Sequence[str] = HBA
) -> Iterator[OwnServer]:
    """Make a server from nothing; afterwards neither process nor folder is left."""
    account: dict[str, Any] = {}
    if os.geteuid() == 0:
        found = pwd.getpwnam("postgres" if _has("postgres") else "nobody")
        account = {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": ()}
    folder = Path(tempfile.mkdtemp(prefix="own-"))
    if account:
        os.chown(folder, account["user"], account["group"])
    server = OwnServer(programs.bindir, folder, account)
    try:
        password = server.write("password", ADMIN)
        server.run(
            "initdb", "-D", str(server.data), "-U", "postgres", "-A", "scram-sha-256", "-N",
            f"--pwfile={password}", "--locale=C", "-E", "UTF8",
        )  # fmt: skip
        server.write("data/pg_hba.conf", "\n".join(hba) + "\n")
        server.write("data/pg_ident.conf", "everybody /^(.*)$ peer_by_map\n")
        server.start(*settings)
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _has(account: str) -> bool:
    return any(entry.pw_name == account for entry in pwd.getpwall())


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
