"""Who may disturb a release: what is asked for first, and whose turn it is."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from pytest_costmgmt.facts.release import LEASE, Objects
from pytest_costmgmt.kubernetes import lease as leases
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.lease import OWNER, confirm, held_lease
from pytest_costmgmt.kubernetes.owner import owner
from pytest_costmgmt.kubernetes.probe import KIND, RUN_LABEL
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.shapes import Meta, PodTemplate, StatefulSet
from pytest_costmgmt.kubernetes.trouble import AccessDenied, LeaseHeld, LeaseLost, RunsThere
from pytest_costmgmt.servers import release_hold as holding
from pytest_costmgmt.servers.cluster import Place, ProbeWishes
from pytest_costmgmt.servers.release import Attachment, reading_rights
from tests.unit.test_kubernetes_lease import Store

Object = dict[str, Any]
RUN = "3c4d"
ROLES = Path(__file__).parents[2] / "charts" / "cost-management-infrastructure" / "rbac"
# For more to be seen: nobody is refused for want of them.
OPTIONAL = {
    ("list", "configmaps"), ("list", "events"), ("list", "networkpolicies"), ("get", "pods/log"),
}  # fmt: skip


class Cluster(Store):
    """An API server with one Lease, Jobs, and rights that may be lacking."""

    label = "a cluster"

    def __init__(self) -> None:
        super().__init__()
        self.jobs: list[Object] = []
        self.made: list[str] = []
        self.allowed: Callable[[Object], bool] = lambda _: True

    def create(self, path: str, body: Object, *, what: str = "") -> Object:
        """Review a right, or create the Lease."""
        if body["kind"] == "SelfSubjectAccessReview":
            return {"status": {"allowed": self.allowed(body["spec"]["resourceAttributes"])}}
        self.made.append(path)
        return super().create(path, body, what=what)

    def items(self, path: str, *_: object, what: str = "") -> list[Object]:
        """Return the Jobs, to whoever has made the Lease."""
        assert path.endswith("/jobs"), what
        self.made.append(f"looked, held by {(self.found or {}).get('spec')}")
        return self.jobs

    def delete(self, path: str, *_: object, what: str = "") -> None:
        """Remove a Job."""
        assert what.startswith("Removing probe")
        self.jobs = [each for each in self.jobs if each["metadata"]["name"] not in path]


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """A cluster in which all is allowed; renewing takes less than in earnest."""
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.1)
    return Cluster()


def attachment(cluster: Cluster, *, release: str = "mine") -> Attachment:
    """Return an attachment whose objects are read, and whose doors are not open yet."""
    place = Place(namespace="ns")
    found = Attachment(place, cast("Api", cluster), run=RUN, key=b"k", wishes=ProbeWishes())
    meta = Meta(name="postgres", annotations={"meta.helm.sh/release-name": release})
    made = StatefulSet(
        meta=meta, template=PodTemplate(), replicas=1, ready=1, service="postgres", selector={}
    )
    found.objects = Objects(namespace="ns", stateful_set=made)
    return found


def job(name: str, run: str, mark: str = "another-machine 1 2", **more: object) -> Object:
    """Return a probe of a run."""
    meta = {
        "name": name,
        "labels": {**KIND, RUN_LABEL: run},
        "annotations": {OWNER: mark},
        "creationTimestamp": "2026-11-24T10:00:00Z",
    }
    return {"metadata": meta, "spec": {"activeDeadlineSeconds": 900}, **more}


def test_it_is_held_until_the_attachment_ends(cluster: Cluster) -> None:
    """The Lease is made before others' probes are looked for, and left at the end."""
    attached = attachment(cluster)
    with contextlib.closing(attached):
        holding.hold(attached)
        assert cluster.made[0].endswith("/leases")
        assert all(f"run {RUN}" in each for each in cluster.made[1:])
        confirm(cast("Api", cluster), "ns", LEASE, run=RUN)
    with pytest.raises(LeaseLost, match="held by nobody"):
        confirm(cast("Api", cluster), "ns", LEASE, run=RUN)


def test_what_another_run_changes_is_left_alone(cluster: Cluster) -> None:
    """A bootstrap, or a run as ours, is at work: who it is is told, and nothing is done."""
    cluster.held(ago=1)
    with pytest.raises(LeaseHeld, match="held by alice@elsewhere run 1a2b"):
        holding.hold(attachment(cluster))
    assert cluster.made == []


def test_what_another_run_judges_is_left_alone(cluster: Cluster) -> None:
    """Its probe says that it is there; the Lease is not kept from others."""
    cluster.jobs = [job("costmgmt-probe-1", "1a2b")]
    attached = attachment(cluster)
    with pytest.raises(RunsThere) as told, contextlib.closing(attached):
        holding.hold(attached)
    for word in ("costmgmt-probe-1", "run 1a2b", "10:16:00Z", "kubectl -n ns delete job"):
        assert word in str(told.value)
    assert cluster.get("")["spec"].get("holderIdentity") is None


MACHINE = owner().partition(" ")[0]
NOBODY = [
    pytest.param(job("costmgmt-probe-1", RUN), id="our-own"),
    pytest.param(job("costmgmt-probe-1", "1a2b", f"{MACHINE} 4194304 1"), id="of-a-killed-run"),
    pytest.param(
        job("costmgmt-probe-1", "1a2b",
            status={"conditions": [{"type": "Failed", "status": "True"}]}),
        id="past-its-deadline",
    ),
]  # fmt: skip


@pytest.mark.parametrize("left", NOBODY)
def test_a_probe_of_nobody_is_in_no_one_s_way(cluster: Cluster, left: Object) -> None:
    """Our own, one whose run is known to have ended, and one that has ended itself."""
    cluster.jobs = [left]
    attached = attachment(cluster)
    with contextlib.closing(attached):
        holding.hold(attached)


@pytest.mark.parametrize("right", [*holding.RIGHTS, *holding.HELM_RIGHTS], ids=lambda r: r.text)
def test_each_right_is_asked_for_before_anything_is_done(cluster: Cluster, right: Right) -> None:
    """The one that is missing is named; there is no Lease and no probe."""
    resource, _, below = right.resource.partition("/")
    wanted = (right.verb, resource, below or None)
    cluster.allowed = lambda asked: (
        (asked["verb"], asked["resource"], asked.get("subresource")) != wanted
    )
    with pytest.raises(AccessDenied) as told:
        holding.hold(attachment(cluster))
    assert right.text in told.value.missing
    assert cluster.made == []


def test_what_helm_does_not_keep_takes_none_of_its_rights(cluster: Cluster) -> None:
    """Argo's or kubectl's release is not upgraded, only its pod is deleted."""
    cluster.allowed = lambda asked: asked["resource"] != "secrets"
    attached = attachment(cluster, release="")
    with contextlib.closing(attached):
        holding.hold(attached)


def test_the_published_role_is_what_is_asked_for() -> None:
    """No verb of it is unknown to the code, and none that the code takes is missing in it."""
    rules = yaml.safe_load((ROLES / "check-disruptive.yaml").read_text())["rules"]
    allowed = {
        (verb, resource)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    taken = (*reading_rights(), *holding.RIGHTS, *holding.HELM_RIGHTS)
    assert allowed == {(right.verb, right.resource) for right in taken} | OPTIONAL


def test_a_release_that_is_changed_now_is_not_judged(cluster: Cluster) -> None:
    """Whoever only looks says who is at work, instead of judging what is half done."""
    cluster.held(ago=1)
    with pytest.raises(LeaseHeld, match="alice"):
        holding.Quiet(cast("Api", cluster), "ns")


def test_a_bootstrap_judges_what_it_deployed(cluster: Cluster) -> None:
    """In its own process, while it still holds the Lease."""
    api = cast("Api", cluster)
    with held_lease(api, "ns", LEASE, run="9f"):
        assert holding.Quiet(api, "ns").broken() == ""


def test_a_lease_of_a_killed_run_is_nobody_s(cluster: Cluster) -> None:
    """Expired, or of a process that is gone: the release rests."""
    for ago, mark in ((31.0, "another-machine 1 2"), (1.0, f"{MACHINE} 4194304 1")):
        cluster.held(ago=ago, mark=mark)
        holding.Quiet(cast("Api", cluster), "ns")


@pytest.mark.parametrize("before", [False, True], ids=["none-before", "one-before"])
def test_a_change_while_it_is_judged_is_told(cluster: Cluster, *, before: bool) -> None:
    """Also one that is over by the end, in less time than anybody looks."""
    api = cast("Api", cluster)
    if before:
        with held_lease(api, "ns", LEASE, run="9f"):
            pass
    quiet = holding.Quiet(api, "ns")
    assert quiet.broken() == ""
    with held_lease(api, "ns", LEASE, run="1a2b"):
        pass
    assert "Lease costmgmt-bootstrap was held" in quiet.broken()
    assert cluster.found is not None
    cluster.held(ago=1)
    cluster.found["spec"]["leaseTransitions"] = 9
    assert "alice@elsewhere run 1a2b" in quiet.broken()
