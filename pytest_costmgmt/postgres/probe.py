"""Why no server answered: asked of the socket itself, because libpq's texts are localized.

Nothing here sends a login, so no server counts a failed one.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import struct
import threading
import time

from pytest_costmgmt.postgres.sqlstate import Refusal, unreachable

_SSL_REQUEST = struct.pack("!II", 8, 80877103)
_MOMENT = 0.2
"Seconds that a second byte gets: PostgreSQL answers an SSLRequest with exactly one."


def addresses(host: str, port: str, *, until: float) -> list[str] | Refusal:
    """Return the addresses of ``host``; a name service that hangs ends at ``until``.

    An empty list leaves it to libpq: a socket's folder, or an address already.
    """
    if not host or host[0] in "/@" or _is_address(host):
        return []
    found: list[str] = []
    problem: list[str] = []

    def ask() -> None:
        try:
            answers = socket.getaddrinfo(host, int(port or 5432), type=socket.SOCK_STREAM)
        except (OSError, ValueError, UnicodeError) as error:
            problem.append(type(error).__name__)
        else:
            found.extend(dict.fromkeys(str(answer[4][0]) for answer in answers))

    # In a thread that may be left behind: getaddrinfo has no deadline of its own.
    thread = threading.Thread(target=ask, daemon=True, name="costmgmt-resolver")
    thread.start()
    thread.join(max(0.0, until - time.monotonic()))
    if thread.is_alive():
        return _unknown(f"the name service did not answer for {host!r} in time")
    if problem or not found:
        return _unknown(f"the name service does not know {host!r}")
    return found


def _unknown(summary: str) -> Refusal:
    return Refusal(
        kind="unknown-host",
        sqlstate=None,
        summary=summary,
        hint="Check the spelling, and that this machine can resolve it.",
    )


def _is_address(host: str) -> bool:
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(host.partition("%")[0])
        return True
    return False


def explain(host: str, port: str, *, until: float) -> Refusal | bytes:
    """Return why ``host`` cannot be talked to, or its answer to an SSLRequest (b"S" or b"N").

    ``host`` is an address or a socket's folder.
    """
    try:
        with _connected(host, port, until) as connection:
            connection.sendall(_SSL_REQUEST)
            answer = connection.recv(16)
            if answer == b"S":
                connection.settimeout(_MOMENT)
                with contextlib.suppress(TimeoutError):
                    answer += connection.recv(16)
    except TimeoutError:
        return no_answer("it accepts connections and never answers")
    except ConnectionResetError:
        answer = b""
    except OSError as error:
        return unreachable(error)
    if answer in {b"S", b"N"}:
        return answer
    return hung_up() if not answer else not_postgresql(answer)


def _connected(host: str, port: str, until: float) -> socket.socket:
    remaining = max(_MOMENT, until - time.monotonic())
    if host[:1] not in {"/", "@"}:
        return socket.create_connection((host, int(port or 5432)), timeout=remaining)
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(remaining)
    path = f"{host}/.s.PGSQL.{port or 5432}"
    try:
        connection.connect("\0" + path[1:] if host[0] == "@" else path)
    except BaseException:
        connection.close()
        raise
    return connection


def no_answer(summary: str) -> Refusal:
    """Return the refusal of something that says nothing."""
    return Refusal(
        kind="no-answer",
        sqlstate=None,
        summary=summary,
        hint="Is it a PostgreSQL, is it overloaded, and does a firewall let the answers through?",
    )


def hung_up() -> Refusal:
    """Return the refusal of something that accepts and closes."""
    return Refusal(
        kind="hung-up",
        sqlstate=None,
        summary="it accepts the connection and closes it without a word",
        hint="A proxy, a load balancer or a port-forward without a server behind it does that.",
    )


def not_postgresql(answer: bytes) -> Refusal:
    """Return the refusal of something that speaks another language."""
    shown = answer[:16].decode("latin-1").encode("unicode_escape").decode()
    return Refusal(
        kind="not-postgresql",
        sqlstate=None,
        summary=f"what answers is not PostgreSQL (its first bytes: {shown!r})",
        hint="Is the port right? PostgreSQL's own is 5432.",
    )
