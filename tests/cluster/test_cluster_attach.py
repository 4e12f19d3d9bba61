"""The suite over a release on a real cluster: what is right passes, and nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.attach_bed import HIVE, arguments, ended, judged
from tests.cluster.network import enforced
from tests.cluster.releases import Release, published
from tests.cluster.testbed.bed import Bed, Node, Object
from tests.server import run_support
from tests.server.run_support import Place

# The bed's server offers no TLS.
PLAIN = {"CM-CON-008": "failed"}
KINDS = "all,secrets,configmaps,pvc,networkpolicies,serviceaccounts,roles"


@pytest.fixture(scope="module")
def release(judged_release: Release) -> Release:
    """A release that is initialized and migrated, as bootstrap leaves it."""
    return judged_release


@pytest.fixture(scope="module")
def account(prober: Path) -> Path:
    """Somebody who may what the effect probe takes, read hive's Secret, and nothing else."""
    return prober


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def objects(release: Release) -> str:
    """Return what the namespace holds, but for what is on its way out."""
    listed = release.bed.list(KINDS, release.namespace)
    return "\n".join(
        f"{each['kind']}/{each['metadata']['name']}"
        for each in listed
        if "deletionTimestamp" not in each["metadata"]
    )


@pytest.mark.gate
def test_a_migrated_release_is_conformant(release: Release, account: Path, place: Place) -> None:
    """Every MUST of the smoke profile passes, and the namespace is as it was."""
    before = objects(release)
    ran = judged(place, release, account)
    ran.sound(0, "conformant", release.password())
    assert ended(ran) == PLAIN
    assert ran.outcomes["CM-CON-004"] == "passed", "hive's Secret is the migration's"
    assert ran.outcomes["CM-MIG-002"] == "passed", "the application's image was asked by a Job"
    release.bed.until("the probe's end", lambda: objects(release) == before, seconds=60)


def test_workers_reach_the_controller_s_doors(
    release: Release, account: Path, place: Place
) -> None:
    """With xdist the doors stay in the controller, and the outcomes are the same."""
    ran = judged(place, release, account, "-n", "2").sound(0, "conformant")
    assert ended(ran) == PLAIN


def test_the_sealed_command_says_the_same(release: Release, account: Path, place: Place) -> None:
    """`costmgmt check --namespace` is the same run."""
    ran = place.run(*arguments(release, account), command="check").sound(0, "conformant")
    assert ended(ran) == PLAIN


def test_reading_alone_makes_nothing(release: Release, place: Place) -> None:
    """By the published Role; what only another pod, or a Secret, can show is unverifiable."""
    role = published("check-read-only")
    who = release.bed.account(release.namespace, "reader", role)
    ran = judged(place, release, who, "--costmgmt-allow=read-only").sound(0, "conformant")
    unseen = {id_ for id_, said in ended(ran, all_=True).items() if said == "unverifiable"}
    assert unseen == {
        "CM-SEC-007", "CM-SEC-008", "CM-REL-008", "CM-REL-009", "CM-CON-004", "CM-CON-009",
        "CM-CRD-001", "CM-MIG-002", "CM-MIG-003", "CM-MIG-004", "CM-MIG-008",
    }  # fmt: skip


def test_another_release_than_the_one_there_is_a_usage_error(
    release: Release, account: Path, place: Place
) -> None:
    """It says which one is there; that one can be insisted on."""
    ran = place.run(*arguments(release, account), "--costmgmt-release=another")
    assert ran.status == 4, ran.said
    assert f"is of release {release.name}." in " ".join(ran.said.split())
    given = (f"--costmgmt-release={release.name}", "--costmgmt-allow=read-only")
    judged(place, release, account, *given).sound(0, "conformant")


def test_a_killed_run_leaves_a_probe_that_the_next_one_removes(
    release: Release, account: Path, place: Place
) -> None:
    """SIGKILL: the probe's own deadline would end it; a next run on this machine does at once."""
    running = place.start(*arguments(release, account))
    running.until_said("runs after")
    running.process.kill()
    running.process.wait()
    jobs = release.bed.list("job", release.namespace, "cost-management/kind=probe")
    left = [job for job in jobs if job["metadata"]["name"].startswith("costmgmt-probe-")]
    assert len(left) == 1
    for job in jobs:  # the one that asks the application is there or not yet
        assert job["spec"]["activeDeadlineSeconds"] <= 900
        assert job["spec"]["ttlSecondsAfterFinished"] == 60
    ran = judged(place, release, account).sound(0, "conformant")
    assert f"removed {left[0]['metadata']['name']}" in ran.out


def test_a_policy_that_is_enforced_passes(
    release: Release, account: Path, place: Place, node: Node
) -> None:
    """The included probe connects, the excluded one does not."""
    assert node
    policy(release)
    try:
        with enforced(release.bed, release.namespace):
            ran = judged(place, release, account).sound(0, "conformant")
    finally:
        release.bed.kubectl("delete", "networkpolicy", "postgres", "-n", release.namespace)
    assert ran.outcomes["CM-SEC-009"] == "passed"


def policy(release: Release) -> None:
    """Make the chart's NetworkPolicy."""
    labels = release.bed.get("sts", "postgres", release.namespace)["spec"]["selector"]
    peer = {"podSelector": {"matchLabels": {"cost-management/database-client": "true"}}}
    rule = {"from": [peer], "ports": [{"protocol": "TCP", "port": 5432}]}
    made: Object = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "postgres"},
        "spec": {"podSelector": labels, "policyTypes": ["Ingress"], "ingress": [rule]},
    }
    release.bed.apply(made, namespace=release.namespace)


def test_a_namespace_that_does_not_exist_is_never_made(bed: Bed, place: Place) -> None:
    """One error; the administrator, who could make it, has none afterwards either."""
    ran = place.run("--costmgmt-namespace=no-such-ns", f"--costmgmt-kubeconfig={bed.kubeconfig}")
    ran.sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    assert "does not exist" in ran.summary("CM-REL-001")
    assert "no-such-ns" not in bed.kubectl("get", "ns", "-o", "name")


def test_another_cluster_s_kubeconfig_is_one_error(
    release: Release, account: Path, place: Place, bed: Bed
) -> None:
    """A cluster that was built anew has another CA: its name is not enough."""
    import json  # noqa: PLC0415

    config = json.loads(account.read_text())
    other = Path("/etc/ssl/certs/ca-certificates.crt")
    cluster = config["clusters"][0]["cluster"]
    cluster.pop("certificate-authority-data", None)
    cluster["certificate-authority"] = str(other)
    wrong = place.folder / "kubeconfig"
    wrong.write_text(json.dumps(config))
    ran = place.run(*arguments(release, wrong)).sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    assert "is not the cluster" in ran.summary("CM-REL-001")
    assert bed
    assert HIVE not in ran.summary("CM-REL-001")
