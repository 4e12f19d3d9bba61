"""A row that must survive: in a table that carries the run's id, in database ``postgres``."""

from __future__ import annotations

import contextlib
import secrets
from typing import Any

from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login

_PREFIX = "costmgmt_kept_"
_EXISTS = "SELECT pg_catalog.to_regclass(%s) IS NOT NULL"
_IDENTIFIER = "SELECT system_identifier::pg_catalog.text FROM pg_catalog.pg_control_system()"


class KeptRow:
    """The table of one run; ``login`` may create one in ``public``."""

    def __init__(self, login: Login, *, run_id: str, deadline: float) -> None:
        self._login, self._deadline = login.on("postgres"), deadline
        self.name = f"{_PREFIX}{run_id}"

    def plant(self) -> str:
        """Make the table with one row; return what the row says."""
        from psycopg import sql  # noqa: PLC0415 - heavy

        token = secrets.token_hex(16)
        table = sql.Identifier("public", self.name)
        with self._connected("making a table of this run") as connection:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))
            connection.execute(sql.SQL("CREATE TABLE {} (token text NOT NULL)").format(table))
            connection.execute(sql.SQL("INSERT INTO {} VALUES (%s)").format(table), (token,))
        return token

    def read(self) -> tuple[str, str]:
        """Return what the row says now, "" if it is gone, and the server's identity."""
        from psycopg import sql  # noqa: PLC0415 - heavy

        table = sql.Identifier("public", self.name)
        with self._connected("reading the row of this run") as connection:
            identity = connection.execute(_IDENTIFIER).fetchone()
            there = connection.execute(_EXISTS, (f"public.{self.name}",)).fetchone()
            row = None
            if there and there[0]:
                row = connection.execute(sql.SQL("SELECT token FROM {}").format(table)).fetchone()
        return ("" if row is None else str(row[0])), str(identity[0] if identity else "")

    def remove(self) -> None:
        """Remove the table."""
        from psycopg import sql  # noqa: PLC0415 - heavy

        table = sql.Identifier("public", self.name)
        with self._connected("removing the table of this run") as connection:
            connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(table))

    @contextlib.contextmanager
    def _connected(self, what: str) -> Any:
        with (
            asking(what),
            contextlib.closing(connect(self._login, deadline=self._deadline)) as connection,
        ):
            yield connection
