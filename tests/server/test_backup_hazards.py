"""What no dump carries as it is comes back as it may, allowed by name, and nothing else does."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE, Manifest, Proof
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.backup.restore import restore
from pytest_costmgmt.facts.hazards import NOT_COMPARED, STALE
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.backup_torture import build as torture
from tests.server.backup_bed import BackupBed

MORE = """
SET search_path = pg_catalog;
CREATE MATERIALIZED VIEW torture.chance AS SELECT random() AS r;
CREATE TABLE torture.unchecked (a int REFERENCES torture.moved_on);
ALTER TABLE torture.unchecked DISABLE TRIGGER ALL;
"""


class Hazardous:
    """A torture database with every hazard, backed up and restored."""

    def __init__(self, superuser: Login, folder: Path) -> None:
        self.clients: Clients = BackupBed(superuser, folder).clients
        self.source = torture.create(superuser, rows=20, hazards=True)
        self.target, self.folder = superuser.on(f"restored {secrets.token_hex(3)}"), folder / "made"
        execute(self.source, MORE)
        run_id = secrets.token_hex(4)
        self.manifest: Manifest = backup(
            self.source, self.folder, clients=self.clients, run_id=run_id
        )
        self.proof: Proof = restore(
            self.folder,
            superuser,
            self.target.database,
            clients=self.clients,
            run_id=run_id,
            accept_disk_risk=True,
        ).proof

    def differences(self) -> set[str]:
        """Prove it again; return what differs."""
        proof = prove(
            self.manifest, self.folder / ARCHIVE, self.target, clients=self.clients, jobs=2
        )
        return {each.of for each in proof.differences}


def execute(login: Login, statements: str) -> None:
    """Run statements in one go."""
    with connect(login, deadline=10) as connection:
        connection.execute(statements.encode())


@pytest.fixture(scope="module")
def hazardous(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hazardous]:
    """Such a database, on a server of this module's own."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    try:
        yield Hazardous(instance.superuser, tmp_path_factory.mktemp("hazardous"))
    finally:
        instance.stop()


def test_each_hazard_is_told_in_the_manifest(hazardous: Hazardous) -> None:
    """The backup says beforehand what will not come back as it is."""
    told = {(each.kind, each.of) for each in hazardous.manifest.hazards}
    assert {
        (STALE, "materialized view torture.stale"),
        (NOT_COMPARED, "materialized view torture.chance"),
        ("invalid index", "index torture.invalid of torture.doubled"),
        ("inherited columns in another order", "table torture.adopted"),
        ("subscription", "subscription torture_subscription"),
    } <= told
    triggers = [of for kind, of in told if kind == "disabled trigger of a constraint"]
    assert len(triggers) == 2
    assert all("constraint unchecked_a_fkey of torture.unchecked" in of for of in triggers)


def test_it_comes_back_with_a_reason_for_each_difference(hazardous: Hazardous) -> None:
    """No hazard stops the restore; each difference is allowed by a rule, with its reason."""
    assert hazardous.proof.equal, hazardous.proof.differences
    used = {(each.rule, each.difference.of) for each in hazardous.proof.allowed}
    assert used >= {
        ("refreshed-view", "materialized view torture.stale"),
        ("refreshed-view", "materialized view torture.chance"),
        ("invalid-index", "index torture.invalid"),
        ("inherited-order", "TABLE torture.adopted"),
    }
    assert {rule for rule, of in used if " of constraint unchecked_a_fkey" in of} == {
        "constraint-trigger"
    }
    assert {rule for rule, _ in used} <= {
        "refreshed-view", "invalid-index", "inherited-order", "constraint-trigger",
        "subscription-enabled",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "undo", "named"),
    [
        pytest.param(
            "UPDATE torture.moved_on SET a = 3",
            "UPDATE torture.moved_on SET a = 2",
            {"table torture.moved_on", "materialized view torture.stale"},
            id="stale-on-the-target",
        ),
        pytest.param(
            "REFRESH MATERIALIZED VIEW torture.stale WITH NO DATA",
            "REFRESH MATERIALIZED VIEW torture.stale",
            {"materialized view torture.stale"},
            id="unpopulated",
        ),
        pytest.param(
            "ALTER TABLE torture.adopted ALTER b SET NOT NULL",
            "ALTER TABLE torture.adopted ALTER b DROP NOT NULL",
            {"TABLE torture.adopted"},
            id="another-definition",
        ),
    ],
)
def test_what_is_allowed_hides_nothing_else(
    hazardous: Hazardous, change: str, undo: str, named: set[str]
) -> None:
    """A change of the restored copy is told although its object may differ in something."""
    execute(hazardous.target, f"SET search_path = pg_catalog; {change}")
    try:
        assert named <= hazardous.differences()
    finally:
        execute(hazardous.target, f"SET search_path = pg_catalog; {undo}")
    assert hazardous.differences() == set()
