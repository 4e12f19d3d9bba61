"""Where a backup is restored: a database of ours beside the others, gone again unless it is kept.

Nobody else is let in until it is whole: PUBLIC may not connect.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup.deed import Deed, do
from pytest_costmgmt.backup.leftover import claimed, set_mark
from pytest_costmgmt.backup.model import Database
from pytest_costmgmt.backup.progress import Progress, Told
from pytest_costmgmt.backup.restore_database import creation
from pytest_costmgmt.backup.scratch import reconnect, remove
from pytest_costmgmt.errors import BackupFailed, ConnectFailed, CostMgmtError, FactUnavailable
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, StatementFailed, rows, run

if TYPE_CHECKING:
    from psycopg import Connection

DUPLICATE_DATABASE = "42P04"

GIVES_WAY = ("deadlock_timeout", "'10ms'")
"""After what time autovacuum is told that somebody waits for the table that it is at.

A second, if nothing is set: it finds the new tables while their indexes are built, so a restore
would stand still for one table after the other."""

TOAST = "default_toast_compression"

_LZ4_IS_THERE = """
SELECT s.setting FROM pg_catalog.pg_settings AS s
 WHERE s.name OPERATOR(pg_catalog.=) %(name)s AND s.source OPERATOR(pg_catalog.=) 'default'
   AND s.setting OPERATOR(pg_catalog.<>) 'lz4'
   AND 'lz4'::pg_catalog.text OPERATOR(pg_catalog.=) ANY (s.enumvals)
"""

_TERMINATE_AUTOVACUUM = """
SELECT pg_catalog.pg_terminate_backend(a.pid)
  FROM pg_catalog.pg_stat_get_activity(NULL) AS a
 WHERE a.datid OPERATOR(pg_catalog.=) %(oid)s::pg_catalog.oid
   AND a.backend_type OPERATOR(pg_catalog.=) 'autovacuum worker'
"""

AWAY = 30.0
"Seconds that a server that went away is waited for, to remove what was made there."


class Site:
    """A database under a name that carries the run's id. ``login`` is for another database.

    :meth:`leave` removes the database, and the roles that were made for it, unless
    :meth:`keep` was called; whatever ends the block.
    """

    def __init__(self, login: Login, name: str, *, told: Told) -> None:
        self.login, self.name, self.told = login, name, told
        self.oid = 0
        self.roles: list[str] = []
        self.borrowed: list[str] = []
        self._begun = self._kept = False

    def create(
        self, connection: Connection[Any], database: Database, *, owner: str | None, spread: bool
    ) -> None:
        """Create it as the backup's was; ``spread`` as in :func:`hurried`. Raises BackupFailed."""
        statement = creation(connection, database, self.name, owner=owner)
        self._begun = True
        try:
            run(connection, [statement])
        except StatementFailed as error:
            self._begun = error.sqlstate != DUPLICATE_DATABASE
            raise BackupFailed(
                f"the database could not be created: {error}",
                hint="Its encoding and locale are the backup's: the server must have them.",
            ) from None
        set_mark(connection, self.name)
        run(connection, [Statement("REVOKE ALL ON DATABASE {} FROM PUBLIC", (self.name,))])
        for name, value in hurried(spread=spread).items():
            run(connection, [self._setting(name, value)])
        # A superuser's to set; without it only time is lost.
        yielding = Deed(
            what="how soon autovacuum gives way", statements=(self._setting(*GIVES_WAY),)
        )
        do(connection, yielding)
        if _chooses_lz4(connection, database):
            run(connection, [self._setting(TOAST, "'lz4'")])
            self.told(Progress(stage="creating", about="large values are compressed by lz4"))
        self.oid = self._oid(connection)

    def _setting(self, name: str, value: str) -> Statement:
        return Statement(f"ALTER DATABASE {{}} SET {name} = {value}", (self.name,))

    def make_role(self, connection: Connection[Any], deed: Deed, role: str) -> bool:
        """Create a role that is missing, if the login may; it is dropped if all fails."""
        if not do(connection, deed):
            return False
        self.roles.append(role)
        return True

    def borrow(self, connection: Connection[Any], role: str) -> bool:
        """Have the login act for a role that it made, until :meth:`give_back`."""
        grant = Statement("GRANT {} TO CURRENT_USER", (role,))
        if not do(connection, Deed(what=f"acting for role {role}", statements=(grant,))):
            return False
        self.borrowed.append(role)
        return True

    def give_back(self, connection: Connection[Any]) -> None:
        """End what was borrowed and what was set for the restore alone."""
        # It has no other settings yet.
        run(connection, [Statement("ALTER DATABASE {} RESET ALL", (self.name,))])
        while self.borrowed:
            revoke = Statement("REVOKE {} FROM CURRENT_USER", (self.borrowed[-1],))
            run(connection, [revoke])
            self.borrowed.pop()

    def send_autovacuum_away(self, connection: Connection[Any]) -> None:
        """End what still works with the restore's limit, and holds up a rename; if the login may.

        It comes again by itself, with the limit that its database has then.
        """
        sent = Statement(_TERMINATE_AUTOVACUUM.replace("%(oid)s", str(self.oid)))
        do(connection, Deed(what="sending autovacuum away", statements=(sent,)))

    def keep(self) -> None:
        """Leave all as it is at the end."""
        self._kept = True

    def leave(self, error: BaseException | None) -> None:
        """Remove all that was made, unless it is kept; ``error`` is why."""
        if self._kept:
            return
        try:
            self._remove()
        except CostMgmtError as left:
            if error is None:
                raise
            if isinstance(error, CostMgmtError):
                both = BackupFailed(f"{error.message}\nAnd {left.message}", hint=left.hint)
                raise both from None
            self.told(Progress(stage="left over", about=str(left)))

    def _remove(self) -> None:
        if self._begun:
            remove(self.login, self.name, deadline=AWAY)
        if not self.roles:
            return
        try:
            with closing(reconnect(self.login, deadline=AWAY)) as connection:
                while self.roles:
                    run(connection, [Statement("DROP ROLE IF EXISTS {}", (self.roles[-1],))])
                    self.roles.pop()
        except (StatementFailed, ConnectFailed) as error:
            raise BackupFailed(
                f"roles that were made for the restore could not be dropped: {error}",
                hint=f"They are: {', '.join(self.roles)}.",
            ) from None

    def _oid(self, connection: Connection[Any]) -> int:
        query = "SELECT d.oid::int8 FROM pg_catalog.pg_database AS d WHERE d.datname = %(name)s"
        with asking("looking at the new database"), read_only(connection, timeout=30) as cursor:
            found = rows(cursor, query, name=self.name)
        if not found:
            raise FactUnavailable(f"database {self.name} was created, and is not there")
        return int(found[0][0])


def _chooses_lz4(connection: Connection[Any], database: Database) -> bool:
    """Say whether large values are compressed as PostgreSQL 19 does: docs/decisions/0010.

    Nowhere else has anybody chosen: not the database that was backed up, nor the server, its role
    or where it logs in.
    """
    if any(setting.startswith(f"{TOAST}=") for setting in database.settings):
        return False
    with asking("reading how values are compressed"), read_only(connection, timeout=30) as cursor:
        return bool(rows(cursor, _LZ4_IS_THERE, name=TOAST))


def hurried(*, spread: bool) -> dict[str, str]:
    """Return the settings with which a database is filled.

    With ``spread`` indexes are built next to each other all the time: a server's helpers for each
    would only take the cores from the others.
    """
    # What is lost with the server is begun anew; the swap's own commit is durable, and with it all
    # before it. Autovacuum heeds its database's limit: it finds the new tables while their indexes
    # are built, would take a core from them, and has all the time afterwards.
    settings = {"synchronous_commit": "off", "vacuum_cost_limit": "1"}
    return {**settings, "max_parallel_maintenance_workers": "0"} if spread else settings


def spreads(sizes: Collection[int], jobs: int) -> bool:
    """Say whether no relation keeps one of several jobs busy when the others have nothing left.

    >>> spreads([10, 9, 8, 3], 2), spreads([50, 9, 8], 2), spreads([1, 1], 1), spreads([], 2)
    (True, False, False, False)
    """
    return jobs > 1 and bool(sizes) and max(sizes) * jobs <= sum(sizes)


@contextmanager
def site(login: Login, name: str, *, told: Told) -> Iterator[Site]:
    """Yield a site that is gone at the end of the block, unless it is to be kept."""
    with claimed(login, name):
        made = Site(login, name, told=told)
        try:
            yield made
        except BaseException as error:
            made.leave(error)
            raise
        made.leave(None)
