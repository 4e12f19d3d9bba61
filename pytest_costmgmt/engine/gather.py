"""Gather all facts of a server: one root-cause probe first, then each family by itself."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from pytest_costmgmt.engine.shared import Means
from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.facts import access, catalog, credentials, hazards, migrations, usability
from pytest_costmgmt.facts import used_privileges as used
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.gathered import Facts
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import Refused, connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.servers import Server
from pytest_costmgmt.settings import Settings, environment

Fact = TypeVar("Fact")

STATEMENT_TIMEOUT = 30.0
"Seconds that one question to the catalogs may take."

KEPT_OUT = frozenset({"no-connect-privilege", "not-admitted"})
"How a database says that it lets an administrator's login in no further than to its server."


def _is_superuser(connection: Any) -> bool:
    with (
        asking("who the administrator is"),
        read_only(connection, timeout=STATEMENT_TIMEOUT) as cursor,
    ):
        cursor.execute(
            b"SELECT r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = current_user"
        )
        found = cursor.fetchone()
    return found is not None and bool(found[0])


class Gathering:
    """One reading of a server; ``errors`` says by family what could not be read, and why."""

    def __init__(
        self,
        server: Server,
        requirements: Requirements,
        context: Context,
        means: Means,
        settings: Settings,
        *,
        told: Callable[[], migrations.Expected | None] = lambda: None,
    ) -> None:
        self.server, self.requirements, self.context = server, requirements, context
        self.means, self.settings, self.told = means, settings, told
        self.errors: dict[str, str] = {}
        self._open: dict[str, Any] = {}
        self._kept_out = False
        self._stack = contextlib.ExitStack()

    def everything(self) -> Facts:
        """Return all facts. If the first connection fails, nothing else is tried."""
        with self._stack:
            seen = self._read("access", self._access)
            facts = Facts(access=seen, errors=self.errors)
            if seen is None or not seen.reach.accepted:
                return facts
            return msgspec.structs.replace(
                facts,
                catalog=self._read("catalog", self._catalog),
                usability=self._read("usability", self._usability),
                migrations=self._read("migrations", self._migrations),
                credentials=self._read("credentials", self._credentials),
                hazards=self._read("hazards", self._hazards),
            )

    def _read(self, family: str, read: Callable[[], Fact]) -> Fact | None:
        try:
            # A server may break off anywhere, also where no reader expects it.
            with asking(f"reading the facts about {family}"):
                return read()
        except CostMgmtError as error:
            self.errors[family] = str(error)
            return None

    def _connection(self, login: Login) -> Any:
        """Return the one connection of this reading for ``login``'s role."""
        if login.role not in self._open:
            opened = connect(login, deadline=self.settings.connect_timeout)
            self._open[login.role] = self._stack.enter_context(contextlib.closing(opened))
        return self._open[login.role]

    def _seeing(self) -> Any:
        """Return a connection of the login that sees most, to the application's database."""
        if (administrator := self._administrator()) is not None:
            return administrator
        return self._connection(self.server.application)

    def _administrator(self) -> Any | None:
        """Return the administrator's connection there; None if the database keeps him out."""
        administrator = self.server.administrator
        if administrator is None or self._kept_out:
            return None
        try:
            return self._connection(administrator.on(self.server.application.database))
        except Refused as error:
            if error.kind not in KEPT_OUT:
                raise
            self._kept_out = True
            return None

    def _reading(self) -> Any:
        """Return a connection that may read the application's rows.

        An administrator who is no superuser often may not: they are the application's own.
        """
        administrator = self._administrator()
        if administrator is not None and _is_superuser(administrator):
            return administrator
        return self._connection(self.server.application)

    def _access(self) -> access.AccessFacts:
        return access.collect(
            self.server, self.requirements, self.context, deadline=self.settings.connect_timeout
        )

    def _catalog(self) -> catalog.Catalog:
        snapshot = catalog.read(
            self._seeing(), self.requirements, self.context, timeout=STATEMENT_TIMEOUT
        )
        if not self.context.writable:
            return snapshot
        tried = used.use(
            self.server.application,
            run_id=self.context.run_id,
            deadline=self.settings.connect_timeout,
            extensions={
                need.name: need.schema
                for need in self.requirements.extensions
                if need.created_by == "application" and snapshot.extensions.offered(need.name)
            },
        )
        return snapshot.with_used(tried)

    def _usability(self) -> usability.UsabilityFacts:
        application = self._connection(self.server.application)
        return usability.use(application, self.requirements, timeout=STATEMENT_TIMEOUT)

    def _migrations(self) -> migrations.MigrationFacts:
        expected = self._expected()
        what = f"reading the recorded migrations of {self.context.database!r}"
        with asking(what), read_only(self._reading(), timeout=STATEMENT_TIMEOUT) as cursor:
            return migrations.read(cursor, self.requirements, expected)

    def _hazards(self) -> hazards.HazardFacts | None:
        if self.context.profile == "preflight":  # nothing asks for them before an install
            return None
        what = f"reading what a backup of {self.context.database!r} would lose"
        with asking(what), read_only(self._reading(), timeout=STATEMENT_TIMEOUT) as cursor:
            return hazards.read(cursor)

    def _expected(self) -> migrations.Expected | None:
        """Return the expected migrations, asked of the application or of its manifest."""
        if self.settings.migrations is not None:
            return migrations.expected_from_manifest(self.settings.migrations)
        if (told := self.told()) is not None:
            return told
        if not self.means.manage:
            return None
        from pytest_costmgmt.initialize.migrations import surroundings  # noqa: PLC0415 - seldom

        with tempfile.TemporaryDirectory(
            prefix="costmgmt-", dir=self.server.folder or None
        ) as scratch:
            return migrations.expected_from_application(
                self.means.manage,
                surroundings(self.server, self.requirements, Path(scratch)).environment(),
                deadline=min(migrations.ASKING, self.means.migrate_timeout),
            )

    def _credentials(self) -> credentials.CredentialFacts:
        return credentials.collect(self.server, self.settings, environment(), self.requirements)
