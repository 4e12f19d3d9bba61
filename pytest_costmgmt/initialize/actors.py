"""Who can do what on a server: the logins at hand, their connections, and in which order to try."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Literal

from pytest_costmgmt.errors import ConnectFailed, UsageProblem
from pytest_costmgmt.initialize.step import By
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import rows
from pytest_costmgmt.secret import Secret

Owner = Literal["application", "hive"]

MAINTENANCE = "postgres"
"The database whose lock runs share, and from which others are created."

DATABASES = "SELECT d.datname FROM pg_catalog.pg_database AS d WHERE d.datname = %(name)s"
SUPERUSER = "SELECT pg_catalog.current_setting('is_superuser') = 'on'"


class Actors(contextlib.ExitStack):
    """The administrator, if there is one, and the owners whose logins are known to work.

    Connections are opened once for each role and database, and closed at the end.
    """

    def __init__(
        self, administrator: Login | None, application: Login | None, *, deadline: float
    ) -> None:
        super().__init__()
        self.deadline = deadline
        self.administrator = administrator
        self.owners: dict[By, Login] = {}
        self._open: dict[tuple[str, str], Any] = {}
        if administrator is None:
            if application is None:
                raise UsageProblem("Initialization needs a login: an administrator's is best.")
            self.owners["application"] = application
        self.first = administrator or self.owners["application"]
        self.maintenance = self._maintenance(self.first)
        self.superuser = administrator is not None and bool(self._ask(SUPERUSER))

    def _maintenance(self, login: Login) -> str:
        """Return ``postgres``, or, where the login may not enter it, the login's own database."""
        try:
            self.connection(login.on(MAINTENANCE))
        except ConnectFailed:
            self.connection(login)  # what is wrong with this one is told
            return login.database
        return MAINTENANCE

    def _ask(self, query: str, **values: object) -> Any:
        connection = self.connection(self.first.on(self.maintenance))
        with asking(self.first.label), connection.cursor() as cursor:
            found = rows(cursor, query, **values)
        return found[0][0] if found else None

    def connection(self, login: Login) -> Any:
        """Return the open connection of this role to this database."""
        key = (login.role, login.database)
        if key not in self._open or self._open[key].closed:
            self._open[key] = connect(login, deadline=self.deadline)
            self.callback(self._open[key].close)
        return self._open[key]

    def exists(self, database: str) -> bool:
        """Say whether there is such a database now."""
        return self._ask(DATABASES, name=database) is not None

    def login(self, role: str, database: str, password: Secret | None) -> Login:
        """Return another role's login to the same server."""
        return self.first.acting_as(role, password, database=database)

    def able(self, by: By) -> Iterator[Login]:
        """Yield who can do what must be done ``by`` that role, the least powerful first."""
        if by in self.owners:
            yield self.owners[by]
        if self.administrator is not None and (self.superuser or by != "superuser"):
            yield self.administrator

    def readers(self) -> Iterator[Login]:
        """Yield everybody who can read a catalog; the most privileged comes first."""
        if self.administrator is not None:
            yield self.administrator
        yield from self.owners.values()
