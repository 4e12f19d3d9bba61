"""Restore a backup into a database that is created for it, prove it, and only then name it.

The work is done beside, under a name of ours. A name that an application knows is never that of
something half made, whatever ends the restore.
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup import archive, disk, leftover
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.deed import Deed
from pytest_costmgmt.backup.model import Difference, Manifest, Proof
from pytest_costmgmt.backup.occupied import (
    Existing,
    Powers,
    existing,
    lacks_createdb,
    obstacles,
    powers,
)
from pytest_costmgmt.backup.progress import Progress, Told, nobody
from pytest_costmgmt.backup.scratch import CONNECT, LONGEST, derived, maintenance, remove
from pytest_costmgmt.backup.site import Site, site
from pytest_costmgmt.backup.swap import Plan, swap
from pytest_costmgmt.backup.workshop import Choose, Crew, Job, build, cores, proven, survey
from pytest_costmgmt.errors import BackupFailed, UsageProblem
from pytest_costmgmt.postgres.clients import Clients, package
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident

if TYPE_CHECKING:
    from psycopg import Connection

DAYS = 7 * 24 * 3600.0
"Seconds that pg_restore may take, unless said otherwise."

INITDBS_OWN = frozenset({"template0", "template1"})


class Refused(BackupFailed):
    """Nothing was begun; ``refusals`` says why, a sentence each."""

    def __init__(self, what: str, refusals: tuple[str, ...]) -> None:
        lines = "\n".join(f"  {line}" for line in refusals)
        super().__init__(f"{what} was refused, and nothing was changed:\n{lines}")
        self.refusals = refusals


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows."""

    replace: bool = False
    disconnect: bool = False
    drop_old: bool = False
    accept_lost_writes: bool = False
    accept_disk_risk: bool = False


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be restored, as what, and how."""

    folder: Path
    manifest: Manifest
    database: str
    wishes: Wishes


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """A backup that is a database again.

    ``pending`` are the proof's differences that ``fixes``, an administrator's to run, will end.
    ``old_name`` is what the replaced database is called now, if it was kept; ``swap_seconds`` how
    long new connections waited while the name changed hands.
    """

    database: str
    proof: Proof
    pending: tuple[Difference, ...] = ()
    fixes: tuple[Deed, ...] = ()
    old_name: str = ""
    swap_seconds: float = 0.0

    @property
    def whole(self) -> bool:
        """Say whether nothing is left to do."""
        return not self.pending and not self.fixes


def restore(
    folder: Path,
    target: Login,
    database: str,
    *,
    clients: Clients | Choose,
    run_id: str,
    replace: bool = False,
    disconnect: bool = False,
    drop_old: bool = False,
    accept_lost_writes: bool = False,
    accept_disk_risk: bool = False,
    jobs: int | None = None,
    told: Told = nobody,
    stop: Stop = never,
    deadline: float = DAYS,
) -> Restored:
    """Restore the backup in ``folder`` as ``database`` on the target's server.

    Raises UsageProblem for what must be said first, Refused before anything is made, ArchiveFault,
    NotEqual with the proof, and BackupFailed; then nothing of the restore is left.
    """
    wishes = Wishes(
        replace=replace,
        disconnect=disconnect,
        drop_old=drop_old,
        accept_lost_writes=accept_lost_writes,
        accept_disk_risk=accept_disk_risk,
    )
    _meant(database, wishes)
    manifest = manifests.read(folder)
    order = Order(folder=folder, manifest=manifest, database=database, wishes=wishes)
    login = maintenance(target, avoid=database)
    with closing(connect(login, deadline=CONNECT)) as connection:
        job, old = _examined(connection, login, order, told)
    crew = Crew(
        clients=chosen(clients, manifest, job.powers),
        jobs=jobs or cores(),
        told=told,
        stop=stop,
        deadline=deadline,
    )
    archive.verify(folder, clients=crew.clients, told=told, stop=stop)
    kept = derived(database, "old", run_id) if old is not None else ""
    with site(login, derived(database, "new", run_id), told=told) as place:
        left = build(place, job, crew)
        proof, pending, fixes = proven(place, job, crew, left)
        seconds = _named(place, order, old, kept, crew)
    fixes = tuple(_renamed(deed, place.name, database) for deed in fixes)
    if old is not None and wishes.drop_old:
        _drop(login, kept)
        kept = ""
    return Restored(
        database=database,
        proof=proof,
        pending=pending,
        fixes=fixes,
        old_name=kept,
        swap_seconds=seconds,
    )


def _meant(database: str, wishes: Wishes) -> None:
    """Raise UsageProblem for what cannot be meant."""
    if not database or "\0" in database or len(database.encode()) > LONGEST:
        raise UsageProblem(
            f"--database {database!r} cannot be a database's name: it has 1 to {LONGEST} bytes."
        )
    if database in INITDBS_OWN:
        raise UsageProblem(f"--database {database}: PostgreSQL makes every new database of it.")
    if not wishes.replace and (wishes.disconnect or wishes.drop_old):
        raise UsageProblem("--disconnect and --drop-old belong to --replace, which is not given.")


def chosen(clients: Clients | Choose, manifest: Manifest, login: Powers) -> Clients:
    """Return the programs, which must be as new as the server: the proof dumps its schema.

    Raises UsageProblem.
    """
    if not isinstance(clients, Clients):
        clients = clients(manifest.server_number, login.server_number)
    if clients.number // 10000 < login.server_number // 10000:
        raise UsageProblem(
            f"{clients.label} cannot read PostgreSQL {login.server}, which is newer, so nothing"
            " could be proven there.",
            hint=package(login.server_number),
        )
    return clients


def _examined(
    connection: Connection[Any], way: Login, order: Order, told: Told
) -> tuple[Job, Existing | None]:
    """Return what to do, or refuse: nothing is made yet."""
    login = powers(connection)
    old = existing(connection, order.database)
    if old is not None:
        _allowed(old, order.wishes)
    refusals = able(login, order.manifest)
    if old is not None:
        refusals += [
            said
            for said in obstacles(old, login, disconnect=order.wishes.disconnect)
            if said not in refusals
        ]
    job, more = survey(connection, order.folder, order.manifest, login)
    if refusals or more:
        raise Refused(f"the restore of database {order.database}", (*refusals, *more))
    leftover.sweep(connection, way, leftover.restores_of(order.database), told)
    # A database of its own is what was asked for; a second copy is what the restore adds.
    said = disk.require(
        connection,
        order.manifest,
        accepted=order.wishes.accept_disk_risk or old is None,
        copy_of=old.bytes if old is not None else None,
    )
    told(Progress(stage="disk", about=said))
    return job, old


def _allowed(old: Existing, wishes: Wishes) -> None:
    if not wishes.replace:
        raise UsageProblem(
            f"Database {old.name} exists, and a restore never writes into one that does.",
            hint="Name another, or give --replace: the backup is then restored beside it, proven,"
            " and put in its place.",
        )
    if not wishes.accept_lost_writes:
        raise UsageProblem(
            f"What was written into database {old.name} since the backup is lost by --replace.",
            hint="Give --accept-lost-writes if that is meant. The old database is kept, renamed,"
            " unless --drop-old.",
        )


def able(login: Powers, manifest: Manifest) -> list[str]:
    """Return why this login cannot create a database of this backup on its server at all."""
    said = []
    if login.standby:
        said.append("the server is a standby, which takes no writes: restore on its primary")
    if login.server_number // 10000 < manifest.server_number // 10000:
        said.append(
            f"the server is PostgreSQL {login.server} and the backup is of {manifest.server}: what"
            " a newer version holds cannot go back into an older one"
        )
    if not (login.superuser or login.createdb):
        said.append(lacks_createdb(login))
    return said


def _named(place: Site, order: Order, old: Existing | None, kept: str, crew: Crew) -> float:
    """Give the proven database its name; from then on it is not ours to remove."""
    if crew.stop():
        raise BackupFailed(f"database {order.database} was not restored: it was told to stop")
    crew.told(Progress(stage="naming", about=order.database))
    plan = Plan(
        new=place.name,
        oid=place.oid,
        name=order.database,
        old=old,
        kept=kept,
        disconnect=order.wishes.disconnect,
        close_old=order.wishes.drop_old,
        limit=order.manifest.database.connection_limit,
        comment=order.manifest.database.comment,
    )
    with closing(connect(place.login, deadline=CONNECT)) as connection:
        place.send_autovacuum_away(connection)
    done = swap(place.login, plan, told=lambda said: crew.told(Progress(stage="named", about=said)))
    place.keep()
    return done.seconds


def _drop(login: Login, kept: str) -> None:
    try:
        remove(login, kept)
    except BackupFailed as error:
        raise BackupFailed(
            f"the restore is complete, but the old database is left as {kept}: {error.message}",
            hint=f"DROP DATABASE {ident(kept)} WITH (FORCE);",
        ) from None


def _renamed(deed: Deed, was: str, now: str) -> Deed:
    """Return the deed for the name that the database has in the end."""
    statements = tuple(
        msgspec.structs.replace(
            each, names=tuple(now if name == was else name for name in each.names)
        )
        for each in deed.statements
    )
    return msgspec.structs.replace(
        deed,
        what=deed.what.replace(was, now),
        statements=statements,
        shown=tuple(line.replace(ident(was), ident(now)) for line in deed.shown),
        database=now if deed.database == was else deed.database,
    )
