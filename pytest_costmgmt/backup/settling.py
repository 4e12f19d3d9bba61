"""An archive goes to the disk while it is written: to wait for it at the end would cost more."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

PIECE = 16 * 1024 * 1024
"Bytes that a file has grown by before they are worth a wait."
LOOK = 0.5
AT_MOST = 0.02
"Which part of the time looking at the files may take: a thousand tenants have many."


@contextlib.contextmanager
def settling(folder: Path) -> Iterator[None]:
    """Have the files of a folder, which may not be there yet, written to the disk as they grow.

    It promises nothing: what fails is left to whoever syncs each file at the end.
    """
    over = threading.Event()
    thread = threading.Thread(
        target=_settle, args=(folder, over), name="costmgmt-settle", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _settle(folder: Path, over: threading.Event) -> None:
    settled: dict[str, int] = {}
    pause = LOOK
    while not over.wait(pause):
        began = time.monotonic()
        grown = list(_grown(folder, settled))
        pause = max(LOOK, (time.monotonic() - began) / AT_MOST)
        for name, size in grown:
            if over.is_set():
                return
            with contextlib.suppress(OSError):
                _sync(folder / name)
            settled[name] = size


def _grown(folder: Path, settled: dict[str, int]) -> Iterator[tuple[str, int]]:
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                size = entry.stat(follow_symlinks=False).st_size
                if size - settled.get(entry.name, 0) >= PIECE:
                    yield entry.name, size


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
