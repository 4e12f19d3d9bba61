"""A probe: what it is made of, when it cannot run, and whose probes are swept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.probe import NAME_LABEL, OWNER, ProbeSpec, job, probe, sweep
from pytest_costmgmt.kubernetes.trouble import ProbeFailed
from tests.server.pod_api import Object, PodApi, pod_api, status

NAMESPACE = "/api/v1/namespaces/cost-mgmt"
JOBS = "/apis/batch/v1/namespaces/cost-mgmt/jobs"
SPEC = ProbeSpec(run="run-1", image="an-image", seconds=300)


@pytest.fixture
def cluster() -> Iterator[PodApi]:
    """An API server."""
    with pod_api() as made:
        yield made


@pytest.fixture
def api(cluster: PodApi, tmp_path: Path) -> Api:
    """The way there."""
    path = cluster.kubeconfig(tmp_path / "kubeconfig")
    return Api(access(kubeconfig=path, environ={}), patience=0)


def lives(cluster: PodApi, phase: str = "Pending", **of_status: Any) -> None:
    """Have the cluster make a pod of each Job, in that state."""

    def made(path: str, body: Object) -> None:
        assert path == JOBS
        labels = {NAME_LABEL: body["metadata"]["name"]}
        one = {"metadata": {"name": "pod-1", "labels": labels},
               "status": {"phase": phase, "podIP": "10.0.0.9", **of_status}}  # fmt: skip
        cluster.objects[f"{NAMESPACE}/pods"] = [one]

    cluster.created = made
    cluster.objects[f"{NAMESPACE}/events"] = []


def waits(reason: str, message: str = "") -> list[dict[str, Any]]:
    """Return the state of a container that waits."""
    return [{"name": "probe", "state": {"waiting": {"reason": reason, "message": message}}}]


def jobs(cluster: PodApi) -> list[str]:
    """Return the Jobs that are left."""
    return [path for path in cluster.objects if path.startswith(f"{JOBS}/")]


def test_it_meets_the_restricted_policy_and_gets_nothing() -> None:
    """No token, no service links, no capability, no second try; its end is the cluster's."""
    spec = job(SPEC, "p")["spec"]
    pod = spec["template"]["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (0, 300)
    assert spec["ttlSecondsAfterFinished"] == 60
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False
    assert pod["restartPolicy"] == "Never"
    assert pod["securityContext"] == {
        "runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}  # fmt: skip
    (container,) = pod["containers"]
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["imagePullPolicy"] == "IfNotPresent"


def test_what_a_policy_asks_for_reaches_the_pod() -> None:
    """Labels, annotations, nodes and pull secrets; none of ours can be written over."""
    given = ProbeSpec(
        run="r", image="i", labels={"team": "a", NAME_LABEL: "theirs"}, annotations={"note": "b"},
        node_selector={"disk": "ssd"}, pull_secrets=("s",), run_as_user=26,
    )  # fmt: skip
    template = job(given, "p")["spec"]["template"]
    assert template["metadata"]["labels"]["team"] == "a"
    assert template["metadata"]["labels"][NAME_LABEL] == "p"
    assert template["metadata"]["annotations"] == {"note": "b"}
    assert template["spec"]["nodeSelector"] == {"disk": "ssd"}
    assert template["spec"]["imagePullSecrets"] == [{"name": "s"}]
    assert template["spec"]["securityContext"]["runAsUser"] == 26


def test_a_probe_that_runs_is_removed_after(cluster: PodApi, api: Api) -> None:
    """Also when what is done in it fails."""
    lives(cluster, containerStatuses=[{"name": "probe", "state": {"running": {}}}])
    with pytest.raises(ZeroDivisionError), probe(api, "cost-mgmt", SPEC) as made:
        assert (made.pod, made.ip, made.container) == ("pod-1", "10.0.0.9", "probe")
        assert jobs(cluster) == [f"{JOBS}/{made.name}"]
        _ = 1 / 0
    assert jobs(cluster) == []


@pytest.mark.parametrize("reason", ["ImagePullBackOff", "CreateContainerConfigError"])
def test_what_cannot_heal_ends_the_wait_at_once(cluster: PodApi, api: Api, reason: str) -> None:
    """Long before the deadline, with the cluster's words and the option that helps."""
    lives(cluster, containerStatuses=waits(reason, "of no use"))
    cluster.objects[f"{NAMESPACE}/events"] = [
        {"type": "Warning", "reason": "Failed", "message": "told by an event"}]  # fmt: skip
    with (
        pytest.raises(ProbeFailed, match=f"an-image.*{reason} of no use") as told,
        probe(api, "cost-mgmt", SPEC, deadline=10_000),
    ):
        pass
    assert "told by an event" in str(told.value)
    assert "--costmgmt-probe-image" in str(told.value)
    assert jobs(cluster) == []


def test_a_pod_that_may_not_be_made_ends_the_wait_at_once(cluster: PodApi, api: Api) -> None:
    """A quota or a policy refuses it: the Job has an event, and never a pod."""
    cluster.objects[f"{NAMESPACE}/pods"] = []
    cluster.objects[f"{NAMESPACE}/events"] = [
        {"type": "Warning", "reason": "FailedCreate", "message": "exceeded quota"}]  # fmt: skip
    with (
        pytest.raises(ProbeFailed, match=r"(?s)no pod may be made.*exceeded quota"),
        probe(api, "cost-mgmt", SPEC, deadline=10_000),
    ):
        pass


def test_what_may_heal_is_waited_for_and_told_at_the_deadline(cluster: PodApi, api: Api) -> None:
    """What it waits for is the last thing that was seen."""
    unscheduled = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes fit"}]
    lives(cluster, conditions=unscheduled)
    cluster.objects[f"{NAMESPACE}/events"] = status(403, "Forbidden", "no events for us")
    with (
        pytest.raises(ProbeFailed, match="0/1 nodes fit, and the wait is over"),
        probe(api, "cost-mgmt", SPEC, deadline=0),
    ):
        pass


def test_only_what_an_ended_run_of_this_machine_left_is_swept(cluster: PodApi, api: Api) -> None:
    """A run that lives, here or elsewhere, keeps its probe."""
    (own,) = (job(SPEC, "own")["metadata"]["annotations"][OWNER],)
    machine, pid, _ = own.split()
    assert pid == str(os.getpid())
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    owners = {
        "own": own,
        "recycled": f"{machine} {pid} 1",
        "ended": f"{machine} {gone.pid} 12345",
        "elsewhere": f"0123456789abcdef {gone.pid} 12345",
        "nobody": "",
    }
    cluster.objects[JOBS] = [
        {"metadata": {"name": name, "annotations": {OWNER: owner}}}
        for name, owner in owners.items()
    ]
    cluster.objects |= {f"{JOBS}/{name}": {} for name in owners}
    assert sweep(api, "cost-mgmt") == ("recycled", "ended")
    assert sorted(jobs(cluster)) == [f"{JOBS}/{name}" for name in ("elsewhere", "nobody", "own")]
