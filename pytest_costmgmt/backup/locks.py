"""What happens to tables between a snapshot and the dump's locks, and who holds a lock.

A TRUNCATE or rewrite that commits in between makes dump *and* hash empty: the new file holds
nothing that the snapshot sees.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup.packed import Numbered
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.snapshot import LockRoom
from pytest_costmgmt.postgres.sqltext import literal
from pytest_costmgmt.postgres.streamed import streamed

if TYPE_CHECKING:
    from psycopg import Cursor

Files = Numbered
"Each relation's oid with the number of its file, or a hash."

NAMED = 5

_FILES = """
SELECT c.oid::pg_catalog.int8, c.relfilenode::pg_catalog.int8
FROM pg_catalog.pg_class AS c
WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relfilenode <> 0
  AND c.oid >= 16384
ORDER BY c.oid
"""

_SHAPES = """
SELECT c.oid::pg_catalog.int8,
       pg_catalog.hashtextextended(pg_catalog.concat_ws('.', c.relnamespace, c.relname,
         pg_catalog.string_agg(pg_catalog.concat_ws(':', a.attnum, a.attname, a.atttypid), ','
           ORDER BY a.attnum)), 0)
FROM pg_catalog.pg_class AS c
LEFT JOIN pg_catalog.pg_attribute AS a
  ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relkind IN ('r', 'p', 'm', 'v', 'f', 'S') AND c.relpersistence <> 't' AND c.oid >= 16384
GROUP BY c.oid, c.relnamespace, c.relname
ORDER BY c.oid
"""

_NAMES = """
SELECT pg_catalog.format('%%I.%%I', n.nspname, c.relname)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%s::pg_catalog.oid[])
ORDER BY 1
"""

_HELD = """
SELECT l.relation::pg_catalog.int8, pg_catalog.count(*)
FROM pg_catalog.pg_locks AS l
JOIN pg_catalog.pg_stat_activity AS a ON a.pid = l.pid
WHERE a.application_name = {application} AND a.datname = pg_catalog.current_database()
  AND a.usename = SESSION_USER AND a.backend_type = 'client backend'
  AND l.locktype = 'relation' AND l.granted AND l.relation >= 16384
GROUP BY l.relation ORDER BY l.relation
"""

# A prepared transaction blocks as process 0.
_BLOCKED = """
SELECT COALESCE(pg_catalog.format('%%I.%%I', n.nspname, c.relname), l.locktype), l.mode,
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp() - a.query_start),
       ARRAY(SELECT DISTINCT b FROM pg_catalog.unnest(pg_catalog.pg_blocking_pids(a.pid)) AS b)
FROM pg_catalog.pg_stat_activity AS a
JOIN pg_catalog.pg_locks AS l ON l.pid = a.pid AND NOT l.granted
LEFT JOIN pg_catalog.pg_class AS c ON c.oid = l.relation
LEFT JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE a.application_name = ANY (%s) AND a.datname = pg_catalog.current_database()
  AND a.usename = SESSION_USER AND a.pid <> pg_catalog.pg_backend_pid()
  AND a.wait_event_type = 'Lock'
"""

_HOLDERS = """
SELECT pg_catalog.format('process %%s (role %%s, application %%s, %%s)', a.pid,
         COALESCE(pg_catalog.quote_ident(a.usename), 'unknown'),
         COALESCE(pg_catalog.quote_literal(NULLIF(a.application_name, '')), 'without a name'),
         COALESCE(a.state, 'its state may not be seen'))
FROM pg_catalog.pg_stat_activity AS a WHERE a.pid = ANY (%s) ORDER BY a.pid
"""

_PREPARED = """
SELECT pg_catalog.format('prepared transaction %L (owner %s)', p.gid, p.owner)
FROM pg_catalog.pg_prepared_xacts AS p
WHERE p.database = pg_catalog.current_database() ORDER BY p.prepared
"""


class NoLockRoom(BackupFailed):
    """A dump would use up the server's lock table, which all its databases share."""

    def __init__(self, room: LockRoom) -> None:
        super().__init__(
            f"the dump would hold {room.needed} locks at once, more than half of the {room.free}"
            " that are free in the server's lock table, which all its databases share",
            hint=f"Raise max_locks_per_transaction (a restart) until {2 * room.needed} are free, or"
            " back up while fewer locks are held.",
        )
        self.room = room


class LockHeld(BackupFailed):
    """Another session holds a lock that the backup waits for; ``holders`` says who."""

    def __init__(self, relation: str, holders: tuple[str, ...], waited: float) -> None:
        super().__init__(
            f"the backup waited {waited:.0f} s for a lock on {relation}, which is held or asked for"
            f" by {', '.join(holders) or 'a session that may not be seen'}",
            hint="End that transaction (commit it, roll it back, or"
            " SELECT pg_terminate_backend(...)), or wait longer by --lock-timeout.",
        )
        self.relation, self.holders, self.waited = relation, holders, waited


def check_room(room: LockRoom) -> None:
    """Raise NoLockRoom if a dump needed more than half of what is free."""
    if room.needed * 2 > room.free:
        raise NoLockRoom(room)


def files(cursor: Cursor[Any]) -> Files:
    """Return each table's and materialized view's file as the cursor's snapshot sees it."""
    return Numbered(streamed(cursor, _FILES))


def shapes(cursor: Cursor[Any]) -> Files:
    """Return a hash of each relation's name and columns as the cursor's snapshot sees them."""
    return Numbered(streamed(cursor, _SHAPES))


def held(cursor: Cursor[Any], application: str) -> Numbered:
    """Return the relations on which the sessions of this application_name hold locks."""
    return Numbered(streamed(cursor, _HELD.replace("{application}", literal(application))))


def changed(then: Files, now: Files) -> set[int]:
    """Return the relations that have another file now, or are gone; new ones do not count.

    >>> changed(Numbered([(1, 10), (2, 20), (3, 30)]), Numbered([(1, 10), (2, 21), (4, 40)]))
    {2, 3}
    """
    return {oid for oid, file in then if now.get(oid) != file}


def named(cursor: Cursor[Any], oids: set[int]) -> str:
    """Return the names of relations, as the cursor's snapshot knows them."""
    cursor.execute(_NAMES.encode(), (sorted(oids),))
    names = [row[0] for row in cursor.fetchall()]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def blocked(cursor: Cursor[Any], applications: list[str]) -> LockHeld | None:
    """Return what our sessions wait for and who holds it: the one that waits longest, or None."""
    cursor.execute(_BLOCKED.encode(), (applications,))
    if not (waiting := cursor.fetchall()):
        return None
    relation, _, waited, pids = max(waiting, key=lambda row: row[2])
    cursor.execute(_HOLDERS.encode(), (pids,))
    holders = [row[0] for row in cursor.fetchall()]
    if 0 in pids:
        cursor.execute(_PREPARED.encode())
        holders += [row[0] for row in cursor.fetchall()]
    return LockHeld(relation, tuple(holders), waited)
