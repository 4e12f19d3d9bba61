"""A statement that the server works on while this process does something else.

Without a thread: a thread of ours would make every ``os.fork()`` of a user's test a warning.
"""

from __future__ import annotations

import select
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.errors import ConnectFailed, ServerNotReady
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, StatementFailed, composed
from pytest_costmgmt.secret import redact

if TYPE_CHECKING:
    from psycopg import Connection

DEADLINE = 120.0
"Seconds that one statement may take: copying a large template over a slow disk takes many."


class Errand:
    """A connection of its own on which statements run one after the other, each by itself."""

    def __init__(self, connection: Connection[Any], *, deadline: float = DEADLINE) -> None:
        self.connection, self.deadline = connection, deadline
        self._under_way = ""
        self._left: list[Statement] = []

    def send(self, statements: Sequence[Statement]) -> None:
        """Let the server begin; what was under way is finished first. Raises as :meth:`wait`."""
        self.wait()
        self._left = list(statements)
        self._next()

    def wait(self) -> None:
        """Return when all that was sent is done.

        Raises StatementFailed, and ServerNotReady if that takes longer than the deadline.
        """
        __tracebackhide__ = True
        try:
            while self._under_way:
                self._collect(self._under_way)
                self._next()
        except StatementFailed:
            self._left, self._under_way = [], ""
            raise
        except BaseException:
            self.close()  # interrupted: an answer to come would be taken for the next one's
            raise

    def over(self, within: float) -> bool:
        """Say whether all that was sent is done, after at most about ``within`` seconds.

        Raises StatementFailed.
        """
        __tracebackhide__ = True
        until = time.monotonic() + within
        while self._under_way:
            if not self._answered(until):
                return False
            try:
                self._collect(self._under_way)
                self._next()
            except StatementFailed:
                self._left, self._under_way = [], ""
                raise
        return True

    def run(self, *statements: Statement) -> None:
        """Do all that now."""
        self.send(statements)
        self.wait()

    def close(self) -> None:
        """Leave the server; what is under way there may or may not happen."""
        self.connection.close()

    def _next(self) -> None:
        self._under_way = ""
        if self._left:
            statement = self._left.pop(0)
            self._under_way = statement.shown
            text = composed([statement], between="").as_bytes(self.connection)
            self._asked(lambda: self.connection.pgconn.send_query(text))

    def _asked(self, call: Any) -> Any:
        __tracebackhide__ = True
        import psycopg  # noqa: PLC0415 - heavy

        try:
            return call()
        except psycopg.Error as error:
            text = redact(" ".join(str(error).split()))
            raise StatementFailed(self._under_way, text, sqlstate=error.sqlstate) from None

    def _answered(self, until: float) -> bool:
        """Say whether the statement's answer is all here, by then at the latest."""
        pgconn = self.connection.pgconn
        while pgconn.is_busy():
            left = until - time.monotonic()
            if not select.select([pgconn.socket], [], [], max(left, 0.0))[0]:
                return False
            self._asked(pgconn.consume_input)
        return True

    def _collect(self, shown: str) -> None:
        from psycopg.pq import DiagnosticField as Field  # noqa: PLC0415 - heavy

        pgconn = self.connection.pgconn
        if not self._answered(time.monotonic() + self.deadline):
            raise ServerNotReady("the server", self.deadline, f"still working on {shown}")
        failed = None
        while (result := pgconn.get_result()) is not None:
            if result.error_field(Field.SEVERITY) is not None:
                failed = result
        if failed is not None:
            text = failed.error_field(Field.MESSAGE_PRIMARY) or b""
            detail = failed.error_field(Field.MESSAGE_DETAIL) or b""
            state = failed.error_field(Field.SQLSTATE)
            said = " ".join(filter(None, (t.decode("utf-8", "replace") for t in (text, detail))))
            raise StatementFailed(
                shown, redact(said), sqlstate=None if state is None else state.decode()
            )


def maintenance(login: Login, *, deadline: float) -> Errand:
    """Return an errand in ``postgres``, or where the login may not enter it in its own database."""
    try:
        return Errand(connect(login.on("postgres"), deadline=deadline))
    except ConnectFailed as error:
        if error.sqlstate not in {"42501", "3D000", "28000"}:
            raise
        return Errand(connect(login, deadline=deadline))
