"""The files of an archive: which there are, and what is in each, read in parallel.

All of them in small memory: each table of a thousand tenants has one.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec

from pytest_costmgmt.backup.model import ARCHIVE, File
from pytest_costmgmt.backup.packed import Texts, in_order
from pytest_costmgmt.backup.progress import Progress, Told
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.command import Stop

CHUNK = 1 << 18
DIGEST_SIZE = 32
"Bytes of a SHA-256."
MOST = 8
"So many files are read at once."


class Unreadable(Exception):
    """A file cannot be read as one; the text says why."""


def by_path(file: File) -> str:
    """Return what files are ordered by."""
    return file.path


NO_FILE = (1 << 64) - 1


class Found:
    """Files by path, and their sizes, in small memory: a thousand tenants have many."""

    def __init__(self) -> None:
        self.paths, self._sizes = Texts(), array("Q")

    def add(self, path: str, size: int | None) -> None:
        """Add one; its size is None if it is no regular file."""
        self.paths.append(path)
        self._sizes.append(NO_FILE if size is None else size)

    def size(self, at: int) -> int | None:
        """Return one's size, or None."""
        return None if self._sizes[at] == NO_FILE else self._sizes[at]

    def total(self) -> int:
        """Return the bytes of all."""
        return sum(size for size in self._sizes if size != NO_FILE)

    def largest_first(self) -> array[int]:
        """Return each one's number, in the order of their sizes, then paths."""
        # One number for each, not a tuple.
        keys = [(NO_FILE - size) << 64 | at for at, size in enumerate(self._sizes)]
        keys.sort()
        return array("Q", (key & NO_FILE for key in keys))


def found_in(folder: Path) -> Found:
    """Return what is in an archive, by path."""
    walked = (_Walked(path=path, size=size) for path, size in _walk(folder / ARCHIVE, ARCHIVE))
    found = Found()
    for each in in_order(_Walked, walked, lambda each: os.fsdecode(each.path)):
        found.add(os.fsdecode(each.path), each.size)
    return found


class _Walked(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was seen; its path in the file system's own bytes, which may be no text."""

    path: bytes
    size: int | None


def _walk(folder: Path, name: str) -> Iterator[tuple[bytes, int | None]]:
    """Yield each file's path from the manifest's folder with its size; None if it is no file."""
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{name}/{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(folder / entry.name, path)
            elif entry.is_file(follow_symlinks=False):
                yield os.fsencode(path), entry.stat(follow_symlinks=False).st_size
            else:
                yield os.fsencode(path), None


class Digests:
    """What was read of each file: its bytes, its SHA-256, or why it could not be."""

    def __init__(self, found: Found) -> None:
        self._paths = found.paths
        self._sizes = array("Q", bytes(8 * len(found.paths)))
        self._digests = bytearray(DIGEST_SIZE * len(found.paths))
        self.faults: dict[int, str] = {}

    def put(self, at: int, size: int, digest: bytes) -> None:
        """Note one, which is read once."""
        self._sizes[at] = size
        self._digests[at * DIGEST_SIZE : (at + 1) * DIGEST_SIZE] = digest

    def file(self, at: int) -> File:
        """Return one as a manifest has it."""
        digest = self._digests[at * DIGEST_SIZE : (at + 1) * DIGEST_SIZE]
        return File(path=self._paths[at], bytes=self._sizes[at], sha256=digest.hex())


def read_all(folder: Path, found: Found, told: Told, stop: Stop, *, sync: bool = False) -> Digests:
    """Return each file as read, or why it cannot be; the largest are begun first."""
    order = found.largest_first()
    count = _Count(len(order), found.total(), told, stop)
    waiting = iter(order)
    taking = threading.Lock()
    seen = Digests(found)

    def work() -> None:
        buffer = memoryview(bytearray(CHUNK))
        while not count.stopped:
            with taking:
                at = next(waiting, None)
            if at is None:
                return
            try:
                size, digest = _read(folder, found.paths[at], buffer, count.add, sync=sync)
                seen.put(at, size, digest)
            except (OSError, Unreadable) as error:
                seen.faults[at] = str(getattr(error, "strerror", None) or error)
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
    if count.done != len(order):
        raise BackupFailed(f"{folder}: {count.done} of {len(order)} files were read")
    return seen


def _read(
    folder: Path, path: str, buffer: memoryview, add: Callable[[int], None], *, sync: bool
) -> tuple[int, bytes]:
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
        return total, digest.digest()
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
