"""Databases of ours: made under a name that carries the run's id, and removed by it alone."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.errors import BackupFailed, ConnectFailed, FactUnavailable
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.postgres.statements import Statement, StatementFailed, rows, run

if TYPE_CHECKING:
    from psycopg import Connection

LONGEST = 63
"Bytes of a name; PostgreSQL cuts longer ones, and then they are another's."

CONNECT = 30.0
"Seconds within which a server answers, also one that is just recovering."

IN_USE = "55006"
NO_SUCH_DATABASE = "3D000"
_NOT_HERE = {"42501", NO_SUCH_DATABASE, "28000", "55000"}
_PAUSE = 0.2


def derived(name: str, what: str, run_id: str) -> str:
    """Return a name made of a database's, of ours, that fits.

    >>> derived("koku", "new", "1a2b")
    'koku.new-1a2b'
    >>> len(derived("ö" * 40, "new", "1a2b").encode()) <= LONGEST
    True
    """
    tail = f".{what}-{run_id}"
    head = name.encode()[: LONGEST - len(tail.encode())].decode(errors="ignore")
    return head + tail


def maintenance(login: Login, *, avoid: str, deadline: float = CONNECT) -> Login:
    """Return the login for a database that it may enter and that is not ``avoid``.

    A database cannot be renamed or dropped by a session in it. Raises ConnectFailed.
    """
    refused: ConnectFailed | None = None
    for name in dict.fromkeys((login.database, "postgres", "template1")):
        if name == avoid:
            continue
        try:
            connect(login.on(name), deadline=deadline).close()
        except ConnectFailed as error:
            if error.sqlstate not in _NOT_HERE:
                raise
            refused = refused or error
            continue
        return login.on(name)
    assert refused is not None  # noqa: S101 - of three names two are left at least
    raise refused


def reconnect(login: Login, *, deadline: float) -> Connection[Any]:
    """Return a connection as soon as a server that went away is back. Raises ConnectFailed."""
    until = time.monotonic() + deadline
    while True:
        try:
            return connect(login, deadline=max(1.0, until - time.monotonic()))
        except ConnectFailed as error:
            if not _heals(error.sqlstate) or time.monotonic() >= until:
                raise
        time.sleep(_PAUSE)


def _heals(sqlstate: str | None) -> bool:
    """Say whether an error is one of a server that is stopping, starting, full or away."""
    return sqlstate is None or sqlstate[:2] in {"08", "53", "57"}


def remove(login: Login, name: str, *, deadline: float = CONNECT) -> None:
    """Drop the database of ours called ``name``, whoever is in it; one that is gone is right.

    ``login`` is for another database. Raises BackupFailed, which says what is left.
    """
    until = time.monotonic() + deadline
    while True:
        try:
            with closing(connect(login, deadline=max(1.0, until - time.monotonic()))) as connection:
                if _exists(connection, name):
                    _release(login.on(name), connection, name)
                    run(connection, [Statement("DROP DATABASE IF EXISTS {} WITH (FORCE)", (name,))])
                return
        except (StatementFailed, FactUnavailable, ConnectFailed) as error:
            # A session of ours may be ending still, or the server is recovering.
            state = getattr(error, "sqlstate", None)
            if not (_heals(state) or state == IN_USE) or time.monotonic() >= until:
                raise left_over(login, name, error) from None
        time.sleep(_PAUSE)


def left_over(login: Login, name: str, why: Exception) -> BackupFailed:
    """Return the error that tells of a database of ours that could not be removed."""
    return BackupFailed(
        f"database {name}, which is half made, could not be removed from {login.label}: {why}",
        hint=f"When the server answers again, run: DROP DATABASE {ident(name)} WITH (FORCE);",
    )


def _exists(connection: Connection[Any], name: str) -> bool:
    query = "SELECT 1 FROM pg_catalog.pg_database AS d WHERE d.datname = %(name)s"
    with asking(f"looking for database {name}"), read_only(connection, timeout=30) as cursor:
        return bool(rows(cursor, query, name=name))


_SUBSCRIBED = """
SELECT s.subname::text
  FROM pg_catalog.pg_subscription AS s JOIN pg_catalog.pg_database AS d ON d.oid = s.subdbid
 WHERE d.datname = %(name)s
"""


def _release(login: Login, connection: Connection[Any], name: str) -> None:
    """Drop subscriptions that were restored: they hold the database, and a slot elsewhere.

    Without its slot's name first, a subscription would drop the original's slot on its publisher.
    """
    with asking(f"looking at database {name}"), read_only(connection, timeout=30) as cursor:
        found = [row[0] for row in rows(cursor, _SUBSCRIBED, name=name)]
    if not found:
        return
    with closing(connect(login, deadline=CONNECT)) as inside:
        for each in found:
            for text in (
                "ALTER SUBSCRIPTION {} DISABLE",
                "ALTER SUBSCRIPTION {} SET (slot_name = NONE)",
                "DROP SUBSCRIPTION {}",
            ):
                run(inside, [Statement(text, (each,))])
