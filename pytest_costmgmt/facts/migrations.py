"""Recorded migrations: of every schema that has ``django_migrations``, and whose tenant it is.

A thousand tenants are read in a handful of statements, and told as a few groups of schemas that
record the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.migration_expected import (
    Expected,
    Migration,
    expected_from_application,
    expected_from_manifest,
    export,
)
from pytest_costmgmt.requirements.model import MigrationNeeds, Requirements

__all__ = [
    "ASKING",
    "Expected",
    "Lacking",
    "Migration",
    "MigrationFacts",
    "Recorded",
    "expected_from_application",
    "expected_from_manifest",
    "export",
    "read",
]

ASKING = 60.0
"Seconds that the application may take to tell its migrations."

CHUNK = 300
"""Schemas in one statement. Each costs three locks (table, index, sequence) until the chunk's
savepoint is rolled back, out of the server's one table of locks, which the application shares."""

_NAMED = 10
"Tables that are named where more are there, or missing."


class Recorded(msgspec.Struct, frozen=True):
    """What some schemas record, alike: "app.name" in the order in which it was applied."""

    schemas: tuple[str, ...]
    applied: tuple[str, ...]


class Lacking(msgspec.Struct, frozen=True):
    """How many of the template's tables, keys and triggers a schema lacks, and the first."""

    schema: str
    count: int
    examples: tuple[str, ...]


class MigrationFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected (None: nobody was asked) and what the database records.

    ``schemas`` are all but the system's; ``unreadable`` maps those whose records ``reader`` may
    not see to the reason. ``tenants`` are the tenant table's rows, None if there is none, or if
    ``tenants_unreadable`` says why they cannot be seen. ``public_tables`` are some names of tables
    beside a missing ``django_migrations``. ``lacking`` tells of schemas that record what the
    template schema does, and lack some of its tables, keys or triggers; ``behind`` names those
    whose next record would get an id that is there, ``unnumbered`` those where it would get none.
    """

    database: str
    reader: str
    expected: Expected | None
    schemas: tuple[str, ...]
    recorded: tuple[Recorded, ...]
    tenants: tuple[str, ...] | None
    tenants_unreadable: str = ""
    unreadable: dict[str, str] = msgspec.field(default_factory=dict)
    public_tables: tuple[str, ...] = ()
    lacking: tuple[Lacking, ...] = ()
    behind: tuple[str, ...] = ()
    unnumbered: tuple[str, ...] = ()

    @property
    def recording(self) -> frozenset[str]:
        """The schemas whose records were read."""
        return frozenset(schema for group in self.recorded for schema in group.schemas)

    @property
    def empty(self) -> bool:
        """Whether nothing of the application is there yet."""
        there = self.recorded or self.unreadable or self.public_tables
        return not there and self.tenants is None and not self.tenants_unreadable


class _Table(NamedTuple):
    """A schema and its ``django_migrations``: ``quoted`` is None where there is none.

    ``sequence`` gives its ids, and is None where none does, or where it may not be read;
    ``numbered`` says whether anything gives them.
    """

    schema: str
    quoted: str | None
    usage: bool
    select: bool
    columns: bool
    numbered: bool
    sequence: str | None

    @property
    def problem(self) -> str:
        """Why it cannot be read: "" if it can."""
        if not self.usage:
            return "no privilege USAGE on the schema"
        if not self.select:
            return "no privilege SELECT on the table"
        return "" if self.columns else "the table is not Django's: it has no id, app and name"


# Quoted by the server itself, and only where it is an identifier.
_TABLES = """
SELECT n.nspname::pg_catalog.text,
       CASE WHEN c.oid IS NOT NULL THEN pg_catalog.format('%%I.%%I', n.nspname, c.relname) END,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE'),
       COALESCE(pg_catalog.has_table_privilege(c.oid, 'SELECT'), false),
       3 = (SELECT pg_catalog.count(*) FROM pg_catalog.pg_attribute a
            WHERE a.attrelid = c.oid AND a.attname IN ('id', 'app', 'name')),
       EXISTS (SELECT FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid
               AND a.attname = 'id' AND (a.atthasdef OR a.attidentity <> '')),
       (SELECT pg_catalog.format('%%I.%%I', w.nspname, q.relname)
        FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_attribute a
             ON a.attrelid = c.oid AND a.attname = 'id' AND a.attnum = d.refobjsubid
        JOIN pg_catalog.pg_class q ON q.oid = d.objid AND q.relkind = 'S'
        JOIN pg_catalog.pg_namespace w ON w.oid = q.relnamespace
        WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
          AND d.refobjid = c.oid AND d.deptype IN ('a', 'i')
          AND pg_catalog.has_schema_privilege(w.oid, 'USAGE')
          AND pg_catalog.has_table_privilege(q.oid, 'SELECT') LIMIT 1)
FROM pg_catalog.pg_namespace n
LEFT JOIN pg_catalog.pg_class c ON c.relnamespace = n.oid AND c.relname = %(table)s
     AND c.relkind IN ('r', 'p')
WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' ORDER BY n.nspname"""

_TENANT_TABLE = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname),
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
       AND pg_catalog.has_table_privilege(c.oid, 'SELECT'),
       (SELECT pg_catalog.quote_ident(a.attname) FROM pg_catalog.pg_attribute a
        WHERE a.attrelid = c.oid AND a.attname = %(column)s)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND c.relkind IN ('r', 'p')"""

# Views and extensions' own tables do not make a database half-migrated.
_PUBLIC_TABLES = """
SELECT c.relname::pg_catalog.text
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relkind IN ('r', 'p') AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e'
    AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass)
ORDER BY 1 LIMIT %(limit)s"""

# Partitions come and go with the months. A table's triggers and keys are looked at where the table
# is: koku's triggers keep the partitions. Tables and triggers have the same names in every schema,
# as koku clones them; keys are counted, for some of theirs PostgreSQL makes up.
_LACKING = """
WITH template AS (
  SELECT c.oid, c.relname FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
   WHERE n.nspname = %(template)s AND c.relkind IN ('r', 'p') AND NOT c.relispartition
), schemas AS (
  SELECT n.oid, n.nspname FROM pg_catalog.pg_namespace n WHERE n.nspname = ANY (%(schemas)s)
), keys AS (  -- one row a table and no join with another: nobody knows how many there are
  SELECT n.nspname, c.relname,
         pg_catalog.count(*) FILTER (WHERE k.kind = 'p') AS primary_keys,
         pg_catalog.count(*) FILTER (WHERE k.kind = 'u') AS unique_indexes,
         pg_catalog.count(*) FILTER (WHERE k.kind = 'f') AS foreign_keys
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN (
      SELECT i.indrelid AS of, CASE WHEN i.indisprimary THEN 'p' ELSE 'u' END AS kind
        FROM pg_catalog.pg_index i WHERE i.indisunique
      UNION ALL
      SELECT f.conrelid, 'f' FROM pg_catalog.pg_constraint f
       WHERE f.contype = 'f' AND f.conparentid = 0) k ON k.of = c.oid
   WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
     AND (n.nspname = ANY (%(schemas)s) OR n.nspname = %(template)s)
   GROUP BY c.oid, n.nspname, c.relname
), beside AS (
  SELECT k.*, pg_catalog.max(k.primary_keys) FILTER (WHERE k.nspname = %(template)s) OVER same AS p,
         pg_catalog.max(k.unique_indexes) FILTER (WHERE k.nspname = %(template)s) OVER same AS u,
         pg_catalog.max(k.foreign_keys) FILTER (WHERE k.nspname = %(template)s) OVER same AS f
    FROM keys k WINDOW same AS (PARTITION BY k.relname)
), lost AS (
  SELECT s.nspname, t.relname::pg_catalog.text AS what
    FROM template t CROSS JOIN schemas s
    LEFT JOIN pg_catalog.pg_class c
      ON c.relnamespace = s.oid AND c.relname = t.relname AND c.relkind IN ('r', 'p')
   WHERE c.oid IS NULL
  UNION ALL
  SELECT s.nspname, pg_catalog.format('trigger %%s of %%s%%s', g.tgname, t.relname,
         CASE WHEN h.oid IS NOT NULL THEN ' (disabled)' ELSE '' END)
    FROM template t JOIN pg_catalog.pg_trigger g ON g.tgrelid = t.oid
    CROSS JOIN schemas s
    JOIN pg_catalog.pg_class c
      ON c.relnamespace = s.oid AND c.relname = t.relname AND c.relkind IN ('r', 'p')
    LEFT JOIN pg_catalog.pg_trigger h ON h.tgrelid = c.oid AND h.tgname = g.tgname
   WHERE NOT g.tgisinternal AND g.tgenabled IN ('O', 'A')
     AND (h.oid IS NULL OR h.tgenabled NOT IN ('O', 'A'))
  UNION ALL
  SELECT b.nspname, pg_catalog.format('%%s of %%s%%s', v.kind, b.relname, CASE WHEN v.needed > 1
         THEN pg_catalog.format(' (%%s of %%s)', v.needed - v.there, v.needed) ELSE '' END)
    FROM beside b CROSS JOIN LATERAL (VALUES ('primary key', b.primary_keys, b.p),
      ('unique index', b.unique_indexes, b.u), ('foreign key', b.foreign_keys, b.f)
    ) AS v(kind, there, needed) WHERE v.there < v.needed
)
SELECT l.nspname::pg_catalog.text, pg_catalog.count(*),
       (pg_catalog.array_agg(l.what ORDER BY l.what))[1:%(limit)s]
FROM lost l GROUP BY l.nspname ORDER BY l.nspname"""

_WHERE = "SELECT pg_catalog.current_database()::pg_catalog.text, CURRENT_USER::pg_catalog.text"

# A hash of what each schema records; whoever has the same hash has the same content. Not md5,
# which a server in FIPS mode refuses.
_DIGEST = """
SELECT {index}, pg_catalog.count(*), pg_catalog.hashtextextended(pg_catalog.string_agg(
    pg_catalog.format('%s.%s', m.app, m.name), E'\\n' ORDER BY m.id), 0), {behind} FROM {table} m"""
# Whether the next id is one that is there. A sequence that was never used gives its last_value.
_BEHIND = """(SELECT pg_catalog.max(m.id) > s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END
    FROM {sequence} s)"""
_CONTENT = """
SELECT {index}, pg_catalog.array_agg(
    pg_catalog.format('%s.%s', m.app, m.name) ORDER BY m.id) FROM {table} m"""


def read(cursor: Any, requirements: Requirements, expected: Expected | None) -> MigrationFacts:
    """Read the facts; ``cursor`` is in a read-only transaction with search_path pg_catalog.

    Raises FactUnavailable if a schema goes away meanwhile.
    """
    needs = requirements.migrations
    database, reader = cursor.execute(_WHERE).fetchone()
    rows = cursor.execute(_TABLES, {"table": needs.table}).fetchall()
    tables = [_Table(*row) for row in rows]
    having = [table for table in tables if table.quoted is not None]
    readable = [table for table in having if not table.problem]
    tenants, why = _tenants(cursor, needs)
    recorded, behind = _recorded(cursor, readable)
    return MigrationFacts(
        database=database,
        reader=reader,
        expected=expected,
        schemas=tuple(table.schema for table in tables),
        recorded=recorded,
        tenants=tenants,
        tenants_unreadable=why,
        unreadable={table.schema: table.problem for table in having if table.problem},
        public_tables=_public_tables(cursor, needs, having),
        lacking=_lacking(cursor, needs, recorded),
        behind=behind,
        unnumbered=tuple(table.schema for table in readable if not table.numbered),
    )


def _lacking(
    cursor: Any, needs: MigrationNeeds, recorded: Iterable[Recorded]
) -> tuple[Lacking, ...]:
    """Compare with the template whoever should be as it is: who records the same."""
    template = needs.template_schema
    alike = next((group.schemas for group in recorded if template in group.schemas), ())
    # The shared schema records the tenants' migrations too, and has other tables.
    others = [name for name in alike if name not in {template, needs.tenant_schema}]
    asked = {"schemas": others, "template": template, "limit": _NAMED}
    rows = cursor.execute(_LACKING, asked)
    return tuple(Lacking(name, count, tuple(first)) for name, count, first in rows)


def _public_tables(cursor: Any, needs: MigrationNeeds, having: Sequence[_Table]) -> tuple[str, ...]:
    if any(table.schema == needs.tenant_schema for table in having):
        return ()  # it is not empty, and listing a large catalog is not free
    asked = {"schema": needs.tenant_schema, "limit": _NAMED}
    return tuple(name for (name,) in cursor.execute(_PUBLIC_TABLES, asked))


def _tenants(cursor: Any, needs: MigrationNeeds) -> tuple[tuple[str, ...] | None, str]:
    """Return the tenants, or None and why they cannot be seen ("": there is no such table)."""
    asked = {
        "schema": needs.tenant_schema,
        "table": needs.tenant_table,
        "column": needs.tenant_column,
    }
    found = cursor.execute(_TENANT_TABLE, asked).fetchone()
    if found is None:
        return None, ""
    table, may, column = found
    if column is None:
        return None, f"the table has no column {needs.tenant_column}"
    if not may:
        return None, "no privilege SELECT on the table"
    rows = cursor.execute(f"SELECT {column} FROM {table} ORDER BY 1".encode())  # noqa: S608 - quoted
    return tuple(name for (name,) in rows if name), ""


def _recorded(
    cursor: Any, tables: Sequence[_Table]
) -> tuple[tuple[Recorded, ...], tuple[str, ...]]:
    """Group the schemas by what they record, and read each group's content once.

    Return also those whose sequence is behind their ids.
    """
    if not tables:
        return (), ()
    cursor.execute("SAVEPOINT costmgmt_migrations")
    groups: dict[tuple[int, int | None], list[int]] = {}
    late = []
    for index, count, digest, behind in _each(cursor, _DIGEST, tables, range(len(tables))):
        groups.setdefault((count, digest), []).append(index)
        if behind:
            late.append(index)
    firsts = [members[0] for members in groups.values()]
    contents = dict(_each(cursor, _CONTENT, tables, firsts))
    recorded = tuple(
        Recorded(
            schemas=tuple(tables[index].schema for index in members),
            applied=tuple(contents[members[0]] or ()),
        )
        for members in groups.values()
    )
    return recorded, tuple(tables[index].schema for index in late)


def _each(
    cursor: Any, query: str, tables: Sequence[_Table], indexes: Iterable[int]
) -> Iterator[tuple[Any, ...]]:
    """Yield the query's one row of each table, many tables to a statement."""
    wanted = list(indexes)
    for start in range(0, len(wanted), CHUNK):
        chunk = wanted[start : start + CHUNK]
        parts = [
            query.format(index=i, table=tables[i].quoted, behind=_behind(tables[i])) for i in chunk
        ]
        yield from _fetched(cursor, "\nUNION ALL".join(parts))
        # Gives the locks back; the snapshot stays.
        cursor.execute("ROLLBACK TO SAVEPOINT costmgmt_migrations")


def _behind(table: _Table) -> str:
    return "NULL::bool" if table.sequence is None else _BEHIND.format(sequence=table.sequence)


def _fetched(cursor: Any, statement: str) -> list[tuple[Any, ...]]:
    try:
        rows: list[tuple[Any, ...]] = cursor.execute(statement.encode()).fetchall()
    except Exception as error:
        if (sqlstate := getattr(error, "sqlstate", None)) is None:
            raise
        raise FactUnavailable(
            f"the recorded migrations could not be read (SQLSTATE {sqlstate}): a schema was"
            " dropped, locked or changed while they were read.",
            hint="Run again when no tenant is being created, migrated or removed.",
        ) from None
    return rows
