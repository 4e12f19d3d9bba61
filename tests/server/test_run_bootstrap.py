"""``costmgmt bootstrap`` and a customer's preflight, in real processes on an empty server."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.initialize.fingerprint import Fingerprint, fingerprint
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.resources import resource
from tests.server.access_server import ADMIN, OwnServer, own_server
from tests.server.run_support import Place, Ran, place

pytest.importorskip("django_tenants")

SETTINGS = (
    "max_connections=60",
    "shared_preload_libraries=pg_stat_statements",
    "timezone=UTC",
    # It writes catalogs when its minute comes, and its rows are counted as anybody's.
    "autovacuum=off",
    "log_statement=all",
    "log_line_prefix=%a|%d|",
)
READS = (
    r"(SELECT|WITH|SHOW|EXPLAIN \(VERBOSE, FORMAT JSON\) SELECT|SET LOCAL|SAVEPOINT|RELEASE"
    r"|DECLARE \w+ NO SCROLL CURSOR FOR|FETCH|CLOSE|ROLLBACK"
    r"|BEGIN (ISOLATION LEVEL REPEATABLE READ )?READ ONLY)\b"
)

BROKEN = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("api", "0039_create_hive_db")]
    operations = [migrations.RunSQL("CREATE TABLE halfway (id int); SELECT 1/0")]
"""


class Target:
    """An application's database on the server: its options, password files and runs."""

    def __init__(self, where: Place, server: OwnServer, name: str) -> None:
        self.where, self.server = where, server
        self.role, self.database = f"Kök-u {name} role", f"Kök-u {name} db"
        self.password_file = where.folder / f"{name}.password"
        # One hive for all of them, as on a customer's server that it was made on first.
        self.hive_file = where.folder / "hive.password"
        self.admin_file = where.secret("admin.password", ADMIN)

    @property
    def passwords(self) -> list[str]:
        """Every password that nothing may show."""
        files = (self.password_file, self.hive_file)
        return [ADMIN, *(path.read_text().strip() for path in files if path.exists())]

    @property
    def application(self) -> list[str]:
        """The application's login, as options."""
        where = f"host=127.0.0.1 port={self.server.port}"
        return [
            f"--costmgmt-dsn={where} user='{self.role}' dbname='{self.database}'",
            f"--costmgmt-password-file={self.password_file}",
            f"--costmgmt-hive-password-file={self.hive_file}",
        ]

    @property
    def administrator(self) -> list[str]:
        """The administrator's login, as options."""
        where = f"host=127.0.0.1 port={self.server.port}"
        return [
            f"--costmgmt-admin-dsn={where} user=postgres dbname=postgres",
            f"--costmgmt-admin-password-file={self.admin_file}",
        ]

    def bootstrap(self, *more: str) -> Ran:
        """Run ``costmgmt bootstrap`` with both logins."""
        return self.where.run(
            *self.application, *self.administrator, "--costmgmt-allow=scratch", *more,
            command="bootstrap",
        )  # fmt: skip

    def check(self, *more: str) -> Ran:
        """Run ``costmgmt check`` with the application's login."""
        return self.where.run(*self.application, *more, command="check")

    def fingerprint(self) -> Fingerprint:
        """Return the catalogs of its databases that exist."""
        found = self.server.sql("SELECT datname FROM pg_database")
        wanted = {(self.database,), ("hive",), ("postgres",)} & {tuple(row) for row in found}
        logins = [self.server.admin.on(row[0]) for row in sorted(wanted)]
        return fingerprint(logins, ("django_migrations",), deadline=10)


def manage(project: Path) -> str:
    """Return the option that names a project's management command."""
    return f"--costmgmt-manage={shlex.join([sys.executable, str(project / 'manage.py')])}"


EXAMPLE = resource("examples/django-project")


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[OwnServer]:
    """An empty server whose log tells every statement."""
    with own_server(programs, SETTINGS) as started:
        yield started


@pytest.fixture(scope="module")
def where() -> Iterator[Place]:
    """A place for this module's runs."""
    with place() as made:
        yield made


@pytest.fixture(scope="module")
def prepared(where: Place, server: OwnServer) -> Target:
    """A database that was made ready for an install, and nothing installed."""
    target = Target(where, server, "empty")
    done = target.bootstrap()
    assert done.status == 0, done.said
    return target


@pytest.fixture(scope="module")
def migrated(where: Place, server: OwnServer, prepared: Target) -> Target:  # noqa: ARG001 - hive
    """A database that the example application was installed into."""
    target = Target(where, server, "full")
    done = target.bootstrap(manage(EXAMPLE))
    assert done.status == 0, done.said
    assert "applying api.0039_create_hive_db in public" in done.said
    return target


def test_a_dry_run_changes_nothing_and_is_a_script_for_psql(
    where: Place, server: OwnServer, programs: Programs, prepared: Target
) -> None:
    """--dry-run prints SQL that psql takes, writes no file, and leaves every catalog as it was."""
    target = Target(where, server, "dry")
    before = target.fingerprint()
    ran = target.bootstrap("--dry-run")
    assert ran.status == 0, ran.said
    assert f'CREATE ROLE "{target.role}"' in ran.out
    assert "-- Nothing was changed." in ran.out
    assert target.fingerprint() == before
    assert not target.password_file.exists()
    for password in prepared.passwords:
        assert password not in ran.said
    script = where.script("plan.sql", ran.out)
    done = subprocess.run(
        [str(programs.bindir / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-v", "password=x y'z",
         "-h", "127.0.0.1", "-p", server.port, "-U", "postgres", "-d", "postgres", "-f", script],
        check=False, capture_output=True, text=True, env={"PGPASSWORD": ADMIN},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    again = target.bootstrap("--dry-run")
    assert "planned" not in again.out.replace("-- plan for", ""), again.out


def test_bootstrap_is_idempotent(migrated: Target) -> None:
    """A second bootstrap says present of every step, migrates nothing, changes nothing."""
    before = migrated.fingerprint()
    ran = migrated.bootstrap(manage(EXAMPLE))
    assert ran.status == 0, ran.said
    assert "created" not in ran.out
    assert "changed" not in ran.out
    assert f"role {migrated.role}" in ran.out
    assert "migrated 0 " in ran.out
    assert migrated.fingerprint() == before


def test_bootstrap_shows_no_password_and_its_files_are_private(
    where: Place, migrated: Target
) -> None:
    """The generated passwords are in their 0600 files and nowhere else."""
    for path in (migrated.password_file, migrated.hive_file):
        assert path.stat().st_mode & 0o777 == 0o600
    for run in where.runs:
        for password in migrated.passwords:
            assert password not in run.said
            assert not any(password in p.read_text() for p in run.report.rglob("*") if p.is_file())


def test_what_was_bootstrapped_is_conformant(migrated: Target) -> None:
    """The smoke profile of a bootstrapped server, under names that need quoting, is green."""
    ran = migrated.check(*migrated.administrator, "--costmgmt-profile=smoke", manage(EXAMPLE))
    ran.sound(0, "conformant", *migrated.passwords)
    assert ran.report["target"]["database"] == migrated.database


@pytest.mark.parametrize("who", ["application", "administrator"])
def test_a_preflight_of_a_prepared_database_is_conformant(prepared: Target, who: str) -> None:
    """Before an install an empty prepared database is right, by whichever login it is judged."""
    more = prepared.administrator if who == "administrator" else []
    prepared.check(*more, manage(EXAMPLE)).sound(0, "conformant", *prepared.passwords)
    prepared.check(*more).sound(0, "conformant", *prepared.passwords)


def test_a_half_migrated_database_is_not_ready(
    where: Place,
    server: OwnServer,
    prepared: Target,  # noqa: ARG001 - it makes hive
    tmp_path: Path,
) -> None:
    """A migration that fails half way is named by bootstrap, and found by a preflight."""
    project = tmp_path / "project"
    shutil.copytree(EXAMPLE, project, ignore=shutil.ignore_patterns("__pycache__"))
    (project / "api/migrations/0055_install_pg_stat_statements.py").write_text(BROKEN)
    target = Target(where, server, "half")
    ran = target.bootstrap(manage(project))
    assert ran.status == 1, ran.said
    assert "api.0055_install_pg_stat_statements" in ran.err
    assert "division by zero" in ran.err
    assert "Traceback" not in ran.said
    checked = target.check(manage(EXAMPLE)).sound(1, "non-conformant", *target.passwords)
    assert checked.outcomes["CM-MIG-002"] == "failed"
    assert "0055_install_pg_stat_statements" in str(checked.report)


STATISTICS = """
SELECT datname, tup_inserted, tup_updated, tup_deleted, temp_files, deadlocks
  FROM pg_stat_database WHERE datname IS NOT NULL ORDER BY 1
"""


def _statistics(server: OwnServer) -> list[tuple[object, ...]]:
    # Other sessions' counts arrive when they end.
    server.sql("SELECT pg_stat_clear_snapshot()")
    return server.sql(STATISTICS)


@pytest.mark.parametrize("who", ["application", "administrator"])
def test_a_preflight_writes_nothing(migrated: Target, server: OwnServer, who: str) -> None:
    """The promise to a customer's administrator: counters, catalogs and the server's log show it.

    A write shows in the tuple counters, a change in the fingerprint, an attempt in the log.
    """
    log = server.folder / "log"
    before, counted, start = migrated.fingerprint(), _statistics(server), log.stat().st_size
    more = migrated.administrator if who == "administrator" else []
    migrated.check(*more, manage(EXAMPLE), "--costmgmt-profile=smoke")
    with log.open() as file:
        file.seek(start)
        said = file.read()
    assert migrated.fingerprint() == before
    assert _statistics(server) == counted
    found = re.findall(r"^[^|\n]*\|[^|\n]*\|LOG:  (?:statement|execute .*?): \s*(.*(?:\n\t.*)*)$",
                       said, re.MULTILINE)  # fmt: skip
    assert len(found) > 20, said
    # Several may come at once: what stands behind the first counts as well.
    bare = [re.sub(r"--.*|'[^']*'", "''", text) for text in found]
    each = [part.strip() for text in bare for part in text.split(";") if part.strip()]
    assert [part for part in each if not re.match(READS, part, re.IGNORECASE)] == []
