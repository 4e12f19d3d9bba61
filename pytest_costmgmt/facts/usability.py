"""Extensions used for real, by the application's own login: "exists" is not "works".

Nothing is written: each extension has a read-only transaction of its own, which also keeps all of
its statements on one server connection behind a transaction pooler. There the search path is
pg_catalog and the schema that the extension is in by the catalog, so that neither an object of the
same name elsewhere nor the role's own search_path has a say.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeVar

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import redact

Answer = TypeVar("Answer")

RUNS = 3
"How often the query runs whose calls pg_stat_statements must count."

_ATTEMPTS = 2
# Connection, resources, a timeout, an operator's word: they say nothing about the extension.
_ENVIRONMENT = ("08", "53", "55P03", "57")


class Use(msgspec.Struct, frozen=True, kw_only=True):
    """What an extension answered, or the server's refusal to use it.

    ``answers`` are texts, in the order in which they were asked for; ``sqlstate`` is empty if the
    server refused nothing. ``shut``: the role has no USAGE on the schema, so nothing was asked.
    """

    extension: str
    schema: str
    answers: tuple[str, ...] = ()
    sqlstate: str = ""
    message: str = ""
    shut: bool = False


class Counting(msgspec.Struct, frozen=True, kw_only=True):
    """How pg_stat_statements counted a query of ours that ran ``runs`` times.

    ``by`` says how its calls were found: by its queryid, or (PostgreSQL 13 does not tell it) as
    the growth of all calls of this role in this database. A ``setting`` is None if the server has
    none of this name; its ``source`` is PostgreSQL's word for where the value comes from.
    """

    by: Literal["queryid", "all calls"]
    runs: int
    before: int
    after: int
    track: str | None = None
    track_source: str = ""
    query_id: str | None = None
    query_id_source: str = ""

    @property
    def grew(self) -> bool:
        """Whether the runs were counted."""
        return self.after - self.before >= self.runs


class UsabilityFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The extensions that this ``role`` used. Absent ones, and those we cannot use, have none."""

    role: str
    uses: tuple[Use, ...]
    counting: Counting | None = None

    def of(self, extension: str) -> Use | None:
        """Return the use of this extension if there was one."""
        return next((use for use in self.uses if use.extension == extension), None)


# Without USAGE the schema is silently left out of the search path: "function does not exist".
_SCHEMAS = """
SELECT e.extname::pg_catalog.text, n.nspname::pg_catalog.text,
       pg_catalog.has_schema_privilege(n.oid, 'USAGE')
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = ANY (%s) ORDER BY 1"""

_ENTER = """
SELECT pg_catalog.set_config(
    'search_path', 'pg_catalog, ' || pg_catalog.quote_ident(%s) || ', pg_temp', true)"""

_UUID = "SELECT uuid_generate_v4()::pg_catalog.text, uuid_generate_v4()::pg_catalog.text"
_TRIGRAMS = """
SELECT similarity('koku'::pg_catalog.text, 'koku'::pg_catalog.text)::pg_catalog.text,
       similarity('koku'::pg_catalog.text, 'xyz'::pg_catalog.text)::pg_catalog.text,
       ('koku'::pg_catalog.text % 'koku'::pg_catalog.text)::pg_catalog.text"""
_STATEMENTS = "SELECT pg_catalog.count(*)::pg_catalog.text FROM pg_stat_statements"

_PROBES = {"uuid-ossp": _UUID, "pg_trgm": _TRIGRAMS, "pg_stat_statements": _STATEMENTS}

# Its shape, which alone makes the queryid, should be no other's query; its values do not matter.
_COUNTED = (
    "SELECT 'pytest-costmgmt'::pg_catalog.text, 'is'::pg_catalog.text, 'counted'::pg_catalog.text,"
    " 1, 2, 3 WHERE 'pytest-costmgmt'::pg_catalog.text IS NOT NULL"
)
_CALLS = """
SELECT COALESCE(pg_catalog.sum(s.calls), 0)::pg_catalog.int8
FROM pg_stat_statements(false) s
WHERE s.userid = (SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname = CURRENT_USER)
  AND s.dbid = (SELECT d.oid FROM pg_catalog.pg_database d
                WHERE d.datname = pg_catalog.current_database())
  AND (%(queryid)s::pg_catalog.int8 IS NULL OR s.queryid = %(queryid)s::pg_catalog.int8)"""
_SETTINGS = """
SELECT s.name, s.setting, s.source FROM pg_catalog.pg_settings s
WHERE s.name IN ('pg_stat_statements.track', 'compute_query_id')"""


def use(connection: Any, requirements: Requirements, *, timeout: float) -> UsabilityFacts:
    """Use every required extension that is there; ``timeout`` seconds for each statement.

    Raises FactUnavailable if a connection or a resource gave out, which proves nothing.
    """
    required = [extension.name for extension in requirements.extensions]
    with asking("looking for extensions"), read_only(connection, timeout=timeout) as cursor:
        (role,) = cursor.execute("SELECT CURRENT_USER::pg_catalog.text").fetchone() or ("",)
        there = cursor.execute(_SCHEMAS, [required]).fetchall()
    uses = tuple(
        _used(connection, name, schema, timeout) if usage else _shut(name, schema, role)
        for name, schema, usage in there
        if name in _PROBES
    )
    counting = None
    for used in uses:
        if used.extension == "pg_stat_statements" and not used.sqlstate:
            counting = _counting(connection, used.schema, timeout)
    return UsabilityFacts(role=role, uses=uses, counting=counting)


def _shut(extension: str, schema: str, role: str) -> Use:
    message = f"role {role} has no USAGE on schema {schema}"
    return Use(extension=extension, schema=schema, sqlstate="42501", message=message, shut=True)


def _used(connection: Any, extension: str, schema: str, timeout: float) -> Use:
    def ask(cursor: Any) -> tuple[str, ...]:
        return tuple(cursor.execute(_PROBES[extension]).fetchone())

    answers = _inside(connection, extension, schema, timeout, ask)
    if isinstance(answers, _Refused):
        return Use(
            extension=extension, schema=schema, sqlstate=answers.sqlstate, message=answers.message
        )
    return Use(extension=extension, schema=schema, answers=answers)


def _counting(connection: Any, schema: str, timeout: float) -> Counting | None:
    # Twice at most: a full pg_stat_statements evicts entries, a reset removes them.
    counted: Counting | None = None
    for _ in range(_ATTEMPTS):
        found = _inside(connection, "pg_stat_statements", schema, timeout, _count)
        if isinstance(found, _Refused):
            return None
        counted = found
        if counted.grew:
            break
    return counted


def _count(cursor: Any) -> Counting:
    settings = {name: (value, source) for name, value, source in cursor.execute(_SETTINGS)}
    track, track_source = settings.get("pg_stat_statements.track", (None, ""))
    query_id, query_id_source = settings.get("compute_query_id", (None, ""))
    explained = cursor.execute(f"EXPLAIN (VERBOSE, FORMAT JSON) {_COUNTED}").fetchone()[0]
    queryid = explained[0].get("Query Identifier")
    # The first run makes the entry, so that an eviction at that moment costs nothing.
    cursor.execute(_COUNTED)
    before = cursor.execute(_CALLS, {"queryid": queryid}).fetchone()[0]
    for _ in range(RUNS):
        cursor.execute(_COUNTED)
    after = cursor.execute(_CALLS, {"queryid": queryid}).fetchone()[0]
    return Counting(
        by="all calls" if queryid is None else "queryid",
        runs=RUNS,
        before=before,
        after=after,
        track=track,
        track_source=track_source,
        query_id=query_id,
        query_id_source=query_id_source,
    )


class _Refused(NamedTuple):
    sqlstate: str
    message: str


def _inside(
    connection: Any, extension: str, schema: str, timeout: float, ask: Callable[[Any], Answer]
) -> Answer | _Refused:
    """Return what ``ask`` found in a transaction of its own, or the server's refusal."""
    with read_only(connection, timeout=timeout) as cursor:
        cursor.execute(_ENTER, [schema])
        try:
            return ask(cursor)
        except Exception as error:
            # psycopg.Error, which only the room postgres may name; whatever else is a bug.
            if not hasattr(error, "sqlstate"):
                raise
            if error.sqlstate is None or error.sqlstate.startswith(_ENVIRONMENT):
                raise FactUnavailable(
                    f"using extension {extension}: the server gave out before it answered"
                    f" (SQLSTATE {error.sqlstate or 'none'})",
                    hint="Run it again; if it stays, look at the server's log.",
                ) from None
            return _Refused(error.sqlstate, _said(error))


def _said(error: Any) -> str:
    return redact(str(error.diag.message_primary or ""))
