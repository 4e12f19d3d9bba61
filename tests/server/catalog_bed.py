"""One application's database on a shared server, and every judgement that the snapshot allows."""

from __future__ import annotations

import secrets

from pytest_costmgmt.facts import catalog, used_privileges
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.judge import collations, privileges, server, session
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.judge.own_use import own_use
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret

NAME = "Kök-u \"d'b\\"
"A role and a database that need quoting, in every way that there is."


class Bed:
    """One database of one application on the shared server."""

    def __init__(self, superuser: Login) -> None:
        self.superuser = superuser
        tag = secrets.token_hex(3)
        self.name = f"{NAME} {tag}"
        self.password = Secret.generate()
        self.application = superuser.acting_as(self.name, self.password, database=self.name)
        self.context = Context(
            mode="external",
            profile="smoke",
            ours=False,
            writable=True,
            role=self.name,
            database=self.name,
            has_administrator=True,
            failed_logins=0,
            application="",
            run_id=tag,
            today="2026-11-23",
        )
        self.requirements = load("koku-hive").named(role=self.name, database=self.name)
        self.sql(
            f"CREATE ROLE {ident(self.name)} LOGIN PASSWORD {literal(self.password.reveal())}",
            f"CREATE DATABASE {ident(self.name)} OWNER {ident(self.name)}",
            on="postgres",
        )

    def sql(self, *statements: str, on: str = "", login: Login | None = None) -> None:
        """Run statements as the superuser, each on its own, in the application's database."""
        whom = (login or self.superuser).on(on or self.name)
        with connect(whom, deadline=10) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def read(self, login: Login | None = None) -> Catalog:
        """Take the snapshot; by default as the superuser."""
        with connect((login or self.superuser).on(self.name), deadline=10) as connection:
            return catalog.read(connection, self.requirements, self.context, timeout=10)

    def used(self) -> Catalog:
        """Take the snapshot and use the privileges."""
        use = used_privileges.use(
            self.application, run_id=self.context.run_id, deadline=20, extensions={}
        )
        return self.read().with_used(use)

    def apply(self, judged: Judgement) -> None:
        """Run the fixes of a judgement, one statement at a time."""
        assert judged.findings
        for finding in judged.findings:
            assert finding.fix is not None
            assert finding.fix.kind == "sql"
            text = finding.fix.text
            each = [text] if text.startswith("DO ") else text.split(";\n")
            self.sql(*each, on=finding.fix.database)

    def drop(self) -> None:
        """Remove the database and the role."""
        self.sql(f"DROP DATABASE {ident(self.name)} WITH (FORCE)", on="postgres")
        self.sql(f"DROP ROLE {ident(self.name)}", on="postgres")


def judged(bed: Bed, facts: Catalog) -> dict[str, Judgement]:
    """Return every judgement of both groups that needs the snapshot alone."""
    needs, context = bed.requirements, bed.context
    triggers = facts.server.event_triggers
    return {
        "floor": server.version_floor(facts.server, needs),
        "supported": server.supported(facts.server, context),
        "encoding": server.encoding(facts.server, needs),
        "collation": collations.databases(facts.server, needs, context),
        "collations": collations.others(facts.server, needs, context),
        "connections": server.connection_headroom(facts.server, needs, context),
        "locks": server.lock_table(facts.server, needs),
        "preload": server.preloaded(facts.server, needs),
        "settings": session.session_settings(facts.server, {"lock_timeout": "0"}, context),
        "event triggers": server.event_triggers(facts.server, facts.privileges.used, context),
        "database": privileges.create_on_database(facts.privileges, triggers),
        "public": privileges.create_on_public(facts.privileges, triggers),
        "temporary": privileges.temporary_tables(facts.privileges, triggers),
        "language": privileges.language(facts.privileges),
        "ownership": privileges.ownership(facts.privileges, needs),
        "own use": own_use(facts.privileges),
    }


def failing(bed: Bed, facts: Catalog) -> set[str]:
    """Return which judgements found something."""
    return {name for name, each in judged(bed, facts).items() if each.findings}
