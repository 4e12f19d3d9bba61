"""A migration that fails, hangs, is killed or stops half way: its cause is told, and gone on."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.cluster.bootstraps import Bootstrap, prepared
from tests.cluster.releases import refusal
from tests.cluster.testbed.bed import Bed, Object
from tests.cluster.testbed.images import APPLICATION

SOON = 150
"Seconds within which what does not heal has ended the wait; a Job's deadline is 600 or more."
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
    began = time.monotonic()
    ended = release.run(values=values, status=1)
    assert "Job cost-mgmt-migration-" in ended.err
    for words in said:
        assert words in ended.err, ended.said
    assert time.monotonic() - began < SOON
    assert bed.list("job", release.namespace), "what it left is the operator's to look at"


def jobs(release: Bootstrap) -> set[str]:
    """Return the names of the Jobs that are there."""
    listed = release.bed.list("job", release.namespace)
    return {str(one["metadata"]["name"]) for one in listed}


def test_one_that_cannot_run_is_not_joined(release: Bootstrap, bed: Bed) -> None:
    """A stuck Job of ours is replaced, anybody else's left alone; both are told."""
    space = release.namespace
    bed.kubectl("-n", space, "delete", "jobs", "--all", "--wait=true")
    nowhere = migrating("none", image={"repository": "costmgmt.invalid/none"})
    release.run(values=nowhere, status=1)
    (ours,) = jobs(release)
    theirs = "cost-mgmt-migration-by-somebody"
    source = "--from=cronjob/cost-mgmt-migration"
    bed.kubectl("-n", space, "create", "job", source, theirs)
    stuck = ("ImagePullBackOff", "ErrImagePull")
    bed.until("somebody's stuck", lambda: any(one in states(bed, space, theirs) for one in stuck))
    plain = migrating("python", "-c", "print('  No migrations to apply.')")
    # Nothing was migrated, whatever it says: that is told by the validation.
    ended = release.run(values=plain, status=1)
    assert any(one.startswith(f"Job {ours}: removed") for one in ended.did("changed")), ended.said
    assert f"Job {theirs} is not joined, and left as it is" in ended.out
    assert jobs(release) == {theirs}
    bed.kubectl("-n", space, "delete", "job", theirs)


def states(bed: Bed, namespace: str, job: str) -> str:
    """Return what the pods of a Job wait for."""
    pods = bed.list("pods", namespace, f"job-name={job}")
    return json.dumps([one["status"].get("containerStatuses") for one in pods])


def test_a_quota_ends_the_wait(release: Bootstrap, bed: Bed) -> None:
    """No pod may be made: the event says why, and the Job is not waited for; the next goes on."""
    space, values = release.namespace, migrating("python", "-c", "pass")
    # The same values again: nothing but the Job is to be made then.
    release.run(values=values, status=1)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
             "spec": {"hard": {"pods": "0"}}}  # fmt: skip
    bed.apply(quota, namespace=space)
    try:
        bed.until("the quota to count", lambda: "exceeded quota" in refusal(bed, space))
        began = time.monotonic()
        ended = release.run(values=values, status=1)
        assert time.monotonic() - began < SOON
    finally:
        bed.kubectl("-n", space, "delete", "resourcequota", "small")
        bed.until("no quota", lambda: not refusal(bed, space))
    assert "Job cost-mgmt-migration-" in ended.err
    assert "no pod may be made" in ended.err
    assert "exceeded quota: small" in ended.err
    # By now the Job may have its pod, or is replaced.
    again = release.run(values=values, status=1)
    assert any(one.startswith("migrations: ") for one in again.did("present")), again.said


def test_nothing_to_apply_leaves_nothing_behind(release: Bootstrap, bed: Bed) -> None:
    """A Job that said so is removed; one whose output says something else is kept."""
    space = release.namespace
    bed.kubectl("-n", space, "delete", "jobs", "--all", "--wait=true")
    nothing = migrating("python", "-c", "print('  No migrations to apply.')")
    ended = release.run(values=nothing, status=1)
    assert any("nothing was left to apply" in one for one in ended.did("present"))
    assert jobs(release) == set()
    release.run(values=migrating("python", "-c", "print('one of ones own')"), status=1)
    assert len(jobs(release)) == 1


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
