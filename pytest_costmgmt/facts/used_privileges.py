"""The application's privileges, used: what its migrations do, in a transaction rolled back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.postgres.login import Login

DATABASE = "database"
PUBLIC = "public"
TEMPORARY = "temporary"

STATEMENT_TIMEOUT = 10.0
"Seconds that one statement may take, or wait for a lock."


class Attempted(msgspec.Struct, frozen=True, kw_only=True):
    """One statement that was tried.

    ``place``: DATABASE (a new schema and what goes into it), PUBLIC or TEMPORARY.
    ``sqlstate`` is empty if it worked; ``where`` is PostgreSQL's call stack, which names the
    function of an event trigger that refused.
    """

    place: str
    what: str
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
    needs: tuple[str, ...]
    template: str


# What a koku migration does in each of its schemas. {s} is the schema; the other names are new.
_IN_SCHEMA = (
    _Step("table", (), "CREATE TABLE {s}.{t} (id pg_catalog.int4 PRIMARY KEY)"),
    _Step("index", ("table",), "CREATE INDEX {i} ON {s}.{t} (id)"),
    _Step("sequence", (), "CREATE SEQUENCE {s}.{q}"),
    _Step(
        "function",
        (),
        "CREATE FUNCTION {s}.{f}() RETURNS pg_catalog.trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
    ),
    _Step(
        "trigger",
        ("table", "function"),
        "CREATE TRIGGER {g} BEFORE INSERT ON {s}.{t} FOR EACH ROW EXECUTE FUNCTION {s}.{f}()",
    ),
    _Step(
        "partitioned table",
        (),
        "CREATE TABLE {s}.{p} (at pg_catalog.date) PARTITION BY RANGE (at)",
    ),
    _Step("partition", ("partitioned table",), "CREATE TABLE {s}.{d} PARTITION OF {s}.{p} DEFAULT"),
    _Step("row", ("table",), "INSERT INTO {s}.{t} (id) VALUES (1)"),
    _Step("rewrite", ("table",), "ALTER TABLE {s}.{t} ALTER COLUMN id TYPE pg_catalog.int8"),
    _Step("drop", ("table",), "DROP TABLE {s}.{t}"),
)
_NEW_SCHEMA = _Step("schema", (), "CREATE SCHEMA {s}")
_TEMPORARY = _Step("temporary table", (), "CREATE TEMPORARY TABLE {t} (id pg_catalog.int4)")


def use(application: Login, *, run_id: str, deadline: float) -> UsedPrivileges:
    """Try everything with the application's own login; nothing stays.

    ``deadline`` is in seconds, for all of it. Never raises for what the server refuses.
    """
    from pytest_costmgmt.postgres.trial import rolled_back  # noqa: PLC0415 - heavy

    until = time.monotonic() + deadline
    attempts: list[Attempted] = []
    limit = min(STATEMENT_TIMEOUT, deadline)
    try:
        with rolled_back(application, deadline=deadline, statement_timeout=limit) as attempt:
            worked: set[tuple[str, str]] = set()
            for place, step, names in _plan(run_id):
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
                    attempts.append(Attempted(place=place, what=step.what))
                else:
                    attempts.append(
                        Attempted(
                            place=place,
                            what=step.what,
                            sqlstate=refused.sqlstate,
                            message=refused.message,
                            where=refused.where,
                        )
                    )
    except CostMgmtError as error:
        return UsedPrivileges(attempts=tuple(attempts), problem=error.message)
    return UsedPrivileges(attempts=tuple(attempts))


def _plan(run_id: str) -> Iterator[tuple[str, _Step, dict[str, str]]]:
    mine = f"costmgmt_{run_id}"[:50]
    new = {key: f"{mine}_{key}" for key in "tiqfgpd"}
    yield DATABASE, _NEW_SCHEMA, {"s": mine}
    for step in _IN_SCHEMA:
        within = step._replace(needs=(*step.needs, _NEW_SCHEMA.what))
        yield DATABASE, within, {"s": mine, **new}
    for step in _IN_SCHEMA:
        yield PUBLIC, step, {"s": "public", **new}
    yield TEMPORARY, _TEMPORARY, {"t": f"{mine}_tmp"}
