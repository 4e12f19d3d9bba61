"""Open connections: one hard deadline, a retry only of what can heal, and errors without secrets.

Everything here is safe behind a transaction pooler: no session SET, no startup ``options``, no
named prepared statement.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.errors import ConnectFailed
from pytest_costmgmt.postgres import probe
from pytest_costmgmt.postgres.libpq import Failed, open_once
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import WAYS, Kind, Refusal, refused, retryable
from pytest_costmgmt.secret import redact

if TYPE_CHECKING:
    from psycopg import Connection, Cursor
    from psycopg.pq.abc import PGconn
    from psycopg.rows import TupleRow

_PAUSE = 0.2
"Seconds between two attempts."
_TAKES_KEYS = 18_00_00
"libpq's version."

# An empty value keeps libpq from taking PGOPTIONS; a standby is a finding, not a failed connection.
ALWAYS = {"options": "", "target_session_attrs": "any", "client_encoding": "UTF8"}
NO_PASSWORD = {"password": "", "passfile": "/dev/null/none"}
"What keeps libpq from finding a password in the environment, a service file or a password file."


class Refused(ConnectFailed):
    """A connection that could not be opened; ``refusal`` and ``attempts`` are its facts."""

    def __init__(self, login: Login, refusal: Refusal, *, attempts: int, waited: float) -> None:
        tried = f" after {attempts} attempts in {waited:.1f} s" if attempts > 1 else ""
        super().__init__(
            f"role {login.role!r} could not connect to database {login.database!r} on"
            f" {login.label}{tried}: {refusal.summary}",
            sqlstate=refusal.sqlstate,
            hint=refusal.hint,
        )
        self.refusal, self.attempts, self.waited = refusal, attempts, waited

    @property
    def kind(self) -> Kind:
        """What sort of refusal it is, in one word."""
        return self.refusal.kind


def connect(
    login: Login,
    *,
    deadline: float,
    autocommit: bool = True,
    application_name: str = "pytest-costmgmt",
) -> Connection[TupleRow]:
    """Return a connection within ``deadline`` seconds, or raise Refused (a ConnectFailed).

    Only SQLSTATE 08* (but 08P01), 57P03 and 53300 are tried again until then, and a login that a
    server broke off without a word: one that crashes does, and comes back.
    """
    __tracebackhide__ = True
    import psycopg  # noqa: PLC0415 - heavy

    pgconn = persist(login, deadline=deadline, extra={"application_name": application_name})
    connection = psycopg.Connection(pgconn)
    connection.prepare_threshold = None
    connection.autocommit = autocommit
    return connection


def persist(login: Login, *, deadline: float, extra: Mapping[str, str]) -> PGconn:
    """Try until it is open, ``deadline`` is over, or the answer is one that waiting cannot heal."""
    __tracebackhide__ = True
    started = time.monotonic()
    attempts = 0
    said: Refusal | None = None
    while True:
        attempts += 1
        opened = open_login(login, until=started + deadline, extra=extra)
        if not isinstance(opened, Refusal):
            return opened
        # The last attempt may be cut off by the deadline: what the server said before it counts.
        if said is not None and opened.kind == "no-answer":
            opened = said
        said = opened
        waited = time.monotonic() - started
        heals = retryable(opened.sqlstate) or opened.kind == "broken-off"
        if not heals or waited + _PAUSE >= deadline:
            raise Refused(login, opened, attempts=attempts, waited=waited) from None
        time.sleep(_PAUSE)


def open_login(login: Login, *, until: float, extra: Mapping[str, str]) -> PGconn | Refusal:
    """Try once, at every address of the host; ``extra`` overrides the login's parameters."""
    # With the role: libpq otherwise looks for the name of our user, who may have none.
    target = effective({"user": login.role, **login.where, **extra})
    if isinstance(target, Refusal):
        return target
    host, port = target
    found = [] if login.where.get("hostaddr") else probe.addresses(host, port, until=until)
    if isinstance(found, Refusal):
        return found
    opened: PGconn | Failed | None = None
    allowed = max(0.0, until - time.monotonic())
    candidates = found or [login.where.get("hostaddr", "")]
    for index, address in enumerate(candidates):
        # One address that never answers must leave time for the next.
        share = (until - time.monotonic()) / (len(candidates) - index)
        pinned = {"host": host, "hostaddr": address} if address and host else {}
        opened = open_once(_conninfo(login, {**extra, **pinned}), until=time.monotonic() + share)
        if not isinstance(opened, Failed):
            return opened
        if opened.stage not in {"start", "reaching"}:
            break
    assert isinstance(opened, Failed)  # noqa: S101 - there is at least one candidate
    return _why(opened, login, address or host, port, until, allowed=allowed)


def _conninfo(login: Login, extra: Mapping[str, str]) -> bytes:
    from psycopg import pq  # noqa: PLC0415 - heavy
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    given: dict[str, Any] = {**_pinned(login.where), "user": login.role, "dbname": login.database}
    if login.password is not None:
        given["password"] = login.password.reveal()
    if login.keys is not None and pq.version() >= _TAKES_KEYS:
        given.update(login.keys.parameters())
    return make_conninfo("", **{**given, **ALWAYS, **extra}).encode()


def _pinned(where: Mapping[str, str]) -> dict[str, str]:
    """Return ``where`` such that a named host is not replaced by PGHOSTADDR: no silent change."""
    return {"hostaddr": "", **where} if where.get("host") else dict(where)


def effective(where: Mapping[str, str]) -> tuple[str, str] | Refusal:
    """Return host and port as libpq takes them, from ``where``, a service or the environment."""
    found = parameters(where)
    if isinstance(found, Refusal):
        return found
    return found.get("host", ""), found.get("port", "")


def parameters(where: Mapping[str, str]) -> dict[str, str] | Refusal:
    """Return every parameter as libpq settles it, but the password; nothing is sent."""
    pgconn = settled(where)
    if isinstance(pgconn, Refusal):
        return pgconn
    found = {
        option.keyword.decode(): option.val.decode("utf-8", "replace")
        for option in pgconn.info
        if option.val is not None and not option.dispchar
    }
    # A list of several is kept, for its reader to see; libpq's own default has no option.
    if "," not in found.get("host", ""):
        found["host"] = pgconn.host.decode("utf-8", "replace")
    if "," not in found.get("port", ""):
        found["port"] = pgconn.port.decode("utf-8", "replace")
    found.pop("channel_binding", None)
    return found


def settled(where: Mapping[str, str]) -> PGconn | Refusal:
    """Return a connection that libpq gave up after it settled all parameters.

    A value that is not one of channel_binding's is refused then, before a packet is sent: the one
    way to learn what service file, environment and password file say.
    """
    from psycopg import pq  # noqa: PLC0415 - heavy
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    conninfo = make_conninfo("", **{**_pinned(where), "channel_binding": "\N{MIDDLE DOT}"})
    pgconn = pq.PGconn.connect_start(conninfo.encode())
    if pgconn.db:
        return pgconn
    said = " ".join(pgconn.error_message.decode("utf-8", "replace").split())
    return Refusal(
        kind="configuration",
        sqlstate=None,
        summary=f"libpq does not accept the parameters: {redact(said)}",
        hint="See PostgreSQL's documentation of connection parameters and service files.",
    )


def _why(
    failed: Failed, login: Login, host: str, port: str, until: float, *, allowed: float
) -> Refusal:
    """Return what a failure means; without a SQLSTATE the socket is asked."""
    if failed.sqlstate is not None:
        return refused(failed.sqlstate, login)
    if failed.timed_out:
        return probe.no_answer(
            f"no answer came within {allowed:.1f} s"
            if failed.stage == "reaching"
            else f"the port accepts connections, but no answer came within {allowed:.1f} s"
        )
    if failed.needs_password:
        return Refusal(
            kind="password-missing",
            sqlstate=None,
            summary=f"the server asks for the password of role {login.role!r}, and none was given",
            hint=f"Give it by {WAYS}.",
        )
    asked = probe.explain(host, port, until=until)
    # To an address, libpq gives up at once only for a wrong parameter or without a route.
    wrong_parameter = failed.stage == "start" and host[:1] not in {"/", "@"}
    if isinstance(asked, Refusal) and not (wrong_parameter and asked.kind != "unreachable"):
        return asked
    return _client_side(failed, encrypts=asked == b"S")


def _client_side(failed: Failed, *, encrypts: bool) -> Refusal:
    """Return why libpq itself would not go on with a server that answers."""
    said = redact(failed.text)
    if failed.stage == "start":
        summary = f"libpq does not accept the parameters: {said}"
        return Refusal(kind="configuration", sqlstate=None, summary=summary)
    if failed.stage == "tls" and not encrypts:
        return Refusal(
            kind="tls-missing",
            sqlstate=None,
            summary="the server offers no TLS, and the login's sslmode asks for it",
            hint="Set ssl = on and a certificate on the server; do not weaken sslmode instead.",
        )
    if failed.stage == "tls":
        return Refusal(
            kind="tls",
            sqlstate=None,
            summary=f"TLS was not agreed on: {said}",
            hint="Check sslrootcert, the host's name in the certificate, and its dates.",
        )
    if failed.broken_off:
        return Refusal(
            kind="broken-off",
            sqlstate=None,
            summary="the connection was broken off during the login, without a reason",
            hint="A server that crashes or a proxy does that; the server's log says which.",
        )
    return Refusal(
        kind="other-method",
        sqlstate=None,
        summary=f"the login was given up before the server admitted it: {said}",
        hint="Check require_auth, channel_binding, and what pg_hba.conf asks for.",
    )


@contextlib.contextmanager
def read_only(connection: Connection[Any], *, timeout: float) -> Iterator[Cursor[Any]]:
    """Yield a cursor in one read-only transaction, one snapshot, which is always rolled back.

    Each statement may take ``timeout`` seconds. All is SET LOCAL: a pooler would hand a session's
    setting on to the application.
    """
    milliseconds = max(1, int(timeout * 1000))
    with connection.cursor() as cursor:
        try:
            # pg_temp is named so that it comes last: unnamed, it would come first.
            cursor.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
                f" SET LOCAL statement_timeout = {milliseconds};"
                f" SET LOCAL lock_timeout = {milliseconds};"
                " SET LOCAL search_path = pg_catalog, pg_temp".encode()
            )
            yield cursor
        finally:
            if not connection.closed:
                cursor.execute("ROLLBACK")
