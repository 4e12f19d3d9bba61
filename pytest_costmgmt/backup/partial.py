"""Folders in which something is made: a backup beside its name, or what is thrown away after use.

What killed runs left of theirs is removed by the next. A run holds a lock on its folder, which the
kernel gives back with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_costmgmt.backup.progress import Progress, Told, nobody

SUFFIX = ".partial"
STAGE = "left over"


def folder_of(out: Path, run_id: str) -> Path:
    """Return where a run makes the backup that becomes ``out``.

    >>> str(folder_of(Path("of/koku"), "1a2b"))
    'of/.koku.1a2b.partial'
    """
    return out.parent / f".{out.name}.{run_id}{SUFFIX}"


@contextlib.contextmanager
def claimed(folder: Path) -> Iterator[None]:
    """Make the folder, 0700, and hold its lock; at the end it is gone, unless it was renamed.

    Raises OSError. Where the file system has no locks, nobody will sweep it either.
    """
    held, made = -1, False
    try:
        while held < 0:
            folder.mkdir(mode=0o700)
            made = True
            held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            with contextlib.suppress(OSError):
                fcntl.flock(held, fcntl.LOCK_EX)
            # A sweeper may have come between.
            if not _is(folder, held):
                os.close(held)
                held, made = -1, False
        yield
    finally:
        if made:
            _remove(folder)
        if held >= 0:
            os.close(held)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def sweep(out: Path, told: Told) -> None:
    """Remove what killed runs left that were to become ``out``, and tell it.

    Only folders of ours, whose lock nobody holds: a live run's is never touched.
    """
    _sweep(out.parent, rf"\.{re.escape(out.name)}\.([^.]+){re.escape(SUFFIX)}", told)


@contextlib.contextmanager
def scratch(within: str | None = None) -> Iterator[Path]:
    """Yield a new folder that is gone at the end of the block, or when the next one is made.

    It is in ``within``, or where temporary files are. Raises OSError.
    """
    parent, prefix = Path(within or tempfile.gettempdir()), f"costmgmt-backup-{os.geteuid()}-"
    _sweep(parent, rf"{prefix}[0-9a-f]+{re.escape(SUFFIX)}", nobody)
    folder = parent / f"{prefix}{secrets.token_hex(8)}{SUFFIX}"
    with claimed(folder):
        yield folder


def _sweep(parent: Path, pattern: str, told: Told) -> None:
    try:
        found = sorted(each for each in parent.iterdir() if re.fullmatch(pattern, each.name))
    except OSError:  # whoever writes there next says why
        return
    for folder in found:
        told(Progress(stage=STAGE, about=_swept(folder)))


def _swept(folder: Path) -> str:
    """Remove one, or say why not."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        return f"{folder} is left alone: {error.strerror}"
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            return f"{folder} is left alone: it is another user's"
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return f"{folder} is left alone: its backup is being made"
        except OSError as error:
            return f"{folder} is left alone: whether its backup is being made: {error.strerror}"
        if not _is(folder, descriptor):
            return f"{folder} is gone by itself"
        shutil.rmtree(folder, ignore_errors=True)
        gone = "could not all be removed" if folder.exists() else "is removed"
        return f"{folder}, which a backup left that was killed, {gone}"
    finally:
        os.close(descriptor)


def _is(folder: Path, descriptor: int) -> bool:
    """Say whether the path still leads to what the descriptor is open on."""
    try:
        there, held = folder.lstat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
