"""A planted fault: what is broken from outside, which check must say so, and what ends it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Who = Literal["admin", "app", "hive"]


@dataclass(frozen=True, kw_only=True)
class Sql:
    """Statements that one role runs in one database ("" is the application's).

    ``{role}``, ``{database}``, ``{hive_role}`` and ``{hive_database}`` stand for the quoted
    identifiers; doubled braces for themselves. Run in autocommit, one statement each.
    """

    statements: tuple[str, ...]
    who: Who = "admin"
    database: str = ""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault, planted in a fresh copy of a healthy, initialized, migrated server.

    ``check`` must come out as ``expected``; the ids in ``also`` may fail too, each for a reason
    that ``why_also`` tells; checks that depend on these are blocked; everything else must be as
    on the healthy server. ``fix`` is "report" when the report's own fixes must end it, else the
    statements that do (where the report can only ask a person).
    ``conf`` is appended to postgresql.conf and ``hba`` put before pg_hba.conf's lines before the
    server starts; ``options`` and ``environ`` are given to the run. ``files`` are not SQL faults.
    """

    id: str
    check: str
    plant: tuple[Sql, ...] = ()
    expected: Literal["failed", "error", "unverifiable", "not-supported"] = "failed"
    also: tuple[str, ...] = ()
    why_also: str = ""
    fix: Literal["report"] | tuple[Sql, ...] = "report"
    conf: tuple[str, ...] = ()
    hba: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    profile: str = "smoke"
    as_admin: bool = True
    "Give the run the administrator's login too (--costmgmt-admin-dsn)."
    requirements: str = "koku-hive"
