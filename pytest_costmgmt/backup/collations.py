"""Collations that no dump creates: initdb made them, of the locales that its machine had."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import rows

if TYPE_CHECKING:
    from psycopg import Cursor

CONNECT = 30.0

# Those that every server has are pinned, and nothing is noted as depending on them.
_NEEDED = """
SELECT DISTINCT c.collname::pg_catalog.text
  FROM pg_catalog.pg_depend AS d
  JOIN pg_catalog.pg_collation AS c ON c.oid = d.refobjid
 WHERE d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass
   AND c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
   AND c.collname NOT IN ('default', 'C', 'POSIX') ORDER BY 1
"""

_MISSING = """
SELECT w.name FROM pg_catalog.unnest(%(names)s::pg_catalog.text[]) AS w (name)
 WHERE NOT EXISTS (
   SELECT FROM pg_catalog.pg_collation AS c
    WHERE c.collname = w.name AND c.collnamespace = 'pg_catalog'::pg_catalog.regnamespace
      AND c.collencoding IN (-1, pg_catalog.pg_char_to_encoding(pg_catalog.getdatabaseencoding())))
"""

_FIX = """\
Install their locales on the server's machine; then a superuser runs there:
  ALTER DATABASE template0 ALLOW_CONNECTIONS true;
  \\connect template0
  SELECT pg_catalog.pg_import_system_collations('pg_catalog');
  \\connect postgres
  ALTER DATABASE template0 ALLOW_CONNECTIONS false;"""


def needed(cursor: Cursor[Any]) -> tuple[str, ...]:
    """Return the server's own collations that something in the database uses."""
    cursor.execute(_NEEDED.encode())
    return tuple(name for (name,) in cursor)


def must_be_there(database: Login, names: tuple[str, ...]) -> None:
    """Raise BackupFailed, with all that are missing, if a new database has not each of them."""
    if not names:
        return
    with (
        closing(connect(database, deadline=CONNECT)) as connection,
        asking("which collations there are"),
        read_only(connection, timeout=60) as cursor,
    ):
        missing = [name for (name,) in rows(cursor, _MISSING, names=list(names))]
    if missing:
        raise BackupFailed(
            "the server has not the collations that something in the backup uses:"
            f" {', '.join(missing)}",
            hint=_FIX,
        )
