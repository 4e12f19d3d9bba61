"""Small databases that were backed up by their owner, and what a restore of them leaves behind."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import MANIFEST, Manifest
from pytest_costmgmt.backup.restore import Restored, restore
from pytest_costmgmt.postgres.clients import Clients, choose
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident, literal
from tests.server.restore_bed import RestoreBed


class Source:
    """A database of a bed's owner, with something of what stands outside a dump, backed up."""

    def __init__(self, bed: RestoreBed, folder: Path) -> None:
        self.bed, self.name = bed, f"{bed.name}.source"
        self.out = folder / "backup"
        version = bed.rows("SELECT current_setting('server_version_num')::int4")[0][0]
        self.clients: Clients = choose(version, cache=folder, environ=os.environ)
        bed.create(self.name, "backed up")

    def owned(self, *statements: str) -> Source:
        """Run statements in it as its owner."""
        self.bed.run(*statements, on=self.name, by=self.bed.owner)
        return self

    def dressed(self) -> Source:
        """Give it settings, privileges, a limit and a comment, as its owner may."""
        database, role = ident(self.name), ident(self.bed.role)
        comment, path = literal("it's {a} database"), "'$user', 'Ö, \"x', public"
        self.bed.run(
            f"ALTER DATABASE {database} SET search_path = {path}",
            f"ALTER DATABASE {database} SET work_mem = '65537kB'",
            f"ALTER DATABASE {database} SET application_name = 'it''s {{}} \\ %s'",
            f"ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '1h'",
            f"COMMENT ON DATABASE {database} IS {comment}",
            f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
            f"GRANT CREATE ON DATABASE {database} TO pg_monitor WITH GRANT OPTION",
            f"ALTER DATABASE {database} CONNECTION LIMIT 11",
            f"ALTER DATABASE {database} IS_TEMPLATE true",
            by=self.bed.owner,
        )
        return self

    def backed_up(self, by: Login | None = None) -> Source:
        """Back it up, by default as its owner."""
        login = (by or self.bed.owner).on(self.name)
        backup(login, self.out, clients=self.clients, run_id=secrets.token_hex(3))
        return self

    def altered(self, **changes: Any) -> Source:
        """Write another manifest, with a digest that is right for it."""
        manifest = msgspec.structs.replace(self.manifest, **changes)
        for name in (MANIFEST, manifests.DIGEST):
            (self.out / name).unlink()
        manifests.write(self.out, manifest)
        return self

    @property
    def manifest(self) -> Manifest:
        """What the backup says."""
        return manifests.read(self.out)

    def restored(self, by: Login | None = None, **given: Any) -> Restored:
        """Restore it under the bed's name, by default as its owner."""
        given = {"clients": self.clients, "run_id": secrets.token_hex(4), "jobs": 2, **given}
        return restore(self.out, by or self.bed.owner, self.bed.name, **given)


DATABASE = """
SELECT pg_get_userbyid(datdba), datconnlimit, datistemplate, datacl::text,
       shobj_description(oid, 'pg_database'),
       (SELECT array_agg(coalesce(r.rolname, '') || c ORDER BY coalesce(r.rolname, '') || c)
          FROM pg_db_role_setting s LEFT JOIN pg_roles r ON r.oid = s.setrole,
               unnest(setconfig) c WHERE s.setdatabase = d.oid)
  FROM pg_database d WHERE datname = %s
"""
"What pg_dump without --create leaves out, in words other than the product's."
