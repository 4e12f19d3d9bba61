"""Put a restored database in the place of the one that bears the name, or leave all as it was.

There is no moment in which the name is closed and committed so. The first rename takes the lock of
the old database's name, behind which new connections wait; then its sessions are ended, both
renames are done, and all of it is one transaction. Whatever ends it, a lost connection, a killed
server or a power cut, the server itself rolls it back, and the old database admits again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup.occupied import Existing, existing, hanging, in_use, powers, sessions
from pytest_costmgmt.backup.scratch import CONNECT, IN_USE, reconnect
from pytest_costmgmt.errors import BackupFailed, ConnectFailed, FactUnavailable, ServerNotReady
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.errand import Errand
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.postgres.statements import Statement, StatementFailed, rows, run

if TYPE_CHECKING:
    from psycopg import Connection

LOCK_NOT_AVAILABLE = "55P03"
_LOOK = 0.01
"Seconds between two looks at who is still in the databases."

LOCK_WAIT = 5.0
"Seconds that one attempt waits for the lock of a name, and new connections behind it."

Told = Callable[[str], None]


class NotSwapped(BackupFailed):
    """The old database is where it was, and admits; the restored one has not its name."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What takes whose place.

    ``new`` (with ``oid``) gets ``name``; ``old``, which has it now, gets the name ``kept``.
    Without ``old`` nobody has the name.
    """

    new: str
    oid: int
    name: str
    old: Existing | None = None
    kept: str = ""
    disconnect: bool = False
    close_old: bool = False
    "Leave the old one closed to connections: it is about to be dropped."
    limit: int = -1
    "CONNECTION LIMIT of the new one, given with the name."
    comment: str | None = None
    "Its comment, given with the name: until then it says that it is half made."


class Swapped(msgspec.Struct, frozen=True, kw_only=True):
    """The name's change of hands; ``seconds`` is how long new connections had to wait."""

    seconds: float
    ended: int
    "Sessions that were ended."


def swap(login: Login, plan: Plan, *, deadline: float = CONNECT, told: Told) -> Swapped:
    """Give the restored database its name; ``login`` is for neither of the two.

    Raises NotSwapped: then nothing is changed, but sessions may have been ended. Raises
    BackupFailed where the server cannot be asked any more whether it happened.
    """
    until = time.monotonic() + deadline
    while True:
        attempt = Attempt(login, plan)
        try:
            return attempt.run()
        except _Busy as busy:
            if time.monotonic() >= until or not plan.disconnect:
                raise NotSwapped(busy.message, hint=busy.hint) from None
        except (StatementFailed, FactUnavailable, ConnectFailed, ServerNotReady) as error:
            attempt.end()
            if not _has_happened(login, plan, attempt, deadline=deadline, after=error):
                raise NotSwapped(
                    f"database {plan.name} was not replaced: {error}",
                    hint=f"It is as it was and admits connections, as far as {plan.name} did.",
                ) from None
            return Swapped(seconds=attempt.seconds, ended=attempt.ended)
        except BaseException as error:
            attempt.end()
            if _has_happened(login, plan, attempt, deadline=deadline, after=error):
                told(f"database {plan.name} was replaced before this ended")
            raise
        finally:
            attempt.close()
        time.sleep(_LOOK * 10)


class _Busy(NotSwapped):
    """Somebody was in the way; another attempt may find nobody."""


class Attempt:
    """One try: two connections, one that renames and one that looks and ends sessions."""

    def __init__(self, login: Login, plan: Plan) -> None:
        self.login, self.plan = login, plan
        self.errand: Errand | None = None
        self.backend: tuple[int, str] | None = None
        self.started = time.monotonic()
        self.seconds = 0.0
        self.ended = 0

    def run(self) -> Swapped:
        """Do it. Raises _Busy, or what the server says."""
        self.errand = Errand(connect(self.login, deadline=CONNECT), deadline=LOCK_WAIT * 4)
        with closing(connect(self.login, deadline=CONNECT)) as helper:
            self.backend = _identity(self.errand.connection)
            self._look(helper)
            try:
                self._first(helper)
            except StatementFailed as error:
                if error.sqlstate in {IN_USE, LOCK_NOT_AVAILABLE}:
                    raise self._busy(helper, error) from None
                raise
            self._rest()
        return Swapped(seconds=self.seconds, ended=self.ended)

    def _look(self, helper: Connection[Any]) -> None:
        """Refuse what changed while the restore ran; end the sessions that are there."""
        plan = self.plan
        now = existing(helper, plan.name)
        if (now and now.oid) != (plan.old and plan.old.oid):
            raise NotSwapped(
                f"database {plan.name} is not the one that was there when this began",
                hint="Somebody created, renamed or dropped it meanwhile: look, and begin again.",
            )
        if now is not None:
            if said := hanging(now) + in_use(
                now.sessions, powers(helper), now.name, disconnect=plan.disconnect
            ):
                raise NotSwapped(f"database {plan.name} was not replaced: " + "; ".join(said))
            self._end_sessions(helper)

    def _first(self, helper: Connection[Any]) -> None:
        """Rename one, which takes its lock and waits until nobody is in it."""
        assert self.errand is not None  # noqa: S101 - run() made it
        plan = self.plan
        first = Statement("ALTER DATABASE {} RENAME TO {}", (plan.new, plan.name))
        if plan.old is not None:
            first = Statement("ALTER DATABASE {} RENAME TO {}", (plan.name, plan.kept))
        self.errand.run(*_BEGIN)
        self.started = time.monotonic()
        self.errand.send([first])
        while not self.errand.over(_LOOK):
            self._end_sessions(helper)

    def _rest(self) -> None:
        """Rename the other behind the first one's lock, and commit."""
        assert self.errand is not None  # noqa: S101 - run() made it
        connection, plan = self.errand.connection, self.plan
        statements = []
        if plan.old is not None:
            self._same(connection, plan.kept, plan.old.oid)
            if plan.close_old:
                close = Statement("ALTER DATABASE {} ALLOW_CONNECTIONS false", (plan.kept,))
                statements.append(close)
            statements.append(Statement("ALTER DATABASE {} RENAME TO {}", (plan.new, plan.name)))
        if plan.limit != -1:
            text = f"ALTER DATABASE {{}} CONNECTION LIMIT {plan.limit:d}"
            statements.append(Statement(text, (plan.name,)))
        if plan.comment is not None:
            text = f"COMMENT ON DATABASE {{}} IS {'{t}' if plan.comment else 'NULL'}"
            statements.append(Statement(text, (plan.name,), plan.comment))
        run(connection, statements)
        self._same(connection, plan.name, plan.oid)
        run(connection, [Statement("COMMIT")])
        self.seconds = time.monotonic() - self.started

    def _same(self, connection: Connection[Any], name: str, oid: int) -> None:
        """Refuse if what bears the name is another: it was renamed under our hands."""
        if _oid(connection, name) != oid:
            raise NotSwapped(f"database {name} was renamed by somebody else meanwhile")

    def _end_sessions(self, helper: Connection[Any]) -> None:
        """End whom we may: in the restored one anybody, in the old one only on the word."""
        plan = self.plan
        oids = [plan.oid]
        if plan.old is not None and plan.disconnect:
            oids.append(plan.old.oid)
        with asking("ending sessions"):
            for oid in oids:
                ours = self.backend[0] if self.backend else 0
                for session in sessions(helper, oid):
                    if session.may_end and session.pid != ours:
                        helper.execute(_TERMINATE, {"pid": session.pid, "oid": oid})
                        self.ended += 1

    def _busy(self, helper: Connection[Any], error: StatementFailed) -> _Busy:
        plan = self.plan
        said: list[str] = []
        if plan.old is not None:
            found = sessions(helper, plan.old.oid)
            said = in_use(found, powers(helper), plan.name, disconnect=plan.disconnect)
        why = "; ".join(said) or f"somebody is in the way: {error.text}"
        return _Busy(f"database {plan.name} was not replaced: {why}")

    def end(self) -> None:
        """Have the server give up the transaction now, not when it notices that we left."""
        if self.backend is None:
            return
        pid, start = self.backend
        with (
            suppress(ConnectFailed, FactUnavailable),
            closing(connect(self.login, deadline=5.0)) as other,
        ):
            _until_gone(other, pid, start)

    def close(self) -> None:
        """Leave the server."""
        if self.errand is not None:
            self.errand.close()


_BEGIN = (
    Statement("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
    Statement(f"SET LOCAL lock_timeout = {int(LOCK_WAIT * 1000)}"),
    Statement(f"SET LOCAL statement_timeout = {int(LOCK_WAIT * 3000)}"),
    Statement("SET LOCAL idle_in_transaction_session_timeout = 0"),
    # A lost commit would be a name that changes hands twice.
    Statement("SET LOCAL synchronous_commit = on"),
)

_TERMINATE = b"""
SELECT pg_catalog.pg_terminate_backend(a.pid)
  FROM pg_catalog.pg_stat_get_activity(%(pid)s) AS a
 WHERE a.datid OPERATOR(pg_catalog.=) %(oid)s::pg_catalog.oid
"""


def _oid(connection: Connection[Any], name: str) -> int | None:
    query = f"SELECT d.oid::pg_catalog.int8 FROM pg_catalog.pg_database AS d\
 WHERE d.datname OPERATOR(pg_catalog.=) {literal(name)}::pg_catalog.name"  # noqa: S608 - quoted
    with asking(f"looking for database {name}"):
        found = connection.execute(query.encode()).fetchone()
    return None if found is None else found[0]


def _identity(connection: Connection[Any]) -> tuple[int, str]:
    query = b"SELECT a.pid, a.backend_start::pg_catalog.text\
 FROM pg_catalog.pg_stat_get_activity(pg_catalog.pg_backend_pid()) AS a"
    with asking("opening a session for the swap"):
        found = connection.execute(query).fetchone()
    assert found is not None  # noqa: S101 - it is our own
    return found[0], found[1]


_GONE = """
SELECT pg_catalog.pg_terminate_backend(a.pid)
  FROM pg_catalog.pg_stat_get_activity(%(pid)s) AS a
 WHERE a.backend_start::text = %(start)s
"""


def _until_gone(connection: Connection[Any], pid: int, start: str) -> None:
    """End a session of ours, and wait until what it did is either committed or rolled back."""
    until = time.monotonic() + LOCK_WAIT * 2
    while time.monotonic() < until:
        with asking("ending our own session"), read_only(connection, timeout=5) as cursor:
            if not rows(cursor, _GONE, pid=pid, start=start):
                return
        time.sleep(_LOOK)
    raise FactUnavailable("our own session for the swap does not end")


def _has_happened(
    login: Login, plan: Plan, attempt: Attempt, *, deadline: float, after: BaseException
) -> bool:
    """Ask the server, when it answers again, whether the transaction was committed."""
    try:
        with closing(reconnect(login, deadline=deadline)) as connection:
            if attempt.backend is not None:
                _until_gone(connection, *attempt.backend)
            return _oid(connection, plan.name) == plan.oid
    except (ConnectFailed, FactUnavailable) as error:
        if attempt.errand is None:
            return False  # it was never begun
        raise BackupFailed(
            f"whether database {plan.name} was replaced is not known: {after}; then {error}",
            hint="The server does one or the other, never half. When it answers again, look where"
            f" the database with oid {plan.oid} is: if it is {ident(plan.name)}, it was replaced.",
        ) from None
