"""A proof never passes because it compared nothing, or less than there is."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pytest_costmgmt.backup import content, proof, schema_text
from pytest_costmgmt.backup.model import Manifest, Proof
from pytest_costmgmt.backup.proof import Expected, NothingCompared
from pytest_costmgmt.errors import BackupFailed, CostMgmtError
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from tests.backup_torture.build import quoted
from tests.faults.backup.bed import Bed, execute

SAME_PASSWORD = """
UPDATE pg_catalog.pg_authid SET rolpassword = (
  SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %s) WHERE rolname = 'onlooker'
"""
EMPTIED = ["relations", "sequences", "large_objects", "properties", "extensions", "memberships"]


def proven(restored: Bed, copy: Login, manifest: Manifest) -> Proof:
    """Prove a copy by another manifest."""
    given = msgspec.structs.replace(restored.given, manifest=manifest)
    return proof.proven(given, copy, clients=restored.clients, jobs=2, deadline=60)


@pytest.mark.parametrize("field", EMPTIED)
def test_an_emptied_manifest_is_no_proof(restored: Bed, field: str) -> None:
    """What the manifest does not list is told as additional: an empty list equals nothing."""
    manifest = msgspec.structs.replace(restored.manifest, **{field: ()})
    with restored.copy() as copy:
        found = proven(restored, copy, manifest)
    assert not found.equal
    assert len(found.differences) >= len(getattr(restored.manifest, field))


@contextmanager
def _text(restored: Bed, folder: Path, text: bytes) -> Iterator[Expected]:
    path = folder / "archive.sql"
    path.write_bytes(text)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(schema_text.count, path)
        yield msgspec.structs.replace(restored.given, text=path, counted=read)


@pytest.mark.parametrize("kept", [0, 1, 100, 5000, -10])
def test_a_schema_that_was_cut_off_is_no_proof(restored: Bed, tmp_path: Path, kept: int) -> None:
    """A schema's text without its end is an error, never a shorter schema."""
    whole = restored.given.text.read_bytes()
    with (
        restored.copy() as copy,
        _text(restored, tmp_path, whole[:kept]) as given,
        pytest.raises(schema_text.Incomplete),
    ):
        proof.proven(given, copy, clients=restored.clients, jobs=2, deadline=60)


def test_an_empty_target_is_no_proof(restored: Bed) -> None:
    """Against a database that holds nothing, all that there should be is told."""
    name = "nothing in it"
    execute(restored.superuser, f"CREATE DATABASE {quoted(name)} TEMPLATE template0")
    try:
        found = restored.proof(restored.superuser.on(name))
    finally:
        execute(restored.superuser, f"DROP DATABASE {quoted(name)} WITH (FORCE)")
    manifest = restored.manifest
    told = {each.of for each in found.differences if each.name == "existence"}
    assert not found.equal
    assert len(told) > len(manifest.relations) + len(manifest.sequences)


def test_a_list_that_misses_relations_is_an_error(
    restored: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relations are counted otherwise than they are listed: a short list is noticed."""
    listed = content.listed
    monkeypatch.setattr(content, "listed", lambda cursor, **given: listed(cursor, **given)[:-1])
    with restored.copy() as copy, pytest.raises(NothingCompared, match="were listed"):
        restored.proof(copy)


def test_hashes_that_were_not_made_are_an_error(
    restored: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fewer hashes than relations is an error."""
    hash_all = content.hash_all
    monkeypatch.setattr(content, "hash_all", lambda *a, **k: hash_all(*a, **k)[1:])
    with restored.copy() as copy, pytest.raises(NothingCompared, match="were to be hashed"):
        restored.proof(copy)


def test_a_login_that_may_not_see_all_gets_no_proof(restored: Bed) -> None:
    """What the login may not read is an error that says so, never equal."""
    with restored.copy() as copy:
        execute(restored.superuser, "CREATE ROLE onlooker LOGIN PASSWORD 'onlooker'")
        try:
            execute(copy, f"GRANT CONNECT ON DATABASE {quoted(copy.database)} TO onlooker")
            login = copy.acting_as("onlooker", copy.password, database=copy.database)
            _same_password(restored, copy)
            with pytest.raises((BackupFailed, CostMgmtError), match=r"denied|may not|privilege"):
                restored.proof(login)
        finally:
            execute(copy, "DROP OWNED BY onlooker")
            execute(restored.superuser, "DROP ROLE onlooker")


def _same_password(restored: Bed, copy: Login) -> None:
    """Let the role of the test log in with the superuser's password, which stays a secret."""
    with connect(restored.superuser, deadline=10) as connection:
        connection.execute(SAME_PASSWORD.encode(), (copy.role,))


def test_an_empty_database_is_compared_all_the_same(restored: Bed, tmp_path: Path) -> None:
    """Of a database that holds nothing, the text's end and the database itself are compared."""
    text = (
        b"--\n-- PostgreSQL database dump\n--\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
    )
    (tmp_path / "a").write_bytes(text)
    assert schema_text.unmatched(tmp_path / "a", tmp_path / "a") == (1, [])
    assert restored.manifest.database.encoding == "UTF8"
