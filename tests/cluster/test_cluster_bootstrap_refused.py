"""What hinders a bootstrap ends it at once, with what is wrong, the evidence and what to do."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cluster.bootstraps import (
    LEASE,
    NOT_MIGRATED,
    RELEASE,
    Bootstrap,
    newest,
    plant_pending,
    prepared,
)
from tests.cluster.testbed.bed import Bed, Object

SOON = 90
"Seconds within which what does not heal has ended the wait; its deadline is 600."


@pytest.fixture
def bootstrap(bed: Bed, tmp_path: Path) -> Iterator[Bootstrap]:
    """A namespace with nothing in it."""
    with prepared(bed, tmp_path) as found:
        yield found


class Hindrance(NamedTuple):
    """Values that cannot come to run, or what else is in the namespace, and what is said."""

    said: tuple[str, ...]
    values: Object | None = None
    beside: Object | None = None
    "An object that an administrator puts there first."


def quota(**hard: str) -> Object:
    """Return a quota."""
    return {
        "apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"},
        "spec": {"hard": hard},
    }  # fmt: skip


LIMITS: Object = {
    "apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "narrow"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "100Mi"}}]},
}  # fmt: skip

HINDRANCES = {
    "storage-class": Hindrance(
        ("PVC postgresql-data-postgres-0", "no-such-class", "storageClassName"),
        {"postgresql": {"persistence": {"storageClassName": "no-such-class"}}},
    ),
    "no-volume": Hindrance(
        ("PVC postgresql-data-postgres-0", "persistent volume", "get storageclass"),
        {"postgresql": {"persistence": {"size": "900Ti"}}},
    ),
    "image": Hindrance(
        ("cannot be pulled", "costmgmt.invalid/none", "postgresql.image", "event:"),
        {"postgresql": {"image": {"repository": "costmgmt.invalid/none"}, "major": "15"}},
    ),
    "quota-of-pods": Hindrance(
        ("no pod may be made", "exceeded quota: small", "Raise the quota"),
        beside=quota(pods="0"),
    ),
    "quota-of-storage": Hindrance(
        ("no pod may be made", "exceeded quota: small", "Raise the quota"),
        beside=quota(**{"requests.storage": "1Gi"}),
    ),
    "limit-range": Hindrance(
        ("no pod may be made", "maximum memory usage per Container", "LimitRange"),
        beside=LIMITS,
    ),
    "crash": Hindrance(
        ("crashes again and again", "log: ", 'could not access file "no_such_library"'),
        {"postgresql": {"sharedPreloadLibraries": ["pg_stat_statements", "no_such_library"]}},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HINDRANCES)
def test_what_does_not_come_to_run_ends_the_wait(bootstrap: Bootstrap, bed: Bed, name: str) -> None:
    """The message names the cause and the way out, long before the deadline."""
    hindrance = HINDRANCES[name]
    if hindrance.beside is not None:
        bed.apply(hindrance.beside, namespace=bootstrap.namespace)
    began = time.monotonic()
    ended = bootstrap.run(values=hindrance.values, status=1)
    assert time.monotonic() - began < SOON
    for words in hindrance.said:
        assert words in ended.err, ended.said
    # What holds data or credentials is never deleted for it.
    assert [one["metadata"]["name"] for one in bed.list("secret", bootstrap.namespace)]


def test_a_hindrance_that_is_gone_is_no_more(bootstrap: Bootstrap, bed: Bed) -> None:
    """After the quota is raised the same command goes on from where it was."""
    bed.apply(quota(pods="0"), namespace=bootstrap.namespace)
    bootstrap.run(values=NOT_MIGRATED, status=1)
    bed.kubectl("-n", bootstrap.namespace, "delete", "resourcequota", "small")
    ended = bootstrap.deployed()
    assert any(one.startswith("Secret postgres-credentials") for one in ended.did("present"))


def secret(**data: str) -> Object:
    """Return a Secret of the operator's."""
    return {
        "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "postgres-credentials"},
        "stringData": data,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "said"),
    [
        pytest.param({"database": "koku", "username": "koku"}, "no key password", id="no-key"),
        pytest.param(
            {"database": "koku", "username": "koku", "password": "a-password-of-a-test\n"},
            "ends with a newline", id="newline",
        ),
        pytest.param(
            {"database": "koku", "username": "koku", "password": ""},
            "password is empty", id="empty",
        ),
    ],
)  # fmt: skip
def test_a_secret_that_pods_could_not_use_is_refused(
    bootstrap: Bootstrap, bed: Bed, data: dict[str, str], said: str
) -> None:
    """Before Helm is called; the Secret stays as it is."""
    bed.apply(secret(**data), namespace=bootstrap.namespace)
    before = bed.get("secret", "postgres-credentials", bootstrap.namespace)["data"]
    ended = bootstrap.run(status=1)
    assert said in ended.err
    assert "a-password-of-a-test" not in ended.said
    assert bed.get("secret", "postgres-credentials", bootstrap.namespace)["data"] == before
    assert bed.list("statefulset", bootstrap.namespace) == []


@pytest.fixture(scope="module")
def release(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrap]:
    """A release that bootstrap made, without migrations."""
    with prepared(bed, tmp_path_factory.mktemp("release")) as found:
        found.deployed()
        yield found


def test_another_major_is_refused_before_helm(release: Bootstrap, bed: Bed) -> None:
    """The new image's version is compared with the server's; the release stays."""
    before = newest(bed, release.namespace)
    ended = release.run(values={**NOT_MIGRATED, "postgresql": {"major": "13"}}, status=1)
    assert "it is PostgreSQL 13, and the data is of PostgreSQL 15" in ended.err
    assert newest(bed, release.namespace) == before


def test_a_second_release_is_refused(release: Bootstrap) -> None:
    """One release in a namespace."""
    ended = release.run("--release", "another", values=NOT_MIGRATED, status=1)
    assert "has the release cost-mgmt-infra already" in ended.err


def test_two_at_once_take_turns(release: Bootstrap, bed: Bed) -> None:
    """While one holds the Lease, another is refused, and says who holds it."""
    del bed
    with release.started(values=NOT_MIGRATED) as one:
        deadline = time.monotonic() + 60
        while not release.note("phase") and time.monotonic() < deadline:
            time.sleep(0.02)
        ended = release.run(values=NOT_MIGRATED, status=1)
        out, _ = one.communicate(timeout=300)
        assert "Deployed, but not ready" in out
    assert "Lease costmgmt-bootstrap is held by" in ended.err


def test_a_deleted_secret_is_not_replaced(release: Bootstrap, bed: Bed) -> None:
    """A new password made in silence would lock the applications out."""
    space = release.namespace
    kept = bed.get("secret", "postgres-credentials", space)
    bed.kubectl("-n", space, "delete", "secret", "postgres-credentials")
    try:
        ended = release.run(values=NOT_MIGRATED, status=1)
    finally:
        bed.apply({**secret(), "data": kept["data"]}, namespace=space)
    assert "it is gone, and the database in namespace" in ended.err


def test_a_changed_secret_is_told(release: Bootstrap, bed: Bed) -> None:
    """The database knows the former password until its pod is new: not ready, and why."""
    space = release.namespace
    changed = json.dumps({"stringData": {"password": "quite-another-password"}})
    kept = bed.get("secret", "postgres-credentials", space)["data"]["password"]
    bed.kubectl("-n", space, "patch", "secret", "postgres-credentials", "-p", changed)
    try:
        ended = release.run(values=NOT_MIGRATED, status=1)
    finally:
        back = json.dumps({"data": {"password": kept}})
        bed.kubectl("-n", space, "patch", "secret", "postgres-credentials", "-p", back)
    assert any(one.startswith("login koku") for one in ended.did("refused")), ended.said
    assert "quite-another-password" not in ended.said


def test_a_pending_revision_of_others_stops_us(release: Bootstrap, bed: Bed) -> None:
    """Somebody's helm is at work, or was killed: the command that ends it is named."""
    space = release.namespace
    planted = plant_pending(bed, space)
    try:
        ended = release.run(values=NOT_MIGRATED, status=1)
        assert newest(bed, space) == planted
    finally:
        name = f"sh.helm.release.v1.{RELEASE}.v{planted}"
        bed.kubectl("-n", space, "delete", "secret", name)
    assert "pending-upgrade" in ended.err
    assert f"helm rollback {RELEASE} {planted - 1}" in ended.err


def test_a_pending_revision_that_inherits_our_label_is_not_ours(
    release: Bootstrap, bed: Bed
) -> None:
    """Helm copies labels from revision to revision: only the Lease says which one we began."""
    space = release.namespace
    planted = plant_pending(bed, space, {"cost-management/run": "0a1b2c3d"})
    try:
        release.run(values=NOT_MIGRATED, status=1)
        note = {"cost-management/note-helm": f"{RELEASE} {planted} 0a1b2c3d"}
        lease = json.dumps({"metadata": {"annotations": note}})
        bed.kubectl("-n", space, "patch", "lease", LEASE, "--type=merge", "-p", lease)
        ended = release.deployed()
    finally:
        name = f"sh.helm.release.v1.{RELEASE}.v{planted}"
        bed.tell("-n", space, "delete", "secret", name)
    told = "was left pending-upgrade by a run of ours that was killed"
    assert any(told in one for one in ended.did("changed")), ended.said
    assert newest(bed, space) == planted - 1
