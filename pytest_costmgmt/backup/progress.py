"""How far something is: plain data for whoever shows it, a terminal or a log."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stage of a backup, a restore or a proof is.

    ``stage`` is a word for a person ("dumping", "hashing", ...), ``done`` of ``total`` things are
    done, and ``bytes`` of ``total_bytes``; 0 of 0 where that is not known. ``about`` is what it
    is at, or what there is to say.
    """

    stage: str
    done: int = 0
    total: int = 0
    bytes: int = 0
    total_bytes: int = 0
    about: str = ""


Told = Callable[[Progress], None]
"Called from any thread, often: whoever shows it decides how often."


class Sizes:
    """How many bytes relations have that are yet to come, by name, in 20 bytes each.

    Names are known by a hash of them: it is for progress alone.

    >>> sizes = Sizes([("a", 8), ("b", 16), ("a", 8)])
    >>> [sizes.take(name) for name in ("a", "a", "a", "c")], len(sizes), sizes.total, sizes.taken
    ([8, 8, None, None], 3, 32, 2)
    """

    def __init__(self, named: Iterable[tuple[str, int]] = ()) -> None:
        # Each as one number: hash, then size.
        both = sorted((hash(name) % (1 << 63)) << 64 | max(0, size) for name, size in named)
        self._hashes = array("Q", (each >> 64 for each in both))
        self._sizes = array("Q", (each % (1 << 64) for each in both))
        # How many were taken of a name, at the first of them.
        self._taken = array("I", bytes(4 * len(both)))
        self.total, self.taken = sum(self._sizes), 0

    def __len__(self) -> int:
        return len(self._sizes)

    def take(self, name: str) -> int | None:
        """Return the size of the next of this name that was not taken yet; None if all were."""
        wanted = hash(name) % (1 << 63)
        first = bisect_left(self._hashes, wanted)
        if first == len(self):
            return None
        at = first + self._taken[first]
        if at == len(self) or self._hashes[at] != wanted:
            return None
        self._taken[first] += 1
        self.taken += 1
        return self._sizes[at]


def nobody(_: Progress) -> None:
    """Tell nobody."""
