"""Does a materialized view hold what its query gives now? Asked of the server, in a snapshot.

Its query is run here, where no REFRESH's guard is around it: only if nothing in it could do more
than read. So what may not be run, and what gives another answer each time, is told as not known.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.postgres.asking import asking

EACH = 5.0
"Seconds that one view may be looked at."
TOGETHER = 20.0
"Seconds that all of them may."

State = Literal["current", "stale", "unknown"]


class Looked(msgspec.Struct, frozen=True, kw_only=True):
    """One populated view, and whether it is what its query gives; ``why`` that is not known."""

    view: str
    state: State
    why: str = ""


class _View(NamedTuple):
    name: str
    schema: str
    relation: str
    oid: int
    columns: list[str]
    reads: list[int]
    why: str
    depends: str


# What a stored query calls is in its tree alone: nothing depends by catalog on what initdb made.
_FIELDS = "funcid|opfuncid|hashfuncid|negfuncid|aggfnoid|winfnoid|aggfilterfn|tsmhandler"

# Words of the tree after which one view's answers may differ though its tables' rows do not.
_DEPENDS = """
CASE WHEN t.tree ~ '{(SQLVALUEFUNCTION|NEXTVALUEEXPR)' THEN 'the time or the session'
     WHEN t.tree ~ ':(limitCount|limitOffset) {' OR t.tree ~ ':hasDistinctOn true'
          OR t.tree ~ ':hasWindowFuncs true' THEN 'the order in which rows are read'
     WHEN t.tree ~ '{TABLESAMPLECLAUSE' THEN 'chance' END"""

_VIEWS = """
WITH views AS (
  SELECT c.oid, c.relowner, n.nspname, c.relname,
         pg_catalog.format('%%I.%%I', n.nspname, c.relname) AS name, w.oid AS rule,
         w.ev_action::pg_catalog.text AS tree
    FROM pg_catalog.pg_class AS c
    JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
    JOIN pg_catalog.pg_rewrite AS w ON w.ev_class = c.oid AND w.rulename = '_RETURN'
   WHERE c.relkind = 'm' AND c.relispopulated AND c.relpersistence <> 't'
     AND (%(names)s::text[] IS NULL OR (n.nspname::text, c.relname::text) IN (
            SELECT o.s, o.n
              FROM ROWS FROM (pg_catalog.unnest(%(schemas)s::text[]),
                              pg_catalog.unnest(%(names)s::text[])) AS o (s, n)))
), calls AS (
  SELECT v.oid, p.oid AS function, p.proname, p.provolatile, p.prokind, p.proowner, l.lanname,
         a.aggfnoid IS NOT NULL AND NOT (p.oid < 16384 AND (
           p.proname IN ('count', 'min', 'max', 'bool_and', 'bool_or', 'every', 'bit_and',
                         'bit_or')
           OR p.proname IN ('sum', 'avg') AND a.aggtranstype NOT IN (700, 701, 1022))) AS ordered
    FROM views AS v
   CROSS JOIN LATERAL pg_catalog.regexp_matches(v.tree, ':(?:{fields}) ([0-9]+)', 'g') AS m
    JOIN pg_catalog.pg_proc AS p ON p.oid = m[1]::pg_catalog.oid
    JOIN pg_catalog.pg_language AS l ON l.oid = p.prolang
    LEFT JOIN pg_catalog.pg_aggregate AS a ON a.aggfnoid = p.oid
), types AS (
  SELECT v.oid, y.typname FROM views AS v
   CROSS JOIN LATERAL pg_catalog.regexp_matches(v.tree, ':resulttype ([0-9]+)', 'g') AS m
    JOIN pg_catalog.pg_type AS y ON y.oid = m[1]::pg_catalog.oid
   WHERE y.oid >= 16384 AND (y.typtype NOT IN ('b', 'e', 'r', 'm') OR y.typelem <> 0)
), read AS (
  SELECT v.oid, r.oid AS relation, r.relkind, r.relrowsecurity, r.relname
    FROM views AS v
    JOIN pg_catalog.pg_depend AS d ON d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
     AND d.objid = v.rule AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
     AND d.refobjid <> v.oid
    JOIN pg_catalog.pg_class AS r ON r.oid = d.refobjid
), below AS (
  WITH RECURSIVE tree AS (
    SELECT oid, relation FROM read
    UNION SELECT t.oid, i.inhrelid FROM tree AS t
     JOIN pg_catalog.pg_inherits AS i ON i.inhparent = t.relation
  ) SELECT t.oid, c.oid AS relation, c.relkind, c.relrowsecurity, c.relname
      FROM tree AS t JOIN pg_catalog.pg_class AS c ON c.oid = t.relation
)
SELECT 'materialized view ' || t.name, t.nspname::text, t.relname::text,
       t.oid::int8,
       ARRAY(SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute AS a
              WHERE a.attrelid = t.oid AND a.attnum > 0 ORDER BY a.attnum),
       ARRAY(SELECT b.relation::int8 FROM below AS b WHERE b.oid = t.oid AND b.relkind IN ('r', 'm')
             UNION SELECT t.oid::int8),
       COALESCE(
         (SELECT pg_catalog.min('it calls ' || f.proname || '(), which may do more than read, or'
                                || ' answers differently each time')
            FROM calls AS f WHERE f.oid = t.oid AND f.provolatile = 'v'),
         (SELECT pg_catalog.min('it calls ' || f.proname || '(), which somebody else wrote')
            FROM calls AS f WHERE f.oid = t.oid AND f.function >= 16384
             AND (f.lanname NOT IN ('c', 'internal') OR f.prokind = 'a')
             AND NOT EXISTS (SELECT FROM pg_catalog.pg_roles AS r WHERE r.oid = t.relowner
                  AND r.oid = f.proowner AND r.rolname = CURRENT_USER AND NOT r.rolsuper)),
         (SELECT pg_catalog.min('it makes values of type ' || y.typname) FROM types AS y
           WHERE y.oid = t.oid),
         (SELECT pg_catalog.min('it reads ' || CASE b.relkind WHEN 'v' THEN 'view '
                                ELSE 'foreign table ' END || b.relname)
            FROM below AS b WHERE b.oid = t.oid AND b.relkind IN ('v', 'f')),
         (SELECT pg_catalog.min('it reads table ' || b.relname || ', which has row security')
            FROM below AS b WHERE b.oid = t.oid AND b.relrowsecurity), ''),
       COALESCE({depends},
         (SELECT pg_catalog.min(CASE WHEN f.ordered THEN 'the order in which rows are read'
                                     ELSE 'the time or the session' END)
            FROM calls AS f WHERE f.oid = t.oid AND (f.ordered OR f.provolatile = 's')), '')
  FROM views AS t ORDER BY 1
""".replace("{fields}", _FIELDS).replace("{depends}", _DEPENDS)

_DEFINITION = "SELECT pg_catalog.rtrim(pg_catalog.pg_get_viewdef(%s::oid), '; ')"

# Both sides under the same settings: only what would print two values alike must be pinned. A
# view that took a table's place meanwhile is refused by versions that can: it would run its
# owner's functions as us.
_PINS = """
SAVEPOINT costmgmt_stale;
SELECT pg_catalog.set_config(s.name, s.value, true)
  FROM (VALUES ('statement_timeout', '{ms}'), ('lock_timeout', '{lock}'), ('row_security', 'off'),
               ('extra_float_digits', '3'), ('max_parallel_workers_per_gather', '0'),
               ('standard_conforming_strings', 'on'), ('transform_null_equals', 'off'),
               ('restrict_nonsystem_relation_kind', 'view, foreign-table')) AS s (name, value)
  JOIN pg_catalog.pg_settings AS p ON p.name = s.name
"""

_SUM = """
SELECT pg_catalog.count(*) AS n, pg_catalog.sum(pg_catalog.hashtextextended(
         ROW({columns})::pg_catalog.text COLLATE pg_catalog."C", 0)) AS h"""

# What a REFRESH wrote after the snapshot is seen in it, what a TRUNCATE emptied is seen empty.
_UNTOUCHED = """
SELECT COALESCE(pg_catalog.bool_and(pg_catalog.pg_relation_filenode(c.oid) = c.relfilenode), true)
  FROM pg_catalog.pg_class AS c WHERE c.oid = ANY (%s::oid[])
"""


def look(
    cursor: Any,
    *,
    each: float = EACH,
    together: float = TOGETHER,
    only: Iterable[tuple[str, str]] | None = None,
) -> tuple[Looked, ...]:
    """Look at the populated materialized views (or ``only`` these: schema and name).

    ``cursor`` is in a read-only transaction with search_path pg_catalog; it is as it was
    afterwards, and keeps no lock of it. What cannot be found out is told as unknown.
    """
    until = time.monotonic() + together
    return tuple(_looked(cursor, view, each, until) for view in _views(cursor, only))


def _views(cursor: Any, only: Iterable[tuple[str, str]] | None) -> Iterator[_View]:
    names = None if only is None else list(only)
    given = {
        "schemas": None if names is None else [schema for schema, _ in names],
        "names": None if names is None else [name for _, name in names],
    }
    for row in cursor.execute(_VIEWS.encode(), given).fetchall():
        yield _View(*row)


def _looked(cursor: Any, view: _View, each: float, until: float) -> Looked:
    seconds = min(each, until - time.monotonic())
    why = f"its query was not run: {view.why}" if view.why else ""
    if not why and seconds <= 0:
        why = "the time for all views was over"
    if why:
        return Looked(view=view.name, state="unknown", why=why)
    try:
        equal, untouched = _compared(cursor, view, seconds)
    except FactUnavailable as error:
        why = error.message.partition(": the server answered: ")[2]
        return Looked(view=view.name, state="unknown", why=f"comparing it was refused: {why}")
    if equal:
        return Looked(view=view.name, state="current")
    if not untouched:
        return Looked(view=view.name, state="unknown", why="it was refreshed meanwhile")
    if view.depends:
        why = f"its query gives something else now, but that depends on {view.depends} too"
        return Looked(view=view.name, state="unknown", why=why)
    return Looked(view=view.name, state="stale")


def _compared(cursor: Any, view: _View, seconds: float) -> tuple[bool, bool]:
    """Return whether both are equal, and whether what was read is the snapshot's still."""
    milliseconds = max(1, int(seconds * 1000))
    pins = _PINS.replace("{ms}", str(milliseconds))
    cursor.execute(pins.replace("{lock}", str(max(1, min(milliseconds, 1000)))).encode())
    try:
        with asking(view.name):
            # It takes locks: of the view, and of all that it reads.
            query = cursor.execute(_DEFINITION, (view.oid,)).fetchone()[0]
            equal = cursor.execute(_comparison(view, query).encode()).fetchone()[0]
            untouched = cursor.execute(_UNTOUCHED.encode(), (view.reads,)).fetchone()[0]
    finally:
        cursor.execute(b"ROLLBACK TO SAVEPOINT costmgmt_stale")
    return bool(equal), bool(untouched)


def _comparison(view: _View, query: str) -> str:
    columns = ", ".join(view.columns)
    told = _SUM.replace("{columns}", ", ".join(f"r.{column}" for column in view.columns))
    named = f" AS r ({columns})" if columns else " AS r"
    quoted = ".".join(map(_quoted, (view.schema, view.relation)))
    return (
        f"SELECT held.n = now.n AND held.h IS NOT DISTINCT FROM now.h"  # noqa: S608 - the server's own text
        f" FROM ({told} FROM {quoted}{named}) AS held,"
        f" ({told} FROM (\n{query}\n){named}) AS now"
    )


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
