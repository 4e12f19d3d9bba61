"""The bodies of ``costmgmt backup`` and ``costmgmt verify``."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.backup import archive, dump
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.model import MANIFEST, Manifest
from pytest_costmgmt.engine.backup_shown import plain, shown, size
from pytest_costmgmt.engine.backup_way import Way, interruptible, version_number
from pytest_costmgmt.engine.release_way import reached
from pytest_costmgmt.errors import ProvisionFailed
from pytest_costmgmt.postgres import clients as programs
from pytest_costmgmt.postgres.clients import Clients, Compression
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.servers.embedded_folders import cache_folder

Echo = Callable[[str], None]

DONE, NOT_AS_IT_MUST_BE, NOT_DONE = 0, 1, 8
HAZARDS_TOLD = 20


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What ``costmgmt backup`` was asked for."""

    target: str
    out: Path
    place: Place | None = None
    password_file: Path | None = None
    bindir: Path | None = None
    jobs: int | None = None
    compress: Compression | None = None
    with_role_passwords: bool = False
    restore_into: str | None = None
    timeout: float = dump.DEADLINE
    lock_timeout: float = dump.LOCK_TIMEOUT
    connect_timeout: float = 10.0


def backup(wanted: Wanted, environ: Mapping[str, str], *, echo: Echo) -> int:
    """Back a database up; say what the backup holds, and what it will not bring back."""
    dump.must_be_free(wanted.out)
    with interruptible(), reached(wanted.target, wanted.password_file, wanted.place) as target:
        way = Way(target, bindir=wanted.bindir, environ=environ, deadline=wanted.connect_timeout)
        into = version_number(wanted.restore_into, server=way.number)
        clients = way.clients(way.number, into)
        echo(plain(f"backup of database {target.database} on {target.label} by {clients.label}"))
        with shown(sys.stderr) as told:
            manifest = dump.backup(
                target,
                wanted.out,
                clients=clients,
                jobs=wanted.jobs,
                compression=wanted.compress,
                with_role_passwords=wanted.with_role_passwords,
                deadline=wanted.timeout,
                lock_timeout=wanted.lock_timeout,
                told=told,
                run_id=secrets.token_hex(4),
            )
    _tell_hazards(manifest, echo)
    echo(f"{wanted.out}: {_held(manifest)}, in {manifest.seconds:.1f} s")
    echo("It proves itself when it is restored: costmgmt verify DIR TARGET tries that.")
    return DONE


def _tell_hazards(manifest: Manifest, echo: Echo) -> None:
    for hazard in manifest.hazards[:HAZARDS_TOLD]:
        echo(plain(f"hazard: {hazard.kind}: {hazard.of}: {hazard.consequence}"))
    if (left := len(manifest.hazards) - HAZARDS_TOLD) > 0:
        echo(f"hazard: {left} more in {MANIFEST}")


def _held(manifest: Manifest) -> str:
    rows = sum(relation.rows for relation in manifest.relations)
    parts = [
        f"{len(manifest.relations)} relations",
        f"{rows} rows",
        f"{len(manifest.sequences)} sequences",
        f"{len(manifest.large_objects)} large objects",
        f"{len(manifest.files)} files",
        size(sum(file.bytes for file in manifest.files)),
    ]
    return ", ".join(parts)


def verify(folder: Path, *, bindir: Path | None, environ: Mapping[str, str], echo: Echo) -> int:
    """Say whether a backup is whole, without a server. Raises ArchiveFault where it is not."""
    with interruptible():
        clients = reader(manifests.read(folder), bindir, environ)
        with shown(sys.stderr) as told:
            manifest = archive.verify(folder, clients=clients, told=told)
    read = (
        "table of contents not read: no pg_restore that could is here"
        if clients is None
        else f"read by pg_restore {clients.version}"
    )
    whose = plain(f"database {manifest.database.name} of PostgreSQL {manifest.server}")
    echo(f"{folder} is whole: {whose}, {manifest.created}; {_held(manifest)}; {read}")
    return DONE


def reader(manifest: Manifest, bindir: Path | None, environ: Mapping[str, str]) -> Clients | None:
    """Return programs that can read the archive, if this machine has any."""
    written_by = programs.version_number(manifest.client)
    try:
        cache = cache_folder(None, environ)
    except ProvisionFailed:
        return None
    found = programs.available(bindir=bindir, cache=cache, environ=environ, probed=[])
    fitting = (each for each in found if not programs.reads(each, written_by, manifest.compression))
    return next(iter(fitting), None)
