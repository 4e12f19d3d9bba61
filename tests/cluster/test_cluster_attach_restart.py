"""The pod is deleted on purpose: what is on its volume survives, and what is lost is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import LEASE
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.facts.survival import Survival
from pytest_costmgmt.judge.persistence import survives
from pytest_costmgmt.kubernetes.lease import held_lease
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place as Namespace
from pytest_costmgmt.servers.release import attach
from pytest_costmgmt.servers.release_restart import Restart
from tests.cluster.attach_bed import checker
from tests.cluster.releases import Release, fresh
from tests.cluster.testbed.bed import Bed, Object

RUN = "0a1b2c3d"
WIPE = "/var/lib/pgsql/data/wipe"
DELETE: tuple[Object, ...] = (
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["delete"]},
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get"]},
)


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """A release that is ready."""
    with fresh(bed, "--set=postgresql.major=15", name="restart") as made:
        yield made


def restarted(release: Release, *, rules: tuple[Object, ...] = DELETE) -> Survival:
    """Act it out by an account that may delete pods, or may not."""
    name = "restarter" if rules else "onlooker"
    role = checker("check-read-only")
    role["metadata"]["name"] = name
    role = {**role, "rules": [*role["rules"], *rules]}
    kubeconfig = release.bed.account(release.namespace, name, role)
    place = Namespace(namespace=release.namespace, kubeconfig=str(kubeconfig))
    api = Namespace(namespace=release.namespace, kubeconfig=str(release.bed.kubeconfig)).api()
    with (
        held_lease(api, release.namespace, LEASE, run=RUN),
        contextlib.closing(attach(place, load("koku-hive"), network=False)) as attached,
    ):
        administrator = attached.require().administrator
        assert administrator is not None
        return Restart(place, administrator, run_id=RUN)()


def test_who_may_not_delete_pods_is_told_and_nothing_is_done(release: Release) -> None:
    """The right is named, no row is left, and the pod is the same."""
    before = release.identity()
    seen = restarted(release, rules=())
    assert "delete pods" in seen.error
    with pytest.raises(FactUnavailable, match="delete pods"):
        survives(ReleaseFacts(), lambda: seen)
    assert release.identity() == before


def test_a_row_outlives_its_pod(release: Release) -> None:
    """Another pod, the same claim, server and row; nothing of ours is left in the database."""
    before = release.identity()
    found = survives(ReleaseFacts(), lambda: restarted(release))
    assert found.findings == ()
    assert "outlived" in found.summary
    after = release.identity()
    assert before[0] != after[0]
    assert before[1:] == after[1:]
    ours = "SELECT count(*) FROM pg_class WHERE relname LIKE 'costmgmt%'"
    assert release.psql(ours, "postgres") == "0"


def test_data_that_is_wiped_at_the_start_is_told(release: Release) -> None:
    """All is on the volume, and yet the next pod begins anew."""
    command = f"if [ -e {WIPE} ]; then rm -rf {WIPE} /var/lib/pgsql/data/userdata; fi"
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    init: Object = {
        "name": "wipe",
        "image": pod["spec"]["containers"][0]["image"],
        "imagePullPolicy": "IfNotPresent",
        "command": ["sh", "-c", command],
        "volumeMounts": [{"name": "postgresql-data", "mountPath": "/var/lib/pgsql/data"}],
        "securityContext": pod["spec"]["containers"][0]["securityContext"],
    }
    patch = json.dumps({"spec": {"template": {"spec": {"initContainers": [init]}}}})
    words = ("patch", "sts", "postgres", "-n", release.namespace, "--type=strategic", "-p", patch)
    release.bed.kubectl(*words)
    release.rolled(pod["metadata"]["uid"])
    where = ("exec", "-n", release.namespace, "postgres-0", "-c", "postgresql", "--", "touch", WIPE)
    release.bed.kubectl(*where)
    found = survives(ReleaseFacts(), lambda: restarted(release))
    told = " ".join(each.summary for each in found.findings)
    assert "the row is another" in told
    assert "system_identifier is another" in told
    assert "claim" not in told
