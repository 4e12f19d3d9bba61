"""Databases that killed runs left half made: known by their mark, and by the lock nobody holds.

A run marks what it creates by a comment, and holds an advisory lock from before it creates it. The
server gives that back with the session: whoever finds the mark without the lock, and nobody in the
database, finds what is nobody's any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup.progress import Progress, Told
from pytest_costmgmt.backup.scratch import CONNECT, derived, remove
from pytest_costmgmt.errors import BackupFailed, FactUnavailable
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.postgres.statements import HAS_TRANSACTION_TIMEOUT, Statement, rows, run

if TYPE_CHECKING:
    from psycopg import Connection

STAGE = "left over"
SCRATCH = "costmgmt_verify_"

Ours = Callable[[str], bool]
"Says whether a run like this one could have made a database of that name."


def mark(name: str) -> str:
    """Return the comment of a database that is being made, one line whatever its name."""
    return f"pytest-costmgmt is making this database ({_key(name)})"


def restores_of(database: str) -> Ours:
    """Return what knows the names that restores of this database give theirs.

    >>> ours = restores_of("koku")
    >>> ours("koku.new-1a2b"), ours("koku.new-"), ours("koku.new-1a.2b"), ours("koku2.new-1a2b")
    (True, False, False, False)
    """

    def ours(name: str) -> bool:
        run_id = name.rpartition(".new-")[2]
        return bool(run_id) and "." not in run_id and derived(database, "new", run_id) == name

    return ours


def rehearsals(name: str) -> bool:
    """Say whether a name is one that a rehearsal gives its scratch database."""
    return name.startswith(SCRATCH) and name != SCRATCH


@contextmanager
def claimed(login: Login, name: str) -> Iterator[None]:
    """Hold the lock of a database that is about to be made, to the end of the block.

    If the session is ended meanwhile, others still see who is in the database.
    """
    connection = connect(login, deadline=CONNECT)
    try:
        with asking(f"the lock of database {name}"):
            limits = "SET LOCAL idle_in_transaction_session_timeout = 0"
            if connection.info.server_version >= HAS_TRANSACTION_TIMEOUT:
                limits += "; SET LOCAL transaction_timeout = 0"
            # No snapshot is kept, which would keep vacuum from its work: under a stricter default
            # the transaction would have one, without it a portal of the extended protocol.
            connection.execute(
                f"BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; {limits};"
                f" SELECT pg_catalog.pg_advisory_xact_lock({_key(name)})".encode()
            )
        yield
    finally:
        connection.close()


def set_mark(connection: Connection[Any], name: str) -> None:
    """Mark a database that was just created."""
    run(connection, [Statement("COMMENT ON DATABASE {} IS {t}", (name,), mark(name))])


_MARKED = """
SELECT d.datname::text, pg_catalog.shobj_description(d.oid, 'pg_database'),
       pg_catalog.pg_has_role(d.datdba, 'USAGE'),
       EXISTS (SELECT FROM pg_catalog.pg_stat_get_activity(NULL) AS a WHERE a.datid = d.oid
                AND a.usesysid IS NOT NULL)
  FROM pg_catalog.pg_database AS d ORDER BY 1
"""

# An advisory lock is of the database in which it was taken; here all of them are seen.
_HELD = """
SELECT (l.classid::int8 << 32) | l.objid::int8 FROM pg_catalog.pg_locks AS l
 WHERE l.locktype = 'advisory' AND l.objsubid = 1
"""


def sweep(connection: Connection[Any], login: Login, ours: Ours, told: Told) -> None:
    """Remove the databases that killed runs like this one left, and tell it.

    ``login`` is for another database. What has no mark, has its lock held, or is in use, is left
    alone and told.
    """
    try:
        with (
            asking("looking for what killed runs left"),
            read_only(connection, timeout=30) as cursor,
        ):
            # The transaction's snapshot is older than this look at the locks: what it shows marked
            # had its lock by then.
            held = {key for (key,) in rows(cursor, _HELD)}
            found = rows(cursor, _MARKED)
    except FactUnavailable as error:  # it is not what was asked for
        told(Progress(stage=STAGE, about=str(error)))
        return
    for name, comment, owned, used in found:
        if ours(name):
            why = _alive(name, held, marked=comment == mark(name), owned=owned, used=used)
            about = f"database {name} is left alone: {why}" if why else _swept(login, name)
            told(Progress(stage=STAGE, about=about))


def _alive(name: str, held: set[int], *, marked: bool, owned: bool, used: bool) -> str:
    """Return why a database is not to be removed, or nothing."""
    if not marked:
        return f"it does not say that it is half made; if it is: DROP DATABASE {ident(name)}"
    if _key(name) in held:
        return "it is being made"
    if used:
        return "somebody is in it"
    return "" if owned else f"it is another role's; DROP DATABASE {ident(name)}"


def _swept(login: Login, name: str) -> str:
    try:
        remove(login, name)
    except BackupFailed as error:
        return f"{error.message}; {error.hint}"
    return f"database {name}, which a run left that was killed, is removed"


def _key(name: str) -> int:
    digest = hashlib.sha256(f"costmgmt {name}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
