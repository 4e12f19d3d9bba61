"""How a relation was hashed is in the manifest, and the proof hashes it so, whatever its size."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup.content_lines import SMALL
from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE, Manifest, Proof
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.server.backup_bed import BackupBed
from tests.server.content_bed import relations

WORN = "DO $$ BEGIN FOR i IN 1..2000 LOOP UPDATE {} SET b = b; END LOOP; END $$"


@pytest.fixture
def bed(programs: Programs, tmp_path: Path) -> Iterator[BackupBed]:
    """A database on a server of this test's own."""
    instance = embedded.start(
        run_id=secrets.token_hex(4), programs=programs, conf=("autovacuum = off",)
    )
    yield BackupBed(instance.superuser, tmp_path)
    instance.stop()


def ways(manifest: Manifest) -> dict[str, str]:
    """Return how each relation was hashed."""
    return {each.name: each.by for each in manifest.relations}


def proof(bed: BackupBed, manifest: Manifest) -> Proof:
    """Prove the database by its own backup."""
    return prove(manifest, bed.out / ARCHIVE, bed.login, clients=bed.clients, jobs=2)


def sizes(bed: BackupBed) -> list[bool]:
    """Say of both tables whether they are small now."""
    asked = "SELECT pg_relation_size('worn') <= %s, pg_relation_size('small') <= %s"
    with bed.session() as connection:
        row = connection.execute(asked, (SMALL, SMALL)).fetchone()
    assert row is not None
    return list(row)


def test_a_tables_size_is_no_difference(bed: BackupBed) -> None:
    """One that was worn is written anew, a small one is worn: equal; a value of each is not."""
    bed.run(
        "CREATE TABLE worn (a int, b text)",
        "CREATE TABLE small (a int, b text)",
        "INSERT INTO worn VALUES (1, 'x'), (2, NULL)",
        "INSERT INTO small VALUES (1, 'x'), (2, NULL)",
        WORN.format("worn"),
    )
    assert sizes(bed) == [False, True]
    manifest = backup(bed.login, bed.out, clients=bed.clients, run_id=secrets.token_hex(4))
    assert ways(manifest) == {"worn": "server", "small": "lines"}
    bed.run("VACUUM FULL worn", WORN.format("small"))
    assert sizes(bed) == [True, False]
    found = proof(bed, manifest)
    assert found.equal, found.differences
    bed.run("UPDATE worn SET b = '' WHERE a = 2", "UPDATE small SET b = '' WHERE a = 2")
    assert {(each.of, each.name) for each in proof(bed, manifest).differences} == {
        ("table public.worn", "content"),
        ("table public.small", "content"),
    }


def test_what_copy_would_not_tell_is_hashed_by_the_server(bed: BackupBed) -> None:
    """A generated column, and the type that prints otherwise since 16; their changes are seen."""
    bed.run(
        "CREATE TABLE made (a int, b int GENERATED ALWAYS AS (a * 2) STORED)",
        'CREATE TABLE letters (a "char")',
        "CREATE TABLE nothing ()",
        "CREATE MATERIALIZED VIEW seen AS SELECT 1 AS a",
        "INSERT INTO made VALUES (1)",
        "INSERT INTO letters VALUES ('x')",
        "INSERT INTO nothing DEFAULT VALUES",
    )
    manifest = backup(bed.login, bed.out, clients=bed.clients, run_id=secrets.token_hex(4))
    assert set(ways(manifest).values()) == {"server"}
    assert {each.rows for each in manifest.relations} == {1}
    assert proof(bed, manifest).equal
    bed.run("UPDATE letters SET a = 'y'", "INSERT INTO nothing DEFAULT VALUES")
    told = {each.of for each in proof(bed, manifest).differences}
    assert told == {"table public.letters", "table public.nothing"}


KEPT = "SELECT count(*) FROM pg_stat_statements WHERE starts_with(query, 'COPY public.t')"


def test_a_superusers_hashing_leaves_the_applications_statements_alone(bed: BackupBed) -> None:
    """pg_stat_statements keeps so many: a COPY of each table would drive the others out."""
    bed.run(
        "CREATE EXTENSION pg_stat_statements",
        *(f"CREATE TABLE t{number} AS SELECT {number} AS a" for number in range(5)),
        "CREATE ROLE reader LOGIN PASSWORD 'reader'",
        "GRANT SELECT ON t0, t1, t2, t3, t4 TO reader",
        "SELECT pg_stat_statements_reset()",
    )
    reader = bed.login.acting_as("reader", Secret("reader"), database=bed.login.database)
    by_superuser = relations(bed.login)
    assert bed.rows(KEPT) == [(0,)]
    assert relations(reader) == by_superuser
    assert bed.rows(KEPT) == [(5,)]
