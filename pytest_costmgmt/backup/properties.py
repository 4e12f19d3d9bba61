"""What is so of each object of a database, and of the database: read set by set, never one by one.

What is so by default is not told, so that absence means the default and a sound database of a
million indexes stays small. Every name that is told is qualified and quoted where it must be.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup.identity import database, extensions, roles
from pytest_costmgmt.backup.model import Property
from pytest_costmgmt.backup.packed import in_order, itself
from pytest_costmgmt.backup.properties_sql import FAMILIES
from pytest_costmgmt.postgres.streamed import streamed

if TYPE_CHECKING:
    from psycopg import Cursor

__all__ = ["database", "extensions", "properties", "roles"]


def properties(cursor: Cursor[Any]) -> Sequence[Property]:
    """Return every property that is not the default, sorted; ``cursor`` is in a transaction.

    A login that may not read a catalog gets PostgreSQL's error, never a shorter list.
    """
    pin(cursor)
    version = cursor.connection.info.server_version
    rows = chain.from_iterable(streamed(cursor, family(version)) for family in FAMILIES)
    return in_order(
        Property, (Property(of=of, name=name, value=value) for of, name, value in rows), itself
    )


_PINNED = {
    "search_path": "pg_catalog, pg_temp",
    "quote_all_identifiers": "off",
    "standard_conforming_strings": "on",
    "DateStyle": "ISO, YMD",
    "IntervalStyle": "postgres",
    "TimeZone": "'UTC'",
    "extra_float_digits": "3",
    "bytea_output": "hex",
    "lc_monetary": "'C'",
    "xmlbinary": "base64",
    "jit": "off",
    "max_parallel_workers_per_gather": "0",
}


def pin(cursor: Cursor[Any]) -> None:
    """Settle, for this transaction, what shapes the names and expressions that are read."""
    cursor.execute(
        "; ".join(f"SET LOCAL {name} = {value}" for name, value in _PINNED.items()).encode()
    )
