"""The manifest on disk: sorted JSON, its schema, and a digest of its own beside it."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

from pytest_costmgmt.backup.model import API_VERSION, MANIFEST, Manifest
from pytest_costmgmt.errors import ArchiveFault
from pytest_costmgmt.resources import PACKAGE

DIGEST = f"{MANIFEST}.sha256"
"As sha256sum writes and checks it."

SCHEMA = PACKAGE / "backup" / "manifest.schema.json"
NOT_WHOLE = "not a backup, or one that was interrupted"
OTHER = "Take another backup: this one proves nothing."


def write(folder: Path, manifest: Manifest) -> None:
    """Write the manifest and its digest into a folder, 0600, and see them on the disk."""
    content = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"
    digest = hashlib.sha256(content).hexdigest()
    put(folder / MANIFEST, content)
    put(folder / DIGEST, f"{digest}  {MANIFEST}\n".encode())


def put(path: Path, content: bytes) -> None:
    """Write a new file, 0600, and see it on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read(folder: Path) -> Manifest:
    """Return a backup's manifest. Raises ArchiveFault, in one sentence, for whatever is wrong."""
    content = _content(folder, MANIFEST)
    _must_match(folder, content)
    try:
        version = msgspec.json.decode(content, type=_Version)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _fault(folder, f"{MANIFEST} cannot be read: {error}") from None
    if version.api_version != API_VERSION or version.kind != "Backup":
        raise ArchiveFault(
            str(folder),
            (f"{MANIFEST} is {version.api_version} {version.kind}, not {API_VERSION} Backup",),
            hint="Read it with the version of pytest-costmgmt that wrote it, or a newer one.",
        )
    try:
        return msgspec.json.decode(content, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _fault(folder, f"{MANIFEST} cannot be read: {error}") from None


class _Version(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    api_version: str = "of no version"
    kind: str = "of no kind"


def _content(folder: Path, name: str) -> bytes:
    if not folder.is_dir():
        raise _fault(
            folder, "there is no such folder" if not folder.exists() else "it is no folder"
        )
    try:
        with os.fdopen(os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
            return file.read()
    except FileNotFoundError:
        raise _fault(folder, f"it has no {name}: {NOT_WHOLE}") from None
    except OSError as error:
        raise _fault(folder, f"{name} cannot be read: {error.strerror}") from None


def _must_match(folder: Path, content: bytes) -> None:
    said = _content(folder, DIGEST).split()
    seen = hashlib.sha256(content).hexdigest()
    if said != [seen.encode(), MANIFEST.encode()]:
        raise _fault(folder, f"{MANIFEST} is not as it was written: its SHA-256 is not {DIGEST}'s")


def _fault(folder: Path, what: str) -> ArchiveFault:
    return ArchiveFault(str(folder), (what,), hint=OTHER)
