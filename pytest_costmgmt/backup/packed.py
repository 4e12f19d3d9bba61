"""Very many values in small memory: a thousand tenants have a quarter of a million tables.

A database has as many relations, owners, files and sequences, and a backup and its proof handle all
of them at once. What is read one after the other is kept compressed, block by block; of two such
lists that are to be compared, both in order, a few values are there at a time.
"""

from __future__ import annotations

import functools
import heapq
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Generic, TypeVar, overload

import msgspec

T = TypeVar("T", bound=msgspec.Struct)

BLOCK = 256
"Values that are compressed together, and are there together when one of them is read."
RUN = 8 * 1024
"Values that are sorted at once."

Key = Callable[[T], Any]


def itself(each: T) -> T:
    """Return a value that is ordered by itself."""
    return each


class Packed(Sequence[T], Generic[T]):
    """An immutable sequence of structs of one kind, at about a tenth of their size in memory.

    Made to be read from its beginning to its end: a single value costs as much as a block.
    It is equal to whatever sequence holds the same in the same order.
    """

    __slots__ = ("_blocks", "_kind", "_size")
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, kind: type[T], items: Iterable[T] = ()) -> None:
        self._kind, self._size = kind, 0
        self._blocks: list[bytes] = []
        encode, rest = msgspec.msgpack.Encoder().encode, iter(items)
        while block := list(islice(rest, BLOCK)):
            self._size += len(block)
            self._blocks.append(zlib.compress(encode(block), 1))

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(map(self._block, range(len(self._blocks))))

    @overload
    def __getitem__(self, at: int) -> T: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[T]: ...
    def __getitem__(self, at: int | slice) -> T | Sequence[T]:
        if isinstance(at, slice):
            start, stop, step = at.indices(self._size)
            if step < 0:
                return tuple(self)[at]
            return tuple(islice(self, start, stop, step))
        place = at + self._size if at < 0 else at
        if not 0 <= place < self._size:
            raise IndexError(at)
        return self._block(place // BLOCK)[place % BLOCK]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str | bytes):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    def __repr__(self) -> str:
        return f"<{self._size} of {self._kind.__name__}>"

    def _block(self, number: int) -> list[T]:
        return _decoder(self._kind).decode(zlib.decompress(self._blocks[number]))


@functools.cache
def _decoder(kind: type[T]) -> msgspec.msgpack.Decoder[list[T]]:
    return msgspec.msgpack.Decoder(list[kind])  # type: ignore[valid-type]


def in_order(kind: type[T], items: Iterable[T], key: Key[T]) -> Packed[T]:
    """Return the items sorted by a key; of those with the same, in the order given."""
    runs: list[Packed[T]] = []
    rest = iter(items)
    while run := list(islice(rest, RUN)):
        run.sort(key=key)
        runs.append(Packed(kind, run))
    if len(runs) <= 1:
        return runs[0] if runs else Packed(kind)
    return Packed(kind, heapq.merge(*runs, key=key))


def ordered(items: Sequence[T], key: Key[T]) -> Sequence[T]:
    """Return the items sorted by a key: the very same sequence, if they are.

    >>> class Named(msgspec.Struct, frozen=True):
    ...     name: str
    >>> one = [Named("a"), Named("b")]
    >>> ordered(one, lambda each: each.name) is one
    True
    >>> [each.name for each in ordered(one[::-1], lambda each: each.name)]
    ['a', 'b']
    """
    keys, last = map(key, items), None
    for each in keys:
        if last is not None and each < last:
            return in_order(type(items[0]), items, key)
        last = each
    return items


def twice(items: Iterable[T], key: Key[T]) -> Iterator[Any]:
    """Yield the keys that more than one of the items has, which are in order.

    >>> class Named(msgspec.Struct, frozen=True):
    ...     name: str
    >>> list(twice(map(Named, "abbc"), lambda each: each.name))
    ['b']
    """
    last = None
    for each in map(key, items):
        if each == last:
            yield each
        last = each


class Texts(Sequence[str]):
    """Texts that are added at the end and read anywhere, in one piece of memory."""

    __slots__ = ("_ends", "_text")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._text, self._ends = bytearray(), array("Q", (0,))
        for each in texts:
            self.append(each)

    def append(self, text: str) -> None:
        """Add one, whatever characters it has: a file's name need be no text at all."""
        self._text += text.encode("utf-8", "surrogateescape")
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...
    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        if isinstance(at, slice):
            return [self[each] for each in range(*at.indices(len(self)))]
        if not 0 <= at < len(self):
            raise IndexError(at)
        return self._text[self._ends[at] : self._ends[at + 1]].decode("utf-8", "surrogateescape")


class Numbered:
    """A number for each oid, in sixteen bytes: made of pairs that are ordered by oid.

    >>> files = Numbered([(1, 10), (7, 70)])
    >>> files.get(7), files.get(2), 1 in files, list(files)
    (70, None, True, [(1, 10), (7, 70)])
    """

    __slots__ = ("_numbers", "_oids")

    def __init__(self, pairs: Iterable[tuple[int, int]] = ()) -> None:
        self._oids, self._numbers = array("q"), array("q")
        for oid, number in pairs:
            if self._oids and oid <= self._oids[-1]:
                raise ValueError(f"{oid} after {self._oids[-1]}")
            self._oids.append(oid)
            self._numbers.append(number)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return zip(self._oids, self._numbers, strict=True)

    def __contains__(self, oid: int) -> bool:
        return self.get(oid) is not None

    def get(self, oid: int) -> int | None:
        """Return the oid's number, or None if it has none."""
        at = bisect_left(self._oids, oid)
        if at == len(self._oids) or self._oids[at] != oid:
            return None
        return self._numbers[at]
