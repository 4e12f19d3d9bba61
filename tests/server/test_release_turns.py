"""Whole runs over one release at once: who waits for whom, and what is not done without a Lease."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.servers.cluster import Place as Namespace
from pytest_costmgmt.servers.release_restart import Restart
from tests import release_objects as made
from tests.server.access_server import OwnServer
from tests.server.release_api import (
    BATCH,
    CORE,
    LEASES,
    Object,
    ReleaseApi,
    attached,
)
from tests.server.run_support import Place

LEASE = "costmgmt-bootstrap"
GATE = ("--costmgmt-profile=release-gate", "--costmgmt-allow=disruptive")


def held(holder: str = "alice@elsewhere run 1a2b") -> Object:
    """Return a Lease that another run holds now, and for longer than a test takes."""
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {
        "metadata": {"name": LEASE, "resourceVersion": "7"},
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": 3600, "renewTime": now,
            "leaseTransitions": 4,
        },
    }  # fmt: skip


@pytest.mark.parametrize("arguments", [(), ("--costmgmt-allow=read-only",), GATE],
                         ids=["probe", "read-only", "disruptive"])  # fmt: skip
def test_a_release_that_another_run_changes_is_not_judged(
    place: Place, release: ReleaseApi, arguments: tuple[str, ...]
) -> None:
    """One error that says who is at work; nothing is judged, and nothing of ours stays."""
    release.objects[f"{LEASES}/{LEASE}"] = before = held()
    ran = attached(place, release, *arguments).sound(8, "inconclusive")
    outcomes = ran.outcomes
    assert outcomes.pop("CM-REL-001") == "error"
    assert set(outcomes.values()) == {"blocked"}
    assert "held by alice@elsewhere run 1a2b" in ran.summary("CM-REL-001")
    assert release.objects[f"{LEASES}/{LEASE}"] == before
    assert release.jobs() == []


def test_a_disruptive_run_waits_for_whoever_judges(place: Place, release: ReleaseApi) -> None:
    """The other's probe is named and stays; the Lease is left."""
    labels = {
        "app.kubernetes.io/managed-by": "pytest-costmgmt", "cost-management/kind": "probe",
        "cost-management/run": "1a2b",
    }  # fmt: skip
    template: Object = {"metadata": {"labels": labels}, "spec": {}}
    probe = {
        "metadata": {"name": "costmgmt-probe-other", "labels": labels,
                     "annotations": {"cost-management/owner": "another-machine 1 2"}},
        "spec": {"activeDeadlineSeconds": 900, "template": template},
    }  # fmt: skip
    release.objects[f"{BATCH}/jobs/costmgmt-probe-other"] = probe
    ran = attached(place, release, *GATE).sound(8, "inconclusive")
    assert ran.outcomes["CM-REL-001"] == "error"
    assert "costmgmt-probe-other (run 1a2b" in ran.summary("CM-REL-001")
    assert release.jobs() == [probe]
    assert "holderIdentity" not in release.objects[f"{LEASES}/{LEASE}"]["spec"]


def test_what_began_while_it_was_judged_bends_the_verdict(
    place: Place, release: ReleaseApi
) -> None:
    """A run that only reads shows nobody that it is there: what it saw is then no verdict."""
    quiet = held()
    quiet["spec"] |= {"holderIdentity": "", "renewTime": "2026-11-24T10:00:00Z"}
    release.objects[f"{LEASES}/{LEASE}"] = quiet
    maps = release.objects[f"{CORE}/configmaps"]

    def begun(_: object) -> Object:
        """Have another run take the Lease: who judges reads this after it has looked for one."""
        now = held()
        now["spec"]["leaseTransitions"] = 5
        release.objects[f"{LEASES}/{LEASE}"] = now
        return {"kind": "List", "metadata": {}, "items": maps}

    release.objects[f"{CORE}/configmaps"] = begun
    ran = attached(place, release, "--costmgmt-allow=read-only")
    assert ran.report["verdict"] != "conformant"
    told = "another run changed the release while it was judged (alice@elsewhere run 1a2b"
    assert told in " ".join(ran.report["reasons"]), ran.report["reasons"]


def test_no_pod_is_deleted_without_the_lease(
    place: Place, release: ReleaseApi, release_host: OwnServer
) -> None:
    """Whoever lost it, or never had it, does nothing and says so."""
    kubeconfig = release.kubeconfig(place.folder / "kubeconfig")
    namespace = Namespace(namespace=made.NAMESPACE, kubeconfig=str(kubeconfig))
    admin = Login(role="postgres", database="postgres", where=release_host.where)
    for lease, told in ((None, "it is gone"), (held(), "held by alice@elsewhere")):
        if lease is not None:
            release.objects[f"{LEASES}/{LEASE}"] = lease
        seen = Restart(namespace, admin, run_id="3c4d", deadline=5.0)()
        assert told in seen.error
    assert release.made() == []
