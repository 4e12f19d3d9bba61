"""What a refused connection means: by SQLSTATE and errno, never by the localized text."""

from __future__ import annotations

import errno
from typing import Literal, NamedTuple

import msgspec

from pytest_costmgmt.postgres.login import Login

Kind = Literal[
    "closed-port",
    "no-socket",
    "unreachable",
    "unknown-host",
    "no-answer",
    "hung-up",
    "broken-off",
    "not-postgresql",
    "tls",
    "tls-missing",
    "password-missing",
    "other-method",
    "starting",
    "full",
    "wrong-password",
    "not-admitted",
    "no-connect-privilege",
    "no-database",
    "closed-database",
    "stopping",
    "pooler",
    "configuration",
    "other",
]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """Why a connection could not be opened: ``sqlstate`` is None where no server said one."""

    kind: Kind
    sqlstate: str | None
    summary: str
    hint: str = ""


class _Meaning(NamedTuple):
    kind: Kind
    summary: str
    hint: str


WAYS = (
    "PGPASSWORD, PGPASSFILE (or ~/.pgpass), a service file, COSTMGMT_DSN,"
    " or --costmgmt-password-file"
)

_STATES: dict[str, _Meaning] = {
    "28P01": _Meaning(
        "wrong-password",
        "the server refused the password of role {role}",
        "Check that the password is the one that the server has; the ways to give it: "
        + WAYS
        + ".",
    ),
    "28000": _Meaning(
        "not-admitted",
        "the server does not admit role {role} to database {database} from here",
        "The role must exist and have LOGIN, and pg_hba.conf must have a line for this role,"
        " database, address and encryption.",
    ),
    "42501": _Meaning(
        "no-connect-privilege",
        "role {role} may not connect to database {database}",
        "The database's owner must grant it: GRANT CONNECT ON DATABASE ... TO ...",
    ),
    "3D000": _Meaning(
        "no-database",
        "database {database} does not exist",
        "Create it (costmgmt bootstrap does), or correct the name.",
    ),
    "57P03": _Meaning(
        "starting",
        "the server does not accept connections yet: it is starting up or recovering",
        "Wait for it, or raise --costmgmt-connect-timeout; its log says what it is doing.",
    ),
    "53300": _Meaning(
        "full",
        "all connections that role {role} may use are taken",
        "Close idle connections, or raise max_connections or the role's or database's limit.",
    ),
    "08P01": _Meaning(
        "pooler",
        "the answer was a protocol violation, which is also a pooler's word for a refused login",
        "If a pooler stands in front of the server, look at its users and databases and its log.",
    ),
    "55000": _Meaning(
        "closed-database",
        "database {database} does not accept connections",
        "ALTER DATABASE ... ALLOW_CONNECTIONS true, or name another database.",
    ),
}
_CLASSES: dict[str, _Meaning] = {
    "08": _Meaning("other", "the connection broke", "Look at the network and the server's log."),
    "28": _STATES["28000"],
    "53": _Meaning(
        "full",
        "the server is out of resources",
        "Its log says which: memory, disk, files or processes.",
    ),
    "57": _Meaning(
        "stopping", "the server is shutting down or ended the connection", "See its log."
    ),
    "42": _Meaning(
        "configuration",
        "the server refused a parameter of the connection",
        "Leave parameters other than host, port, user, dbname and ssl* out.",
    ),
}
_OTHER = _Meaning("other", "the server refused the connection", "The server's log says why.")

_ERRNOS: dict[int, _Meaning] = {
    errno.ECONNREFUSED: _Meaning(
        "closed-port", "nothing listens there", "Is the server running, and is the port right?"
    ),
    errno.ENOENT: _Meaning(
        "no-socket",
        "there is no such socket",
        "Is the server running, and is its unix_socket_directories this folder?",
    ),
    errno.EACCES: _Meaning(
        "unreachable", "the socket may not be used by this account", "See unix_socket_permissions."
    ),
}


def retryable(sqlstate: str | None) -> bool:
    """Say whether waiting can heal it: never a refused login, nor 08P01 (a pooler's word for one).

    >>> [retryable(state) for state in ("57P03", "53300", "08006", "08P01", "28P01", None)]
    [True, True, True, False, False, False]
    """
    if sqlstate is None or sqlstate == "08P01":
        return False
    return sqlstate.startswith("08") or sqlstate in {"57P03", "53300"}


def refused(sqlstate: str, login: Login) -> Refusal:
    """Return what the server's ``sqlstate`` means for ``login``."""
    meaning = _STATES.get(sqlstate) or _CLASSES.get(sqlstate[:2]) or _OTHER
    summary = meaning.summary.format(role=repr(login.role), database=repr(login.database))
    return Refusal(
        kind=meaning.kind,
        sqlstate=sqlstate,
        summary=f"{summary} (SQLSTATE {sqlstate})",
        hint=meaning.hint,
    )


def unreachable(error: OSError) -> Refusal:
    """Return what the operating system's answer to a connection means."""
    meaning = _ERRNOS.get(error.errno or 0)
    name = errno.errorcode.get(error.errno or 0, type(error).__name__)
    if meaning is None:
        return Refusal(
            kind="unreachable",
            sqlstate=None,
            summary=f"it cannot be reached ({name})",
            hint="Check the address, the route and the firewall.",
        )
    summary = f"{meaning.summary} ({name})"
    return Refusal(kind=meaning.kind, sqlstate=None, summary=summary, hint=meaning.hint)
