"""Upgrade: whatever is upgraded, rows, password, extensions and roles are as they were."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_costmgmt.engine.check import DISRUPTIVE, MUST, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.judge import upgrade as judge

if TYPE_CHECKING:
    from pytest_costmgmt.facts.release_seen import ReleaseFacts
    from pytest_costmgmt.servers.release_upgrade import Upgrading

AFTER = ("CM-PER-001", "CM-PER-002", "CM-REL-009", "CM-SEC-007")
GATE = ("release-gate",)


@check(
    id="CM-UPG-001",
    level=MUST,
    effect=DISRUPTIVE,
    since="1.0",
    after=AFTER,
    profiles=GATE,
    rationale="A chart that makes a password at each rendering locks the applications out at the"
    " first upgrade, though nothing was changed; what converges stays the same twice.",
    reference="charts/cost-management-infrastructure (the password is made once)",
)
def test_upgrade_changes_nothing(
    costmgmt_release: ReleaseFacts, costmgmt_upgrades: Upgrading
) -> None:
    """`helm upgrade` with the same values, twice, MUST leave rows, password and roles alone."""
    names = ("the same values", "the same values again")
    require(judge.kept(costmgmt_release, costmgmt_upgrades, *names))


@check(
    id="CM-UPG-002",
    level=MUST,
    effect=DISRUPTIVE,
    since="1.0",
    after=("CM-UPG-001",),
    profiles=GATE,
    rationale="Other resources replace the pod: what is off the volume, or made at a start, is then"
    " gone or new.",
    reference="Kubernetes: StatefulSet rolling updates",
)
def test_upgrade_with_other_resources(
    costmgmt_release: ReleaseFacts, costmgmt_upgrades: Upgrading
) -> None:
    """`helm upgrade` with other resources MUST leave rows, password and roles alone."""
    require(judge.kept(costmgmt_release, costmgmt_upgrades, "other resources"))


@check(
    id="CM-UPG-003",
    level=MUST,
    effect=DISRUPTIVE,
    since="1.0",
    after=("CM-UPG-001",),
    profiles=GATE,
    rationale="Images are renewed every few weeks for their fixes; each renewal must find the data"
    " that the last one left.",
    reference="the sclorg image (a data folder of the same major version)",
)
def test_upgrade_with_another_image(
    costmgmt_release: ReleaseFacts, costmgmt_upgrades: Upgrading
) -> None:
    """`helm upgrade` with another image tag MUST leave rows, password and roles alone."""
    require(judge.kept(costmgmt_release, costmgmt_upgrades, "another image tag"))


@check(
    id="CM-UPG-004",
    level=MUST,
    effect=DISRUPTIVE,
    since="1.0",
    after=("CM-UPG-001",),
    profiles=GATE,
    rationale="A rollback applies the stored manifest and renders nothing: an old password in it"
    " would come back.",
    reference="Helm: rollback; charts/cost-management-infrastructure (existingSecret, lookup)",
)
def test_rollback_changes_nothing(
    costmgmt_release: ReleaseFacts, costmgmt_upgrades: Upgrading
) -> None:
    """`helm rollback` to the revision before MUST leave rows, password and roles alone."""
    require(judge.kept(costmgmt_release, costmgmt_upgrades, "rollback"))


@check(
    id="CM-UPG-005",
    level=MUST,
    effect=DISRUPTIVE,
    since="1.0",
    after=AFTER,
    profiles=GATE,
    rationale="A StatefulSet's claims cannot be changed: without a refusal Helm fails half way, and"
    " leaves a release that is neither the old nor the new one.",
    reference="Kubernetes: StatefulSets (volumeClaimTemplates are immutable)",
)
def test_growth_is_refused_first(
    costmgmt_release: ReleaseFacts, costmgmt_upgrades: Upgrading
) -> None:
    """An upgrade to a larger volume MUST be refused before anything is touched, with the way."""
    require(judge.growth(costmgmt_release, costmgmt_upgrades, "a larger volume"))
