"""Which rows of a relation differ between two databases: by their keys, in small memory.

Both servers sum their rows in buckets first; only the rows of buckets that differ are read, in
the same order on both sides.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup import content_sql as texts
from pytest_costmgmt.backup.model import KEYS, Relation
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.snapshot import importing

if TYPE_CHECKING:
    from psycopg import Cursor

AT_ONCE = 2000
"Rows that are fetched from each side at a time."
LONGEST = 200
"Characters of a key that are told."
CONNECT = 30.0

Row = tuple[int, str, int]
"Its place in the order, its key as text, its hash; without a key: how many such rows there are."


class _Side(msgspec.Struct, frozen=True):
    """One side's relation as SQL: its name, a row's hash, its key's columns, their names."""

    cursor: Any
    relation: str
    row_hash: str
    key: str
    names: str
    held: str = "costmgmt_rows"
    "The cursor that holds its rows."

    def sums(self) -> dict[int, tuple[int, str]]:
        """Return number and sum of each bucket's rows."""
        self.cursor.execute(texts.sums(self.relation, self.row_hash, self.key).encode())
        return {bucket: (number, total) for bucket, number, total in self.cursor}

    def rows(self, buckets: set[int]) -> Iterator[Row]:
        """Yield the rows of some buckets in order."""
        query = texts.rows(self.relation, self.row_hash, self.key, buckets)
        # A cursor that ends with the transaction.
        self.cursor.execute(f"DECLARE {self.held} NO SCROLL CURSOR FOR {query}".encode())
        while True:
            self.cursor.execute(f"FETCH {AT_ONCE} FROM {self.held}".encode())
            yield from (fetched := self.cursor.fetchall())
            if len(fetched) < AT_ONCE:
                return


def differing_rows(
    source: Login,
    target: Login,
    relation: Relation,
    *,
    limit: int = KEYS,
    snapshot: str | None = None,
    timeout: float = 3600,
) -> tuple[tuple[str, ...], int]:
    """Return the keys of at most ``limit`` rows that differ, and how many more rows do.

    Each key says whether its row is missing in the target, additional there, or changed. Without
    a key that both have, rows are only counted. ``snapshot`` is the source's. A statement may take
    ``timeout`` seconds. Raises FactUnavailable where a side cannot be read.
    """
    what = f"the rows of {relation.schema}.{relation.name}"
    with (
        asking(what),
        _reading(source, snapshot, timeout) as left,
        _reading(target, None, timeout) as right,
    ):
        sides = _sides(left, right, relation)
        if sides is None:
            return (), 0
        return _differing(*sides, limit)


def rows_unlike_archived(
    cursor: Cursor[Any], relation: Relation, archived: str, *, limit: int = KEYS
) -> tuple[tuple[str, ...], int]:
    """Return the same, of a relation and what an archive holds of it.

    Those are in the table ``archived`` (SQL), which has its columns; ``cursor`` is in a
    transaction that sees both.
    """
    side = _side(cursor, relation)
    if side is None:
        return (), 0
    held = msgspec.structs.replace(side, relation=archived, held="costmgmt_archived_rows")
    return _differing(held, side, limit)


def _differing(ours: _Side, theirs: _Side, limit: int) -> tuple[tuple[str, ...], int]:
    have, found = ours.sums(), theirs.sums()
    buckets = {each for each in have.keys() | found.keys() if have.get(each) != found.get(each)}
    if not buckets:
        return (), 0
    return _told(ours, ours.rows(buckets), theirs.rows(buckets), limit)


@contextlib.contextmanager
def _reading(login: Login, snapshot: str | None, timeout: float) -> Iterator[Cursor[Any]]:
    connection = connect(login, deadline=CONNECT)
    try:
        with connection.cursor() as cursor:
            importing(cursor, snapshot, timeout=timeout)
            yield cursor
    finally:
        # It read only: closing ends the transaction.
        connection.close()


def _sides(left: Cursor[Any], right: Cursor[Any], relation: Relation) -> tuple[_Side, _Side] | None:
    """Return both sides with the source's key, if the target has it too; None if one is absent."""
    ours, theirs = (_side(cursor, relation) for cursor in (left, right))
    if ours is None or theirs is None:
        return None
    # Not their texts: what must be quoted is the version's affair.
    if ours.names != theirs.names:
        ours, theirs = (msgspec.structs.replace(each, key="", names="") for each in (ours, theirs))
    return ours, theirs


def _side(cursor: Cursor[Any], relation: Relation) -> _Side | None:
    cursor.execute(texts.KEY.encode(), (relation.schema, relation.name))
    row = cursor.fetchone()
    if row is None:
        return None
    # Not before: the catalogs are read by their indexes.
    cursor.execute(texts.PINS.encode())
    _, name, row_hash, names, key = row
    return _Side(cursor, name, row_hash, key or "", names or "")


def _told(
    side: _Side, ours: Iterator[Row], theirs: Iterator[Row], limit: int
) -> tuple[tuple[str, ...], int]:
    keys: list[str] = []
    more = 0
    for key, kind, number in _unlike(ours, theirs, keyed=bool(side.key)):
        if side.key and len(keys) < limit:
            short = key if len(key) <= LONGEST else f"{key[:LONGEST]}..."
            keys.append(f"({side.names})={short} {kind}")
        else:
            more += number
    return tuple(keys), more


def _unlike(
    ours: Iterator[Row], theirs: Iterator[Row], *, keyed: bool
) -> Iterator[tuple[str, str, int]]:
    """Yield the key of each row that differs, how it differs, and how many such rows there are.

    >>> list(_unlike(iter([(1, "(a)", 7), (2, "(b)", 8)]), iter([(2, "(b)", 9)]), keyed=True))
    [('(a)', 'missing', 1), ('(b)', 'changed', 1)]
    >>> list(_unlike(iter([(1, "", 7), (2, "", 8)]), iter([(2, "", 9)]), keyed=False))
    [('', 'missing', 7), ('', 'changed', 1)]
    """
    left, right = next(ours, None), next(theirs, None)
    while left is not None or right is not None:
        if right is None or (left is not None and left[:2] < right[:2]):
            assert left is not None  # noqa: S101 - one of both is there
            yield left[1], "missing", 1 if keyed else left[2]
            left = next(ours, None)
        elif left is None or right[:2] < left[:2]:
            yield right[1], "additional", 1 if keyed else right[2]
            right = next(theirs, None)
        else:
            if left[2] != right[2]:
                yield left[1], "changed", 1 if keyed else abs(left[2] - right[2])
            left, right = next(ours, None), next(theirs, None)
