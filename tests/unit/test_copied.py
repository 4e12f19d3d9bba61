"""The lines of a COPY count only if the server says at the end that these were all."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from psycopg import OperationalError
from psycopg.pq import ExecStatus

from pytest_costmgmt.postgres import copied

OUT = SimpleNamespace(status=ExecStatus.COPY_OUT)


class Server:
    """Answers as libpq would: results, and the lines of the COPY that is under way."""

    error_message = b"server closed the connection unexpectedly\n"

    def __init__(self, *results: Any, lines: tuple[bytes, ...] = (b"1\n", b"2\n")) -> None:
        self.results, self.lines = list(results), list(lines)
        self.connection = SimpleNamespace(pgconn=self)

    def is_busy(self) -> bool:
        """All has come."""
        return False

    def get_result(self) -> Any:
        """Return the next result."""
        return self.results.pop(0) if self.results else None

    def get_copy_data(self, _: int) -> tuple[int, bytes]:
        """Return the next line."""
        return (1, self.lines.pop(0)) if self.lines else (-1, b"")


def done(count: int) -> Any:
    """Return the result with which a COPY ends well."""
    return SimpleNamespace(status=ExecStatus.COMMAND_OK, command_tuples=count)


def read(server: Any) -> list[bytes]:
    """Read one COPY, and see that no answer is left."""
    found = list(copied.lines(server))
    copied.ended(server)
    return found  # type: ignore[return-value]


def test_all_lines_come() -> None:
    """Two lines, and the server's word that there were two."""
    assert read(Server(OUT, done(2))) == [b"1\n", b"2\n"]


@pytest.mark.parametrize(
    "server",
    [
        pytest.param(Server(), id="no-answer"),
        pytest.param(Server(done(0)), id="no-copy"),
        pytest.param(Server(OUT), id="cut-off"),
        pytest.param(Server(OUT, done(3)), id="fewer-lines-than-it-says"),
        pytest.param(Server(OUT, done(2), done(0)), id="an-answer-too-many"),
    ],
)
def test_what_is_cut_short_is_an_error(server: Server) -> None:
    """No end, another number, or an answer that nobody expected."""
    with pytest.raises(OperationalError):
        read(server)
