"""A restore on the same and on a newer version is proven; what is allowed hides no mutation."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.keys_archived import Archive, differing_rows
from pytest_costmgmt.backup.model import ARCHIVE, Manifest, Proof
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.backup.restore import restore
from pytest_costmgmt.postgres.clients import Clients, choose
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from tests import postgres_versions
from tests.backup_torture import build as torture
from tests.backup_torture.build import quoted
from tests.faults.backup.bed import execute, mutate
from tests.faults.backup.test_schema_parts import ALONE, are_the_whole

PAIRS = [(14, 14), (13, 15), (15, 16), (16, 18), (13, 18), (18, 18)]

# Each is told although the objects are of those that a rule allows to differ by themselves.
MUTATIONS = {
    "VIEW torture.whole_rows": "CREATE OR REPLACE VIEW torture.whole_rows AS"
    " SELECT x FROM torture.indexed AS x WHERE x.n > 1",
    "TYPE torture.nest": "ALTER TYPE torture.nest RENAME ATTRIBUTE m TO mm",
    "table torture.one": "REVOKE INSERT ON torture.one FROM PUBLIC",
    "column torture.indexed.n": "GRANT INSERT (n) ON torture.indexed TO PUBLIC",
    "extension pg_trgm": "ALTER EXTENSION pg_trgm SET SCHEMA shadow",
    "index torture.indexed_hash": "UPDATE pg_index SET indisvalid = false"
    " WHERE indexrelid = 'torture.indexed_hash'::regclass",
    "schema public": "GRANT CREATE ON SCHEMA public TO PUBLIC",
    "table torture.every_type": "UPDATE torture.every_type SET num = 1.00 WHERE id = 1",
}  # fmt: skip

# What is generated, out of line, and of each type.
ASIDE = {"every_type", "toasted", "many", "virtual_"}


class Restored(NamedTuple):
    """A torture database of one version, restored on another."""

    manifest: Manifest
    folder: Path
    login: Login
    clients: Clients
    proof: Proof

    def prove(self) -> Proof:
        """Prove it again."""
        return prove(self.manifest, self.folder / ARCHIVE, self.login, clients=self.clients, jobs=2)


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-to-{pair[1]}")
def restored(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Restored]:
    """Restore a torture database of one version on another."""
    older, newer = request.param
    folder = tmp_path_factory.mktemp("backup") / "made"
    run_id = secrets.token_hex(4)
    with ExitStack() as stack:
        source = stack.enter_context(postgres_versions.server(older)).superuser
        target = source
        if newer != older:
            target = stack.enter_context(postgres_versions.server(newer)).superuser
        made = torture.create(source, rows=200)
        with connect(source, deadline=10) as one, connect(target, deadline=10) as other:
            numbers = one.info.server_version, other.info.server_version
        clients = choose(
            numbers[0],
            restore_into=numbers[1],
            bindir=postgres_versions.bindir(newer),
            cache=folder.parent,
            environ={},
        )
        manifest = backup(made, folder, clients=clients, run_id=run_id)
        # What a version leaves to whoever looks after it is no affair of these tests.
        done = restore(
            folder, target, "restored", clients=clients, run_id=run_id, accept_disk_risk=True
        )
        yield Restored(manifest, folder, target.on("restored"), clients, done.proof)


def told(proof: Proof) -> str:
    """Return what a proof found, in lines."""
    return "\n".join(each.line for each in proof.differences) or "nothing"


def test_it_is_proven(restored: Restored) -> None:
    """The restored database is what the backup says; what a version changes is allowed by rule."""
    assert restored.proof.equal, told(restored.proof)
    assert restored.proof.compared["schema entries"] > 300
    assert restored.proof.compared["rows"] > 400
    assert all(each.reason for each in restored.proof.allowed)


def test_what_is_allowed_hides_nothing(restored: Restored) -> None:
    """Each mutation of what may differ by itself is named."""
    for statement in MUTATIONS.values():
        mutate(restored.login, statement)
    named = {each.of for each in restored.prove().differences}
    assert not set(MUTATIONS) - named


def test_rows_are_loaded_aside_as_they_were_restored(restored: Restored) -> None:
    """Of every type a version has, the archive's rows in another version are the restored ones."""
    archive = Archive(restored.folder / ARCHIVE, restored.clients, 60)
    looked = set()
    for relation in restored.manifest.relations:
        if relation.name in ASIDE:
            found = differing_rows(archive, restored.login, relation)
            # Another test may have changed the one row.
            changed = ("(id)=(1) changed",) if relation.name == "every_type" else ()
            assert found in {((), 0), (changed, 0)}, relation.name
            looked.add(relation.name)
    assert looked >= ASIDE - {"virtual_"}


def test_two_halves_of_the_schema_are_the_whole(restored: Restored, tmp_path: Path) -> None:
    """Of every kind of object a version has, one of two programs tells what a single one does."""
    name = f"halves_{secrets.token_hex(4)}"
    template = quoted(restored.login.database)
    execute(restored.login.on("postgres"), f"CREATE DATABASE {name} TEMPLATE {template}")
    copy = restored.login.on(name)
    mutate(copy, ALONE)
    assert are_the_whole(restored.clients, copy, tmp_path, "torture")


def test_five_million_rows_are_proven_and_one_of_them_named(tmp_path: Path) -> None:
    """One row of very many that is another is told by its key; before, all of them are equal."""
    run_id, rows = secrets.token_hex(4), 5_000_000
    with postgres_versions.server(18) as server:
        target = server.superuser
        made = torture.create(target, rows=rows)
        clients = choose(18_00_00, bindir=postgres_versions.bindir(18), cache=tmp_path, environ={})
        folder = tmp_path / "made"
        manifest = backup(made, folder, clients=clients, run_id=run_id)
        done = restore(
            folder, target, "restored", clients=clients, run_id=run_id, accept_disk_risk=True
        )
        assert done.proof.equal, told(done.proof)
        assert done.proof.compared["rows"] > rows
        copy = target.on("restored")
        mutate(copy, "UPDATE torture.many SET note = note || ' ' WHERE id = 12000010")
        (found,) = prove(
            manifest, folder / ARCHIVE, copy, clients=clients, jobs=2, source=made
        ).differences
        assert (found.of, found.keys) == ("table torture.many", ("(id)=(12000010) changed",))
