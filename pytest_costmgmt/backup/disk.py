"""Is there room for a second copy? Proven from the server's own folder, or not known.

No function of PostgreSQL tells how much of a disk is free. It is known only where the server's data
folder can be looked into from here, and is shown to be this server's: its control file holds the
server's system identifier, its pid file the second at which the server started.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup.model import Manifest
from pytest_costmgmt.errors import BackupFailed, UsageProblem
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.statements import rows

if TYPE_CHECKING:
    from psycopg import Connection

EMPTY = 10 * 2**20
"Bytes of a database that holds nothing yet, generously."

INDEXES = 1.5
"What indexes add to tables, where only the tables' sizes are known: as much again and half."

STARTING = 60
"Seconds between a server's writing of its pid file and the start that it tells of, at most."

SPARE = 1.1
"What the copy may be larger by, and what a server that goes on working needs meanwhile."


class DiskTooSmall(BackupFailed):
    """The copy does not fit; the server would stop when its disk is full."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of itself that tells its folder from others', and how it logs."""

    identifier: int
    started: int
    "Seconds since 1970."
    port: str
    folders: tuple[str, ...]
    "Candidates for its data folder, as seen from here."
    tablespace: str
    "The folder of the new database's tablespace, or empty for the data folder."
    wal_limit: int
    "max_wal_size in bytes: how much WAL there is before a checkpoint, about."
    wal_kept: bool
    "Somebody must fetch WAL before it is removed: archiving, or a replication slot."


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """One file system: what it will hold, how much of it, and what is free there."""

    holds: str
    needed: int
    free: int


_SERVER = """
SELECT c.system_identifier, pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()),
       pg_catalog.current_setting('port'), pg_catalog.pg_backend_pid(),
       (SELECT s.setting FROM pg_catalog.pg_settings AS s WHERE s.name = 'data_directory'),
       coalesce((SELECT pg_catalog.pg_tablespace_location(t.oid)
                   FROM pg_catalog.pg_tablespace AS t WHERE t.spcname = %(tablespace)s), ''),
       pg_catalog.pg_size_bytes(pg_catalog.current_setting('max_wal_size')),
       pg_catalog.current_setting('archive_mode') <> 'off'
       OR EXISTS (SELECT FROM pg_catalog.pg_replication_slots)
  FROM pg_catalog.pg_control_system() AS c
"""


def require(
    connection: Connection[Any], manifest: Manifest, *, accepted: bool, copy_of: int | None = None
) -> str:
    """Return a sentence about the room that there is, or raise.

    ``copy_of`` is the size of the database that the copy is to replace. Raises DiskTooSmall, and
    UsageProblem where it cannot be known and the operator did not accept that.
    """
    server = look(connection, manifest.database.tablespace)
    size = estimate(manifest, copy_of)
    volumes = measured(server, size, largest(manifest))
    if not volumes:
        if accepted:
            return f"free disk is not known; about {_human(size)} are needed, and the same in WAL"
        raise UsageProblem(
            "Whether the server has the disk for a second copy cannot be seen from here: no"
            " function of PostgreSQL tells it, and its data folder is not to be read by us.",
            hint=f"The copy needs about {_human(size)} of data and {_human(_wal(server, size))} of"
            " WAL. Look on the server (df), then give --accept-disk-risk. A server whose disk is"
            " full stops.",
        )
    for volume in volumes:
        if volume.free < volume.needed:
            raise DiskTooSmall(
                f"the server's disk has {_human(volume.free)} free for {volume.holds}, and the copy"
                f" needs about {_human(volume.needed)} of it",
                hint="Make room, or restore on another server. Nothing was changed.",
            )
    return ", ".join(
        f"{_human(v.free)} free for {v.holds}, {_human(v.needed)} needed" for v in volumes
    )


def estimate(manifest: Manifest, copy_of: int | None = None) -> int:
    """Return how large the restored database will be, rather too much than too little.

    A table's own bytes are known without its indexes. The size of the database that was backed
    up, or of the one to be replaced, has its indexes but also what a copy leaves behind.
    """
    tables = sum(relation.bytes for relation in manifest.relations)
    objects = sum(each.bytes for each in manifest.large_objects)
    counted = (tables + objects * 1.5) * (1 + INDEXES) + EMPTY
    sizes = [size for size in (manifest.database.bytes, copy_of) if size]
    # Where both are known, the smaller is still too much: bloat is not restored.
    likely = max(tables + objects, min([*sizes, counted])) if sizes else counted
    return int(likely * SPARE)


def largest(manifest: Manifest) -> int:
    """Return what the largest table's index may need for sorting."""
    return max((relation.bytes for relation in manifest.relations), default=0)


def _wal(server: Server, size: int) -> int:
    """Return how much WAL there may be at once: all of it, if somebody must fetch it first."""
    return size if server.wal_kept else min(size, 2 * server.wal_limit)


def look(connection: Connection[Any], tablespace: str) -> Server:
    """Return what the server says of itself. Raises FactUnavailable."""
    with (
        asking("asking the server where its data is"),
        read_only(connection, timeout=30) as cursor,
    ):
        found = rows(cursor, _SERVER, tablespace=tablespace)[0]
        identifier, started, port, pid, folder, location, limit, kept = found
        # The session must still be there: /proc tells its working folder, which is the server's.
        beside = _working_folder(pid)
    return Server(
        identifier=identifier,
        started=int(started),
        port=port,
        folders=tuple(each for each in (folder, beside) if each),
        tablespace=location,
        wal_limit=limit,
        wal_kept=kept,
    )


def _working_folder(pid: int) -> str | None:
    """Return where a process of this pid works: its number may be another's in its container."""
    try:
        return str(Path(f"/proc/{pid}/cwd").readlink())
    except OSError:
        return None


def measured(server: Server, size: int, sorting: int) -> tuple[Volume, ...]:
    """Return the file systems and what is free there, or nothing if that is not known."""
    data = next((Path(f) for f in server.folders if is_the_servers(Path(f), server)), None)
    if data is None:
        return ()
    parts = [
        ("data", Path(server.tablespace) if server.tablespace else data, size + sorting),
        ("WAL", data / "pg_wal", _wal(server, size)),
    ]
    found: dict[int, Volume] = {}
    try:
        for holds, folder, needed in parts:
            device, usage = folder.stat().st_dev, os.statvfs(folder)
            volume = Volume(holds=holds, needed=needed, free=usage.f_bavail * usage.f_frsize)
            found[device] = _together(found.get(device), volume)
    except OSError:
        return ()
    return tuple(found.values())


def _together(one: Volume | None, other: Volume) -> Volume:
    if one is None:
        return other
    return Volume(
        holds=f"{one.holds} and {other.holds}",
        needed=one.needed + other.needed,
        free=min(one.free, other.free),
    )


def is_the_servers(folder: Path, server: Server) -> bool:
    """Say whether this is the data folder of the very server that answered.

    A path alone proves nothing: through a port-forward, or in a container, it is another's.
    """
    try:
        identifier = (folder / "global" / "pg_control").read_bytes()[:8]
        lines = (folder / "postmaster.pid").read_text(errors="replace").splitlines()
        port, late = lines[3].strip(), server.started - int(lines[2])
        known = struct.unpack("=q", identifier)[0]
    except (OSError, IndexError, ValueError, struct.error):
        return False
    # A standby has its primary's identifier, but another port or start.
    return known == server.identifier and port == server.port and 0 <= late <= STARTING


def _human(size: int) -> str:
    """Return bytes in a unit that a person reads.

    >>> _human(1_610_612_736), _human(2048)
    ('1.5 GiB', '2.0 KiB')
    """
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if value < 1024:  # noqa: PLR2004 - each unit is that many of the last
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"
