"""A database of one test's own, what backs it up, and a gate in front of pg_dump."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from psycopg import Connection

from pytest_costmgmt.backup import dump
from pytest_costmgmt.backup.model import Manifest
from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.postgres import clients as programs
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.servers.embedded_folders import cache_folder

PATIENCE = 60.0

GATE = """#!/bin/sh
case " $* " in *" --version "*|*" --schema-only "*) exec {real} "$@";; esac
printf '%s\\n' "$@" > {here}/argv
env > {here}/environ
: > {here}/reached
while [ ! -e {here}/open ]; do sleep 0.02; done
exec {real} "$@"
"""


class BackupBed:
    """A database on a shared server, owned by the superuser unless a test says otherwise."""

    def __init__(self, superuser: Login, folder: Path) -> None:
        self.folder = folder
        self.login = superuser.on(f"Kök-u {secrets.token_hex(3)}")
        self.told: list[Progress] = []
        with closing(connect(superuser.on("postgres"), deadline=10)) as connection:
            name = ident(self.login.database)
            connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())

    @property
    def out(self) -> Path:
        """Where the backup is to be."""
        return self.folder / "backup"

    @property
    def clients(self) -> Clients:
        """The programs that fit the server."""
        with self.session() as connection:
            number = connection.info.server_version
        cache = cache_folder(None, os.environ)
        return programs.choose(number, cache=cache, environ=os.environ)

    def session(self, *, autocommit: bool = True) -> closing[Connection[Any]]:
        """Return a session of somebody else's."""
        return closing(connect(self.login, deadline=10, autocommit=autocommit))

    def run(self, *statements: str) -> None:
        """Run statements, each by itself."""
        with self.session() as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Return a query's rows."""
        with self.session() as connection:
            return connection.execute(query.encode(), values).fetchall()

    def backup(self, **changes: Any) -> Manifest:
        """Back the database up."""
        given: dict[str, Any] = {
            "clients": changes.pop("clients", None) or self.clients,
            "told": self.told.append,
            "run_id": secrets.token_hex(4),
            "lock_timeout": PATIENCE,
            "jobs": 2,
            **changes,
        }
        return dump.backup(given.pop("login", self.login), given.pop("out", self.out), **given)

    @property
    def anew(self) -> list[str]:
        """What was told of dumps that were begun anew."""
        return [news.about for news in self.told if news.stage == "beginning anew"]

    def left(self) -> list[str]:
        """Return what is left in the folder of a backup that is not there."""
        return sorted(each.name for each in self.folder.iterdir() if each.name != "gate")

    def waiting(self) -> bool:
        """Say whether somebody waits for a lock in this database."""
        return bool(self.rows(
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        ))  # fmt: skip

    def sessions(self) -> int:
        """Return how many sessions of backups there are in this database."""
        return int(self.rows(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )[0][0])  # fmt: skip

    def drop(self) -> None:
        """Remove the database."""
        with closing(connect(self.login.on("postgres"), deadline=10)) as connection:
            name = ident(self.login.database)
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


class Gate:
    """Programs whose pg_dump waits, before it does anything, until the gate is opened."""

    def __init__(self, real: Clients, folder: Path) -> None:
        self.folder = folder / "gate"
        self.folder.mkdir()
        script = self.folder / "pg_dump"
        script.write_text(GATE.format(real=real.pg_dump, here=self.folder))
        script.chmod(0o755)
        (self.folder / "pg_restore").symlink_to(real.pg_restore)
        cache = cache_folder(None, os.environ)
        found = programs.available(bindir=self.folder, cache=cache, environ={}, probed=[])
        self.clients = next(iter(found))

    @property
    def argv(self) -> list[str]:
        """What pg_dump was called with."""
        return (self.folder / "argv").read_text().splitlines()

    @property
    def environ(self) -> dict[str, str]:
        """The environment that pg_dump was given."""
        lines = (self.folder / "environ").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def reached(self) -> bool:
        """Say whether pg_dump stands before the gate: the snapshot is taken, nothing is locked."""
        return (self.folder / "reached").exists()

    def reached_anew(self) -> bool:
        """Say whether it stands before a gate that is shut."""
        return self.reached() and not (self.folder / "open").exists()

    def open(self) -> None:
        """Let pg_dump, and every later one, pass."""
        (self.folder / "open").touch()

    def shut(self) -> None:
        """Stop the next one; whoever is about to open it for the last one has done so first."""
        until((self.folder / "open").exists)
        for name in ("reached", "open"):
            (self.folder / name).unlink(missing_ok=True)


def until(true: Callable[[], bool]) -> None:
    """Wait until something is true."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def meanwhile(*steps: tuple[Callable[[], bool], Callable[[], object]]) -> threading.Thread:
    """Do one thing after the other, each as soon as something is true, beside the test."""

    def work() -> None:
        for true, act in steps:
            until(true)
            act()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def copied(backup: Path, to: Path) -> Path:
    """Return a copy of a backup that a test may damage."""
    shutil.copytree(backup, to)
    return to
