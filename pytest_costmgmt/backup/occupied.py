"""What hangs on a database that exists, and what a login may do about it: facts and refusals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.postgres.statements import rows

if TYPE_CHECKING:
    from psycopg import Connection

PATIENCE = 30.0
"Seconds that one look at the catalogs may take."

NAMED = 5
"How many sessions, slots or transactions a sentence names."


class Powers(msgspec.Struct, frozen=True, kw_only=True):
    """What the login may do on the server. ``standby``: it takes no writes at all."""

    role: str
    superuser: bool
    createdb: bool
    createrole: bool
    standby: bool
    server_number: int
    server: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody's session in a database, and whether the login may end it."""

    pid: int
    role: str
    application: str
    may_end: bool

    @property
    def label(self) -> str:
        """The session in words."""
        return f"{self.role} ({self.application or 'unnamed'}, pid {self.pid})"


class Existing(msgspec.Struct, frozen=True, kw_only=True):
    """A database that exists. ``owned``: the login has its owner's rights."""

    oid: int
    name: str
    owner: str
    owned: bool
    open: bool
    bytes: int | None
    "pg_database_size; None if the login may not see it."
    sessions: tuple[Session, ...] = ()
    prepared: tuple[str, ...] = ()
    slots: tuple[str, ...] = ()
    subscriptions: tuple[str, ...] = ()


_POWERS = """
SELECT current_user, r.rolsuper, r.rolcreatedb, r.rolcreaterole, pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('server_version_num')::int4,
       pg_catalog.current_setting('server_version')
  FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user
"""

_DATABASE = """
SELECT d.oid::int8, pg_catalog.pg_get_userbyid(d.datdba),
       pg_catalog.pg_has_role(d.datdba, 'USAGE'), d.datallowconn,
       CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT')
              OR pg_catalog.pg_has_role('pg_read_all_stats', 'USAGE')
            THEN pg_catalog.pg_database_size(d.oid) END
  FROM pg_catalog.pg_database AS d
 WHERE d.datname = %(name)s
"""

# A session without a role is autovacuum's or the like: a rename sends it away by itself. A
# superuser's may be ended by superusers alone.
_SESSIONS = """
SELECT a.pid, r.rolname, coalesce(a.application_name, ''),
       me.rolsuper OR (NOT r.rolsuper AND (pg_catalog.pg_has_role(r.oid, 'USAGE')
                                   OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')))
  FROM pg_catalog.pg_stat_get_activity(NULL) AS a
  JOIN pg_catalog.pg_roles AS r ON r.oid = a.usesysid
  JOIN pg_catalog.pg_roles AS me ON me.rolname = current_user
 WHERE a.datid = %(oid)s::oid AND a.pid <> pg_catalog.pg_backend_pid()
 ORDER BY 1
"""

_HANGING = """
SELECT ARRAY(SELECT p.gid FROM pg_catalog.pg_prepared_xacts AS p
              WHERE p.database = %(name)s ORDER BY 1),
       ARRAY(SELECT s.slot_name::text FROM pg_catalog.pg_replication_slots AS s
              WHERE s.database = %(name)s ORDER BY 1),
       ARRAY(SELECT s.subname::text FROM pg_catalog.pg_subscription AS s
              WHERE s.subdbid = %(oid)s::oid ORDER BY 1)
"""


def powers(connection: Connection[Any]) -> Powers:
    """Return what the login may do. Raises FactUnavailable."""
    with asking("reading what the login may do"), read_only(connection, timeout=PATIENCE) as cursor:
        role, superuser, createdb, createrole, standby, number, said = rows(cursor, _POWERS)[0]
    return Powers(
        role=role,
        superuser=superuser,
        createdb=createdb,
        createrole=createrole,
        standby=standby,
        server_number=number,
        server=said.split()[0],
    )


def existing(connection: Connection[Any], name: str) -> Existing | None:
    """Return the database of this name and what hangs on it. Raises FactUnavailable."""
    with (
        asking(f"looking at database {name}"),
        read_only(connection, timeout=PATIENCE) as cursor,
    ):
        if not (found := rows(cursor, _DATABASE, name=name)):
            return None
        oid, owner, owned, is_open, size = found[0]
        prepared, slots, subscriptions = rows(cursor, _HANGING, name=name, oid=oid)[0]
        return Existing(
            oid=oid,
            name=name,
            owner=owner,
            owned=owned,
            open=is_open,
            bytes=size,
            sessions=_sessions(cursor, oid),
            prepared=tuple(prepared),
            slots=tuple(slots),
            subscriptions=tuple(subscriptions),
        )


def sessions(connection: Connection[Any], oid: int) -> tuple[Session, ...]:
    """Return who else is in the database now. Raises FactUnavailable."""
    with (
        asking("looking at the sessions in the database"),
        read_only(connection, timeout=PATIENCE) as cursor,
    ):
        return _sessions(cursor, oid)


def _sessions(cursor: Any, oid: int) -> tuple[Session, ...]:
    return tuple(
        Session(pid=pid, role=role, application=application, may_end=may_end)
        for pid, role, application, may_end in rows(cursor, _SESSIONS, oid=oid)
    )


def obstacles(found: Existing, login: Powers, *, disconnect: bool) -> list[str]:
    """Return why ``found`` cannot be replaced by this login: a sentence each, with what to do.

    >>> login = Powers(role="koku", superuser=False, createdb=False, createrole=False,
    ...                standby=False, server_number=150000, server="15.0")
    >>> mine = Existing(oid=1, name="koku", owner="koku", owned=True, open=True, bytes=0)
    >>> obstacles(mine, login, disconnect=False)
    ['role koku lacks CREATEDB, which creating and renaming a database need: ALTER ROLE "koku" \
CREATEDB']
    """
    said = []
    if not (login.superuser or login.createdb):
        said.append(lacks_createdb(login))
    if not found.owned:
        said.append(
            f"database {found.name} belongs to role {found.owner}, and role {login.role} has not"
            f" its rights: GRANT {ident(found.owner)} TO {ident(login.role)}, or restore as"
            f" {found.owner}"
        )
    said += hanging(found)
    return said + in_use(found.sessions, login, found.name, disconnect=disconnect)


def lacks_createdb(login: Powers) -> str:
    """Return the refusal of a login that cannot create a database."""
    return (
        f"role {login.role} lacks CREATEDB, which creating and renaming a database need:"
        f" ALTER ROLE {ident(login.role)} CREATEDB"
    )


def hanging(found: Existing) -> list[str]:
    """Return what hangs on a database by more than its name, and how it ends."""
    said = []
    if found.prepared:
        said.append(
            f"prepared transactions are open in database {found.name}: {_named(found.prepared)};"
            " COMMIT PREPARED or ROLLBACK PREPARED each"
        )
    if found.slots:
        said.append(
            f"replication slots read from database {found.name}: {_named(found.slots)}; their"
            " readers would miss the change: end them, then pg_drop_replication_slot"
        )
    if found.subscriptions:
        said.append(
            f"subscriptions write into database {found.name}: {_named(found.subscriptions)};"
            " DROP SUBSCRIPTION each, and create them anew afterwards"
        )
    return said


def in_use(others: tuple[Session, ...], login: Powers, name: str, *, disconnect: bool) -> list[str]:
    """Return why others' sessions stand in the way."""
    if not others:
        return []
    if not disconnect:
        named = _named([session.label for session in others])
        said = f"others are connected to database {name}: {named}; stop the application, or give\
 --disconnect to have their sessions ended"
        return [said]
    kept = [session.label for session in others if not session.may_end]
    if not kept:
        return []
    said = f"role {login.role} may not end sessions in database {name}: {_named(kept)}; GRANT\
 pg_signal_backend TO {ident(login.role)} (superusers' sessions are ended by superusers alone)"
    return [said]


def _named(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
