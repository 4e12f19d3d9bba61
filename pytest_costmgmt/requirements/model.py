"""The shape of a requirement set. The TOML files beside this one are its values."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=63)]
Reference = str
"Where a requirement comes from: a file and revision of koku, or a document."


class ServerNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the server as a whole must offer."""

    minimum_major: Annotated[int, msgspec.Meta(ge=10, le=99)]
    encoding: str
    timezone: str
    preload: tuple[Name, ...]
    connections: Annotated[int, msgspec.Meta(ge=1)]
    "Connections that the application opens at once; the headroom that is asked for."
    locks_per_transaction: Annotated[int, msgspec.Meta(ge=1)]
    reference: Reference


class RoleNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The application's role; what it must *not* have is the same for every era."""

    name: Name
    reference: Reference


class DatabaseNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The application's database."""

    name: Name
    reference: Reference


class HiveNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Role and database hive: required up to and forbidden from an era of koku on."""

    policy: Literal["required", "forbidden"]
    role: Name
    database: Name
    forbidden_passwords: tuple[str, ...]
    reference: Reference


class ExtensionNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An extension, the schema that it must be in, and who creates it."""

    name: Name
    schema: Name
    created_by: Literal["administrator", "application"]
    "administrator: only a superuser may, so it must be there before the application comes."
    reference: Reference


class MigrationNeeds(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the application records its migrations, and its tenants."""

    table: Name
    tenant_schema: Name
    tenant_table: Name
    tenant_column: Name
    template_schema: Name
    reference: Reference


class Requirements(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A requirement set: what one era of koku needs of PostgreSQL."""

    schema: Literal[1]
    name: Name
    title: str
    server: ServerNeeds
    role: RoleNeeds
    database: DatabaseNeeds
    hive: HiveNeeds
    extensions: tuple[ExtensionNeeds, ...]
    migrations: MigrationNeeds

    def named(self, *, role: str, database: str) -> Requirements:
        """Return the same set for an application whose role and database have these names."""
        return msgspec.structs.replace(
            self,
            role=msgspec.structs.replace(self.role, name=role),
            database=msgspec.structs.replace(self.database, name=database),
        )
