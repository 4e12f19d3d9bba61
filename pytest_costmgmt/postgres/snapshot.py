"""One snapshot for several sessions: exported by one, imported by those that dump and hash.

The exporter holds no lock on any table. All is SET LOCAL: a pooler would hand a session's setting
on to the application.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import HAS_TRANSACTION_TIMEOUT
from pytest_costmgmt.secret import redact

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

OURS = "pytest-costmgmt"
"The application_name of our sessions, unless they are to be told apart."

KEEP_ALIVE = 20.0
"Seconds between two words on the exporter's link: firewalls forget links that are silent."


class Exported:
    """A snapshot that others may import while its transaction is open.

    ``name`` is what ``SET TRANSACTION SNAPSHOT`` and ``pg_dump --snapshot`` take. ``cursor`` reads
    in the snapshot; hold ``guard`` meanwhile, for the link is kept alive by another thread.
    """

    def __init__(self, name: str, connection: Connection[Any], cursor: Cursor[Any]) -> None:
        self.name, self.connection, self.cursor = name, connection, cursor
        self.guard = threading.Lock()
        self.lost = ""
        "Why the link was lost, and the snapshot with it."

    def probe(self) -> None:
        """Ask whether the link still holds, then :meth:`check`."""
        import psycopg  # noqa: PLC0415 - heavy

        try:
            with self.guard:
                self.cursor.execute("SELECT 1")
        except psycopg.Error as error:
            self.lost = redact(" ".join(str(error).split())) or type(error).__name__
        self.check()

    def check(self) -> None:
        """Raise BackupFailed if the link was lost: nobody can import the snapshot any more."""
        if self.lost:
            raise BackupFailed(
                f"the session that holds the snapshot was ended: {self.lost}",
                hint="The server's log says by whom. Nothing is left of the backup: begin anew.",
            )


@contextlib.contextmanager
def exported(
    login: Login, *, deadline: float, keep_alive: float = KEEP_ALIVE, name: str = OURS
) -> Iterator[Exported]:
    """Yield a snapshot of the login's database; ``deadline`` is for the connection.

    It can be imported until the end of the block. Neither a timeout of the role's nor a firewall
    ends it meanwhile.
    """
    connection = connect(login, deadline=deadline, application_name=name)
    try:
        with connection.cursor() as cursor:
            _begin(cursor, timeout=0, lock_timeout=0)
            cursor.execute("SELECT pg_catalog.pg_export_snapshot()")
            row = cursor.fetchone()
            assert row is not None  # noqa: S101 - a function's one row
            snapshot = Exported(str(row[0]), connection, cursor)
            with _kept_alive(snapshot, keep_alive):
                yield snapshot
            snapshot.check()
    finally:
        # It read only: closing ends the transaction, and says nothing that could fail.
        connection.close()


@contextlib.contextmanager
def imported(
    login: Login, snapshot: str, *, timeout: float, deadline: float = 30.0, name: str = OURS
) -> Iterator[Cursor[Any]]:
    """Yield a cursor that reads in ``snapshot``, by a connection of its own.

    Each statement may take ``timeout`` seconds (0: any time), and wait as long for a lock. Ends
    with ROLLBACK.
    """
    connection = connect(login, deadline=deadline, application_name=name)
    try:
        with connection.cursor() as cursor:
            importing(cursor, snapshot, timeout=timeout)
            yield cursor
            cursor.execute("ROLLBACK")
    finally:
        connection.close()


def importing(cursor: Cursor[Any], snapshot: str | None, *, timeout: float) -> None:
    """Begin a transaction in ``snapshot``, or in one of its own if it is None.

    Whoever calls ends it, and may begin the next.
    """
    _begin(cursor, timeout=timeout, lock_timeout=timeout, snapshot=snapshot)


def _begin(
    cursor: Cursor[Any], *, timeout: float, lock_timeout: float, snapshot: str | None = None
) -> None:
    from psycopg import sql  # noqa: PLC0415 - heavy

    # The snapshot comes before anything that would take one of its own; SET takes none.
    taken = sql.SQL("")
    if snapshot is not None:
        taken = sql.SQL(" SET TRANSACTION SNAPSHOT {};").format(sql.Literal(snapshot))  # type: ignore[assignment]
    limits = {
        "statement_timeout": _milliseconds(timeout),
        "lock_timeout": _milliseconds(lock_timeout),
        "idle_in_transaction_session_timeout": 0,
    }
    if cursor.connection.info.server_version >= HAS_TRANSACTION_TIMEOUT:
        limits["transaction_timeout"] = 0
    cursor.execute(
        sql.SQL("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;{}").format(taken)
        + sql.SQL("").join(
            sql.SQL(" SET LOCAL {} = {};").format(sql.Identifier(name), sql.Literal(value))
            for name, value in limits.items()
        )
        # pg_temp is named so that it comes last: unnamed, it would come first.
        + sql.SQL(" SET LOCAL search_path = pg_catalog, pg_temp")
    )


def _milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000)) if seconds > 0 else 0


@contextlib.contextmanager
def _kept_alive(snapshot: Exported, interval: float) -> Iterator[None]:
    over = threading.Event()

    def speak() -> None:
        # Whoever works with the snapshot finds out by check().
        with contextlib.suppress(BackupFailed):
            while not over.wait(interval):
                snapshot.probe()

    thread = threading.Thread(target=speak, name="costmgmt-snapshot", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=5)


class LockRoom(NamedTuple):
    """Entries of the server's one lock table, which all its databases share."""

    needed: int
    free: int


_NEEDED = """
SELECT pg_catalog.count(*)
FROM pg_catalog.pg_class AS c
WHERE c.relkind IN ('r', 'p', 'm', 'f')
  AND c.relpersistence <> 't'
  AND c.relnamespace NOT IN (
    SELECT n.oid FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))
"""

# lock.c's NLOCKENTS, short of the auxiliary processes: an understatement is on the safe side.
_FREE = """
SELECT pg_catalog.current_setting('max_locks_per_transaction')::pg_catalog.int8
     * (pg_catalog.current_setting('max_connections')::pg_catalog.int8
        + COALESCE(pg_catalog.current_setting('autovacuum_worker_slots', true),
                   pg_catalog.current_setting('autovacuum_max_workers'))::pg_catalog.int8
        + pg_catalog.current_setting('max_worker_processes')::pg_catalog.int8
        + pg_catalog.current_setting('max_wal_senders')::pg_catalog.int8
        + pg_catalog.current_setting('max_prepared_transactions')::pg_catalog.int8
        + 1)
     - (SELECT pg_catalog.count(*) FROM (
          SELECT DISTINCT l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid,
                 l.transactionid::pg_catalog.text, l.classid, l.objid, l.objsubid
          FROM pg_catalog.pg_locks AS l WHERE NOT l.fastpath) AS held)
"""


def lock_room(cursor: Cursor[Any]) -> LockRoom:
    """Return how many locks a dump of this database takes at once, and how many are free.

    Another lock on a table that is locked already needs no entry of its own.
    """
    cursor.execute(_NEEDED)
    needed = cursor.fetchone()
    cursor.execute(_FREE)
    free = cursor.fetchone()
    assert needed is not None and free is not None  # noqa: S101, PT018 - aggregates
    return LockRoom(needed=int(needed[0]), free=max(0, int(free[0])))
