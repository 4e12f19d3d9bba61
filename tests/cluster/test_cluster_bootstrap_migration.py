"""A migration that fails, hangs, is killed or stops half way: its cause is told, and gone on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.bootstraps import Bootstrap, prepared
from tests.cluster.testbed.bed import Bed, Object
from tests.cluster.testbed.images import APPLICATION

APPLIED = "SELECT count(*) FROM django_migrations"


@pytest.fixture(scope="module")
def release(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrap]:
    """A release that is not migrated."""
    with prepared(bed, tmp_path_factory.mktemp("migration")) as found:
        found.deployed()
        yield found


def migrating(*command: str, **more: object) -> Object:
    """Return values with another migration command; all that another one may have changed."""
    # The release was made without them, and keeps its values.
    others = {
        "image": {"repository": APPLICATION},
        "deadlineSeconds": 600,
        "resources": {"limits": {"memory": "512Mi"}},
    }
    return {"migration": {"enabled": True, "command": list(command), **others, **more}}


FAULTS = {
    "fails": (
        migrating("python", "-c", "raise RuntimeError('the application is broken')"),
        ("RuntimeError: the application is broken", "kubectl -n"),
    ),
    "hangs": (
        migrating("python", "-c", "import time; time.sleep(600)", deadlineSeconds=60),
        ("DeadlineExceeded", "migration.deadlineSeconds"),
    ),
    "out-of-memory": (
        migrating(
            "python", "-c", "b = bytearray(400 << 20); print(len(b))",
            resources={"limits": {"memory": "96Mi"}},
        ),
        ("memory", "migration.resources.limits.memory"),
    ),
    "no-image": (
        migrating("none", image={"repository": "costmgmt.invalid/none"}),
        ("the application's image cannot be pulled", "kubectl -n"),
    ),
    "no-such-program": (
        migrating("no-such-program"),
        ("cannot start no-such-program", "kubectl -n"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_migration_that_fails_is_told_with_its_cause(
    release: Bootstrap, bed: Bed, name: str
) -> None:
    """The status is 1, the message names the Job and why."""
    values, said = FAULTS[name]
    try:
        ended = release.run(values=values, status=1)
    finally:
        # One that waits for its image is still under way, and would be joined.
        bed.kubectl("-n", release.namespace, "delete", "jobs", "--all", "--wait=true")
    assert "Job cost-mgmt-migration-" in ended.err
    for words in said:
        assert words in ended.err, ended.said


def test_one_that_stopped_half_way_is_gone_on_with(release: Bootstrap, bed: Bed) -> None:
    """What was applied stays, the next run applies the rest, and one that runs is joined."""
    half = "python koku/manage.py migrate --noinput api 0001 && exit 3"
    ended = release.run(values=migrating("sh", "-c", half), status=1)
    assert "failed with status 3" in ended.err
    applied = int(bed.psql(release.namespace, APPLIED))
    assert applied > 0
    slow = "sleep 5; exec python koku/manage.py migrate --noinput"
    plain = release.run(values=migrating("sh", "-c", slow))
    assert int(bed.psql(release.namespace, APPLIED)) > applied
    assert any(one.startswith("migrations: ") for one in plain.did("changed"))
    name = "cost-mgmt-migration-by-hand"
    source = "--from=cronjob/cost-mgmt-migration"
    bed.kubectl("-n", release.namespace, "create", "job", source, name)
    joined = release.run(values=migrating("sh", "-c", slow))
    assert f"Job {name} is under way: joining it" in joined.out
    assert any("nothing was left to apply" in one for one in joined.did("present"))
