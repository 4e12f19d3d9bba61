"""One file that holds a stopped server's data folder, quick to write out again.

A folder of a thousand small files costs more to read than to fill: the pack is read in one go,
is complete or absent (rename), and holds no holes: a WAL segment is mostly zeros.
"""

from __future__ import annotations

import os
import secrets
import struct
from pathlib import Path
from typing import BinaryIO

import msgspec

_MAGIC = b"costmgmt-pack-2\n"
_LENGTH = struct.Struct("<Q")
_SHORTEST = len(_MAGIC) + _LENGTH.size
_BLOCK = 64 * 1024
_ZEROS = bytes(_BLOCK)


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """A file: its path, its size, and where its parts are: (at in file, at in pack, length)."""

    path: str
    size: int
    parts: tuple[tuple[int, int, int], ...]


class Index(msgspec.Struct, frozen=True):
    """What a pack holds; ``meta`` is its maker's own."""

    folders: tuple[str, ...]
    files: tuple[Entry, ...]
    meta: dict[str, str]

    @property
    def size(self) -> int:
        """Bytes that the folder takes, holes included, each file rounded up to a page."""
        return sum(-(-entry.size // 4096) * 4096 for entry in self.files)


def write(source: Path, target: Path, meta: dict[str, str]) -> None:
    """Pack the folder ``source`` into the file ``target``: complete or absent, only for us."""
    folders, names = _walk(source)
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    body = beside.with_name(beside.name + ".body")
    try:
        with _new(body) as out:
            files = tuple(_append(source, name, out) for name in names)
        head = msgspec.json.encode(Index(folders=folders, files=files, meta=meta))
        with _new(beside) as out, body.open("rb") as content:
            out.write(_MAGIC + _LENGTH.pack(len(head)) + head)
            out.flush()
            _send(content.fileno(), out.fileno(), 0, body.stat().st_size)
        beside.replace(target)
    finally:
        body.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)


def read(pack: Path) -> Index:
    """Return what ``pack`` holds. Raises ValueError if it is no whole pack of ours."""
    with pack.open("rb") as file:
        if os.fstat(file.fileno()).st_uid not in {0, os.geteuid()}:
            raise ValueError(f"{pack} belongs to another user")
        if file.read(len(_MAGIC)) != _MAGIC or os.fstat(file.fileno()).st_size < _SHORTEST:
            raise ValueError(f"{pack} is no pack")
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
        index = msgspec.json.decode(file.read(length), type=Index)
        body = sum(part[2] for entry in index.files for part in entry.parts)
        # A crash of the machine may leave a file that is named, but not whole.
        if os.fstat(file.fileno()).st_size != file.tell() + body:
            raise ValueError(f"{pack} is cut off")
        return index


def unpack(pack: Path, target: Path, *, uid: int, gid: int, chown: bool) -> None:
    """Write the folder that ``pack`` holds to ``target``, which does not exist yet, mode 0700.

    Raises OSError (ENOSPC and the like) with whatever was written left to the caller.
    """
    index = read(pack)
    start = _body(pack)
    source = os.open(pack, os.O_RDONLY | os.O_CLOEXEC)
    base = -1
    try:
        target.mkdir(mode=0o700)
        base = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        for folder in index.folders:
            os.mkdir(folder, 0o700, dir_fd=base)
            if chown:
                os.chown(folder, uid, gid, dir_fd=base)
        for entry in index.files:
            _extract(entry, source, start, base, (uid, gid) if chown else None)
        if chown:
            os.fchown(base, uid, gid)
    finally:
        os.close(source)
        if base >= 0:
            os.close(base)


def _body(pack: Path) -> int:
    with pack.open("rb") as file:
        file.seek(len(_MAGIC))
        (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
    return len(_MAGIC) + _LENGTH.size + int(length)


def _extract(
    entry: Entry, source: int, start: int, base: int, owner: tuple[int, int] | None
) -> None:
    out = os.open(
        entry.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=base
    )
    try:
        written = 0
        for at, place, length in entry.parts:
            if at != written:
                os.lseek(out, at, os.SEEK_SET)
            _send(source, out, start + place, length)
            written = at + length
        if written != entry.size:
            os.ftruncate(out, entry.size)
        if owner is not None:
            os.fchown(out, *owner)
    finally:
        os.close(out)


def _send(source: int, out: int, at: int, length: int) -> None:
    end = at + length
    while at < end:
        sent = os.sendfile(out, source, at, end - at)
        if sent == 0:
            raise ValueError("the pack ends too early")
        at += sent


def _walk(source: Path) -> tuple[tuple[str, ...], list[str]]:
    folders, files = [], []
    for here, below, names in os.walk(source):
        inside = os.path.relpath(here, source)
        prefix = "" if inside == "." else inside + "/"
        folders += [prefix + name for name in below]
        files += [prefix + name for name in names]
    return tuple(folders), files


def _append(source: Path, name: str, out: BinaryIO) -> Entry:
    parts: list[tuple[int, int, int]] = []
    at = 0
    with (source / name).open("rb") as file:
        while block := file.read(_BLOCK):
            if block != _ZEROS[: len(block)]:
                place = out.tell()
                out.write(block)
                if parts and sum(parts[-1][::2]) == at:
                    first, begin, length = parts.pop()
                    parts.append((first, begin, length + len(block)))
                else:
                    parts.append((at, place, len(block)))
            at += len(block)
    return Entry(name, at, tuple(parts))


def _new(path: Path) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o600), "wb")
