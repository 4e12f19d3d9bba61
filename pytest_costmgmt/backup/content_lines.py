"""The rows of small tables, hashed here, as the lines that COPY gives.

A SELECT of three rows costs the server a plan, for which it opens each of the table's indexes: four
times the price of COPY, and with thousands of tenants that is most of a proof.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.postgres.asking import asking

if TYPE_CHECKING:
    from psycopg import Cursor

SMALL = 16 * 1024
"Bytes of a table, with what is out of line, that are worth sending."

# Not of a table with a generated column, which COPY leaves out, or one of type "char", which
# prints otherwise since 16. The columns by name: an inherited one may stand elsewhere after a
# restore. In the server's own encoding, as the lines are.
COPIES = """
SELECT c.oid, pg_catalog.convert_to(
         pg_catalog.format('COPY %I.%I (%s) TO STDOUT', n.nspname, c.relname, k.columns),
         pg_catalog.getdatabaseencoding())
FROM (
    SELECT a.attrelid,
           pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attname)
             AS columns
    FROM pg_catalog.pg_attribute AS a
    WHERE a.attrelid IN ({oids}) AND a.attnum > 0 AND NOT a.attisdropped
    GROUP BY a.attrelid
    HAVING pg_catalog.bool_and(a.attgenerated = '' AND a.atttypid NOT IN ({chars}))
) AS k
JOIN pg_catalog.pg_class AS c ON c.oid = k.attrelid
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'r'
"""

# "char", its array, and domains over them.
CHARS = """
SELECT t.oid FROM pg_catalog.pg_type AS t
WHERE COALESCE(NULLIF(t.typbasetype, 0), t.oid) IN (18, 1002)
"""


def chars(cursor: Cursor[Any]) -> str:
    """Return the types whose text depends on the version, as SQL."""
    cursor.execute(CHARS.encode())
    return ", ".join(str(oid) for (oid,) in cursor)


def copies(cursor: Cursor[Any], oids: Sequence[int], chars: str) -> dict[int, bytes]:
    """Return the statement for each table whose rows can be told as lines: see :func:`chars`."""
    wanted = COPIES.replace("{oids}", ", ".join(map(str, oids))).replace("{chars}", chars)
    cursor.execute(wanted.encode())
    return dict(cursor.fetchall())


# In the bytes that are stored: no encoding can be wrong. Since 18 another process reads for us, and
# to wait for it takes longer than to read a page. pg_stat_statements keeps each COPY, and drops for
# it what it had of the application: a superuser may have it look away.
_AS_STORED = """
SET LOCAL client_encoding = 'SQL_ASCII'; SET LOCAL effective_io_concurrency = 0;
SELECT pg_catalog.set_config(s.name, 'off', true)
  FROM (VALUES ('pg_stat_statements.track_utility')) AS s (name)
 WHERE pg_catalog.current_setting('is_superuser') = 'on'
   AND pg_catalog.current_setting(s.name, true) IS NOT NULL
"""


def as_stored(cursor: Cursor[Any]) -> None:
    """Have all of this transaction come as it is stored, without a trace among the statements."""
    cursor.execute(_AS_STORED.encode())


def sums(cursor: Cursor[Any], wanted: Sequence[tuple[str, bytes]]) -> Iterator[tuple[int, int]]:
    """Yield number and sum of hashes of each one's lines: name (for errors) and COPY statement.

    All are sent at once; whoever calls reads to the end.
    """
    from pytest_costmgmt.postgres import copied  # noqa: PLC0415 - the driver is heavy

    with asking("small tables' rows"):
        copied.send(cursor, [statement for _, statement in wanted])
    for name, _ in wanted:
        with asking(f"the rows of {name}"):
            yield _sum(copied.lines(cursor))
    with asking("small tables' rows"):
        copied.ended(cursor)


def _sum(lines: Iterator[memoryview]) -> tuple[int, int]:
    rows = total = 0
    for line in lines:
        rows += 1
        total += int.from_bytes(hashlib.blake2b(line, digest_size=8).digest(), "big")
    return rows, total
