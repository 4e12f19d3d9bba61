"""What hinders a bootstrap ends it at once, with what is wrong, the evidence and what to do."""

from __future__ import annotations

import contextlib
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
from tests.cluster.releases import refusal, renamed
from tests.cluster.testbed.bed import Bed, Node, Object

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


def test_a_policy_that_refuses_the_pod_ends_the_wait(bootstrap: Bootstrap, bed: Bed) -> None:
    """The policy's own sentence is told, at once; where it is gone, the same command goes on."""
    began = time.monotonic()
    with refusing(bed, bootstrap.namespace):
        began = time.monotonic()
        ended = bootstrap.run(values=NOT_MIGRATED, status=1)
        assert time.monotonic() - began < SOON
    assert "no pod may be made" in ended.err
    assert "databases are not welcome here" in ended.err
    assert "event: StatefulSet postgres: FailedCreate" in ended.err
    bootstrap.deployed()


@contextlib.contextmanager
def refusing(bed: Bed, namespace: str) -> Iterator[None]:
    """Have the API server admit no database to the namespace."""
    name, group = f"no-{namespace}", "admissionregistration.k8s.io/v1"
    pods = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
            "resources": ["pods"]}  # fmt: skip
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    said = {
        "expression": "object.metadata.name != 'postgres-0'",
        "message": "databases are not welcome here",
    }
    spec = {
        "matchConstraints": {"resourceRules": [pods], "namespaceSelector": here},
        "validations": [said],
    }
    binding = {"policyName": name, "validationActions": ["Deny"]}
    kind = "ValidatingAdmissionPolicy"
    bed.apply(
        {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec},
        {"apiVersion": group, "kind": f"{kind}Binding", "metadata": {"name": name},
         "spec": binding},
    )  # fmt: skip
    try:
        bed.until(
            "the policy to count", lambda: "not welcome" in refusal(bed, namespace, "postgres-0")
        )
        yield
    finally:
        for each in (f"{kind}Binding", kind):
            bed.tell("delete", f"{each}/{name}", "--ignore-not-found")
        bed.until("no policy", lambda: "not welcome" not in refusal(bed, namespace, "postgres-0"))


def test_a_data_folder_of_another_uid_ends_the_wait(
    bootstrap: Bootstrap, bed: Bed, node: Node
) -> None:
    """The init container's sentence is told, at once; nothing is touched, and nothing is lost."""
    bootstrap.deployed()
    space = bootstrap.namespace
    bed.psql(space, "CREATE TABLE kept AS SELECT 42 AS a")
    claim = bed.get("pvc", "postgresql-data-postgres-0", space)
    volume = bed.get("pv", claim["spec"]["volumeName"])["spec"]["local"]["path"]
    bed.kubectl("-n", space, "scale", "statefulset", "postgres", "--replicas=0")
    bed.until("no pod", lambda: not bed.list("pods", space))
    node.run("chown", "-R", "1234", f"{volume}/userdata")
    began = time.monotonic()
    ended = bootstrap.run(values=NOT_MIGRATED, status=1)
    assert time.monotonic() - began < SOON
    assert "the init container check-data ended with status 1" in ended.err
    assert "belongs to uid 1234, and the pod runs as uid 26" in " ".join(ended.err.split())
    assert "Nothing was touched." in ended.err
    node.run("chown", "-R", "26", f"{volume}/userdata")
    bed.until_ready(space)
    bootstrap.deployed()
    assert bed.psql(space, "SELECT a FROM kept") == "42"


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
    """By the chart, which reads the images' names; the release stays as it is."""
    before, state = newest(bed, release.namespace), pod_of(release)
    ended = release.run(values={**NOT_MIGRATED, "postgresql": {"major": "13"}}, status=1)
    said = " ".join(ended.err.split())
    assert "runs PostgreSQL 15, and this rendering's image is PostgreSQL 13" in said
    assert "costmgmt backup), install anew, restore (costmgmt restore)" in said
    assert (newest(bed, release.namespace), pod_of(release)) == (before, state)


def test_another_major_by_another_name_is_refused_before_helm(
    release: Bootstrap, bed: Bed, node: Node
) -> None:
    """Whatever an image is called: its version is asked by a probe, and compared."""
    before, state = newest(bed, release.namespace), pod_of(release)
    image = {"repository": renamed(bed, node, 13), "tag": "latest"}
    values = {**NOT_MIGRATED, "postgresql": {"image": image, "major": ""}}
    ended = release.run(values=values, status=1)
    assert "it is PostgreSQL 13, and the data is of PostgreSQL 15" in ended.err
    assert (newest(bed, release.namespace), pod_of(release)) == (before, state)


def pod_of(release: Bootstrap) -> str:
    """Return the uid of the database's pod."""
    return str(release.bed.get("pod", "postgres-0", release.namespace)["metadata"]["uid"])


SIZES = {
    "smaller": ({"size": "10Gi"}, "a volume does not shrink", "costmgmt backup"),
    "larger": ({"size": "30Gi"}, "patch pvc postgresql-data-postgres-0", "--cascade=orphan"),
    "class": ({"storageClassName": "other"}, "a volume cannot change its class", "restore"),
}


@pytest.mark.parametrize("name", SIZES)
def test_another_volume_is_refused_before_anything_is_touched(
    release: Bootstrap, bed: Bed, name: str
) -> None:
    """Each with its own way; no revision is recorded, and the pod stays."""
    before, state = newest(bed, release.namespace), pod_of(release)
    persistence, said, way = SIZES[name]
    ended = release.run(
        values={**NOT_MIGRATED, "postgresql": {"persistence": persistence}}, status=1
    )
    assert said in ended.err
    assert way in ended.err
    assert "Nothing was changed." in ended.err
    assert (newest(bed, release.namespace), pod_of(release)) == (before, state)


def test_a_second_release_is_refused(release: Bootstrap) -> None:
    """One release in a namespace."""
    ended = release.run("--release", "another", values=NOT_MIGRATED, status=1)
    assert "has the release cost-mgmt-infra already" in ended.err


def test_two_at_once_take_turns(release: Bootstrap, bed: Bed) -> None:
    """While one holds the Lease, another is refused, and says who holds it."""
    del bed
    with release.started(values=NOT_MIGRATED) as one:
        deadline = time.monotonic() + 60
        while not release.held() and time.monotonic() < deadline:
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
