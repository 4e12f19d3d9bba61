"""What the commands of backup and restore share: the target, programs that fit, signals."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres import clients as programs
from pytest_costmgmt.postgres.clients import Clients, Compression
from pytest_costmgmt.postgres.clients_way import strict_tls
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.dsn import parse_login, read_password_file
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.servers.embedded_folders import cache_folder

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TARGET = "TARGET"


class Interrupted(KeyboardInterrupt):
    """A signal asked for the end; ``status`` is the exit status that tells it."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


def login(target: str, password_file: Path | None) -> Login:
    """Return the login that a command's TARGET means. Raises UsageProblem."""
    found = parse_login(target, what=TARGET, source="option").login
    if password_file is None:
        return found
    password = read_password_file(password_file, what="--password-file")
    return found.acting_as(found.role, password, database=found.database)


class Way:
    """A server that answers: how the programs of PostgreSQL reach it, and which can."""

    def __init__(
        self, target: Login, *, bindir: Path | None, environ: Mapping[str, str], deadline: float
    ) -> None:
        self.login, self.bindir, self.environ = target, bindir, environ
        connection = connect(target, deadline=deadline)
        try:
            self.number = connection.info.server_version
            # What ours encrypts, the programs must not send in clear.
            self.tls = strict_tls(target) or connection.pgconn.ssl_in_use
        finally:
            connection.close()

    def clients(
        self,
        server_number: int,
        restore_into: int | None = None,
        *,
        written_by: int = 0,
        compression: Compression = "none",
    ) -> Clients:
        """Return the programs that dump the one and restore into the other. See choose."""
        return programs.choose(
            server_number,
            restore_into=restore_into,
            bindir=self.bindir,
            cache=cache_folder(None, self.environ),
            environ=self.environ,
            tls=self.tls,
            written_by=written_by,
            compression=compression,
        )


def version_number(text: str | None, *, server: int) -> int | None:
    """Return the version that --restore-into means, as server_version_num.

    >>> version_number("18", server=15_00_18), version_number("15", server=15_00_18)
    (180000, 150018)
    """
    if text is None:
        return None
    if not text.replace(".", "", 1).isdigit():
        raise UsageProblem(f"--restore-into={text} is no version: write it as 18 or 18.6.")
    number = programs.version_number(text)
    same = number // 10000 == server // 10000
    return max(number, server) if same else number


class Signals:
    """What came while something was :func:`interruptible`."""

    number: int | None = None

    def check(self) -> None:
        """Raise Interrupted if one came, and somebody in between made an exit status of it."""
        if self.number is not None:
            raise Interrupted(self.number)


@contextlib.contextmanager
def interruptible() -> Iterator[Signals]:
    """Let the first signal end what is under way, in order; the next ones wait for that."""
    seen = Signals()

    def first(number: int, _: FrameType | None) -> NoReturn:
        seen.number = number
        for each in SIGNALS:
            # A function, not SIG_IGN: programs that are started to clean up would inherit that.
            signal.signal(each, lambda *_: None)
        raise Interrupted(number)

    before = {each: signal.signal(each, first) for each in SIGNALS}
    try:
        yield seen
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
