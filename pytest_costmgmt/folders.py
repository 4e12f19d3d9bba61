"""Folders that are gone after use, and what killed runs left of theirs, which the next removes.

A run holds a lock on its folder, which the kernel gives back with its process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

SUFFIX = ".partial"


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


@contextlib.contextmanager
def scratch(kind: str, within: str | None = None) -> Iterator[Path]:
    """Yield a new folder that is gone at the end of the block, or when the next one is made.

    ``kind`` is a short word that its name has; it is in ``within``, or where temporary files are.
    Raises OSError.
    """
    parent = Path(within or tempfile.gettempdir())
    prefix = f"costmgmt-{kind}-{os.geteuid()}-"
    sweep(parent, rf"{prefix}[0-9a-f]+{re.escape(SUFFIX)}", lambda _: None)
    folder = parent / f"{prefix}{secrets.token_hex(8)}{SUFFIX}"
    with claimed(folder):
        yield folder


def sweep(parent: Path, pattern: str, told: Callable[[str], None]) -> None:
    """Remove what killed runs left in ``parent`` below names like ``pattern``; tell each.

    Only folders of ours, whose lock nobody holds: a live run's is never touched.
    """
    try:
        found = sorted(each for each in parent.iterdir() if re.fullmatch(pattern, each.name))
    except OSError:  # whoever writes there next says why
        return
    for folder in found:
        told(_swept(folder))


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
            return f"{folder} is left alone: a run that lives is using it"
        except OSError as error:
            return f"{folder} is left alone: whether a run is using it: {error.strerror}"
        if not _is(folder, descriptor):
            return f"{folder} is gone by itself"
        shutil.rmtree(folder, ignore_errors=True)
        gone = "could not all be removed" if folder.exists() else "is removed"
        return f"{folder}, which a run left that was killed, {gone}"
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _is(folder: Path, descriptor: int) -> bool:
    """Say whether the path still leads to what the descriptor is open on."""
    try:
        there, held = folder.lstat(), os.fstat(descriptor)
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (held.st_dev, held.st_ino)
