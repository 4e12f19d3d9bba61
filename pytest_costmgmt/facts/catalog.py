"""The snapshot: everything that the catalogs say, from one read-only transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.facts import extensions, privileges, roles, server
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.extensions import ExtensionCatalog
from pytest_costmgmt.facts.privileges import PrivilegeFacts
from pytest_costmgmt.facts.roles import RoleFacts
from pytest_costmgmt.facts.server import ServerFacts
from pytest_costmgmt.facts.used_privileges import UsedPrivileges
from pytest_costmgmt.requirements.model import Requirements

if TYPE_CHECKING:
    from psycopg import Connection


class Catalog(msgspec.Struct, frozen=True, kw_only=True):
    """What one login saw of the server, from the application's database, at one moment."""

    server: ServerFacts
    roles: RoleFacts
    privileges: PrivilegeFacts
    extensions: ExtensionCatalog

    def with_used(self, used: UsedPrivileges) -> Catalog:
        """Return the same snapshot with what using the privileges came to."""
        facts = msgspec.structs.replace(self.privileges, used=used)
        return msgspec.structs.replace(self, privileges=facts)


def read(
    connection: Connection[Any], requirements: Requirements, context: Context, *, timeout: float
) -> Catalog:
    """Return the snapshot; ``connection`` is to the application's database.

    The administrator's login sees more than the application's; what was hidden is in the facts.
    Each query may take ``timeout`` seconds. Raises FactUnavailable.
    """
    from pytest_costmgmt.postgres.asking import asking  # noqa: PLC0415 - heavy
    from pytest_costmgmt.postgres.connect import read_only  # noqa: PLC0415

    what = f"reading the catalog of database {context.database!r}"
    with asking(what), read_only(connection, timeout=timeout) as cursor:
        return Catalog(
            server=server.read(cursor, requirements, context),
            roles=roles.read(cursor, requirements, context),
            privileges=privileges.read(cursor, requirements, context),
            extensions=extensions.read(cursor, requirements, context),
        )
