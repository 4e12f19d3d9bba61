"""Migrations of a real application on a real server: success, each usual failure, interruption."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.initialize import migrations
from pytest_costmgmt.initialize.step import Initialized
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.server.initialize_bed import Bed

pytest.importorskip("django_tenants")


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> Bed:
    """Return names of this test's own; the application's password survives koku's URI."""
    bed = Bed(server.superuser)
    bed.password = Secret.generate()
    return bed


def script(folder: Path, code: str) -> tuple[str, ...]:
    """Return a management command that runs ``code``."""
    (folder / "manage.py").write_text(code)
    return (sys.executable, str(folder / "manage.py"))


def within(bed: Bed, done: Initialized, folder: Path) -> migrations.Surroundings:
    """Return what the application runs in."""
    return migrations.surroundings(done, bed.needs, folder)


def failed(
    bed: Bed, done: Initialized, folder: Path, server: embedded.Instance
) -> migrations.MigrationFailed:
    """Migrate the example application, which fails; return how it is told."""
    with pytest.raises(migrations.MigrationFailed) as caught:
        migrations.migrate(
            migrations.default_manage(),
            within(bed, done, folder),
            deadline=120,
            server_log=server.log,
        )
    return caught.value


def test_the_example_is_migrated_with_progress_and_output(bed: Bed, tmp_path: Path) -> None:
    """Each migration is told as it begins, the output is kept, and a second run applies none."""
    done = bed.initialize().require()
    told: list[str] = []
    manage, place = migrations.default_manage(), within(bed, done, tmp_path)
    log = tmp_path / "log"
    first = migrations.migrate(manage, place, deadline=120, progress=told.append, log=log)
    assert "applying api.0039_create_hive_db in public" in told
    assert set(first.applied) == {line.split()[1] for line in told}
    assert "Applying api.0039_create_hive_db... OK" in log.read_text()
    tenants = migrations.prepare_example(manage, place, deadline=120)
    assert tenants.applied == ()
    rows = bed.rows("SELECT schema_name FROM api_tenant ORDER BY 1", on=bed.database)
    assert {row[0] for row in rows} >= set(migrations.EXAMPLE_TENANTS)
    assert migrations.migrate(manage, place, deadline=120).applied == ()


def test_a_missing_hive_is_named(bed: Bed, tmp_path: Path, server: embedded.Instance) -> None:
    """Without role and database hive the failure names the migration and the cause."""
    needs = bed.needs
    bed.needs = msgspec.structs.replace(
        needs, hive=msgspec.structs.replace(needs.hive, policy="forbidden")
    )
    done = bed.initialize()
    bed.needs = needs
    error = failed(bed, done, tmp_path, server)
    assert error.migration == "api.0039_create_hive_db"
    assert "Role and database hive are missing" in error.hint


def test_a_missing_extension_is_named(bed: Bed, tmp_path: Path, server: embedded.Instance) -> None:
    """Without pg_stat_statements the failure names statement and cause, and can be resumed."""
    done = bed.initialize()
    bed.sql("DROP EXTENSION pg_stat_statements", on=bed.database)
    error = failed(bed, done, tmp_path, server)
    assert error.migration == "api.0055_install_pg_stat_statements"
    assert "InsufficientPrivilege" in error.message
    assert "CREATE EXTENSION" in error.message
    assert "Only a superuser may create this extension" in error.hint
    bed.initialize().require()
    resumed = migrations.migrate(
        migrations.default_manage(), within(bed, done, tmp_path), deadline=120
    )
    assert resumed.applied[0] == "api.0055_install_pg_stat_statements"


def test_a_missing_privilege_is_named(bed: Bed, tmp_path: Path, server: embedded.Instance) -> None:
    """Without CREATE on schema public the cause says what owning the database gives."""
    done = bed.initialize()
    bed.sql(
        "ALTER SCHEMA public OWNER TO CURRENT_USER",
        "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
        on=bed.database,
    )
    error = failed(bed, done, tmp_path, server)
    assert "must own its database" in error.hint


def test_a_timeout_of_the_role_is_named(
    bed: Bed, tmp_path: Path, server: embedded.Instance
) -> None:
    """A statement_timeout that is too short to migrate is the cause that is told."""
    done = bed.initialize()
    bed.sql(f"ALTER ROLE {ident(bed.role)} SET statement_timeout = '250ms'")
    # Not yet committed, this table makes the application's own CREATE TABLE wait.
    with connect(bed.superuser.on(bed.database), deadline=10, autocommit=False) as other:
        other.execute("CREATE TABLE public.django_migrations (id int)")
        try:
            assert "statement_timeout" in failed(bed, done, tmp_path, server).hint
        finally:
            other.rollback()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        pytest.param("raise SystemExit(1)", "exit status 1; it said nothing", id="exits-1"),
        pytest.param(
            "import os; os.write(1, b'\\xff\\xfe\\x00'); raise SystemExit(2)",
            "exit status 2; it said last:\n  \\xff\\xfe\\x00",
            id="binary",
        ),
        pytest.param(
            "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
            "was killed by SIGKILL",
            id="killed",
        ),
        pytest.param("import no_such_application", "lacks the application", id="wrong-python"),
        pytest.param("import sys; print('x ' * 9); this is no python", "SyntaxError", id="syntax"),
    ],
)
def test_a_command_that_breaks(bed: Bed, tmp_path: Path, code: str, told: str) -> None:
    """Each way to break is one clear sentence with what it said last."""
    done = bed.initialize()
    with pytest.raises(migrations.MigrationFailed) as caught:
        migrations.migrate(script(tmp_path, code), within(bed, done, tmp_path), deadline=60)
    assert told in str(caught.value)


def test_a_command_that_hangs(bed: Bed, tmp_path: Path) -> None:
    """At its deadline it is ended, and what it was applying is told."""
    done = bed.initialize()
    # A shell, which is there at once on a busy machine too.
    hanging = ("/bin/sh", "-c", "printf '  Applying api.0001_initial...'; sleep 600")
    with pytest.raises(migrations.MigrationFailed) as caught:
        migrations.migrate(hanging, within(bed, done, tmp_path), deadline=2)
    assert "api.0001_initial (after 0 others) was not done within 2 s" in str(caught.value)
    assert caught.value.migration == "api.0001_initial"


def test_a_command_that_does_not_exist(bed: Bed, tmp_path: Path) -> None:
    """A command that is not there is a usage error, before any lock is taken."""
    done = bed.initialize()
    with pytest.raises(UsageProblem, match="does not exist"):
        migrations.migrate(("no-such-manage",), within(bed, done, tmp_path), deadline=5)


def test_the_environment_is_kokus_and_only_its(
    bed: Bed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sees koku's variables with the right password, and none of ours or of libpq's secrets."""
    monkeypatch.setenv("PGPASSWORD", "the-administrators-own")
    monkeypatch.setenv("COSTMGMT_ADMIN_DSN", "postgresql://x:the-administrators-own@h/d")
    monkeypatch.setenv("DATABASE_SERVICE_CERT", "stale")
    done = bed.initialize()
    code = (
        "import os, sys\n"
        "for name, value in sorted(os.environ.items()):\n"
        "    if 'administrators-own' in value or value == 'stale': sys.exit(name)\n"
        "print('argv', sys.argv[1:], flush=True)\n"
        "import psycopg\n"
        "e = os.environ\n"
        "c = psycopg.connect(host=e['DATABASE_SERVICE_HOST'], port=e['DATABASE_SERVICE_PORT'],\n"
        "    dbname=e['DATABASE_NAME'], user=e['DATABASE_USER'], password=e['DATABASE_PASSWORD'])\n"
        "c.close(); print(e['DATABASE_SERVICE_NAME'], e['DATABASE_ENGINE'], e['ONPREM'])"
    )
    ran = migrations.migrate(script(tmp_path, code), within(bed, done, tmp_path), deadline=60)
    assert ran.tail == ("argv ['migrate', '--noinput']", "database postgresql False")


def test_two_migrations_of_one_database_take_turns(bed: Bed, tmp_path: Path) -> None:
    """While one runs the database's lock is held, so that a second one waits."""
    done = bed.initialize()
    code = (
        "import os, psycopg\n"
        "e = os.environ\n"
        "with psycopg.connect(host=e['DATABASE_SERVICE_HOST'], port=e['DATABASE_SERVICE_PORT'],\n"
        "  dbname=e['DATABASE_NAME'], user=e['DATABASE_USER'],\n"
        "  password=e['DATABASE_PASSWORD']) as c:\n"
        "  print(c.execute(\"select count(*) from pg_locks where locktype = 'advisory'\"\n"
        "    ' and database = (select oid from pg_database where datname = current_database())'\n"
        "  ).fetchone()[0])\n"
    )  # fmt: skip
    ran = migrations.migrate(script(tmp_path, code), within(bed, done, tmp_path), deadline=60)
    assert ran.tail == ("1",)
    with connect(bed.superuser.on(bed.database), deadline=10) as connection:
        found = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert found.fetchone() == (0,)


def test_without_django_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Django is not installed, the sentence says what to install."""
    monkeypatch.setattr(migrations, "find_spec", lambda _: None)
    with pytest.raises(UsageProblem, match=r"pip install\s+'pytest-costmgmt\[embedded\]'"):
        migrations.default_manage()
