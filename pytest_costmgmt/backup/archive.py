"""Is the archive intact, and the one that its manifest describes? No server is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.archive_files import Found, by_path, found_in, read_all
from pytest_costmgmt.backup.model import ARCHIVE, MANIFEST, File, Manifest
from pytest_costmgmt.backup.packed import Packed, ordered
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.backup.progress import Told, nobody
from pytest_costmgmt.errors import ArchiveFault
from pytest_costmgmt.postgres.clients import ClientFailed, Clients
from pytest_costmgmt.postgres.command import Stop, never

FAULTS_TOLD = 20
READING_TOC = 600.0
"Seconds that pg_restore may take to read a table of contents."


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


def files(folder: Path, *, told: Told = nobody, stop: Stop = never) -> Sequence[File]:
    """Return each file of a new archive with size and SHA-256, read in parallel, by path.

    Each is on the disk then; whoever gives the folder its name sees to the folders.
    """
    found = found_in(folder)
    read = read_all(folder, found, told, stop, sync=True)
    if read.faults:
        unreadable = (f"{found.paths[at]}: {why}" for at, why in sorted(read.faults.items()))
        raise ArchiveFault(str(folder), tuple(unreadable))
    return Packed(File, (read.file(at) for at in range(len(found.paths))))


def _strangers(folder: Path) -> Iterator[str]:
    """Yield what stands beside the manifest that a backup does not have."""
    for name in sorted(
        {path.name for path in folder.iterdir()} - {MANIFEST, manifests.DIGEST, ARCHIVE}
    ):
        yield f"{name} does not belong to it"


def _compared(folder: Path, manifest: Manifest, told: Told, stop: Stop) -> Iterator[str]:
    try:
        found = found_in(folder)
    except OSError as error:
        yield f"{ARCHIVE} cannot be read: {error.strerror}"
        return
    expected = ordered(manifest.files, by_path)
    if not expected:
        yield f"{MANIFEST} names no file"
    looked = _Looked()
    for at, file in _side_by_side(found, expected):
        looked.take(found, at, file)
    yield from looked.faults()
    del found
    read = read_all(folder, looked.whole, told, stop)
    for at, file in _side_by_side(looked.whole, expected):
        if at is None or file is None:
            continue
        if at in read.faults:
            yield f"{file.path}: {read.faults[at]}"
        elif read.file(at) != file:
            yield f"{file.path} does not hold what was written: its SHA-256 differs"


class _Looked:
    """What a look at the files' names and sizes told, and those that have the right ones."""

    def __init__(self) -> None:
        self.missing: list[str] = []
        self.strangers: list[str] = []
        self.sizes: list[str] = []
        self.whole = Found()

    def take(self, found: Found, at: int | None, file: File | None) -> None:
        """Take one of the files that were found, one that was written, or both."""
        size = None if at is None else found.size(at)
        if file is None:
            self.strangers += [] if at is None else [found.paths[at]]
        elif at is None:
            self.missing.append(file.path)
        elif size != file.bytes:
            self.sizes.append(_wrong_size(file, size))
        else:
            self.whole.add(file.path, size)

    def faults(self) -> Iterator[str]:
        """Yield what is wrong."""
        yield from (f"{path} is missing" for path in self.missing)
        yield from (f"{path} does not belong to it" for path in self.strangers)
        yield from self.sizes


def _wrong_size(file: File, size: int | None) -> str:
    if size is None:
        return f"{file.path} is no regular file"
    return f"{file.path} has {size} bytes, not the {file.bytes} that were written"


def _side_by_side(
    found: Found, expected: Sequence[File]
) -> Iterator[tuple[int | None, File | None]]:
    """Yield the number of what was found with what was expected of that path; both are ordered."""
    at, files = 0, iter(expected)
    file = next(files, None)
    while at < len(found.paths) or file is not None:
        path = found.paths[at] if at < len(found.paths) else None
        if path is None or (file is not None and file.path < path):
            yield None, file
            file = next(files, None)
        elif file is None or path < file.path:
            yield at, None
            at += 1
        else:
            yield at, file
            at += 1
            file = next(files, None)


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
