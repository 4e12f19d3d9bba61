"""Persistence: is the data where it survives its pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_costmgmt.engine.check import DISRUPTIVE, MUST, READ_ONLY, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.judge import persistence as judge

if TYPE_CHECKING:
    from pytest_costmgmt.facts.release_seen import ReleaseFacts
    from pytest_costmgmt.servers.release_restart import Restart

AFTER_INSTALL = ("smoke", "full", "release-gate")


@check(
    id="CM-PER-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-002",),
    profiles=AFTER_INSTALL,
    rationale="The older chart mounts its volume where the image keeps nothing: everything works"
    " until the pod is deleted, and then all data is gone. A link that leads pg_wal or a tablespace"
    " off the volume ends the same way.",
    reference="the sclorg image (/var/lib/pgsql/data/userdata, whatever PGDATA says)",
)
def test_data_is_on_the_volume(costmgmt_release: ReleaseFacts) -> None:
    """All of the server's data MUST lie on the pod's PersistentVolumeClaim."""
    require(judge.on_the_volume(costmgmt_release))


@check(
    id="CM-PER-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="A claim that waits for a volume keeps the pod from starting; one that is being"
    " deleted goes with its data when the pod next restarts.",
    reference="Kubernetes: Persistent Volumes (phases, storage object in use protection)",
)
def test_claim_is_bound(costmgmt_release: ReleaseFacts) -> None:
    """The pod's claim MUST be bound, and not on its way out."""
    require(judge.bound(costmgmt_release))


@check(
    id="CM-PER-003",
    level=MUST,
    effect=DISRUPTIVE,
    since="1.0",
    after=("CM-PER-001", "CM-PER-002"),
    profiles=("release-gate",),
    rationale="Where the data lies is one thing, that it is found again another: only a pod that is"
    " deleted shows that the next one comes up with the same rows.",
    reference="Kubernetes: StatefulSets (stable storage); the sclorg image",
)
def test_a_row_outlives_its_pod(costmgmt_release: ReleaseFacts, costmgmt_restart: Restart) -> None:
    """A row MUST survive the deletion of the pod, on the same claim and the same server."""
    require(judge.survives(costmgmt_release, costmgmt_restart))
