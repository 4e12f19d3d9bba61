"""The two things that psycopg does not wrap: SQLSTATE of a failed connection, and a deadline.

libpq says the SQLSTATE instead of the server's localized text after ``PQsetErrorVerbosity``, if it
is called between the connection's start and the first poll (docs/decisions).
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import re
import selectors
import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn

Stage = Literal["start", "reaching", "tls", "login"]
"""``start``: libpq gave up at once, for a wrong parameter or a local socket that is not there."""

# PGVerbosity of libpq-fe.h
_DEFAULT, _SQLSTATE = 1, 3

# With PQERRORS_SQLSTATE a server's error is "SEVERITY:  SQLSTATE"; only the severity is localized.
_STATE = re.compile(r":  ([0-9A-Z]{5})\s*$", re.MULTILINE)

# Python leaves LC_MESSAGES alone, so libpq's own texts come in English.
_BROKEN_OFF = (
    "server closed the connection unexpectedly",
    "SSL connection has been closed unexpectedly",
    "SSL SYSCALL error",
    "could not receive data from server",
    "could not send data to server",
)


class Failed(NamedTuple):
    """How far a connection came before it failed; ``text`` is libpq's own, maybe localized."""

    stage: Stage
    sqlstate: str | None
    timed_out: bool
    needs_password: bool
    text: str

    @property
    def broken_off(self) -> bool:
        """Whether the other end was gone, as far as libpq's own text is in English."""
        return any(each in self.text for each in _BROKEN_OFF)


@functools.cache
def _library() -> Any:
    """Return a handle through which the libpq that psycopg loaded is found, or None."""
    from psycopg import pq  # noqa: PLC0415 - heavy

    try:
        if pq.__impl__ == "python":
            return importlib.import_module("psycopg.pq._pq_ctypes").pq
        name = "psycopg_binary" if pq.__impl__ == "binary" else "psycopg_c"
        # A symbol is searched in the module's own dependencies, so it is the same libpq even if
        # another one is loaded as well.
        return ctypes.CDLL(importlib.import_module(f"{name}.pq").__file__)
    except (ImportError, OSError, AttributeError):
        return None


def _say(pgconn: Any, verbosity: int) -> None:
    try:
        function = _library().PQsetErrorVerbosity
    except AttributeError:
        return  # without it a failure has no SQLSTATE, and libpq's text is shown
    function.argtypes = [ctypes.c_void_p, ctypes.c_int]
    function.restype = ctypes.c_int
    function(pgconn.pgconn_ptr, verbosity)


def library_version() -> str:
    """Return libpq's version.

    >>> library_version().count(".")
    1
    """
    from psycopg import pq  # noqa: PLC0415 - heavy

    return "{}.{}".format(*divmod(pq.version(), 10000))


def open_once(conninfo: bytes, *, until: float) -> PGconn | Failed:
    """Open one connection before ``until`` (of time.monotonic), or say how it failed."""
    from psycopg import pq  # noqa: PLC0415 - heavy

    pgconn = pq.PGconn.connect_start(conninfo)
    del conninfo  # it may hold a password
    stage = _stage(pgconn, "start")
    if pgconn.status != pq.ConnStatus.BAD:
        _say(pgconn, _SQLSTATE)
        while True:
            polled = pgconn.connect_poll()
            if polled == pq.PollingStatus.OK:
                _say(pgconn, _DEFAULT)
                pgconn.nonblocking = 1
                return pgconn
            if polled == pq.PollingStatus.FAILED:
                break
            stage = _stage(pgconn, stage)
            if not _wait(pgconn, writing=polled == pq.PollingStatus.WRITING, until=until):
                return _failed(pgconn, stage, timed_out=True)
    return _failed(pgconn, stage, timed_out=False)


def _stage(pgconn: PGconn, last: Stage) -> Stage:
    """Return how far the connection is; a failed one stays where it was seen last."""
    from psycopg.pq import ConnStatus  # noqa: PLC0415 - heavy

    status = pgconn.status
    if status == ConnStatus.BAD:
        return last
    if status in {ConnStatus.NEEDED, ConnStatus.STARTED}:
        return "reaching"
    if status in {ConnStatus.SSL_STARTUP, ConnStatus.GSS_STARTUP}:
        return "tls"
    return "login"


def _wait(pgconn: PGconn, *, writing: bool, until: float) -> bool:
    remaining = until - time.monotonic()
    if remaining <= 0:
        return False
    with selectors.DefaultSelector() as selector:
        selector.register(pgconn.socket, selectors.EVENT_WRITE if writing else selectors.EVENT_READ)
        return bool(selector.select(remaining))


def _failed(pgconn: PGconn, stage: Stage, *, timed_out: bool) -> Failed:
    text = pgconn.error_message.decode("utf-8", "replace")
    states = _STATE.findall(text)
    # sslmode=prefer and allow try twice: 28000 may only mean "not with this encryption".
    telling = [state for state in states if state != "28000"] or states
    failed = Failed(
        stage=stage,
        sqlstate=telling[0] if telling and not timed_out else None,
        timed_out=timed_out,
        needs_password=bool(pgconn.needs_password),
        text=" ".join(text.split()),
    )
    pgconn.finish()
    return failed
