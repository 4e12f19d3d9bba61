"""Security labels are compared, though no provider is at hand: they are planted in the catalogs."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE, Difference
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.backup.restore import restore
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from tests.faults.backup.bed import Bed, execute

LABEL = "INSERT INTO pg_seclabel VALUES ({of}, {at}, 'planted', 'secret')"
TABLE = "'torture.many'::regclass, 'pg_class'::regclass"
FUNCTION = "'torture.window_()'::regprocedure, 'pg_proc'::regclass"
OF_DATABASE = """
INSERT INTO pg_shseclabel SELECT oid, 'pg_database'::regclass, 'planted', 'secret'
  FROM pg_database WHERE datname = current_database()
"""
CHANGE = "UPDATE pg_seclabel SET {} WHERE objsubid = 0 AND classoid = 'pg_class'::regclass"

MUTATIONS = {
    "changed": (CHANGE.format("label = 'public'"), "table torture.many"),
    "of-another-provider": (CHANGE.format("provider = 'other'"), "table torture.many"),
    "removed": ("DELETE FROM pg_seclabel WHERE objsubid = 2", "column torture.many"),
    "added": (LABEL.format(of=FUNCTION, at=0), "function torture.window_()"),
    "of-the-database": (OF_DATABASE, "the database"),
}


def plant(login: Login, statement: str) -> None:
    """Write a catalog; the torture database has tables called like some on its search path."""
    execute(login, f"SET search_path = pg_catalog; {statement}")


class Labelled:
    """A database with labels, and its backup."""

    def __init__(self, restored: Bed, login: Login, folder: Path) -> None:
        self.clients, self.login, self.folder = restored.clients, login, folder
        plant(login, LABEL.format(of=TABLE, at=0))
        plant(login, LABEL.format(of=TABLE, at=2))
        run_id = secrets.token_hex(4)
        self.manifest = backup(login, folder, clients=self.clients, run_id=run_id)

    def differences(self) -> tuple[Difference, ...]:
        """Prove the database by its own backup."""
        archive = self.folder / ARCHIVE
        clients = self.clients
        return prove(self.manifest, archive, self.login, clients=clients, jobs=2).differences


@pytest.fixture
def labelled(restored: Bed, tmp_path: Path) -> Iterator[Labelled]:
    """Return a copy with labels on a table and one of its columns."""
    with restored.copy() as copy:
        try:
            yield Labelled(restored, copy, tmp_path / "backup")
        finally:
            plant(copy, "DELETE FROM pg_shseclabel WHERE provider = 'planted'")


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_label_that_differs_is_named(labelled: Labelled, mutation: str) -> None:
    """Before it was touched it was equal; then the object and its label are told."""
    assert not labelled.differences()
    statement, of = MUTATIONS[mutation]
    plant(labelled.login, statement)
    found = labelled.differences()
    assert any(each.of.startswith(of) and "security label" in each.name for each in found), found


def test_a_server_without_the_provider_refuses_the_restore(
    labelled: Labelled, restored: Bed
) -> None:
    """The restore names the provider, and leaves nothing."""
    with pytest.raises(BackupFailed, match="planted"):
        restore(
            labelled.folder, restored.superuser, "labelled", clients=labelled.clients,
            run_id=secrets.token_hex(4), accept_disk_risk=True,
        )  # fmt: skip
    with connect(restored.superuser, deadline=10) as connection:
        left = connection.execute("SELECT FROM pg_database WHERE datname ~ '^labelled'")
        assert not left.fetchall()
