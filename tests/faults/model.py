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
    on the healthy server. ``fix`` is "report" when the report's own SQL must end it, "shell" when
    its shell commands must, else the statements that do (where the report can only ask a person):
    with them the run is no longer given what was planted into it.

    Planted into the server: ``plant``; ``conf``, appended to postgresql.conf, and ``hba``, put
    before pg_hba.conf's lines, before it starts; ``next_transaction``, the id that it goes on
    with (0: as it is); ``passwords``, which the run is given too.
    Planted into the run: ``plant_options``, ``plant_environ``, ``open_files`` (by name, readable
    by everybody), ``started_by`` (an argument of the process that starts it), ``elsewhere`` (the
    administrator's login leads to another server: a clone, or one with an identity of its own),
    ``meanwhile`` (what an administrator does over and over while it runs). In these, ``{folder}``,
    ``{app_password}`` and ``{hive_password}`` are the run's.

    The healthy server's run has ``given``, ``network``, ``options`` and ``environ`` too.
    """

    id: str
    check: str
    plant: tuple[Sql, ...] = ()
    expected: Literal["failed", "error", "unverifiable", "not-supported"] = "failed"
    also: tuple[str, ...] = ()
    why_also: str = ""
    fix: Literal["report", "shell"] | tuple[Sql, ...] = "report"
    conf: tuple[str, ...] = ()
    hba: tuple[str, ...] = ()
    next_transaction: int = 0
    passwords: dict[Who, str] = field(default_factory=dict)
    plant_options: tuple[str, ...] = ()
    plant_environ: dict[str, str] = field(default_factory=dict)
    open_files: dict[str, str] = field(default_factory=dict)
    started_by: str = ""
    elsewhere: Literal["", "stranger", "clone"] = ""
    meanwhile: str = ""
    given: tuple[Sql, ...] = ()
    network: bool = False
    "Over TCP with TLS instead of the server's socket."
    options: tuple[str, ...] = ()
    environ: dict[str, str] = field(default_factory=dict)
    profile: str = "smoke"
    as_admin: bool = True
    "Give the run the administrator's login too (--costmgmt-admin-dsn)."
    requirements: str = "koku-hive"

    @property
    def circumstances(self) -> tuple[object, ...]:
        """What the healthy server's run depends on."""
        return (
            self.profile,
            self.as_admin,
            self.requirements,
            self.options,
            tuple(self.environ.items()),
            self.given,
            self.network,
        )
