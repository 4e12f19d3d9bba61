"""The fixtures in other people's tests: what they are given, and what is left of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from tests.plugin.conftest import Ran, Run

# Each test writes down what it was given, for the test of it to look at.
NOTES = """
import os
from pathlib import Path
import pytest
def note(kind, text):
    place = Path(os.environ["NOTES"]) / f"{kind}-{os.urandom(8).hex()}"
    place.write_text(text)
@pytest.fixture(autouse=True)
def noted(request):
    if "costmgmt_server" in request.fixturenames:
        note("server", request.getfixturevalue("costmgmt_server").application.where["host"])
    if "costmgmt_database" in request.fixturenames:
        note("database", request.getfixturevalue("costmgmt_database").name)
"""
FOUR = """
import os, time
from pathlib import Path
import pytest
@pytest.mark.parametrize("number", range(4))
def test_fresh(costmgmt_connection, number):
    c = costmgmt_connection
    c.execute("CREATE TABLE mine (n int)")
    c.commit()
    found = c.execute("SELECT extname FROM pg_extension WHERE extname <> 'plpgsql' ORDER BY 1")
    assert [name for (name,) in found] == ["pg_stat_statements", "pg_trgm", "uuid-ossp"]
@pytest.mark.skipif("PYTEST_XDIST_WORKER" in os.environ, reason="others are at work")
def test_removed(costmgmt_database, costmgmt_server):
    from pytest_costmgmt.postgres.connect import connect
    used = {path.read_text() for path in Path(os.environ["NOTES"]).glob("database-*")}
    used.remove(costmgmt_database.name)
    assert len(used) == 4
    # The last one's removal may be under way still.
    deadline = time.monotonic() + 60
    while True:
        with connect(costmgmt_server.administrator, deadline=10) as c:
            names = {name for (name,) in c.execute("SELECT datname FROM pg_database")}
        if not used & names:
            break
        assert time.monotonic() < deadline, used & names
"""
NEEDS_IT = """
import pytest
@pytest.mark.parametrize("number", range(4))
def test_it(costmgmt_database, number):
    pass
"""


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """The folder for what the tests were given."""
    folder = tmp_path / "notes"
    folder.mkdir()
    return folder


def noted(notes: Path, kind: str) -> list[str]:
    """Return what was written down."""
    return [path.read_text() for path in notes.glob(f"{kind}-*")]


def left(notes: Path) -> list[str]:
    """Return the folders that should be gone."""
    return [name for name in noted(notes, "server") if Path(name).exists()]


@pytest.mark.parametrize("workers", ["0", "2"])
def test_each_test_has_a_fresh_initialized_database(
    run: Run, notes: Path, tmp_path: Path, workers: str
) -> None:
    """Without any option: one server for the run, each database once, nothing left."""
    if workers != "0":
        pytest.importorskip("xdist")
    temporary = tmp_path / "t"
    temporary.mkdir()
    ran = run(
        *(["-n", workers] if workers != "0" else []),
        files={"conftest.py": NOTES, "test_user.py": FOUR},
        environ={"NOTES": str(notes), "TMPDIR": str(temporary)},
        report=False,
    )
    assert ran.status == 0, ran.out
    assert len(set(noted(notes, "server"))) == 1
    assert len(set(noted(notes, "database"))) == (5 if workers == "0" else 4)
    assert not left(notes)
    assert not list(temporary.glob("costmgmt*"))


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_cause_is_told_once(run: Run, workers: str) -> None:
    """Four tests that cannot have a server: four errors, the cause in full in one of them."""
    if workers != "0":
        pytest.importorskip("xdist")
    ran = run(
        *(["-n", workers] if workers != "0" else []),
        files={"test_user.py": NEEDS_IT, "pytest.ini": "[pytest]\ncostmgmt_bindir = nowhere\n"},
        report=False,
    )
    assert ran.status == 1, ran.out
    assert "4 errors" in ran.out
    assert "Traceback" not in ran.out
    bodies = ran.out.split("short test summary info")[0]
    assert len(re.findall(r"^costmgmt_server: ", bodies, re.MULTILINE)) == 1, ran.out
    assert len(re.findall(r"^as told above: ", bodies, re.MULTILINE)) == 3, ran.out
    assert "nowhere" in ran.out


def test_what_cannot_be_meant_is_told_before_any_test(run: Run) -> None:
    """A target that holds a password is exit 4 with the user's tests too."""
    ran = run(
        "--costmgmt-dsn=host=db password=tr0ub4dor",
        "test_user.py",
        files={"test_user.py": NEEDS_IT},
        report=False,
    )
    assert ran.status == 4, ran.out
    assert "tr0ub4dor" not in ran.out


def test_fixtures_are_listed_with_what_they_are(run: Run) -> None:
    """``pytest --fixtures`` shows each with one line and its scope."""
    out = run("--fixtures", report=False).out
    for name, scope, words in [
        ("costmgmt_settings", "session", "asked for"),
        ("costmgmt_server", "session", "A running PostgreSQL"),
        ("costmgmt_credentials", "session", "never prints"),
        ("costmgmt_database_factory", "session", "wider scopes"),
        ("costmgmt_database", "", "A fresh, initialized database"),
        ("costmgmt_connection", "", "A psycopg connection"),
        ("costmgmt_roundtrip", "", "Backs a database up"),
    ]:
        shown = re.search(rf"^{name}\b(?P<scope>.*)\n(?P<line>.*)", out, re.MULTILINE)
        assert shown, out
        assert scope in shown["scope"]
        assert words in shown["line"]


def test_the_password_is_not_shown(run: Run) -> None:
    """A failed test with --showlocals shows the fixtures, and no password."""
    text = (
        "def test_fails(costmgmt_database, costmgmt_server, costmgmt_credentials,"
        " costmgmt_settings, costmgmt_database_factory):\n"
        "    import os\n"
        "    from pathlib import Path\n"
        "    Path('pw').write_text(costmgmt_database.environ()['DATABASE_PASSWORD'])\n"
        "    assert (costmgmt_database, costmgmt_credentials) == (costmgmt_server, 1)\n"
    )
    ran = run("-l", "-vvv", "--tb=long", files={"test_user.py": text}, report=False)
    assert ran.status == 1
    assert "Database(name='costmgmt_" in ran.out
    assert "role='koku'" in ran.out
    assert _written(ran, "pw") not in ran.out


def _written(ran: Ran, name: str) -> str:
    found = re.search(r"rootdir: (.+)", ran.out)
    assert found
    return (Path(found[1]) / name).read_text()


MANAGED = """
import sys
def test_migrated(costmgmt_connection):
    count = "SELECT count(*) FROM django_migrations WHERE app = 'reporting'"
    assert costmgmt_connection.execute(count).fetchone()[0] > 1
"""


def test_with_a_management_command_it_is_migrated(run: Run) -> None:
    """What --costmgmt-manage names migrates the template once."""
    pytest.importorskip("django_tenants")
    manage = Path(__file__).resolve().parents[2] / "examples" / "django-project" / "manage.py"
    ran = run(
        f"--costmgmt-manage={sys.executable} {manage}",
        files={"test_user.py": MANAGED},
        report=False,
    )
    assert ran.status == 0, ran.out


OVERRIDES = {
    "conftest.py": """
        import msgspec, pytest
        @pytest.fixture(scope="session")
        def costmgmt_settings(costmgmt_settings):
            return msgspec.structs.replace(costmgmt_settings, connect_timeout=7.0)
    """,
    "test_session.py": """
        def test_settings(costmgmt_settings, costmgmt_database):
            assert costmgmt_settings.connect_timeout == 7.0
            assert costmgmt_database.environ()["ONPREM"] == "False"
    """,
    "package/__init__.py": "",
    "package/conftest.py": """
        import pytest
        from pytest_costmgmt import Credentials, Secret
        from pytest_costmgmt.postgres.connect import connect
        @pytest.fixture(scope="package")
        def costmgmt_credentials(costmgmt_server):
            with connect(costmgmt_server.administrator, deadline=10) as c:
                c.execute('''CREATE ROLE "Kök-u r" LOGIN PASSWORD 'p@ss/w:rd#1%' ''')
            return Credentials(role="Kök-u r", password=Secret("p@ss/w:rd#1%"))
    """,
    "package/test_package.py": """
        import psycopg
        def test_role(costmgmt_connection, costmgmt_database):
            seen = costmgmt_connection.execute("SELECT current_user, similarity('a', 'a')")
            assert seen.fetchone() == ("Kök-u r", 1)
            costmgmt_connection.execute("CREATE TABLE t ()")
            with psycopg.connect(costmgmt_database.url) as c:
                assert c.info.user == "Kök-u r"
    """,
    "test_class.py": """
        import msgspec, pytest
        class TestOnPrem:
            @pytest.fixture(scope="session")
            def costmgmt_settings(self, costmgmt_settings):
                return msgspec.structs.replace(costmgmt_settings, requirements="koku-onprem")
            def test_onprem(self, costmgmt_settings, costmgmt_database):
                assert costmgmt_database.environ()["ONPREM"] == "True"
                assert "HIVE_DATABASE_USER" not in costmgmt_database.environ()
            def test_its_backup(self, costmgmt_database, costmgmt_roundtrip):
                costmgmt_roundtrip(costmgmt_database)
        class TestOwn:
            @pytest.fixture
            def costmgmt_database(self, costmgmt_database):
                with costmgmt_database.connect() as c:
                    c.execute("CREATE TABLE seeded ()")
                return costmgmt_database
            def test_seeded(self, costmgmt_connection):
                costmgmt_connection.execute("SELECT FROM seeded")
    """,
}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_fixtures_are_overridden_at_every_level(run: Run, workers: str) -> None:
    """Session, package and class: what the database is made of is what the test sees."""
    if workers != "0":
        pytest.importorskip("xdist")
    dedented = {k: "\n".join(line[8:] for line in v.splitlines()) for k, v in OVERRIDES.items()}
    more = ["-n", workers, "--dist=loadfile"] if workers != "0" else []
    ran = run(*more, files=dedented, report=False)
    assert ran.status == 0, ran.out
    assert "5 passed" in ran.out


UNRELATED = """
import sys
def pytest_unconfigure(config):
    heavy = {"msgspec", "psycopg", "pytest_costmgmt.settings", "pytest_costmgmt.engine"}
    print("heavy:", sorted(heavy & sys.modules.keys()))
"""


KEYS = """
import msgspec, psycopg, pytest
from pytest_costmgmt.errors import ConnectFailed
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.secret import Secret, redact
def test_keys(costmgmt_database, costmgmt_connection, costmgmt_server):
    assert costmgmt_database._keys is not None
    assert repr(costmgmt_database._keys) == "Keys(client=Secret(********), server=Secret(********))"
    for name, value in costmgmt_connection.info.get_parameters().items():
        assert "scram" not in name or value not in redact(f"{name}={value}")
    # Proof that they are what is used: nothing else would open it.
    login = msgspec.structs.replace(
        costmgmt_database.login, keys=costmgmt_database._keys, password=Secret.generate())
    if psycopg.pq.version() >= 180000:
        connect(login, deadline=10).close()
    with connect(costmgmt_server.administrator, deadline=10) as c:
        query = "SELECT split_part(rolpassword, ':', 1) FROM pg_authid WHERE rolcanlogin"
        assert {each for (each,) in c.execute(query)} == {"SCRAM-SHA-256$4096"}
def test_set_anew(costmgmt_database, costmgmt_server):
    from psycopg import sql
    login = costmgmt_server.application
    with connect(costmgmt_server.administrator, deadline=10) as c:
        verifier = c.pgconn.encrypt_password(
            login.password.reveal().encode(), login.role.encode(), b"scram-sha-256").decode()
        c.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(
            sql.Identifier(login.role), sql.Literal(verifier)))
    costmgmt_database.connect().close()
    costmgmt_database.connect().close()
def test_another_password(costmgmt_database, costmgmt_server):
    from psycopg import sql
    with connect(costmgmt_server.administrator, deadline=10) as c:
        c.execute(sql.SQL("ALTER ROLE {} PASSWORD 'another-one'").format(
            sql.Identifier(costmgmt_database.role)))
    with pytest.raises(ConnectFailed) as caught:
        costmgmt_database.connect()
    assert caught.value.sqlstate == "28P01"
    assert "a test before this one changed it" in str(caught.value)
    assert "PGPASSWORD" not in str(caught.value)
"""


def test_a_login_is_proved_by_keys_that_never_show(run: Run) -> None:
    """Verifiers are as everywhere; a password that is set anew opens, another one does not."""
    ran = run(files={"test_user.py": KEYS}, report=False)
    assert ran.status == 0, ran.out


def test_an_unrelated_run_with_workers_pays_nothing(run: Run, tmp_path: Path) -> None:
    """Nothing of ours is loaded or written where no test asks for a fixture."""
    pytest.importorskip("xdist")
    temporary = tmp_path / "t"
    temporary.mkdir()
    ran = run(
        "-n",
        "2",
        "-p",
        "no:hypothesispytest",
        files={"test_user.py": "def test_it(): pass\n", "conftest.py": UNRELATED},
        environ={"TMPDIR": str(temporary)},
        report=False,
    )
    assert ran.status == 0, ran.out
    assert "heavy: []" in ran.out
    assert not list(temporary.glob("costmgmt*"))
