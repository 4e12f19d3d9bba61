"""The manifest on disk: sorted JSON, its schema, and a digest of its own beside it."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import BinaryIO

from pytest_costmgmt.backup.manifest_text import Malformed, Version, decoded, encoded
from pytest_costmgmt.backup.model import API_VERSION, MANIFEST, Manifest
from pytest_costmgmt.errors import ArchiveFault
from pytest_costmgmt.resources import PACKAGE

DIGEST = f"{MANIFEST}.sha256"
"As sha256sum writes and checks it."

SCHEMA = PACKAGE / "backup" / "manifest.schema.json"
PIECE = 64 * 1024
"Bytes of a manifest that are read at a time."

NOT_WHOLE = "not a backup, or one that was interrupted"
OTHER = "Take another backup: this one proves nothing."


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its digest into a folder, 0600, and see them on the disk."""
    digest = hashlib.sha256()

    def pieces() -> Iterator[bytes]:
        for piece in encoded(manifest):
            digest.update(piece)
            yield piece

    put(folder / MANIFEST, pieces())
    put(folder / DIGEST, [f"{digest.hexdigest()}  {MANIFEST}\n".encode()])


def put(path: Path, pieces: Iterable[bytes]) -> None:
    """Write a new file, 0600, and see it on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(pieces)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """Return a backup's manifest. Raises ArchiveFault, in one sentence, for whatever is wrong.

    Its long lists are in order, and small in memory.
    """
    with _opened(folder, MANIFEST) as file:
        said = _digest(folder)
        # Nothing is read of what is not as it was written, and nothing else than that is believed.
        seen = hashlib.sha256()
        for piece in _pieces(folder, file):
            seen.update(piece)
        _must_match(folder, said, seen.hexdigest())
        file.seek(0)
        seen = hashlib.sha256()
        try:
            manifest = decoded(_texts(_pieces(folder, file), seen.update), partial(_known, folder))
        except (Malformed, UnicodeError) as error:
            raise _fault(folder, f"{MANIFEST} cannot be read: {error}") from None
        _must_match(folder, said, seen.hexdigest())
        return manifest


def _known(folder: Path, version: Version) -> None:
    if version.api_version != API_VERSION or version.kind != "Backup":
        raise ArchiveFault(
            str(folder),
            (f"{MANIFEST} is {version.api_version} {version.kind}, not {API_VERSION} Backup",),
            hint="Read it with the version of pytest-costmgmt that wrote it, or a newer one.",
        )


def _texts(pieces: Iterable[bytes], seen: Callable[[bytes], None]) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    for piece in pieces:
        seen(piece)
        if text := decoder.decode(piece):
            yield text
    decoder.decode(b"", final=True)


def _opened(folder: Path, name: str) -> BinaryIO:
    if not folder.is_dir():
        raise _fault(
            folder, "there is no such folder" if not folder.exists() else "it is no folder"
        )
    try:
        return os.fdopen(os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW), "rb")
    except FileNotFoundError:
        raise _fault(folder, f"it has no {name}: {NOT_WHOLE}") from None
    except OSError as error:
        raise _fault(folder, f"{name} cannot be read: {error.strerror}") from None


def _pieces(folder: Path, file: BinaryIO) -> Iterator[bytes]:
    try:
        while piece := file.read(PIECE):
            yield piece
    except OSError as error:
        raise _fault(folder, f"{MANIFEST} cannot be read: {error.strerror}") from None


def _digest(folder: Path) -> list[bytes]:
    """Return what the digest's file says: a SHA-256 and a name."""
    with _opened(folder, DIGEST) as file:
        try:
            return file.read(1024).split()
        except OSError as error:
            raise _fault(folder, f"{DIGEST} cannot be read: {error.strerror}") from None


def _must_match(folder: Path, said: list[bytes], seen: str) -> None:
    if said != [seen.encode(), MANIFEST.encode()]:
        raise _fault(folder, f"{MANIFEST} is not as it was written: its SHA-256 is not {DIGEST}'s")


def _fault(folder: Path, what: str) -> ArchiveFault:
    return ArchiveFault(str(folder), (what,), hint=OTHER)
