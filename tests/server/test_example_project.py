"""The example application keeps koku's contract on a real server."""

# ruff: noqa: S608 - the names are our own

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg import sql

from pytest_costmgmt.facts import migrations as facts
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.migrations import Expected, MigrationFacts
from pytest_costmgmt.judge import migrations as judge
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.resources import resource
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded

pytest.importorskip("django_tenants")

MANAGE = (sys.executable, str(resource("examples/django-project") / "manage.py"))
CONTEXT = Context(
    mode="external", profile="smoke", ours=False, writable=False, role="koku", database="koku",
    has_administrator=True, failed_logins=0, application="given", run_id="r", today="2026-01-01",
)  # fmt: skip


class Application:
    """The example on a database of its own: prepared as an administrator prepares koku's."""

    def __init__(self, superuser: Login) -> None:
        tag = secrets.token_hex(4)
        self.superuser = superuser
        self.password = secrets.token_hex(16)
        self.name, self.hive = f'Kök-u "{tag}', f"hive-{tag}"
        login = superuser.acting_as(self.name, Secret(self.password), database=self.name)
        self.login = login
        self.manage: tuple[str, ...] = MANAGE

    def prepare(self, *, hive: bool = True, statements: bool = True) -> None:
        """Make roles, databases, and the extension that only a superuser may create."""
        for name in (self.name, self.hive) if hive else (self.name,):
            self.admin("CREATE ROLE {} LOGIN PASSWORD {}", name, text=self.password)
            self.admin("CREATE DATABASE {0} OWNER {0}", name)
        if statements:
            with connect(self.superuser.on(self.name), deadline=20) as connection:
                connection.execute("CREATE EXTENSION pg_stat_statements")

    def admin(self, statement: str, *names: str, text: str = "") -> None:
        """Run a statement as the administrator."""
        composed = sql.SQL(statement).format(  # type: ignore[arg-type, unused-ignore]
            *map(sql.Identifier, names), *([sql.Literal(text)] if text else [])
        )
        with connect(self.superuser, deadline=20) as connection:
            connection.execute(composed)

    def remove(self) -> None:
        """Leave nothing on the server."""
        for name in (self.name, self.hive):
            self.admin("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)
            self.admin("DROP ROLE IF EXISTS {}", name)

    def environment(self, **more: str) -> dict[str, str]:
        """Return koku's environment, with the process's own."""
        return {
            **os.environ,
            "DATABASE_SERVICE_NAME": "database",
            "DATABASE_ENGINE": "postgresql",
            "DATABASE_SERVICE_HOST": self.superuser.where["host"],
            "DATABASE_SERVICE_PORT": self.superuser.where["port"],
            "DATABASE_NAME": self.name,
            "DATABASE_USER": self.name,
            "DATABASE_PASSWORD": self.password,
            "HIVE_DATABASE_NAME": self.hive,
            "HIVE_DATABASE_USER": self.hive,
            "HIVE_DATABASE_PASSWORD": self.password,
            **more,
        }

    def run(self, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the management command."""
        return subprocess.run(
            [*self.manage, *arguments], env=self.environment(**more), cwd="/",
            capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    def ok(self, *arguments: str, **more: str) -> str:
        """Run it and expect it to end well."""
        done = self.run(*arguments, **more)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def ask(self, query: str) -> list[tuple[object, ...]]:
        """Return a query's rows, as the application."""
        with connect(self.login, deadline=20) as connection:
            cursor = connection.execute(query.encode())
            return cursor.fetchall() if cursor.description else []

    def expected(self) -> Expected:
        """Ask the application for its migrations."""
        return facts.expected_from_application(self.manage, self.environment(), deadline=60)

    def facts(self, expected: Expected) -> MigrationFacts:
        """Read what the database records."""
        with (
            connect(self.login, deadline=20) as connection,
            read_only(connection, timeout=20) as cursor,
        ):
            return facts.read(cursor, load("koku-hive"), expected)

    def failing(self, expected: Expected) -> list[str]:
        """Return which judges have findings."""
        found = self.facts(expected)
        judges = (judge.recorded, judge.missing, judge.ahead, judge.inconsistent, judge.tenants,
                  judge.template, judge.orphans, judge.leftovers)  # fmt: skip
        return [f.__name__ for f in judges if f(found, load("koku-hive"), CONTEXT).findings]


@pytest.fixture(scope="module")
def superuser(programs: Programs) -> Iterator[Login]:
    """Yield an administrator's login to a server of this module's own."""
    instance = embedded.start(run_id=f"example-{secrets.token_hex(4)}", programs=programs)
    try:
        yield instance.superuser
    finally:
        instance.stop()


@pytest.fixture
def application(superuser: Login) -> Iterator[Application]:
    """Yield the example with nothing prepared for it."""
    made = Application(superuser)
    try:
        yield made
    finally:
        made.remove()


def test_from_nothing_to_tenants_and_judged_right(application: Application) -> None:
    """Migrate touches public only; the first tenant brings the template; all of it is right."""
    application.prepare()
    expected = application.expected()
    assert application.run("migrate_schemas", "--check").returncode == 1
    application.ok("migrate")
    assert application.ask("SELECT count(*) FROM api_tenant") == [(0,)]
    assert application.failing(expected) == []
    application.ok("create_tenants", "acct1000001", "org1000002")
    found = application.facts(expected)
    assert found.tenants == ("acct1000001", "org1000002", "template0")
    assert len(found.recorded) == 1
    assert application.failing(expected) == []
    application.ok("migrate", "--check")


def test_a_tenant_has_what_kokus_have(application: Application) -> None:
    """Partitions, a trigger that works, a sequence, jsonb, a trigram index."""
    application.prepare()
    application.ok("migrate")
    application.ok("create_tenants", "org1000002")
    tables = application.ask(
        "SELECT count(*) >= 10, count(*) FILTER (WHERE relkind = 'p') FROM pg_class"
        " WHERE relnamespace = 'org1000002'::regnamespace AND relkind IN ('r', 'p')"
    )
    assert tables == [(True, 1)]
    assert application.ask(
        "SELECT count(*) > 0, sum(s.cost) = (SELECT sum(cost) FROM org1000002.reporting_costline)"
        " FROM org1000002.reporting_costsummary s"
    ) == [(True, True)]
    assert application.ask("SELECT min(number) FROM org1000002.reporting_invoice") == [(1000,)]
    extensions = application.ask(
        "SELECT extname::text FROM pg_extension"
        " WHERE extnamespace = 'public'::regnamespace ORDER BY 1"
    )
    assert extensions == [("pg_stat_statements",), ("pg_trgm",), ("uuid-ossp",)]


def test_each_step_is_idempotent(application: Application) -> None:
    """A second migrate and a second create_tenants change nothing."""
    application.prepare()
    application.ok("migrate")
    application.ok("create_tenants", "acct1000001")
    counted = "SELECT count(*), max(id) FROM acct1000001.reporting_costline"
    before = application.ask(counted)
    application.ok("migrate")
    assert "acct1000001: present" in application.ok("create_tenants", "acct1000001")
    assert application.ask(counted) == before


def test_a_new_tenant_after_an_old_one_was_dropped_behind_its_row(
    application: Application,
) -> None:
    """The lost schema is told, and the command of its fix makes an empty one."""
    application.prepare()
    application.ok("migrate")
    application.ok("create_tenants", "acct1000001")
    expected = application.expected()
    application.ask("DROP SCHEMA acct1000001 CASCADE")
    assert application.failing(expected) == ["tenants"]
    finding = judge.tenants(application.facts(expected), load("koku-hive"), CONTEXT).findings[0]
    assert finding.fix is not None
    done = subprocess.run(
        ["/bin/sh", "-ec", finding.fix.text], env=application.environment(),
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert application.failing(expected) == []


def test_lost_records_stop_django_and_the_fix_lets_it_go_on(application: Application) -> None:
    """What Django calls inconsistent is what we do, and the pasted SQL ends both."""
    application.prepare()
    application.ok("migrate")
    expected = application.expected()
    application.ask("DELETE FROM django_migrations WHERE name = '0039_create_hive_db'")
    done = application.run("migrate")
    assert "InconsistentMigrationHistory" in done.stderr
    assert application.failing(expected) == ["missing", "inconsistent"]
    found = application.facts(expected)
    for function in (judge.missing, judge.inconsistent):
        finding = function(found, load("koku-hive"), CONTEXT).findings[0]
        assert finding.fix is not None
        application.ask(finding.fix.text)
    assert application.failing(expected) == []
    application.ok("migrate")


def test_half_migrated_is_ended_by_migrating(application: Application) -> None:
    """After a failed migrate the rest is missing, and the command of the fix applies it."""
    application.prepare(hive=False)
    done = application.run("migrate")
    assert done.returncode != 0
    assert f'role "{application.hive}" does not exist' in done.stderr
    expected = application.expected()
    assert application.failing(expected) == ["missing"]
    application.admin("CREATE ROLE {} LOGIN PASSWORD {}", application.hive, text="unused-elsewhere")
    application.admin("CREATE DATABASE {0} OWNER {0}", application.hive)
    finding = judge.missing(application.facts(expected), load("koku-hive"), CONTEXT).findings[0]
    assert finding.fix is not None
    subprocess.run(
        ["/bin/sh", "-ec", finding.fix.text], env=application.environment(), check=True,
        capture_output=True, timeout=240,
    )  # fmt: skip
    assert application.failing(expected) == []


def test_on_premises_needs_no_hive(application: Application) -> None:
    """With ONPREM=True role and database hive are not asked for, nor made."""
    application.prepare(hive=False)
    application.ok("migrate", ONPREM="True")
    assert application.ask(
        f"SELECT count(*) FROM pg_database WHERE datname = '{application.hive}'"
    ) == [(0,)]


def test_pg_stat_statements_must_be_there_before(application: Application) -> None:
    """Its migration fails as koku's does: only a superuser may create it."""
    application.prepare(statements=False)
    done = application.run("migrate")
    assert "permission denied to create extension" in done.stderr


@pytest.mark.parametrize("variable", ["DATABASE_ENGINE", "DATABASE_NAME", "DATABASE_SERVICE_HOST"])
def test_a_missing_variable_fails_by_name(application: Application, variable: str) -> None:
    """What koku demands of its environment, the example does."""
    done = application.run("check", **{variable: ""})
    assert done.returncode != 0
    assert variable in done.stderr


@pytest.mark.parametrize("password", ["p@ss/w:rd#1%", "a/b/c/d/e/f", "one@two@three"])
def test_a_password_that_breaks_a_uri_breaks_0039_without_being_shown(
    application: Application, password: str
) -> None:
    """As koku does, it pastes the password into a URI; its own message shows nothing of it."""
    application.prepare()
    application.admin("ALTER ROLE {} PASSWORD {}", application.name, text=password)
    done = application.run("migrate", DATABASE_PASSWORD=password)
    assert "breaks a URI" in done.stderr
    assert password[2:] not in done.stderr


def test_it_runs_from_a_folder_that_nobody_may_write(
    application: Application, tmp_path: Path
) -> None:
    """No file is written beside the application: it may be in a wheel."""
    copy = tmp_path / "application"
    shutil.copytree(Path(MANAGE[1]).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    before = sorted(copy.rglob("*"))
    for path in [copy, *before]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    application.manage = (sys.executable, "-B", str(copy / "manage.py"))
    application.prepare()
    application.ok("migrate")
    application.ok("create_tenants", "acct1000001")
    assert sorted(copy.rglob("*")) == before


def test_models_and_migrations_agree(application: Application) -> None:
    """Django would make no further migration."""
    application.prepare()
    application.ok("makemigrations", "--check", "--dry-run")


def test_squashed_and_replaced_migrations_are_both_right(application: Application) -> None:
    """An older installation recorded the two that were squashed: that is the same history."""
    application.prepare()
    application.ok("migrate")
    expected = application.expected()
    squash = "0002_provider_settings_squashed_0003_provider_index"
    application.ask(f"DELETE FROM django_migrations WHERE name = '{squash}'")
    assert application.failing(expected) == []
    application.ok("migrate", "--check")
