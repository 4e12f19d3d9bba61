"""A login attempt as data: what was offered, what the server asked for, how it ended."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from pytest_costmgmt.postgres.connect import NO_PASSWORD, Refused, open_login, persist, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import Kind, Refusal
from pytest_costmgmt.secret import Secret

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGconn
    from psycopg.rows import TupleRow

Offered = Literal["own", "none", "wrong", "guess"]

# SYSTEM_USER, which says how a login was admitted.
_SAYS_HOW = 160000
_UNSAID = "?"
_REQUIRE_AUTH = 160000
"The libpq from which require_auth and sslcertmode are known."
_NEGOTIATES = 170000
"The libpq from which sslnegotiation is known."

_SAID_NO: frozenset[Kind] = frozenset(
    {
        "wrong-password",
        "not-admitted",
        "no-connect-privilege",
        "no-database",
        "closed-database",
        "password-missing",
        "other-method",
        "pooler",
    }
)


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One login and its outcome.

    ``refused``: the server, or libpq for the server's method, said no; ``failed``: it never came
    to a decision. ``method`` is what is proved: "none-asked" is a login that was admitted without
    anything that we can name (peer, ident, a certificate, trust).
    """

    role: str
    database: str
    offered: Offered
    outcome: Literal["accepted", "refused", "failed"]
    sqlstate: str | None = None
    method: str = "unknown"
    encrypted: bool = False
    current_user: str = ""
    current_database: str = ""
    message: str = ""
    kind: str = ""
    hint: str = ""
    seconds: float = 0.0

    @property
    def accepted(self) -> bool:
        """Whether the server let it in."""
        return self.outcome == "accepted"

    @property
    def by_password(self) -> bool:
        """Whether it was asked for a password: how one is checked, a server does not say."""
        return self.method in {"unknown", "scram-sha-256", "md5", "password"}


def attempt(
    login: Login,
    *,
    offered: Offered,
    deadline: float,
    require_auth: str | None = None,
    retry: bool = False,
) -> Attempt:
    """Try to log in within ``deadline`` seconds; every outcome is data, none is raised.

    ``own`` offers what the login has, ``guess`` its password as a guess, ``wrong`` a random one
    (the server counts a failed login), ``none`` nothing at all: no password from any place, no
    certificate, no ticket. ``retry`` waits for a server that is starting up or full.
    """
    outcome, connection = enter(
        login, offered=offered, deadline=deadline, require_auth=require_auth, retry=retry
    )
    if connection is not None:
        connection.close()
    return outcome


def enter(
    login: Login,
    *,
    offered: Offered,
    deadline: float,
    require_auth: str | None = None,
    retry: bool = False,
) -> tuple[Attempt, Connection[TupleRow] | None]:
    """Do what :func:`attempt` does; return the connection too, open, if it was admitted."""
    __tracebackhide__ = True
    started = time.monotonic()
    if offered == "wrong":
        login = msgspec.structs.replace(login, password=Secret.generate())
    extra = _offer(offered, require_auth)
    base: dict[str, Any] = {"role": login.role, "database": login.database, "offered": offered}
    if extra is None:
        old = "libpq is older than 16 and knows no require_auth"
        return Attempt(**base, outcome="failed", message=old, kind="old-libpq"), None
    opened = _open(login, extra, deadline, retry=retry)
    base["seconds"] = time.monotonic() - started
    if not isinstance(opened, Refusal):
        return _admitted(opened, base, require_auth, deadline)
    refused = Attempt(
        **base,
        outcome="refused" if opened.kind in _SAID_NO else "failed",
        sqlstate=opened.sqlstate,
        message=opened.summary,
        kind=opened.kind,
        hint=opened.hint,
    )
    return refused, None


def _open(
    login: Login, extra: Mapping[str, str], deadline: float, *, retry: bool
) -> PGconn | Refusal:
    if not retry:
        return open_login(login, until=time.monotonic() + deadline, extra=extra)
    try:
        return persist(login, deadline=deadline, extra=extra)
    except Refused as error:
        return error.refusal


def _offer(offered: Offered, require_auth: str | None) -> dict[str, str] | None:
    """Return the parameters that make this offer, or None if this libpq cannot."""
    recent = _knows_require_auth()
    extra = {"application_name": "pytest-costmgmt"}
    if offered == "none":
        # What a DSN insists on would have libpq refuse a server that lets everybody in.
        extra |= {**NO_PASSWORD, "gssencmode": "disable", "channel_binding": "disable"}
        if recent:
            extra |= {"sslcertmode": "disable", "require_auth": "!gss,!sspi"}
    if require_auth is not None:
        if not recent:
            return None
        extra["require_auth"] = require_auth
    return extra


def without_tls(login: Login) -> Login:
    """Return the way of whoever comes without TLS: nothing that ``login`` could offer goes it."""
    from psycopg import pq  # noqa: PLC0415 - heavy

    # libpq refuses these two beside sslmode=disable, wherever they stand.
    plain = {"sslmode": "disable", "sslrootcert": ""}
    if pq.version() >= _NEGOTIATES:
        plain["sslnegotiation"] = "postgres"
    bare = login.acting_as(login.role, None, database=login.database)
    return msgspec.structs.replace(bare, where={**login.where, **plain})


def _admitted(
    pgconn: PGconn, base: Mapping[str, Any], require_auth: str | None, deadline: float
) -> tuple[Attempt, Connection[TupleRow] | None]:
    import psycopg  # noqa: PLC0415 - heavy

    connection = psycopg.Connection(pgconn)
    connection.prepare_threshold = None
    connection.autocommit = True
    encrypted = bool(pgconn.ssl_in_use)
    says_how = pgconn.server_version >= _SAYS_HOW
    query = (
        "SELECT current_user::pg_catalog.text, pg_catalog.current_database()::pg_catalog.text,"
        + (" SYSTEM_USER," if says_how else " NULL::pg_catalog.text,")
        + " pg_catalog.pg_backend_pid()"
    )
    try:
        with read_only(connection, timeout=deadline) as cursor:
            row = cursor.execute(query.encode()).fetchone()
    except psycopg.Error as error:
        connection.close()
        message = f"the login was admitted, but its first query failed ({error.sqlstate})"
        failed = Attempt(**base, outcome="failed", sqlstate=error.sqlstate, message=message)
        return failed, None
    user, database, how, answering = row or ("", "", None, 0)
    # A pooler's own login to the server proves nothing of its client's.
    believed = says_how and answering == pgconn.backend_pid
    admitted = Attempt(
        **base,
        outcome="accepted",
        method=require_auth or _method(pgconn, how if believed else _UNSAID, base["offered"]),
        encrypted=encrypted,
        current_user=user,
        current_database=database,
    )
    return admitted, connection


def _method(pgconn: PGconn, how: str | None, offered: Offered) -> str:
    """Return how a login was admitted, as far as it is proved; ``how`` is its SYSTEM_USER."""
    if pgconn.used_password:
        return "unknown"  # SYSTEM_USER names pg_hba.conf's method: md5 there may be SCRAM
    if how is None:
        return "trust"
    if how != _UNSAID:
        return how.partition(":")[0]
    if pgconn.used_gssapi:
        return "gss"
    # Over TCP, with no password, no ticket and no certificate, only trust (or ident) is left.
    bare = offered == "none" and _knows_require_auth()
    return "trust" if bare and not is_local(pgconn) else "none-asked"


def _knows_require_auth() -> bool:
    from psycopg import pq  # noqa: PLC0415 - heavy

    return pq.version() >= _REQUIRE_AUTH


def is_local(pgconn: PGconn) -> bool:
    """Say whether it is a Unix socket's connection."""
    return pgconn.host[:1] in {b"/", b"@"} and not pgconn.hostaddr
