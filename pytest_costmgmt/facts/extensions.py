"""Extensions in the application's database: which are there, and what the server could add."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.requirements.model import Requirements


class Installed(msgspec.Struct, frozen=True, kw_only=True):
    """A required extension that the database has."""

    name: str
    version: str
    schema: str
    relocatable: bool
    owner: str


class Available(msgspec.Struct, frozen=True, kw_only=True):
    """A required extension that the database lacks and the server has the files of.

    ``trusted``: who may CREATE on the database may create it; else, if ``superuser``, only a
    superuser may. ``requires_missing`` are extensions that it builds on and the server lacks.
    """

    name: str
    version: str
    superuser: bool
    trusted: bool
    requires_missing: tuple[str, ...] = ()


class ExtensionCatalog(msgspec.Struct, frozen=True, kw_only=True):
    """What the catalogs say of the required extensions, in the application's database.

    ``available`` tells only of those that are not installed. ``role_creates``: the application's
    role has CREATE on the database (None: there is no such role). ``migrated`` says that the
    application's own schema records migrations, ``migrated_tenants`` how many others do.
    """

    installed: tuple[Installed, ...]
    available: tuple[Available, ...]
    role_creates: bool | None
    role_superuser: bool
    migrated: bool
    migrated_tenants: int
    allowed: tuple[str, ...] | None = None
    "What the provider lets anybody create at all (None: everything)."
    allowed_by: str = ""
    "The setting that says so, one of :data:`ALLOW_LISTS`."

    def of(self, name: str) -> Installed | None:
        """Return the installed extension of this name if there is one."""
        return next((found for found in self.installed if found.name == name), None)

    def offered(self, name: str) -> Available | None:
        """Return what the server offers under this name if it is not installed."""
        return next((found for found in self.available if found.name == name), None)


_INSTALLED = """
SELECT e.extname::pg_catalog.text, e.extversion, n.nspname::pg_catalog.text, e.extrelocatable,
       pg_catalog.pg_get_userbyid(e.extowner)::pg_catalog.text
FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace
WHERE e.extname = ANY (%s) ORDER BY 1"""

# Some 10 ms: the server reads every control file that it has. Asked only for what is missing.
# to_jsonb: the column "trusted" came with 13, and an older server must still be judged.
_AVAILABLE = """
SELECT v.name::pg_catalog.text, v.version, v.superuser,
       COALESCE((pg_catalog.to_jsonb(v) ->> 'trusted')::pg_catalog.bool, false),
       ARRAY(SELECT needed::pg_catalog.text FROM pg_catalog.unnest(v.requires) needed
             WHERE NOT EXISTS (
                SELECT FROM pg_catalog.pg_available_extensions o WHERE o.name = needed))
FROM pg_catalog.pg_available_extensions a
JOIN pg_catalog.pg_available_extension_versions v
  ON v.name = a.name AND v.version = a.default_version
WHERE a.name = ANY (%s) ORDER BY 1"""

AZURE, RDS = "azure.extensions", "rds.allowed_extensions"
ALLOW_LISTS = (AZURE, RDS)
"""Settings by which a provider restricts CREATE EXTENSION; pg_available_extensions tells of the
others too. Unset, Azure's allows nothing and Amazon's (RDS, Aurora) everything, as ``*`` does.
"""
_ALLOWED = """
SELECT a.name, pg_catalog.current_setting(a.name, true)
FROM pg_catalog.unnest(%s::pg_catalog.text[]) WITH ORDINALITY AS a (name, place) ORDER BY a.place"""

_CIRCUMSTANCES = """
SELECT (SELECT pg_catalog.has_database_privilege(r.oid, d.oid, 'CREATE')
        FROM pg_catalog.pg_roles r, pg_catalog.pg_database d
        WHERE r.rolname = %(role)s AND d.datname = pg_catalog.current_database()),
       COALESCE((SELECT r.rolsuper FROM pg_catalog.pg_roles r WHERE r.rolname = %(role)s), false),
       pg_catalog.count(*) FILTER (WHERE n.nspname = %(schema)s) > 0,
       pg_catalog.count(*) FILTER (WHERE n.nspname <> %(schema)s)
FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relname = %(table)s AND c.relkind IN ('r', 'p')"""


def read(cursor: Any, requirements: Requirements, context: Context) -> ExtensionCatalog:
    """Read the facts; ``cursor`` is in a read-only transaction with search_path pg_catalog."""
    required = [extension.name for extension in requirements.extensions]
    installed = tuple(
        Installed(name=row[0], version=row[1], schema=row[2], relocatable=row[3], owner=row[4])
        for row in cursor.execute(_INSTALLED, [required])
    )
    missing = sorted(set(required) - {found.name for found in installed})
    asked = {
        "role": context.role,
        "schema": requirements.migrations.tenant_schema,
        "table": requirements.migrations.table,
    }
    creates, superuser, migrated, tenants = cursor.execute(_CIRCUMSTANCES, asked).fetchone()
    allowed, by = _allowed(cursor) if missing else (None, "")
    return ExtensionCatalog(
        installed=installed,
        available=_available(cursor, missing) if missing else (),
        role_creates=creates,
        role_superuser=superuser,
        migrated=migrated,
        migrated_tenants=tenants,
        allowed=allowed,
        allowed_by=by,
    )


def _allowed(cursor: Any) -> tuple[tuple[str, ...] | None, str]:
    """Return what may be created, and the setting that says so: None and "" if all may be."""
    for setting, listed in cursor.execute(_ALLOWED, [list(ALLOW_LISTS)]).fetchall():
        if listed is None or (setting == RDS and not listed.strip()):
            continue
        names = tuple(name for each in listed.split(",") if (name := each.strip().lower()))
        if "*" not in names:
            return names, setting
    return None, ""


def _available(cursor: Any, names: list[str]) -> tuple[Available, ...]:
    return tuple(
        Available(
            name=row[0],
            version=row[1],
            superuser=row[2],
            trusted=row[3],
            requires_missing=tuple(row[4]),
        )
        for row in cursor.execute(_AVAILABLE, [names])
    )
