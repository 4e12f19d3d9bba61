"""A fingerprint of what initialization may change: catalog lines, and a hash over them.

What a schema holds is one line with counts and hashes, so that a thousand tenants stay readable.
Statistics, storage and transaction ids are left out: they change by themselves.
"""

from __future__ import annotations

import hashlib
from typing import Any

from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, composed, rows

TIMEOUT = 120.0

SHARED = """
SELECT 'role ' || r.rolname || ' ' || CAST(r AS text) FROM pg_catalog.pg_roles AS r
UNION ALL
SELECT 'membership ' || CAST(m AS text) FROM pg_catalog.pg_auth_members AS m
UNION ALL
SELECT 'database ' || pg_catalog.concat_ws(' ', d.datname, pg_catalog.pg_get_userbyid(d.datdba),
       pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, d.datconnlimit,
       d.datallowconn, d.datacl)
  FROM pg_catalog.pg_database AS d
UNION ALL
SELECT 'setting ' || pg_catalog.concat_ws(' ', s.setrole, s.setdatabase, s.setconfig)
  FROM pg_catalog.pg_db_role_setting AS s
"""

# The verifier itself goes nowhere: its hash says whether a password was replaced.
VERIFIERS = """
SELECT 'password of role ' || a.rolname || ' ' || pg_catalog.md5(a.rolpassword)
  FROM pg_catalog.pg_authid AS a WHERE a.rolpassword IS NOT NULL
"""

IS_SUPERUSER = "SELECT pg_catalog.current_setting('is_superuser') = 'on'"

# Of the catalogs, and of sessions' own, nothing; one sum is the same in whatever order rows come.
INSIDE = """
WITH schema AS (
  SELECT n.oid, n.nspname, n.nspowner, n.nspacl FROM pg_catalog.pg_namespace AS n
   WHERE n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname, 'pg_')
)
SELECT 'schema ' || pg_catalog.concat_ws(' ', s.nspname, pg_catalog.pg_get_userbyid(s.nspowner),
       s.nspacl)
  FROM schema AS s
UNION ALL
SELECT 'extension ' || pg_catalog.concat_ws(' ', e.extname, e.extversion, e.extnamespace,
       pg_catalog.pg_get_userbyid(e.extowner))
  FROM pg_catalog.pg_extension AS e
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'relations', c.relkind, 'of schema', s.nspname, count(*),
       sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('|', c.relname, c.relowner, c.relacl,
           c.reloptions, c.relpersistence, c.relispartition), 0)))
  FROM schema AS s JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid
 GROUP BY c.relkind, s.nspname
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'columns of schema', s.nspname, count(*),
       sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('|', c.relname, a.attnum, a.attname,
           a.atttypid, a.atttypmod, a.attnotnull, a.attisdropped, a.attacl), 0)))
  FROM schema AS s JOIN pg_catalog.pg_class AS c ON c.relnamespace = s.oid
  JOIN pg_catalog.pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
 GROUP BY s.nspname
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'constraints of schema', s.nspname, count(*),
       sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('|', k.conname, k.contype, k.conrelid,
           k.conkey, k.confrelid, k.convalidated), 0)))
  FROM schema AS s JOIN pg_catalog.pg_constraint AS k ON k.connamespace = s.oid
 GROUP BY s.nspname
UNION ALL
SELECT pg_catalog.concat_ws(' ', 'functions of schema', s.nspname, count(*),
       sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('|', p.proname, p.proargtypes,
           p.proowner, p.proacl, p.prosrc), 0)))
  FROM schema AS s JOIN pg_catalog.pg_proc AS p ON p.pronamespace = s.oid
 GROUP BY s.nspname
"""

RECORDS = """
SELECT n.nspname FROM pg_catalog.pg_namespace AS n
  JOIN pg_catalog.pg_class AS c ON c.relnamespace = n.oid
 WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p')
   AND pg_catalog.has_table_privilege(c.oid, 'SELECT')
 ORDER BY 1
"""

ROWS = (
    "SELECT pg_catalog.concat_ws(' ', 'rows of', {t}, count(*),"
    " sum(pg_catalog.hashtextextended(CAST(r AS text), 0))) FROM {}.{} AS r"
)

BATCH = 200


class Fingerprint(frozenset[str]):
    """The lines; two are equal if nothing changed."""

    @property
    def digest(self) -> str:
        """A hash over all lines."""
        return hashlib.sha256("\n".join(sorted(self)).encode()).hexdigest()[:16]


def fingerprint(logins: list[Login], tables: tuple[str, ...], *, deadline: float) -> Fingerprint:
    """Return the fingerprint of the server and of each login's database, one snapshot each.

    ``tables`` are those whose rows count too, in every schema that has one of that name.
    """
    lines: set[str] = set()
    for login in logins:
        connection = connect(login, deadline=deadline)
        try:
            with read_only(connection, timeout=TIMEOUT) as cursor:
                found = _texts(cursor, SHARED)
                if rows(cursor, IS_SUPERUSER)[0][0]:
                    found += _texts(cursor, VERIFIERS)
                lines.update(found)
                inside = _texts(cursor, INSIDE) + _records(cursor, tables)
                lines.update(f"in {login.database}: {line}" for line in inside)
        finally:
            connection.close()
    return Fingerprint(lines)


def _texts(cursor: Any, query: str, **values: object) -> list[str]:
    return [row[0] for row in rows(cursor, query, **values)]


def _records(cursor: Any, tables: tuple[str, ...]) -> list[str]:
    wanted = [
        Statement(ROWS, (schema, table), f"{schema}.{table}")
        for table in tables
        for schema in _texts(cursor, RECORDS, table=table)
    ]
    found: list[str] = []
    for start in range(0, len(wanted), BATCH):
        cursor.execute(composed(wanted[start : start + BATCH], between=" UNION ALL "))
        found += [row[0] for row in cursor.fetchall()]
    return found
