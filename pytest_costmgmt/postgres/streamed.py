"""A query's rows, few at a time: a driver keeps the whole answer of a query in our memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Cursor

AT_ONCE = 2000
"Rows that are fetched at a time."

_NUMBERS = itertools.count()


def streamed(cursor: Cursor[Any], query: str) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of a query without parameters; ``cursor`` is in a transaction.

    Its connection may be asked something else between two rows; the cursor itself may, too. Raises
    what psycopg raises.
    """
    name = f"costmgmt_{next(_NUMBERS)}"
    fetch = f"FETCH {AT_ONCE} FROM {name}"
    # All rows are wanted, not the first ones soon.
    declare = f"SET LOCAL cursor_tuple_fraction = 1; DECLARE {name} NO SCROLL CURSOR FOR {query}"
    cursor.execute(f"{declare}; {fetch}".encode())
    while cursor.nextset():
        pass
    while len(rows := cursor.fetchall()) == AT_ONCE:
        yield from rows
        cursor.execute(fetch.encode())
    cursor.execute(f"CLOSE {name}".encode())
    yield from rows
