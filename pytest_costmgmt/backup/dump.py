"""Back a database up: one snapshot, an archive, and a manifest that says what must come back.

All is written beside and renamed when whole: an interrupted backup never looks like one.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from pytest_costmgmt import __version__, folders
from pytest_costmgmt.backup import archive, dump_pass, partial
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.dump_pass import Changed, Pass, Seen
from pytest_costmgmt.backup.model import ARCHIVE, Manifest
from pytest_costmgmt.backup.progress import Progress, Told, nobody
from pytest_costmgmt.errors import BackupFailed, CostMgmtError, UsageProblem
from pytest_costmgmt.postgres.clients import HAS_COMPRESSION, Clients, Compression
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.login import Login

ATTEMPTS = 3
"How often a dump is begun before a database that changes under it is given up."

DEADLINE = 24 * 3600.0
LOCK_TIMEOUT = 60.0

_FAST = {"none": "none", "gzip": "gzip:1", "lz4": "lz4", "zstd": "zstd:1"}


def backup(
    login: Login,
    out: Path,
    *,
    clients: Clients,
    jobs: int | None = None,
    compression: Compression | None = None,
    with_role_passwords: bool = False,
    deadline: float = DEADLINE,
    lock_timeout: float = LOCK_TIMEOUT,
    told: Told = nobody,
    stop: Stop = never,
    run_id: str,
) -> Manifest:
    """Write a backup of the login's database into the new folder ``out``; return its manifest.

    ``jobs`` default to the cores, ``compression`` to the best fast one that the clients have;
    ``deadline`` and ``lock_timeout`` are seconds. Raises BackupFailed, and UsageProblem for what
    the operator wrote wrongly; then, and when interrupted, nothing is left.
    """
    started = time.monotonic()
    method = chosen(clients, compression)
    with _beside(out, run_id, told) as folder:
        wanted = Pass(
            login=login,
            folder=folder,
            clients=clients,
            jobs=jobs or len(os.sched_getaffinity(0)),
            compress=_argument(clients, method),
            with_role_passwords=with_role_passwords,
            until=started + deadline,
            lock_timeout=lock_timeout,
            run_id=run_id,
        )
        seen = _settled(wanted, told, stop)
        files = archive.files(folder, told=told, stop=stop)
        manifest = Manifest(
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
            run_id=run_id,
            seconds=round(time.monotonic() - started, 3),
            tool=__version__,
            client=clients.version,
            compression=method,
            jobs=wanted.jobs,
            server=seen.server,
            server_number=seen.server_number,
            database=seen.database,
            roles=seen.roles,
            memberships=seen.memberships,
            extensions=seen.extensions,
            relations=seen.relations,
            sequences=seen.sequences,
            large_objects=seen.large_objects,
            properties=seen.properties,
            hazards=seen.hazards,
            files=files,
            collations=seen.collations,
            schema_digest=seen.schema_digest,
        )
        manifests.write(folder, manifest)
        _publish(folder, out)
    return manifest


def chosen(clients: Clients, wanted: Compression | None) -> Compression:
    """Return the compression: ``wanted``, or the best fast one; gzip is the slow one."""
    if wanted is not None:
        if not clients.compresses(wanted):
            raise UsageProblem(f"{clients.label} cannot compress by {wanted}: choose another.")
        return wanted
    fast: tuple[Compression, ...] = ("lz4", "zstd")
    return next((method for method in fast if clients.compresses(method)), "none")


def _argument(clients: Clients, method: Compression) -> str:
    if clients.number >= HAS_COMPRESSION:
        return f"--compress={_FAST[method]}"
    return "--compress=1" if method == "gzip" else "--compress=0"


def _settled(wanted: Pass, told: Told, stop: Stop) -> Seen:
    """Dump until nothing was rewritten under it; the last time by one process alone."""
    last = ""
    # A worker of pg_dump cannot lock a table that somebody waits for: it has none, at last.
    for attempt in [wanted] * (ATTEMPTS - 1) + [wanted.alone()]:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(wanted.folder / ARCHIVE)
        if last:
            told(Progress(stage="beginning anew", about=last))
        try:
            return dump_pass.perform(attempt, told, stop)
        except Changed as error:
            last = str(error)
    raise BackupFailed(
        f"database {wanted.login.database!r} changed under the dump each of {ATTEMPTS} times;"
        f" last: {last}",
        hint="Back it up while nothing truncates, rewrites or drops its tables.",
    )


@contextlib.contextmanager
def _beside(out: Path, run_id: str, told: Told) -> Iterator[Path]:
    """Yield a new folder, 0700, beside ``out``; it is gone at the end unless it was renamed."""
    must_be_free(out)
    partial.sweep(out, told)
    folder = partial.folder_of(out, run_id)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(folders.claimed(folder))
        except OSError as error:
            raise UsageProblem(f"--out={out} cannot be written: {error.strerror}.") from None
        try:
            yield folder
        except CostMgmtError:  # some of ours are the operating system's as well
            raise
        except OSError as error:
            raise BackupFailed(f"{out} could not be written: {error.strerror or error}") from None


def must_be_free(out: Path) -> None:
    """Raise UsageProblem if a backup cannot become ``out``: it never writes into what exists."""
    if not out.name or out.name in {".", ".."}:
        raise UsageProblem(f"--out={out} names no new folder.")
    if os.path.lexists(out):
        raise UsageProblem(f"--out={out} exists: a backup is written into a new folder.")


def _publish(folder: Path, out: Path) -> None:
    """See all of it on the disk, then give it its name."""
    _sync(folder / ARCHIVE)
    _sync(folder)
    must_be_free(out)
    folder.rename(out)
    _sync(out.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
