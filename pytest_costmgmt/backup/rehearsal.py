"""Back a database up, damage the archive, restore it into a scratch database, prove it: once."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from pytest_costmgmt.backup import archive
from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import Difference, Manifest, Proof
from pytest_costmgmt.backup.occupied import Powers, lacks_createdb, powers
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.backup.restore import Refused
from pytest_costmgmt.backup.roundtrip import roundtrip, scratch_name
from pytest_costmgmt.backup.scratch import maintenance
from pytest_costmgmt.backup.workshop import NotEqual
from pytest_costmgmt.errors import ArchiveFault, CostMgmtError, FactUnavailable, UsageProblem
from pytest_costmgmt.facts.rehearsal import Damage, Differs, Rehearsal
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.clients import Clients, NoMatchingClients
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import rows

ROOM = 1.2
"Of the database's size, what the archive and its like may need on our own disk."

_SIZE = """
SELECT pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
       pg_catalog.pg_database_size(pg_catalog.current_database())
"""
_LEFT = """
SELECT d.datname::pg_catalog.text FROM pg_catalog.pg_database AS d
 WHERE pg_catalog.strpos(d.datname, %(run_id)s) > 0 ORDER BY 1
"""


class Rehearse:
    """Acts a backup and a restore out, when first asked; every check reads the same result.

    ``application`` is backed up, by its own login or a superuser's; an ``administrator`` who is
    none often may not read it, but may create the database that it is restored into.
    """

    def __init__(
        self,
        application: Login,
        administrator: Login | None,
        *,
        choose: Callable[[int], Clients],
        run_id: str,
        folder: str = "",
        accept_disk_risk: bool = False,
        deadline: float = 10.0,
    ) -> None:
        self.login, self.administrator = application, administrator
        self.choose, self.run_id = choose, run_id
        self.folder, self.accept_disk_risk, self.deadline = folder, accept_disk_risk, deadline
        self._done: Rehearsal | None = None
        self._why: FactUnavailable | None = None

    def result(self) -> Rehearsal:
        """Return what came of it. Raises FactUnavailable where it could not be tried."""
        if self._why is not None:
            raise self._why
        if self._done is None:
            try:
                self._done = self._act()
            except FactUnavailable as error:
                self._why = error
                raise
            except CostMgmtError as error:
                self._why = FactUnavailable(f"A backup could not be tried: {error}")
                raise self._why from None
        return self._done

    def _act(self) -> Rehearsal:
        rights = self._rights()
        if self.administrator is not None and rights.superuser:
            self.login = self.administrator.on(self.login.database)
        number, size = self._server()
        try:
            clients = self.choose(number)
        except NoMatchingClients as error:
            raise FactUnavailable(error.message, hint=error.hint) from None
        seen = Rehearsal(database=self.login.database, clients=clients.label)
        with scratch(self.folder or None) as place:
            self._need_room(place, size)
            out = place / "backup"
            began = time.monotonic()
            try:
                manifest = backup(self.login, out, clients=clients, run_id=self.run_id)
            except CostMgmtError as error:
                return msgspec.structs.replace(seen, backup_error=str(error))
            seen = msgspec.structs.replace(
                seen,
                bytes=sum(each.bytes for each in manifest.files),
                files=len(manifest.files),
                seconds=time.monotonic() - began,
                whole=_refused(out, clients),
                damages=tuple(_damages(out, manifest, clients)),
            )
            return self._restored(seen, out, clients, rights)

    def _rights(self) -> Powers:
        """Return what he may who restores."""
        login = maintenance(self._restores, avoid=scratch_name(self.run_id))
        with closing(connect(login, deadline=self.deadline)) as connection:
            return powers(connection)

    @property
    def _restores(self) -> Login:
        administrator = self.administrator
        return self.login if administrator is None else administrator.on(self.login.database)

    def _server(self) -> tuple[int, int]:
        what = f"the size of database {self.login.database!r}"
        with (
            closing(connect(self.login, deadline=self.deadline)) as connection,
            asking(what),
            read_only(connection, timeout=60) as cursor,
        ):
            number, size = rows(cursor, _SIZE)[0]
        return number, size

    def _need_room(self, place: Path, size: int) -> None:
        free = shutil.disk_usage(place).free
        if free < size * ROOM:
            raise FactUnavailable(
                f"A backup of database {self.login.database!r} ({size >> 20} MiB) could not be"
                f" tried: {place.parent} has {free >> 20} MiB free.",
                hint="Name a folder with more by TMPDIR.",
            )

    def _restored(self, seen: Rehearsal, out: Path, clients: Clients, rights: Powers) -> Rehearsal:
        if not (rights.superuser or rights.createdb):
            return msgspec.structs.replace(
                seen,
                why_not=lacks_createdb(rights),
                how="give --costmgmt-admin-dsn, whose role may create databases",
            )
        seen = msgspec.structs.replace(seen, scratch=scratch_name(self.run_id))
        try:
            trip = roundtrip(
                out,
                self._restores,
                clients=clients,
                run_id=self.run_id,
                source=self.login,
                accept_disk_risk=self.accept_disk_risk,
            )
        except NotEqual as error:
            seen = _with_proof(seen, error.proof, ())
        except Refused as error:
            if rights.superuser:
                seen = msgspec.structs.replace(seen, restore_error=str(error))
            else:
                return msgspec.structs.replace(
                    seen, scratch="", why_not=error.message, how="give --costmgmt-admin-dsn, whose"
                    f" role may act for the owners of what is in {self.login.database}",
                )  # fmt: skip
        except UsageProblem as error:  # the room for a copy is not known, and nobody accepted that
            return msgspec.structs.replace(
                seen,
                scratch="",
                why_not=error.message,
                how=error.hint.replace("--accept-disk-risk", "--costmgmt-accept-disk-risk=yes"),
            )
        except CostMgmtError as error:
            seen = msgspec.structs.replace(seen, restore_error=str(error))
        else:
            seen = _with_proof(seen, trip.proof, trip.pending)
        return msgspec.structs.replace(seen, looked_for_left=True, left=self._left())

    def _left(self) -> tuple[str, ...]:
        with (
            closing(connect(self.login, deadline=self.deadline)) as connection,
            asking("what is left"),
            read_only(connection, timeout=60) as cursor,
        ):
            return tuple(name for (name,) in rows(cursor, _LEFT, run_id=self.run_id))


def _with_proof(seen: Rehearsal, proof: Proof, pending: tuple[Difference, ...]) -> Rehearsal:
    return msgspec.structs.replace(
        seen,
        restored=True,
        compared=proof.compared,
        differences=tuple(_differs(each) for each in proof.differences if each not in pending),
        pending=tuple(map(_differs, pending)),
        allowed=tuple(f"{a.difference.line} ({a.reason})" for a in proof.allowed),
    )


def _differs(of: Difference) -> Differs:
    rows = f", rows {', '.join(of.keys)}" if of.keys else ""
    rows += f" and {of.more_keys} more" if of.more_keys else ""
    return Differs(of=of.of, name=of.name, expected=of.expected, found=of.found + rows)


def _refused(folder: Path, clients: Clients | None = None) -> str:
    """Return how the archive was refused, or nothing."""
    try:
        archive.verify(folder, clients=clients)
    except ArchiveFault as error:
        return str(error)
    return ""


def _damages(folder: Path, manifest: Manifest, clients: Clients) -> Iterator[Damage]:
    """Damage the archive in each usual way, see it refused, and mend it: no second copy is made."""
    smallest, largest = (
        pick(manifest.files, key=lambda each: (each.bytes, each.path)) for pick in (min, max)
    )
    with _flipped(folder / largest.path):
        yield Damage(what=f"one bit of {largest.path} flipped", said=_refused(folder))
    with _shortened(folder / largest.path):
        yield Damage(what=f"the last byte of {largest.path} cut off", said=_refused(folder))
    with _away(folder / smallest.path, folder.parent):
        yield Damage(what=f"{smallest.path} removed", said=_refused(folder, clients))


@contextmanager
def _flipped(file: Path) -> Iterator[None]:
    _flip(file)
    try:
        yield
    finally:
        _flip(file)


def _flip(file: Path) -> None:
    with file.open("r+b") as stream:
        middle = file.stat().st_size // 2
        stream.seek(middle)
        byte = stream.read(1)[0]
        stream.seek(middle)
        stream.write(bytes([byte ^ 0x10]))


@contextmanager
def _shortened(file: Path) -> Iterator[None]:
    with file.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        last = stream.read(1)
    os.truncate(file, file.stat().st_size - 1)
    try:
        yield
    finally:
        with file.open("ab") as stream:
            stream.write(last)


@contextmanager
def _away(file: Path, elsewhere: Path) -> Iterator[None]:
    aside = elsewhere / f"{file.name}.aside"
    file.rename(aside)
    try:
        yield
    finally:
        aside.rename(file)
