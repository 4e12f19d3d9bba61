"""The application's privileges, used: what its migrations do, in a transaction rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.postgres.login import Login

DATABASE = "database"
PUBLIC = "public"
TEMPORARY = "temporary"
EXTENSIONS = "extensions"

STATEMENT_TIMEOUT = 10.0
"Seconds that one statement may take, or wait for a lock."


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One statement that was tried.

    ``place``: DATABASE (a new schema and what goes into it), PUBLIC, TEMPORARY or EXTENSIONS, of
    which ``what`` is the name; ``command`` is the command's tag, as event triggers know it.
    ``sqlstate`` is empty if it worked; ``where`` is PostgreSQL's call stack, which names the
    function of an event trigger that refused.
    """

    place: str
    what: str
    command: str = ""
    sqlstate: str = ""
    message: str = ""
    where: str = ""


class UsedPrivileges(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that was tried, in order; what needs a thing that failed was not.

    ``problem`` says why nothing (more) could be tried; it is empty when all was.
    """

    attempts: tuple[Attempted, ...]
    problem: str = ""

    def at(self, place: str) -> tuple[Attempted, ...]:
        """Return the attempts at ``place``."""
        return tuple(attempt for attempt in self.attempts if attempt.place == place)


class _Step(NamedTuple):
    what: str
    command: str
    needs: tuple[str, ...]
    template: str


# What a koku migration does in each of its schemas. {s} is the schema; the other names are new.
_IN_SCHEMA = (
    _Step("table", "CREATE TABLE", (), "CREATE TABLE {s}.{t} (id pg_catalog.int4 PRIMARY KEY)"),
    _Step("index", "CREATE INDEX", ("table",), "CREATE INDEX {i} ON {s}.{t} (id)"),
    _Step("sequence", "CREATE SEQUENCE", (), "CREATE SEQUENCE {s}.{q}"),
    _Step(
        "function",
        "CREATE FUNCTION",
        (),
        "CREATE FUNCTION {s}.{f}() RETURNS pg_catalog.trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
    ),
    _Step(
        "trigger",
        "CREATE TRIGGER",
        ("table", "function"),
        "CREATE TRIGGER {g} BEFORE INSERT ON {s}.{t} FOR EACH ROW EXECUTE FUNCTION {s}.{f}()",
    ),
    _Step(
        "partitioned table",
        "CREATE TABLE",
        (),
        "CREATE TABLE {s}.{p} (at pg_catalog.date) PARTITION BY RANGE (at)",
    ),
    _Step(
        "partition",
        "CREATE TABLE",
        ("partitioned table",),
        "CREATE TABLE {s}.{d} PARTITION OF {s}.{p} DEFAULT",
    ),
    _Step("row", "", ("table",), "INSERT INTO {s}.{t} (id) VALUES (1)"),
    _Step(
        "rewrite",
        "ALTER TABLE",
        ("table",),
        "ALTER TABLE {s}.{t} ALTER COLUMN id TYPE pg_catalog.int8",
    ),
    _Step("drop", "DROP TABLE", ("table",), "DROP TABLE {s}.{t}"),
)
# The other commands of migrations, tried in the new schema alone: only an event trigger could
# forbid one of them and none of those above, and it would in every schema.
_ONCE = (
    _Step(
        "procedure",
        "CREATE PROCEDURE",
        (),
        "CREATE PROCEDURE {s}.{c}() LANGUAGE plpgsql AS 'BEGIN NULL; END'",
    ),
    _Step("type", "CREATE TYPE", (), "CREATE TYPE {s}.{y} AS ENUM ('a')"),
    _Step("changed type", "ALTER TYPE", ("type",), "ALTER TYPE {s}.{y} ADD VALUE 'b'"),
    _Step("copied table", "CREATE TABLE AS", (), "CREATE TABLE {s}.{a} AS SELECT 1 AS id"),
    _Step("selected table", "SELECT INTO", (), "SELECT 1 AS id INTO {s}.{b}"),
    _Step("view", "CREATE VIEW", ("copied table",), "CREATE VIEW {s}.{v} AS TABLE {s}.{a}"),
    _Step(
        "materialized view",
        "CREATE MATERIALIZED VIEW",
        ("copied table",),
        "CREATE MATERIALIZED VIEW {s}.{m} AS TABLE {s}.{a}",
    ),
    _Step("other index", "CREATE INDEX", ("copied table",), "CREATE INDEX {x} ON {s}.{a} (id)"),
    _Step(
        "changed index",
        "ALTER INDEX",
        ("other index",),
        "ALTER INDEX {s}.{x} SET (fillfactor=90)",
    ),
    _Step("changed sequence", "ALTER SEQUENCE", ("sequence",), "ALTER SEQUENCE {s}.{q} RESTART"),
    _Step("changed function", "ALTER FUNCTION", ("function",), "ALTER FUNCTION {s}.{f}() COST 10"),
    _Step(
        "changed procedure",
        "ALTER PROCEDURE",
        ("procedure",),
        "ALTER PROCEDURE {s}.{c}() SECURITY INVOKER",
    ),
    _Step(
        "changed view", "ALTER VIEW", ("view",), "ALTER VIEW {s}.{v} SET (security_barrier = false)"
    ),
    _Step(
        "changed materialized view",
        "ALTER MATERIALIZED VIEW",
        ("materialized view",),
        "ALTER MATERIALIZED VIEW {s}.{m} SET (fillfactor = 90)",
    ),
    _Step("changed schema", "ALTER SCHEMA", (), "ALTER SCHEMA {s} OWNER TO CURRENT_USER"),
    _Step("comment", "COMMENT", ("copied table",), "COMMENT ON TABLE {s}.{a} IS 'tried'"),
    _Step("grant", "GRANT", ("copied table",), "GRANT SELECT ON {s}.{a} TO CURRENT_USER"),
    _Step("revoke", "REVOKE", ("copied table",), "REVOKE SELECT ON {s}.{a} FROM CURRENT_USER"),
    _Step(
        "trigger on it",
        "CREATE TRIGGER",
        ("copied table", "function"),
        "CREATE TRIGGER {g} BEFORE INSERT ON {s}.{a} FOR EACH ROW EXECUTE FUNCTION {s}.{f}()",
    ),
    _Step(
        "changed trigger",
        "ALTER TRIGGER",
        ("trigger on it",),
        "ALTER TRIGGER {g} ON {s}.{a} RENAME TO {h}",
    ),
    _Step("no trigger", "DROP TRIGGER", ("changed trigger",), "DROP TRIGGER {h} ON {s}.{a}"),
    _Step("no index", "DROP INDEX", ("other index",), "DROP INDEX {s}.{x}"),
    _Step("no view", "DROP VIEW", ("view",), "DROP VIEW {s}.{v}"),
    _Step(
        "no materialized view",
        "DROP MATERIALIZED VIEW",
        ("materialized view",),
        "DROP MATERIALIZED VIEW {s}.{m}",
    ),
    _Step("no sequence", "DROP SEQUENCE", ("sequence",), "DROP SEQUENCE {s}.{q}"),
    _Step("no procedure", "DROP PROCEDURE", ("procedure",), "DROP PROCEDURE {s}.{c}()"),
    _Step("no function", "DROP FUNCTION", ("function",), "DROP FUNCTION {s}.{f}() CASCADE"),
    _Step("no type", "DROP TYPE", ("type",), "DROP TYPE {s}.{y}"),
    # It is there: nothing is done, but event triggers fire.
    _Step("extension", "CREATE EXTENSION", (), "CREATE EXTENSION IF NOT EXISTS plpgsql"),
    _Step("no schema", "DROP SCHEMA", (), "DROP SCHEMA {s} CASCADE"),
)
_NEW_SCHEMA = _Step("schema", "CREATE SCHEMA", (), "CREATE SCHEMA {s}")
_TEMPORARY = _Step(
    "temporary table", "CREATE TABLE", (), "CREATE TEMPORARY TABLE {t} (id pg_catalog.int4)"
)


def use(
    application: Login, *, run_id: str, deadline: float, extensions: Mapping[str, str]
) -> UsedPrivileges:
    """Try everything with the application's own login; nothing stays.

    ``deadline`` is in seconds, for all of it. ``extensions`` are those that its migrations have
    still to create, each with its schema. Never raises for what the server refuses.
    """
    from pytest_costmgmt.postgres.trial import rolled_back  # noqa: PLC0415 - heavy

    until = time.monotonic() + deadline
    attempts: list[Attempted] = []
    limit = min(STATEMENT_TIMEOUT, deadline)
    try:
        with rolled_back(application, deadline=deadline, statement_timeout=limit) as attempt:
            worked: set[tuple[str, str]] = set()
            for place, step, names in _plan(run_id, extensions):
                if not worked.issuperset((place, need) for need in step.needs):
                    continue
                if time.monotonic() > until:
                    return UsedPrivileges(
                        attempts=tuple(attempts),
                        problem=f"{deadline:.0f} s were over before {step.what} ({place})",
                    )
                refused = attempt(step.template, names)
                if refused is None:
                    worked.add((place, step.what))
                    attempts.append(Attempted(place=place, what=step.what, command=step.command))
                else:
                    attempts.append(
                        Attempted(
                            place=place,
                            what=step.what,
                            command=step.command,
                            sqlstate=refused.sqlstate,
                            message=refused.message,
                            where=refused.where,
                        )
                    )
    except CostMgmtError as error:
        return UsedPrivileges(attempts=tuple(attempts), problem=error.message)
    return UsedPrivileges(attempts=tuple(attempts))


def _plan(
    run_id: str, extensions: Mapping[str, str]
) -> Iterator[tuple[str, _Step, dict[str, str]]]:
    mine = f"costmgmt_{run_id}"[:50]
    new = {key: f"{mine}_{key}" for key in "tiqfgpdcyabvmxh"}
    yield DATABASE, _NEW_SCHEMA, {"s": mine}
    for step in (*_IN_SCHEMA, *_ONCE):
        within = step._replace(needs=(*step.needs, _NEW_SCHEMA.what))
        yield DATABASE, within, {"s": mine, **new}
    for step in _IN_SCHEMA:
        yield PUBLIC, step, {"s": "public", **new}
    yield TEMPORARY, _TEMPORARY, {"t": f"{mine}_tmp"}
    for name, schema in extensions.items():
        step = _Step(name, "CREATE EXTENSION", (), "CREATE EXTENSION {e} WITH SCHEMA {s}")
        yield EXTENSIONS, step, {"e": name, "s": schema}
