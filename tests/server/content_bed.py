"""Databases whose contents are hashed, and what is done to them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

import msgspec

from pytest_costmgmt.backup import content
from pytest_costmgmt.backup.listing import Listed
from pytest_costmgmt.backup.model import Relation
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login

Rows = dict[str, tuple[int, str]]

UNBIND = """
SELECT pg_catalog.format('DROP PUBLICATION %I', pubname) FROM pg_catalog.pg_publication
UNION ALL
SELECT pg_catalog.format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
FROM pg_catalog.pg_constraint WHERE NOT convalidated AND conrelid > 0
"""


def copy(login: Login) -> Login:
    """Return a copy of a database to write to.

    Its settings stay behind, and what binds rows: publications forbid to delete where there is no
    key, and some rows are older than the constraints that are NOT VALID.
    """
    other = login.on(f"copy {secrets.token_hex(3)}")
    made = f"CREATE DATABASE {ident(other.database)} TEMPLATE {ident(login.database)}"
    run(login.on("postgres"), made)
    run(other, *(row[0] for row in run(other, UNBIND)))
    return other


def run(login: Login, *statements: str) -> list[Any]:
    """Run statements, each on its own; return the last one's rows."""
    rows: list[Any] = []
    with connect(login, deadline=10) as connection:
        for statement in statements:
            done = connection.execute(statement.encode())
            rows = done.fetchall() if done.description else []
    return rows


class Way:
    """How tables are hashed: by lines or not, however large they are; as they come if None."""

    lines: bool | None = None


def relations(login: Login, *, snapshot: str | None = None, jobs: int = 2) -> Sequence[Relation]:
    """Hash every relation of a database."""
    with connect(login, deadline=10) as connection, read_only(connection, timeout=30) as cursor:
        found: Sequence[Listed] = content.listed(cursor)
    if Way.lines is not None:
        found = tuple(
            msgspec.structs.replace(each, lines=Way.lines and each.kind == "table")
            for each in found
        )
    return content.hash_all(login, found, snapshot=snapshot, jobs=jobs, timeout=60)


def hashes(login: Login, *, snapshot: str | None = None) -> Rows:
    """Return each relation's rows and content by its name."""
    return {
        f"{each.schema}.{each.name}": (each.rows, each.content)
        for each in relations(login, snapshot=snapshot)
    }


class Changed:
    """A database that changes; after each step it tells which relations' hashes did."""

    def __init__(self, login: Login) -> None:
        self.login = login
        self.before = hashes(login)

    def by(self, *statements: str) -> set[str]:
        """Run statements and return the relations that hash otherwise than before."""
        run(self.login, "SET session_replication_role = replica", *statements)
        before, self.before = self.before, hashes(self.login)
        return {each for each in self.before if self.before[each] != before[each]}
