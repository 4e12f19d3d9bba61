"""Is the archive intact, and the one that its manifest describes? No server is asked."""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.model import ARCHIVE, MANIFEST, File, Manifest
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.backup.progress import Progress, Told, nobody
from pytest_costmgmt.errors import ArchiveFault, BackupFailed
from pytest_costmgmt.postgres.clients import ClientFailed, Clients
from pytest_costmgmt.postgres.command import Stop, never

CHUNK = 1 << 20
MOST = 8
"So many files are read at once."
FAULTS_TOLD = 20
READING_TOC = 600.0
"Seconds that pg_restore may take to read a table of contents."


class Unreadable(Exception):
    """A file cannot be read as one; the text says why."""


def verify(
    folder: Path,
    *,
    clients: Clients | None = None,
    told: Told = nobody,
    stop: Stop = never,
) -> Manifest:
    """Return the manifest of a backup that is whole. Raises ArchiveFault: everything that is not.

    Every file is there, none other is, and each has the very bytes that were written; with
    ``clients`` its table of contents is read as well.
    """
    manifest = manifests.read(folder)
    faults = [*_strangers(folder), *_compared(folder, manifest, told, stop)]
    if not faults and clients is not None:
        faults += _toc(folder, manifest, clients, stop)
    if faults:
        left = len(faults) - FAULTS_TOLD
        more = [f"and {left} more"] if left > 0 else []
        raise ArchiveFault(str(folder), (*faults[:FAULTS_TOLD], *more), hint=manifests.OTHER)
    return manifest


def files(folder: Path, *, told: Told = nobody, stop: Stop = never) -> tuple[File, ...]:
    """Return each file of a new archive with size and SHA-256, read in parallel.

    Each is on the disk then; whoever gives the folder its name sees to the folders.
    """
    found = dict(_walk(folder / ARCHIVE, ARCHIVE))
    seen = _read_all(folder, found, told, stop, sync=True)
    unreadable = tuple(f"{path}: {got}" for path, got in seen.items() if isinstance(got, str))
    if unreadable:
        raise ArchiveFault(str(folder), unreadable)
    return tuple(got for _, got in sorted(seen.items()) if isinstance(got, File))


def _strangers(folder: Path) -> Iterator[str]:
    """Yield what stands beside the manifest that a backup does not have."""
    for name in sorted(
        {path.name for path in folder.iterdir()} - {MANIFEST, manifests.DIGEST, ARCHIVE}
    ):
        yield f"{name} does not belong to it"


def _compared(folder: Path, manifest: Manifest, told: Told, stop: Stop) -> Iterator[str]:
    try:
        found = dict(_walk(folder / ARCHIVE, ARCHIVE))
    except OSError as error:
        yield f"{ARCHIVE} cannot be read: {error.strerror}"
        return
    expected = {file.path: file for file in manifest.files}
    if not expected:
        yield f"{MANIFEST} names no file"
    for path in sorted(expected.keys() - found.keys()):
        yield f"{path} is missing"
    for path in sorted(found.keys() - expected.keys()):
        yield f"{path} does not belong to it"
    both = {path: found[path] for path in expected.keys() & found.keys()}
    yield from _wrong_sizes(both, expected)
    whole = {path: size for path, size in both.items() if size == expected[path].bytes}
    for path, got in _read_all(folder, whole, told, stop).items():
        if isinstance(got, str):
            yield f"{path}: {got}"
        elif got != expected[path]:
            yield f"{path} does not hold what was written: its SHA-256 differs"


def _wrong_sizes(found: dict[str, int | None], expected: dict[str, File]) -> Iterator[str]:
    for path, size in sorted(found.items()):
        if size is None:
            yield f"{path} is no regular file"
        elif size != expected[path].bytes:
            yield f"{path} has {size} bytes, not the {expected[path].bytes} that were written"


def _walk(folder: Path, name: str) -> Iterator[tuple[str, int | None]]:
    """Yield each file's path from the manifest's folder with its size; None if it is no file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, path)
            elif entry.is_file(follow_symlinks=False):
                yield path, entry.stat(follow_symlinks=False).st_size
            else:
                yield path, None


def _read_all(
    folder: Path, sizes: Mapping[str, int | None], told: Told, stop: Stop, *, sync: bool = False
) -> dict[str, File | str]:
    """Return each file as read, or why it cannot be; the largest are begun first."""
    order = sorted(sizes, key=lambda path: (-(sizes[path] or 0), path))
    count = _Count(len(order), sum(size or 0 for size in sizes.values()), told, stop)
    waiting = iter(order)
    taking = threading.Lock()
    seen: dict[str, File | str] = {}

    def work() -> None:
        buffer = memoryview(bytearray(CHUNK))
        while not count.stopped:
            with taking:
                path = next(waiting, None)
            if path is None:
                return
            try:
                seen[path] = _read(folder, path, buffer, count.add, sync=sync)
            except (OSError, Unreadable) as error:
                seen[path] = str(getattr(error, "strerror", None) or error)
            count.finished()

    # Whoever waits for the disk needs no core.
    cores = MOST if sync else len(os.sched_getaffinity(0))
    workers = min(cores, MOST, max(1, len(order)))
    with ThreadPoolExecutor(workers, thread_name_prefix="costmgmt-read") as pool:
        try:
            for future in [pool.submit(work) for _ in range(workers)]:
                future.result()
        finally:
            count.stopped = True  # interrupted: the others stop at their next piece
    if count.told_to_stop:
        raise BackupFailed(f"{folder} was not read to its end: it was told to stop")
    return {path: seen[path] for path in order}


def _read(
    folder: Path, path: str, buffer: memoryview, add: Callable[[int], None], *, sync: bool
) -> File:
    descriptor = os.open(folder / path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Unreadable("it is no regular file")
        if sync:
            os.fsync(descriptor)
        digest, total = hashlib.sha256(), 0
        while (length := os.readv(descriptor, [buffer])) > 0:
            digest.update(buffer[:length])
            total += length
            add(length)
        return File(path=path, bytes=total, sha256=digest.hexdigest())
    finally:
        os.close(descriptor)


class _Count:
    """How much was read; ``stopped`` once it is to stop."""

    def __init__(self, total: int, total_bytes: int, told: Told, stop: Stop) -> None:
        self.total, self.total_bytes, self.told, self.stop = total, total_bytes, told, stop
        self.done = self.bytes = 0
        self.stopped = self.told_to_stop = False
        self.lock = threading.Lock()

    def add(self, length: int) -> None:
        with self.lock:
            self.bytes += length
        if not self.stopped and self.stop():
            self.stopped = self.told_to_stop = True
        if self.stopped:
            raise Unreadable("told to stop")

    def finished(self) -> None:
        with self.lock:
            self.done += 1
        self.told(
            Progress(
                stage="reading", done=self.done, total=self.total,
                bytes=self.bytes, total_bytes=self.total_bytes,
            )
        )  # fmt: skip


def _toc(folder: Path, manifest: Manifest, clients: Clients, stop: Stop) -> Iterator[str]:
    """Yield why pg_restore cannot read the archive's table of contents."""
    with scratch() as scrap:
        listing = scrap / "list"
        try:
            clients.run(
                "pg_restore", ["--list", f"--file={listing}", str((folder / ARCHIVE).absolute())],
                None, deadline=READING_TOC, stop=stop,
            )  # fmt: skip
        except ClientFailed as error:
            yield f"{ARCHIVE}: {error.message}"
            return
        with listing.open("rb") as lines:
            # Everything else in a list is a comment.
            entries = sum(not line.startswith(b";") for line in lines)
        if entries < len(manifest.relations):
            yield (
                f"{ARCHIVE}: its table of contents has {entries} entries for"
                f" {len(manifest.relations)} relations"
            )
