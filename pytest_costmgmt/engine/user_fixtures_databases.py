"""Fresh databases for a user's tests: clones of one template, made ahead and removed behind."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from pytest_costmgmt import folders
from pytest_costmgmt.engine.user_fixtures_database import Credentials, Database
from pytest_costmgmt.engine.user_fixtures_server import Made
from pytest_costmgmt.errors import ProvisionFailed, StepFailed
from pytest_costmgmt.initialize import migrations, template
from pytest_costmgmt.postgres.errand import Errand, maintenance
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.scram import Keys, keys_of
from pytest_costmgmt.postgres.statements import StatementFailed

_T = TypeVar("_T")

_ADMINISTRATOR = "Give the login of a role that may: --costmgmt-admin-dsn."


def made_template(made: Made, name: str, credentials: Credentials) -> dict[str, Any]:
    """Make the template of these credentials on a server; return its name. Raises CostMgmtError."""
    settings, needs, server = made.wanted.settings, made.wanted.requirements, made.server
    needs = needs.named(role=credentials.role, database=name)
    owner = server.application.acting_as(credentials.role, credentials.password, database=name)
    administrator = server.administrator or owner.on(server.application.database)
    errand = maintenance(administrator, deadline=settings.connect_timeout)
    try:
        if not template.may_create(errand):
            raise ProvisionFailed(
                f"Role {administrator.role} may not create databases on {server.label}.",
                hint=_ADMINISTRATOR,
            )
        try:
            template.initialize_template(
                administrator, owner, requirements=needs, deadline=settings.connect_timeout
            )
            if settings.manage:
                with folders.scratch("work") as folder:
                    within = migrations.Surroundings(
                        application=owner,
                        hive=server.hive,
                        onprem=needs.hive.policy == "forbidden",
                        scratch=folder,
                    )
                    deadline = settings.migrate_timeout
                    migrations.migrate(settings.manage, within, deadline=deadline)
            errand.run(template.shut(name))
        except BaseException as error:
            errand.run(template.drop(errand, name))
            if isinstance(error, StepFailed) and server.administrator is None:
                raise ProvisionFailed(error.message, hint=_ADMINISTRATOR) from None
            raise
    finally:
        errand.close()
    return {"template": name}


class Databases:
    """Makes fresh databases, and removes them; for fixtures of wider scope than a test."""

    def __init__(self, made: Made, credentials: Credentials, *, template: str, prefix: str) -> None:
        self.made, self.credentials = made, credentials
        self._template, self._prefix = template, prefix
        self.left: list[str] = []
        "What could not be removed, and why: for the run's end, the next test is not at fault."
        self._errands: list[Errand] = []
        self._lock = threading.Lock()
        self._pid, self._parents = os.getpid(), list[Errand]()
        self._going = self._ahead = ""
        self._served = 0
        self._keys: Keys | None = None

    def __repr__(self) -> str:
        return f"<fresh databases of role {self.credentials.role!r} on {self.made.server.label}>"

    @contextlib.contextmanager
    def fresh(self) -> Iterator[Database]:
        """Yield a database that is removed at the end of the block."""
        database = self.create()
        try:
            yield database
        finally:
            self.remove(database)

    def create(self) -> Database:
        """Return a new database: initialized, empty or migrated, nobody's but the caller's.

        Raises StatementFailed, ConnectFailed.
        """
        name = self._again(self._cloned)
        server, settings = self.made.server, self.made.wanted.settings
        return Database(
            self._login(name),
            hive=server.hive,
            onprem=self.made.wanted.requirements.hive.policy == "forbidden",
            timeout=settings.connect_timeout,
            ours=server.ours,
            keys=self._keys,
        )

    def remove(self, database: Database, *, of: str = "a fixture") -> None:
        """End the clients of ``of``'s database and remove it; the server does it while we go on."""
        self._again(lambda: self._removing(database.name, of))

    def close(self) -> None:
        """Leave the server; on one that is not ours nothing is left of what was made here."""
        errands, self._errands = self._errands, []
        try:
            if errands and not self.made.server.ours:
                cloning, dropping = errands
                self._gone(dropping)
                if self._ahead:
                    cloning.run(template.drop(cloning, self._ahead))
            elif errands:
                self._gone(errands[1], within=0)  # the rest goes with the server
        finally:
            for errand in errands:
                errand.close()

    def _login(self, name: str) -> Login:
        server, mine = self.made.server, self.credentials
        return server.application.acting_as(mine.role, mine.password, database=name)

    def _again(self, do: Callable[[], _T]) -> _T:
        """Do it, and once more if our connections had been ended: a test may end everybody's."""
        with self._lock:  # a test may ask the factory from several threads
            try:
                return do()
            except StatementFailed:
                if not any(errand.connection.closed for errand in self._errands):
                    raise
                return do()

    def _cloned(self) -> str:
        cloning, _ = self._connected()
        name, self._ahead = self._ahead or self._begun(cloning), ""
        cloning.wait()
        self._served += 1
        if self._served > 1:  # who used two will use a third: it is copied while this one is used
            self._ahead = self._begun(cloning)
        return name

    def _removing(self, name: str, of: str) -> None:
        _, dropping = self._connected()
        self._gone(dropping)
        dropping.send([template.drop(dropping, name)])
        self._going = of

    def _gone(self, dropping: Errand, *, within: float | None = None) -> None:
        try:
            dropping.wait() if within is None else dropping.over(within)
        except StatementFailed as error:
            if not dropping.connection.closed:
                told = f"costmgmt: the database of {self._going} could not be removed after it"
                self.left.append(f"{told}: {error}")

    def _begun(self, cloning: Errand) -> str:
        name = self._prefix + secrets.token_hex(6)
        role, ours = self.credentials.role, self.made.server.ours
        cloning.send(template.clone(cloning, name, template=self._template, owner=role, ours=ours))
        return name

    def _connected(self) -> tuple[Errand, Errand]:
        if self._pid != os.getpid():
            # Forked. The copy ahead and the connections are the parent's; to close these, or to
            # drop the last reference to one, is not for us.
            self._pid, self._parents, self._errands = os.getpid(), self._errands, []
        if not self._errands or any(errand.connection.closed for errand in self._errands):
            self._ahead = ""
            for errand in self._errands:
                errand.close()
            server, timeout = self.made.server, self.made.wanted.settings.connect_timeout
            login = server.administrator or self._login(server.application.database)
            self._errands = [maintenance(login, deadline=timeout) for _ in range(2)]
            mine = self.credentials
            if server.ours and server.administrator is not None and mine.password is not None:
                self._keys = keys_of(self._errands[0].connection, mine.role, mine.password)
        cloning, dropping = self._errands
        return cloning, dropping
