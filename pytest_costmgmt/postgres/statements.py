"""Statements as data: what runs and what is shown are one text; a password only ever runs.

A change to a server runs in a transaction that holds the initialization's lock, so that two runs
at once take turns, step by step.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.secret import Secret, redact

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

LOCK = int.from_bytes(b"costmgmt", "big") & (2**63 - 1)
"The key of the advisory lock, in each database that a step touches."

LOCK_WAIT = 60.0
"Seconds that a step waits for another initialization's step, or for a lock on an object."

HAS_TRANSACTION_TIMEOUT = 17_00_00

INSUFFICIENT_PRIVILEGE = "42501"
LOCK_NOT_AVAILABLE = "55P03"


class StatementFailed(CostMgmtError, RuntimeError):
    """PostgreSQL refused a statement; ``sqlstate`` is its five characters."""

    def __init__(self, statement: str, text: str, *, sqlstate: str | None) -> None:
        super().__init__(f"{statement} was refused: {text} (SQLSTATE {sqlstate or 'none'})")
        self.statement, self.sqlstate, self.text = statement, sqlstate, text


class Statement(msgspec.Struct, frozen=True):
    """One statement. ``{}`` in ``sql`` takes the next of ``names``, ``{t}`` the ``text``.

    ``{password}`` stands for a SCRAM verifier of ``password`` for the role ``names[0]``.
    """

    sql: str
    names: tuple[str, ...] = ()
    text: str = ""
    password: Secret | None = None

    @property
    def shown(self) -> str:
        """The statement as psql takes it, complete but for passwords.

        These are psql's variable ``password``: where nobody set it, the statement is an error
        there, and not a password that everybody has read.
        """
        text: str = _compose(self, None).as_string(None)
        return text


def _compose(statement: Statement, verifier: str | None) -> Any:
    from psycopg import sql  # noqa: PLC0415 - heavy

    return sql.SQL(statement.sql).format(  # type: ignore[arg-type, unused-ignore]
        *map(sql.Identifier, statement.names),
        t=sql.Literal(statement.text),
        password=sql.SQL(":'password'") if verifier is None else sql.Literal(verifier),
    )


def composed(statements: Sequence[Statement], *, between: str) -> Any:
    """Return several statements without passwords as one."""
    from psycopg import sql  # noqa: PLC0415 - heavy

    return sql.SQL(between).join([_compose(statement, "") for statement in statements])  # type: ignore[arg-type, unused-ignore]


def run(connection: Connection[Any], statements: Sequence[Statement]) -> None:
    """Run each statement; raise StatementFailed, whose text holds no password."""
    __tracebackhide__ = True
    import psycopg  # noqa: PLC0415 - heavy

    from pytest_costmgmt.postgres.passwords import verifier  # noqa: PLC0415 - circular

    for statement in statements:
        hidden = ""
        if statement.password is not None:
            hidden = verifier(connection, statement.names[0], statement.password)
        try:
            connection.execute(_compose(statement, hidden))
        except psycopg.Error as error:
            text = redact(error.diag.message_primary or type(error).__name__)
            raise StatementFailed(statement.shown, text, sqlstate=error.sqlstate) from None


@contextlib.contextmanager
def locked(connection: Connection[Any], *, wait: float = LOCK_WAIT) -> Iterator[Cursor[Any]]:
    """Yield a cursor in a transaction that holds the initialization's lock in this database.

    Raises StatementFailed with SQLSTATE 55P03 if another run holds it for longer than ``wait``
    seconds. Everything set is SET LOCAL; what fails inside is rolled back.
    """
    import psycopg  # noqa: PLC0415 - heavy

    # Under a stricter default, what another run did while we waited would not be seen.
    connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
    wait_ms = max(1, int(wait * 1000))  # 0 would be no limit
    with connection.transaction(), connection.cursor() as cursor:
        try:
            # Named last, pg_temp cannot shadow a catalog; with pg_catalog first nothing else can.
            cursor.execute(
                f"SET LOCAL search_path = pg_catalog, pg_temp; SET LOCAL lock_timeout = {wait_ms};"
                " SET LOCAL statement_timeout = 0;"
                " SET LOCAL idle_in_transaction_session_timeout = 0".encode()
            )
            if connection.info.server_version >= HAS_TRANSACTION_TIMEOUT:
                cursor.execute("SET LOCAL transaction_timeout = 0")
            # Without parameters: the extended protocol's portal would stay open, and its snapshot
            # with it, for which a migration's CREATE INDEX CONCURRENTLY waits without end.
            cursor.execute(f"SELECT pg_catalog.pg_advisory_xact_lock({LOCK})".encode())
        except psycopg.Error as error:
            text = redact(error.diag.message_primary or type(error).__name__)
            raise StatementFailed("the lock", text, sqlstate=error.sqlstate) from None
        yield cursor


@contextlib.contextmanager
def held(login: Login, *, deadline: float, wait: float = LOCK_WAIT) -> Iterator[None]:
    """Hold the initialization's lock in the login's database, by a connection of its own.

    For what cannot run in the transaction that holds it: CREATE DATABASE, and migrations.
    """
    import psycopg  # noqa: PLC0415 - heavy

    from pytest_costmgmt.postgres.connect import connect  # noqa: PLC0415 - heavy

    connection = connect(login, deadline=deadline)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(locked(connection, wait=wait))
            try:
                yield
            finally:
                # The server may have gone meanwhile: what ran inside tells that better.
                with contextlib.suppress(psycopg.Error):
                    stack.close()
    finally:
        connection.close()


def rows(cursor: Cursor[Any], query: str, **values: object) -> list[tuple[Any, ...]]:
    """Return a query's rows; ``%(name)s`` in it takes ``values``."""
    cursor.execute(query.encode(), values or None)
    return cursor.fetchall()
