"""Databases and an owner of one test's own, under names that need quoting in every way."""

from __future__ import annotations

import secrets
from contextlib import closing
from typing import Any

from pytest_costmgmt.backup.occupied import Existing, existing
from pytest_costmgmt.backup.swap import Plan
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.secret import Secret

AWKWARD = "--Kök-u \"d'b\\ {}%s\n"


class RestoreBed:
    """A role with CREATEDB that owns what it restores, on a shared server."""

    def __init__(self, superuser: Login) -> None:
        self.superuser, self.tag = superuser, secrets.token_hex(3)
        self.role = f"-Ö \"w'n {self.tag}"
        self.password = Secret(f"owner's {self.tag}")
        self.name = f"{AWKWARD}{self.tag}"
        self.run(
            f"CREATE ROLE {ident(self.role)} LOGIN CREATEDB PASSWORD"
            f" {literal(self.password.reveal())}"
        )

    @property
    def owner(self) -> Login:
        """The owner's login, for the database postgres."""
        return self.superuser.acting_as(self.role, self.password, database="postgres")

    def run(self, *statements: str, on: str = "postgres", by: Login | None = None) -> None:
        """Run statements, by default as the superuser."""
        with closing(connect((by or self.superuser).on(on), deadline=10)) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def rows(self, query: str, *values: object, on: str = "postgres") -> list[tuple[Any, ...]]:
        """Return a query's rows, as the superuser sees them."""
        with closing(connect(self.superuser.on(on), deadline=10)) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def create(self, name: str, mark: str) -> None:
        """Create a database of the owner's that says what it is."""
        self.run(f"CREATE DATABASE {ident(name)} OWNER {ident(self.role)} TEMPLATE template0")
        self.run(
            "CREATE TABLE public.mark (mark text)",
            f"INSERT INTO public.mark VALUES ({literal(mark)})",  # noqa: S608 - quoted
            f"ALTER TABLE public.mark OWNER TO {ident(self.role)}",
            on=name,
        )

    def mark(self, name: str) -> str | None:
        """Return what a database says it is, entered as its owner; None if it is not there."""
        if not self.rows("SELECT 1 FROM pg_database WHERE datname = %s", name):
            return None
        with closing(connect(self.owner.on(name), deadline=10)) as connection:
            found = connection.execute("SELECT mark FROM public.mark").fetchone()
        return None if found is None else str(found[0])

    def look(self, name: str) -> Existing | None:
        """Return a database as the owner sees it."""
        with closing(connect(self.owner, deadline=10)) as connection:
            return existing(connection, name)

    def plan(self, **changes: Any) -> Plan:
        """Make an old and a new database; return the plan to swap them."""
        self.create(self.name, "old")
        self.create(self.new, "new")
        found, old = self.look(self.new), self.look(self.name)
        assert found is not None
        return Plan(
            **{
                "new": self.new,
                "oid": found.oid,
                "name": self.name,
                "old": old,
                "kept": self.kept,
                **changes,
            }
        )

    @property
    def new(self) -> str:
        """What the restored database is called."""
        return f"{self.name}.new"

    @property
    def kept(self) -> str:
        """What the old database is called in the end."""
        return f"{self.name}.old"

    def marks(self) -> dict[str, str | None]:
        """Return which database is under which name."""
        named = {"name": self.name, "new": self.new, "kept": self.kept}
        return {what: self.mark(name) for what, name in named.items()}

    def databases(self) -> set[str]:
        """Return the databases of this test."""
        found = self.rows("SELECT datname FROM pg_database WHERE strpos(datname, %s) > 0", self.tag)
        return {row[0] for row in found}

    def close(self) -> None:
        """Remove all of it."""
        self.run("SELECT 1")
        for name, slots in self.rows(
            "SELECT d.datname, ARRAY(SELECT s.slot_name::text FROM pg_replication_slots s"
            " WHERE s.database = d.datname) FROM pg_database d WHERE strpos(d.datname, %s) > 0",
            self.tag,
        ):
            for slot in slots:
                self.run(f"SELECT pg_drop_replication_slot({literal(slot)})")
            for (gid,) in self.rows("SELECT gid FROM pg_prepared_xacts WHERE database = %s", name):
                self.run(f"ROLLBACK PREPARED {literal(gid)}", on=name)
            self.run(f"ALTER DATABASE {ident(name)} IS_TEMPLATE false ALLOW_CONNECTIONS true")
            self.run(f"DROP DATABASE {ident(name)} WITH (FORCE)")
        for (role,) in self.rows(
            "SELECT rolname FROM pg_roles WHERE strpos(rolname, %s) > 0", self.tag
        ):
            self.run(f"DROP ROLE {ident(role)}")
