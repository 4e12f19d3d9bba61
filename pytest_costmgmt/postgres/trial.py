"""Statements that are tried and always rolled back: what a role may do is seen by doing it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.secret import redact


class Refused(NamedTuple):
    """Why PostgreSQL refused a statement; ``where`` is its call stack."""

    sqlstate: str
    message: str
    where: str


Try = Callable[[str, Mapping[str, str]], "Refused | None"]
"Tries a statement whose ``{key}`` are the identifiers ``names[key]``."


@contextlib.contextmanager
def rolled_back(login: Login, *, deadline: float, statement_timeout: float) -> Iterator[Try]:
    """Yield a function that tries one statement; all of them end with a ROLLBACK.

    One connection, one read-write transaction, a savepoint for each statement. Each may take
    ``statement_timeout`` seconds and wait as long for a lock. Raises ConnectFailed if the login
    does not open, FactUnavailable if the connection is lost meanwhile.
    """
    import psycopg  # noqa: PLC0415 - heavy
    from psycopg import sql  # noqa: PLC0415

    def attempt(template: str, names: Mapping[str, str]) -> Refused | None:
        identifiers = {key: sql.Identifier(name) for key, name in names.items()}
        statement = sql.SQL(template).format(**identifiers)  # type: ignore[arg-type, unused-ignore]
        connection.execute("SAVEPOINT costmgmt_trial")
        try:
            connection.execute(statement)
        except psycopg.Error as error:
            if connection.closed:
                raise
            connection.execute("ROLLBACK TO SAVEPOINT costmgmt_trial")
            diag = error.diag
            return Refused(
                error.sqlstate or "XX000",
                redact(diag.message_primary or type(error).__name__),
                redact(diag.context or ""),
            )
        return None

    connection = connect(login, deadline=deadline)
    milliseconds = max(1, int(statement_timeout * 1000))
    try:
        # READ WRITE: a default_transaction_read_only is another check's finding.
        connection.execute("BEGIN READ WRITE")
        connection.execute(
            f"SET LOCAL statement_timeout = {milliseconds};"
            f" SET LOCAL lock_timeout = {milliseconds}".encode()
        )
        yield attempt
    except psycopg.Error as error:
        raise FactUnavailable(
            f"trying what role {login.role!r} may do in database {login.database!r} on"
            f" {login.label}: the connection broke"
            f" ({redact(error.diag.message_primary or type(error).__name__)})"
        ) from None
    finally:
        _end(connection)


def _end(connection: Any) -> None:
    import psycopg  # noqa: PLC0415 - heavy

    # A closed connection has rolled back, too.
    with contextlib.suppress(psycopg.Error):
        connection.execute("ROLLBACK")
    connection.close()
