"""The relations whose rows are to be hashed, in small memory."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, Protocol, overload

import msgspec

from pytest_costmgmt.backup.model import Relation
from pytest_costmgmt.backup.packed import Packed, Texts, ordered


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """A relation whose rows are to be hashed.

    ``bytes`` is its size with what is out of line, ``empty`` that it has no page at all, and
    ``locks`` how many entries of the lock table its reading takes. With ``lines`` its rows are
    hashed as COPY's lines, if it has them (:mod:`content_lines`). ``place`` is its own in the list.
    """

    oid: int
    schema: str
    name: str
    kind: Literal["table", "materialized view"]
    bytes: int
    locks: int = 1
    populated: bool = True
    empty: bool = False
    lines: bool = False
    place: int = 0


class Named(Protocol):
    """Whatever is called by a schema and a name in it."""

    @property
    def schema(self) -> str:
        """The schema's name."""

    @property
    def name(self) -> str:
        """The name in it."""


def by_name(each: Named) -> tuple[str, str]:
    """Return what relations and sequences are ordered by."""
    return each.schema, each.name


_VIEW, _POPULATED, _EMPTY, _LINES = 1, 2, 4, 8


class Listing(Sequence[Listed]):
    """Listed relations, ordered by name, in about fifty bytes each."""

    __slots__ = ("_bytes", "_flags", "_locks", "_names", "_oids", "_schema_of", "_schemas")

    def __init__(self, items: Iterable[Listed] = ()) -> None:
        self._oids, self._locks, self._bytes = array("I"), array("I"), array("Q")
        self._flags, self._names = bytearray(), Texts()
        self._schemas: list[str] = []
        self._schema_of = array("I")
        # Mostly in this order already, which is the server's of bytes.
        for each in ordered(Packed(Listed, items), by_name):
            self._add(each)

    def _add(self, each: Listed) -> None:
        if not self._schemas or self._schemas[-1] != each.schema:
            self._schemas.append(each.schema)
        self._schema_of.append(len(self._schemas) - 1)
        self._names.append(each.name)
        self._oids.append(each.oid)
        self._locks.append(each.locks)
        self._bytes.append(each.bytes)
        self._flags.append(
            _VIEW * (each.kind != "table")
            + _POPULATED * each.populated
            + _EMPTY * each.empty
            + _LINES * each.lines
        )

    def __len__(self) -> int:
        return len(self._oids)

    @overload
    def __getitem__(self, at: int) -> Listed: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Listed]: ...
    def __getitem__(self, at: int | slice) -> Listed | Sequence[Listed]:
        if isinstance(at, slice):
            return tuple(self[each] for each in range(*at.indices(len(self))))
        if not 0 <= at < len(self):
            raise IndexError(at)
        flags = self._flags[at]
        return Listed(
            oid=self._oids[at],
            schema=self._schemas[self._schema_of[at]],
            name=self._names[at],
            kind="materialized view" if flags & _VIEW else "table",
            bytes=self._bytes[at],
            locks=self._locks[at],
            populated=bool(flags & _POPULATED),
            empty=bool(flags & _EMPTY),
            lines=bool(flags & _LINES),
            place=at,
        )

    def to_hash(self) -> array[int]:
        """Return the places of those that have rows to hash, in the order of the work.

        What the server hashes comes first, the largest before the others.
        """
        # One number for each, not a tuple: lines, size, oid, place, each in so many bits that none
        # reaches into the next.
        keys = [
            bool(self._flags[at] & _LINES) << 192
            | ((1 << 64) - 1 - self._bytes[at]) << 96
            | self._oids[at] << 64
            | at
            for at in range(len(self))
            if self._flags[at] & _POPULATED and not self._flags[at] & _EMPTY
        ]
        keys.sort()
        return array("I", (key & ((1 << 64) - 1) for key in keys))

    def as_hashed(self, before: Sequence[Relation]) -> Listing:
        """Return the list with each to be hashed as it was before: else no two are equal.

        Each is as large as it was then, if that is more.
        """
        return Listing(_as_before(self, before))


def _as_before(listed: Iterable[Listed], before: Sequence[Relation]) -> Iterator[Listed]:
    was = iter(ordered(before, by_name))
    then = next(was, None)
    for each in listed:
        while then is not None and by_name(then) < by_name(each):
            then = next(was, None)
        if then is None or by_name(then) != by_name(each):
            yield msgspec.structs.replace(each, lines=False)
            continue
        size = max(each.bytes, then.bytes)
        yield msgspec.structs.replace(each, lines=then.by == "lines", bytes=size)
