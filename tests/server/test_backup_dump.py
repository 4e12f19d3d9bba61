"""A backup of a real database: whole, in one snapshot, private, and told as it is."""

from __future__ import annotations

import json
import os
import secrets
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import pytest

from pytest_costmgmt.backup import archive, schema_text
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.model import ARCHIVE, MANIFEST
from pytest_costmgmt.errors import BackupFailed, UsageProblem
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.backup_torture import build as torture
from tests.server.backup_bed import BackupBed, Gate, meanwhile


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """A server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance, tmp_path: Path) -> Iterator[BackupBed]:
    """A database of this test's own."""
    bed = BackupBed(server.superuser, tmp_path)
    yield bed
    bed.drop()


def test_the_torture_database_is_backed_up_whole(server: embedded.Instance, tmp_path: Path) -> None:
    """What can be in a database is in its backup, which is whole and follows its schema."""
    login = torture.create(server.superuser)
    bed = BackupBed(server.superuser, tmp_path)
    try:
        made = bed.backup(login=login)
    finally:
        torture.drop(login)
        bed.drop()
    assert archive.verify(bed.out, clients=None) == made
    assert made.database.name == login.database
    assert {relation.rows for relation in made.relations} >= {0, 1, torture.MANY}
    assert made.sequences
    assert made.large_objects
    assert made.properties
    assert {role.name for role in made.roles} >= set(torture.ROLES)
    schema = json.loads(manifests.SCHEMA.read_bytes())
    jsonschema.validate(json.loads((bed.out / MANIFEST).read_bytes()), schema)


def test_an_empty_database_is_backed_up_too(bed: BackupBed) -> None:
    """A database without a table has a backup that is whole."""
    made = bed.backup()
    assert made.relations == ()
    assert archive.verify(bed.out, clients=bed.clients) == made


def test_nobody_else_may_read_it(bed: BackupBed) -> None:
    """Folders are 0700 and files 0600, whatever our umask."""
    bed.run("CREATE TABLE t AS SELECT 1 AS a")
    before = os.umask(0)
    try:
        bed.backup()
    finally:
        os.umask(before)
    modes = {
        path.is_dir(): stat.S_IMODE(path.stat().st_mode) for path in (bed.out, *bed.out.rglob("*"))
    }
    assert modes == {True: 0o700, False: 0o600}


def test_what_is_written_meanwhile_is_in_neither_dump_nor_manifest(
    bed: BackupBed, tmp_path: Path
) -> None:
    """Rows and tables that come after the snapshot are not in it; the manifest says the same."""
    bed.run("CREATE TABLE t AS SELECT g FROM generate_series(1, 10) AS g")
    gate = Gate(bed.clients, tmp_path)

    def write() -> None:
        bed.run("DELETE FROM t WHERE g > 5", "INSERT INTO t VALUES (99)", "CREATE TABLE later ()")
        gate.open()

    meanwhile((gate.reached, write))
    made = bed.backup(clients=gate.clients)
    assert [(each.name, each.rows) for each in made.relations] == [("t", 10)]
    assert bed.anew == []
    data = next(path for path in (bed.out / ARCHIVE).glob("*.dat") if path.name != "toc.dat")
    if made.compression == "none":
        assert data.read_bytes().split() == [*map(b"%d".__mod__, range(1, 11)), b"\\."]


def test_sequences_are_what_the_archive_sets(bed: BackupBed, tmp_path: Path) -> None:
    """A sequence moves on meanwhile: the manifest says what the archive does."""
    bed.run("CREATE SEQUENCE s", "SELECT nextval('s')")
    gate = Gate(bed.clients, tmp_path)

    def move() -> None:
        bed.run("SELECT setval('s', 41)", "SELECT nextval('s')")
        gate.open()

    meanwhile((gate.reached, move))
    made = bed.backup(clients=gate.clients)
    assert made.sequences == schema_text.archive_sequences(
        bed.clients, bed.out / ARCHIVE, deadline=60
    )
    assert [(each.name, each.last_value, each.is_called) for each in made.sequences] == [
        ("s", 42, True)
    ]


def test_a_password_is_in_no_argument_and_no_file(
    bed: BackupBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role's password reaches pg_dump by its environment, where our own PG* do not."""
    password = f"p@ss/w:rd#1% '\"\\ {secrets.token_hex(4)}"
    role = f"--dump \"w'n {secrets.token_hex(3)}"
    bed.run(
        f"CREATE ROLE {ident(role)} LOGIN SUPERUSER PASSWORD {literal(password)}",
        "CREATE TABLE t AS SELECT 1 AS a",
    )
    gate = Gate(bed.clients, tmp_path)
    gate.open()
    monkeypatch.setenv("PGOPTIONS", "-c statement_timeout=1")
    monkeypatch.setenv("PGDATABASE", "another")
    login = bed.login.acting_as(role, Secret(password), database=bed.login.database)
    try:
        bed.backup(login=login, clients=gate.clients)
    finally:
        bed.run(f"DROP ROLE {ident(role)}")
    assert not [word for word in gate.argv if "p@ss" in word]
    assert gate.environ["PGPASSWORD"] == password
    assert "PGDATABASE" not in gate.environ
    assert "statement_timeout" not in gate.environ.get("PGOPTIONS", "")
    assert not [path for path in bed.out.rglob("*.json") if b"p@ss" in path.read_bytes()]


def test_verifiers_only_on_the_operators_word(bed: BackupBed) -> None:
    """A role's verifier is in the manifest if it is asked for, and else nowhere."""
    role = f"owner {secrets.token_hex(3)}"
    bed.run(
        f"CREATE ROLE {ident(role)} LOGIN PASSWORD 'a-long-password'",
        f"CREATE TABLE t (); ALTER TABLE t OWNER TO {ident(role)}",
    )
    try:
        without = bed.backup()
        with_them = bed.backup(out=bed.folder / "with", with_role_passwords=True)
    finally:
        bed.run("DROP TABLE t", f"DROP ROLE {ident(role)}")
    assert {each.verifier for each in without.roles} == {None}
    found = {each.name: each.verifier for each in with_them.roles}
    assert str(found[role]).startswith("SCRAM-SHA-256$")
    assert b"SCRAM-SHA-256" not in (bed.out / MANIFEST).read_bytes()


def test_a_service_file_is_settled_before_pg_dump_starts(
    bed: BackupBed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that is libpq's business, by service and password file, reaches pg_dump as well."""
    where = bed.login.where
    role, password = f"svc_{secrets.token_hex(3)}", Secret.generate()
    bed.run(
        f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD {literal(password.reveal())}",
        "CREATE TABLE t AS SELECT 1 AS a",
    )
    (tmp_path / "services").write_text(
        f"[mine]\nhost={where['host']}\nport={where['port']}\npassword={password.reveal()}\n"
    )
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    login = Login(role=role, database=bed.login.database, where={"service": "mine"})
    try:
        made = bed.backup(login=login)
    finally:
        bed.run(f"DROP ROLE {role}")
    assert [each.rows for each in made.relations] == [1]


def test_what_the_role_may_not_read_is_an_error(bed: BackupBed) -> None:
    """A table that the login may not read, or that row security would filter, ends the backup."""
    role, password = f"poor_{secrets.token_hex(3)}", Secret.generate()
    bed.run(
        f"CREATE ROLE {role} LOGIN PASSWORD {literal(password.reveal())}",
        "CREATE TABLE t AS SELECT 1 AS a",
    )
    login = bed.login.acting_as(role, password, database=bed.login.database)
    try:
        with pytest.raises(BackupFailed, match="permission denied"):
            bed.backup(login=login)
        bed.run(
            f"GRANT SELECT ON t TO {role}",
            "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
            f"CREATE POLICY p ON t TO {role} USING (a > 1)",
        )
        with pytest.raises(BackupFailed, match="row-level security"):
            bed.backup(login=login)
    finally:
        bed.run("DROP TABLE t", f"DROP ROLE {role}")
    assert bed.left() == []


def test_the_owner_without_superuser_backs_its_database_up(bed: BackupBed) -> None:
    """A role that owns the database and all in it needs no more than that."""
    role, password = f"koku_{secrets.token_hex(3)}", Secret.generate()
    bed.run(
        f"CREATE ROLE {role} LOGIN CREATEDB PASSWORD {literal(password.reveal())}",
        f"ALTER DATABASE {ident(bed.login.database)} OWNER TO {role}",
        f"SET ROLE {role}; CREATE SCHEMA acct1; CREATE TABLE acct1.t (a serial PRIMARY KEY);"
        " INSERT INTO acct1.t DEFAULT VALUES; SELECT lo_create(0)",
    )
    login = bed.login.acting_as(role, password, database=bed.login.database)
    try:
        made = bed.backup(login=login)
    finally:
        bed.run(f"REASSIGN OWNED BY {role} TO CURRENT_USER", f"DROP OWNED BY {role}")
        bed.run(f"DROP ROLE {role}")
    assert [(each.schema, each.name, each.rows) for each in made.relations] == [("acct1", "t", 1)]
    assert len(made.large_objects) == 1


def test_an_existing_folder_is_refused(bed: BackupBed) -> None:
    """Nothing is written into a folder that exists, not even into an empty one."""
    bed.out.mkdir()
    with pytest.raises(UsageProblem, match="exists"):
        bed.backup()
    assert list(bed.out.iterdir()) == []


@pytest.mark.parametrize("name", ["--file=x", "a\nb", "Kök 'u\" {}%s"])
def test_awkward_folders(bed: BackupBed, name: str) -> None:
    """A folder's name may look like an option, hold a line's end or what needs quoting."""
    made = bed.backup(out=bed.folder / name)
    assert archive.verify(bed.folder / name, clients=bed.clients) == made


def test_the_digest_is_one_that_sha256sum_checks(bed: BackupBed) -> None:
    """Who has none of our programs checks the manifest by coreutils."""
    bed.backup()
    done = subprocess.run(
        ["sha256sum", "-c", f"{MANIFEST}.sha256"], cwd=bed.out, check=False, capture_output=True
    )
    assert done.returncode == 0
