"""Data that an older chart keeps off its volume is moved onto it, whole, whatever happens."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.bootstraps import NOT_MIGRATED, RELEASE, Bootstrap, newest, prepared
from tests.cluster.testbed.bed import Bed
from tests.cluster.testbed.images import POSTGRESQL

OLDER = Path(__file__).resolve().parent / "older-chart"
ASKED = "SELECT count(*), md5(string_agg(word, ' ' ORDER BY id)) FROM kept"
SYSTEM = "SELECT system_identifier FROM pg_control_system()"
FROZEN = "SELECT count(*) FROM pg_roles WHERE rolconfig::text LIKE '%read_only%'"
MOUNT = "/var/lib/postgresql/data"


@pytest.fixture
def older(bed: Bed, tmp_path: Path) -> Iterator[Bootstrap]:
    """A release of the older chart, with rows."""
    with prepared(bed, tmp_path) as bootstrap:
        options = (
            f"--set=postgresql.image.repository={POSTGRESQL[15]}",
            "--set=postgresql.resources.requests.cpu=20m",
            "--set=postgresql.resources.requests.memory=64Mi",
        )
        bed.helm("install", RELEASE, str(OLDER), "-n", bootstrap.namespace, *options)
        bed.until_ready(bootstrap.namespace)
        filled(bed, bootstrap.namespace)
        yield bootstrap


def filled(bed: Bed, space: str) -> None:
    """Make rows and a role in the older chart's database."""
    bed.until("the server's second start", lambda: bed.psql(space, "SELECT 1"))
    rows = "SELECT g AS id, md5(g::text) AS word FROM generate_series(1, 5000) AS g"
    made = f"CREATE TABLE kept AS {rows}; ALTER TABLE kept OWNER TO koku"
    bed.until("the rows", lambda: bed.psql(space, f"{made}; SELECT 'made'") == "made")
    bed.psql(space, "CREATE ROLE reader LOGIN PASSWORD 'a-password-of-a-test'; SELECT 1")


def moved(bootstrap: Bootstrap, before: tuple[str, str]) -> None:
    """Assert that the same data is on the volume, that koku may write, and that it stays."""
    bed, space = bootstrap.bed, bootstrap.namespace
    assert (bed.psql(space, ASKED), bed.psql(space, SYSTEM)) == before
    assert bed.psql(space, "SHOW data_directory") == "/var/lib/pgsql/data/userdata"
    assert bed.psql(space, FROZEN) == "0"
    inside = ("exec", "-n", space, "postgres-0", "-c", "postgresql", "--")
    assert bed.kubectl(*inside, "ls", "/var/lib/pgsql/data").split() == ["userdata"]
    bed.kubectl("delete", "pod", "postgres-0", "-n", space)
    bed.until_ready(space)
    assert (bed.psql(space, ASKED), bed.psql(space, SYSTEM)) == before


def state(bootstrap: Bootstrap) -> tuple[str, str]:
    """Return what must stay: the rows, and the server's identity."""
    bed, space = bootstrap.bed, bootstrap.namespace
    return bed.psql(space, ASKED), bed.psql(space, SYSTEM)


def test_the_data_is_moved_and_outlives_its_pod(older: Bootstrap, bed: Bed) -> None:
    """Without the option nothing is touched; with it, everything is there, proven, and stays."""
    before, revision = state(older), newest(bed, older.namespace)
    refused = older.run(values=NOT_MIGRATED, status=1)
    assert "--migrate-volume" in refused.err
    assert newest(bed, older.namespace) == revision
    planned = older.run("--migrate-volume", "--dry-run", values=NOT_MIGRATED)
    assert any("pg_basebackup into" in one for one in planned.did("planned"))
    ended = older.deployed("--migrate-volume")
    moved(older, before)
    assert f"never helm rollback {RELEASE} to revision {revision} or before" in ended.out
    (backup,) = older.folder.glob("costmgmt-before-move-*")
    assert {one.name for one in backup.iterdir()} == {"koku", "postgres"}
    again = older.deployed("--migrate-volume")
    assert again.did("changed") == []


def test_killed_in_every_phase_it_is_gone_on_with(older: Bootstrap) -> None:
    """Nothing is lost, wherever it is killed; the next run goes on, and the last one proves it."""
    before = state(older)
    for phase in ("volume copy", "release", "pod", "volume proof"):
        status, said = older.ended_in(
            phase, signal.SIGKILL, "--migrate-volume", values=NOT_MIGRATED
        )
        assert status == -signal.SIGKILL, f"in {phase}:\n{said}"
    without = older.run(values=NOT_MIGRATED, status=1)
    assert "was killed" in without.err
    older.deployed("--migrate-volume")
    moved(older, before)


def test_while_others_are_connected_nothing_is_begun(older: Bootstrap, bed: Bed) -> None:
    """What they write would be lost: they are named, and nothing was changed."""
    space = older.namespace
    command = [
        str(bed.node.programs / "kubectl") if bed.node else "kubectl",
        *("exec", "-n", space, "postgres-0", "--", "psql", "-U", "koku", "-d", "koku"),
        *("-c", "SELECT pg_sleep(300)"),
    ]
    with subprocess.Popen(command, env=bed.environment(), stdout=subprocess.DEVNULL) as other:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'koku'"
        bed.until("another's session", lambda: bed.psql(space, asked) == "1")
        ended = older.run("--migrate-volume", values=NOT_MIGRATED, status=1)
        other.kill()
    assert "others are connected" in ended.err
    assert "koku in koku" in ended.err
    assert list(older.folder.glob("costmgmt-before-move-*")) == []


def test_a_claim_that_is_not_empty_is_left_as_it_is(older: Bootstrap, bed: Bed) -> None:
    """What lies there is nobody's to remove: neither a file, nor data with a mark like ours."""
    inside = ("exec", "-n", older.namespace, "postgres-0", "--", "bash", "-c")
    data = f"mkdir {MOUNT}/userdata && echo 15 > {MOUNT}/userdata/PG_VERSION"
    bed.kubectl(*inside, f"{data} && touch {MOUNT}/costmgmt-moved")
    ended = older.run("--migrate-volume", values=NOT_MIGRATED, status=1)
    assert "the claim is not empty" in ended.err
    assert "userdata" in ended.err
    assert bed.kubectl(*inside, f"cat {MOUNT}/userdata/PG_VERSION").strip() == "15"
    assert bed.psql(older.namespace, FROZEN) == "0"


def test_a_claim_that_may_not_be_written_on(older: Bootstrap, bed: Bed) -> None:
    """The pod's uid lacks the folder: that is said, and the pod lives on."""
    assert bed.node is not None
    (volume,) = [
        one for one in bed.list("pv")
        if one["spec"].get("claimRef", {}).get("namespace") == older.namespace
    ]  # fmt: skip
    bed.node.run("sh", "-c", 'chown 0:0 "$0" && chmod 0755 "$0"', volume["spec"]["local"]["path"])
    ended = older.run("--migrate-volume", values=NOT_MIGRATED, status=1)
    assert f"may not write on its claim at {MOUNT}" in ended.err
    assert state(older)[0].startswith("5000|")


def test_a_claim_without_room(older: Bootstrap, bed: Bed) -> None:
    """What is free and what it takes are said, nothing was begun; grown, it is moved."""
    assert bed.node is not None
    space = older.namespace
    (volume,) = [
        one for one in bed.list("pv")
        if one["spec"].get("claimRef", {}).get("namespace") == space
    ]  # fmt: skip
    place = volume["spec"]["local"]["path"]
    bed.node.run("mount", "-t", "tmpfs", "-o", "size=8m", "small", place)
    try:
        # Only a new pod sees it; the older chart's data goes with the pod.
        bed.kubectl("-n", space, "delete", "pod", "postgres-0")
        bed.until_ready(space)
        filled(bed, space)
        before = state(older)
        ended = older.run("--migrate-volume", values=NOT_MIGRATED, status=1)
        assert re.search(r"the claim has [78] MiB free, and the copy needs \d+ MiB", ended.err)
        assert "Grow the PVC" in ended.err
        assert list(older.folder.glob("costmgmt-before-move-*")) == []
        assert bed.psql(space, FROZEN) == "0"
        bed.node.run("mount", "-o", "remount,size=1g", place)
        older.deployed("--migrate-volume")
        moved(older, before)
    finally:
        bed.node.run("umount", "--lazy", place)
