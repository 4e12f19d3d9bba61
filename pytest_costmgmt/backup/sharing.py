"""Who works at once: what is begun beside a longer work takes the cores from it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Cores:
    """``count`` cores, some of which are taken by other work for a time.

    >>> cores = Cores(2)
    >>> with cores.taken():
    ...     cores.wait(0, 0.0), cores.wait(1, 0.0)
    (True, False)
    >>> cores.wait(1, 0.0)
    True
    """

    def __init__(self, count: int) -> None:
        self._left = count
        self._changed = threading.Condition()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Take a core for the block."""
        self._add(-1)
        try:
            yield
        finally:
            self._add(1)

    def _add(self, count: int) -> None:
        with self._changed:
            self._left += count
            self._changed.notify_all()

    def wait(self, number: int, seconds: float) -> bool:
        """Wait until there is a core for the worker of this number, the first being 0."""
        with self._changed:
            return self._changed.wait_for(lambda: number < self._left, seconds)
