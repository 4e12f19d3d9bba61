"""Many tables' lines by one word to the server: COPY after COPY, and none of them cut short."""

from __future__ import annotations

import select
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from psycopg import OperationalError, errors
from psycopg.pq import ExecStatus

if TYPE_CHECKING:
    from psycopg import Cursor
    from psycopg.pq.abc import PGconn, PGresult


def send(cursor: Cursor[Any], copies: Iterable[bytes]) -> None:
    """Send COPY ... TO STDOUT statements, in the client's encoding, all at once.

    Then call :func:`lines` once for each, and :func:`ended`.
    """
    connection = cursor.connection.pgconn
    connection.send_query(b"; ".join(copies))
    while connection.flush():
        _wait(connection, select.POLLIN | select.POLLOUT)


def lines(cursor: Cursor[Any]) -> Iterator[memoryview]:
    """Yield the lines of the next COPY; each is gone when the next is asked for."""
    connection = cursor.connection.pgconn
    _expect(connection, ExecStatus.COPY_OUT)
    count = 0
    while True:
        length, line = connection.get_copy_data(1)
        if length < 0:
            break
        if length == 0:
            _wait(connection, select.POLLIN)
            continue
        count += 1
        yield line
    # Only here the server says that these were all.
    done = _expect(connection, ExecStatus.COMMAND_OK)
    if done.command_tuples != count:
        raise _error(connection, done)


def ended(cursor: Cursor[Any]) -> None:
    """See that no answer is left."""
    connection = cursor.connection.pgconn
    if (result := _result(connection)) is not None:
        raise _error(connection, result)


def _expect(connection: PGconn, status: ExecStatus) -> PGresult:
    result = _result(connection)
    if result is None or result.status != status:
        raise _error(connection, result)
    return result


def _result(connection: PGconn) -> PGresult | None:
    while connection.is_busy():
        _wait(connection, select.POLLIN)
    return connection.get_result()


def _wait(connection: PGconn, events: int) -> None:
    # libpq would wait as well, but with the interpreter's lock: nobody could tell it to stop.
    poll = select.poll()
    poll.register(connection.socket, events)
    if poll.poll()[0][1] & ~select.POLLOUT:
        connection.consume_input()


def _error(connection: PGconn, result: PGresult | None) -> Exception:
    if result is not None and result.status == ExecStatus.FATAL_ERROR:
        return errors.error_from_result(result, encoding="utf-8")
    told = connection.error_message.decode("utf-8", "replace").strip()
    return OperationalError(told or "the lines of a table did not come as COPY sends them")
