"""What a user's test is given: a database, and the credentials that own it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.errors import ConnectFailed
from pytest_costmgmt.postgres import spellings
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.environment import application_environment
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.scram import Keys
from pytest_costmgmt.secret import Secret

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

_WRONG_PASSWORD = "28P01"  # noqa: S105 - a SQLSTATE
_CHANGED = (
    "Either an override of costmgmt_credentials has another password than the server, or a test"
    " before this one changed it: roles belong to the server, and all tests of a run share that."
)


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """The role that owns each fresh database, and its password; neither ever prints it.

    ``password`` is None where the server asks for none.
    """

    role: str
    password: Secret | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.password, (Secret, type(None))):
            raise TypeError("Credentials: password must be a Secret: Secret(...), or None.")


class Database:
    """A database of one test. What holds the password is made when asked for, and never shown."""

    def __init__(
        self,
        login: Login,
        *,
        hive: Login | None = None,
        onprem: bool = False,
        timeout: float = 10,
        ours: bool = False,
        keys: Keys | None = None,
    ) -> None:
        self.login, self._keys = login, keys
        self._hive, self._onprem, self._timeout = hive, onprem, timeout
        self._ours = ours

    def __repr__(self) -> str:
        return f"Database(name={self.name!r}, role={self.role!r}, server={self.login.label!r})"

    @property
    def name(self) -> str:
        """The database's name."""
        return self.login.database

    @property
    def role(self) -> str:
        """The role that owns it."""
        return self.login.role

    @property
    def password(self) -> Secret | None:
        """The role's password; it never prints."""
        return self.login.password

    @property
    def host(self) -> str:
        """The server's host, or the folder of its socket."""
        return self.login.where.get("host", "")

    @property
    def port(self) -> str:
        """The server's port."""
        return self.login.where.get("port", "")

    @property
    def url(self) -> str:
        """``postgresql://...`` with the password, percent-encoded: libpq, asyncpg, psql."""
        __tracebackhide__ = True
        return spellings.url(self.login)

    @property
    def dsn(self) -> str:
        """``postgresql+psycopg://...`` with the password: SQLAlchemy's ``create_engine``."""
        __tracebackhide__ = True
        return spellings.url(self.login, scheme="postgresql+psycopg")

    @property
    def conninfo(self) -> str:
        """``host=... dbname=...`` with the password: ``psycopg.connect``, also its async one."""
        __tracebackhide__ = True
        return spellings.conninfo(self.login)

    def environ(self, scratch: Path | None = None) -> dict[str, str]:
        """Return the variables of a subprocess: DATABASE_* as koku reads them, and libpq's PG*.

        ``scratch`` is a folder that koku may write (PROMETHEUS_MULTIPROC_DIR).
        """
        __tracebackhide__ = True
        found = application_environment(
            self.login, self._hive, onprem=self._onprem, scratch_folder=scratch or Path()
        )
        if scratch is None:
            del found["PROMETHEUS_MULTIPROC_DIR"]
        return {**found, **spellings.libpq_environment(self.login)}

    def django(self) -> dict[str, Any]:
        """Return an entry of Django's DATABASES, whose test database is this one too.

        Complete, so that it may also update the settings of a connection that exists already.
        """
        __tracebackhide__ = True
        unsaid = dict.fromkeys(("CHARSET", "COLLATION", "MIRROR"))
        test = {**unsaid, "MIGRATE": True, "NAME": self.name}
        return {**spellings.django_database(self.login), "TEST": test}

    def connect(self, *, autocommit: bool = False) -> Connection[TupleRow]:
        """Return a new psycopg connection. Raises ConnectFailed."""
        __tracebackhide__ = True
        if self._keys is not None:
            quick = msgspec.structs.replace(self.login, keys=self._keys)
            try:
                return connect(quick, deadline=self._timeout, autocommit=autocommit)
            except ConnectFailed as error:
                if error.sqlstate != _WRONG_PASSWORD:
                    raise
                self._keys = None  # set anew, if to the same: with a verifier of its own
        try:
            return connect(self.login, deadline=self._timeout, autocommit=autocommit)
        except ConnectFailed as error:
            if not self._ours or error.sqlstate != _WRONG_PASSWORD:
                raise
            raise ConnectFailed(error.message, sqlstate=_WRONG_PASSWORD, hint=_CHANGED) from None
