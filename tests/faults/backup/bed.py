"""A restored torture database, copied for each mutation, and the proof of a copy."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE, Database, Manifest, Proof
from pytest_costmgmt.backup.proof import Expected, expected, proven
from pytest_costmgmt.postgres.clients import Clients, choose
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.servers.embedded_folders import cache_folder
from tests.backup_torture import build as torture
from tests.backup_torture.build import quoted

# The database's own settings would make a mutation something else: a session that means it.
PLAIN = """
SET search_path = pg_catalog, public; SET array_nulls = on; SET transform_null_equals = off;
SET standard_conforming_strings = on; SET DateStyle = 'ISO, YMD'; SET IntervalStyle = postgres;
SET TimeZone = 'UTC'; SET xmloption = content; SET allow_system_table_mods = on;
SET default_transaction_isolation = 'read committed'; SET default_transaction_deferrable = off;
"""

# What is published cannot be changed without a replica identity: it is given one meanwhile.
BEFORE = """
CREATE TEMP TABLE without AS SELECT c.oid FROM pg_class AS c
 WHERE c.relkind = 'r' AND c.relreplident = 'd' AND c.oid >= 16384
   AND c.relpersistence = 'p' AND NOT EXISTS (
   SELECT FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisprimary);
UPDATE pg_class SET relreplident = 'f' WHERE oid IN (SELECT oid FROM pg_temp.without);
"""
AFTER = "UPDATE pg_class SET relreplident = 'd' WHERE oid IN (SELECT oid FROM pg_temp.without)"


class Bed:
    """The backup of a torture database, and a template that was restored from it."""

    def __init__(self, superuser: Login, source: Login, given: Expected, clients: Clients) -> None:
        self.superuser, self.source, self.given, self.clients = superuser, source, given, clients
        self.template = f"{torture.NAME} template {secrets.token_hex(3)}"

    @property
    def manifest(self) -> Manifest:
        """What the backup says."""
        return self.given.manifest

    @contextmanager
    def copy(self) -> Iterator[Login]:
        """Yield the way into a copy of the restored database."""
        name = f"{torture.NAME} {secrets.token_hex(4)}"
        with connect(self.superuser, deadline=10) as connection:
            method = " STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
            connection.execute(
                f"CREATE DATABASE {quoted(name)} TEMPLATE {quoted(self.template)}{method}".encode()
            )
            for statement in dressed(self.manifest.database, name):
                connection.execute(statement.encode())
        login = self.superuser.on(name)
        try:
            yield login
        finally:
            execute(self.superuser, f"ALTER DATABASE {quoted(name)} IS_TEMPLATE false")
            torture.drop(login)

    def proof(self, copy: Login, *, keys: bool = False, aside: bool = False) -> Proof:
        """Prove a copy; which rows differ is told by its source, or by the archive."""
        source = self.source if keys else None
        return proven(
            self.given, copy, clients=self.clients, jobs=2, source=source, aside=aside, deadline=60
        )


@contextmanager
def bed(superuser: Login, folder: Path, *, bindir: Path | None = None) -> Iterator[Bed]:
    """Make a torture database, back it up, and restore it into a template."""
    source = torture.create(superuser, rows=500)
    with connect(superuser, deadline=10) as connection:
        number = connection.info.server_version
    cache = cache_folder(None, os.environ)
    clients = choose(number, bindir=bindir, cache=cache, environ=os.environ)
    try:
        manifest = backup(
            source,
            folder / "backup",
            clients=clients,
            with_role_passwords=True,
            run_id=secrets.token_hex(4),
        )
        archive = folder / "backup" / ARCHIVE
        with expected(manifest, archive, clients=clients) as given:
            made = Bed(superuser, source, given, clients)
            execute(superuser, f"CREATE DATABASE {quoted(made.template)} TEMPLATE template0")
            template = superuser.on(made.template)
            arguments = ["--exit-on-error", str(archive)]
            clients.run("pg_restore", arguments, template, deadline=120)
            yield made
            torture.drop(template)
    finally:
        torture.drop(source)


def execute(login: Login, statements: str) -> None:
    """Run statements, several at a time."""
    with connect(login, deadline=10) as connection:
        connection.execute(statements.encode())


def mutate(login: Login, statements: str) -> None:
    """Run a mutation as a superuser who means what he writes."""
    with connect(login, deadline=10) as connection:
        connection.execute((PLAIN + BEFORE).encode())
        connection.execute(statements.encode())
        connection.execute(AFTER.encode())


def dressed(database: Database, name: str) -> Iterator[str]:
    """Yield what gives a database what CREATE DATABASE does not copy from its template."""
    yield "SET standard_conforming_strings = on"
    for setting in database.settings:
        role, _, rest = setting.partition(": ") if _of_a_role(setting) else ("", "", setting)
        option, _, value = rest.partition("=")
        whose = f"ROLE {quoted(role)} IN DATABASE" if role else "DATABASE"
        # A list of names is stored as it must be written again.
        value = value if option == "search_path" else _literal(value)
        yield f"ALTER {whose} {quoted(name)} SET {option} TO {value}"
    yield f"ALTER DATABASE {quoted(name)} CONNECTION LIMIT {database.connection_limit}"
    yield f"COMMENT ON DATABASE {quoted(name)} IS {_literal(database.comment)}"
    if database.acl != ("",):
        where = f"WHERE datname = {_literal(name)}"
        yield f"UPDATE pg_catalog.pg_database SET datacl = {_items(database.acl)} {where}"  # noqa: S608 - quoted


def _of_a_role(setting: str) -> bool:
    return ": " in setting.partition("=")[0]


def _items(acl: tuple[str, ...]) -> str:
    return f"ARRAY[{', '.join(map(_literal, acl))}]::pg_catalog.aclitem[]"


def _literal(value: str) -> str:
    doubled = value.replace("'", "''")
    return f"'{doubled}'"
