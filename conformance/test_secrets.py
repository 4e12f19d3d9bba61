"""Secrets: what a release's Secret holds, who takes it, and whether it opens the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_costmgmt.engine.check import MUST, PROBE, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.judge import secrets as judge

if TYPE_CHECKING:
    from pytest_costmgmt.facts.release_seen import ReleaseFacts

AFTER_INSTALL = ("smoke", "full", "release-gate")


@check(
    id="CM-SEC-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="The database's pod, the migrations and the application's chart ask for these keys by"
    " name; one that is missing keeps a pod from starting.",
    reference="charts/cost-management-infrastructure (Secret postgres-credentials)",
)
def test_secret_has_its_keys(costmgmt_release: ReleaseFacts) -> None:
    """The Secret MUST have the keys database, username and password."""
    require(judge.keys(costmgmt_release))


@check(
    id="CM-SEC-002",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-SEC-001",),
    profiles=AFTER_INSTALL,
    rationale="Whoever is given the database's password by this Secret is given all that is in it.",
    reference="charts/cost-management-infrastructure (Secret postgres-credentials)",
)
def test_secret_holds_nothing_else(costmgmt_release: ReleaseFacts) -> None:
    """The Secret SHOULD hold no other key."""
    require(judge.nothing_more(costmgmt_release))


@check(
    id="CM-SEC-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-SEC-001",),
    profiles=AFTER_INSTALL,
    rationale="`echo secret | base64` puts a newline into a Secret: the image sets it as a part of"
    " the password, the next reader strips it, and only one of them logs in.",
    reference="Kubernetes: Secrets (stringData, printf)",
)
def test_secret_values_are_whole(costmgmt_release: ReleaseFacts) -> None:
    """The Secret's values MUST be text that is not empty and ends with no newline or blank."""
    require(judge.whole(costmgmt_release))


@check(
    id="CM-SEC-004",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-SEC-001",),
    profiles=AFTER_INSTALL,
    rationale="koku's migration 0039 pastes the password into a URI as it is, and backup jobs and"
    " exporters do so too. (CM-CRD-003 says whether koku itself survives it.)",
    reference="RFC 3986, section 2.3; koku api/migrations/0039_create_hive_db.py",
)
def test_secret_password_is_plain(costmgmt_release: ReleaseFacts) -> None:
    """The Secret's password SHOULD consist of letters, digits and - . _ ~ only."""
    require(judge.plain(costmgmt_release))


@check(
    id="CM-SEC-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-SEC-001",),
    profiles=AFTER_INSTALL,
    rationale="Two places for one password come apart at the first rotation.",
    reference="charts/cost-management-infrastructure (secretKeyRef in StatefulSet and CronJob)",
)
def test_pods_take_the_secret(costmgmt_release: ReleaseFacts) -> None:
    """The database and its migrations MUST take their credentials from this Secret."""
    require(judge.taken(costmgmt_release))


@check(
    id="CM-SEC-006",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-SEC-001", "CM-REL-002"),
    profiles=AFTER_INSTALL,
    rationale="The image sets the role's password when it starts: a Secret that changed since then"
    " is read by new pods of the application, and not by the database.",
    reference="the sclorg image (POSTGRESQL_PASSWORD at each start)",
)
def test_secret_is_older_than_the_pod(costmgmt_release: ReleaseFacts) -> None:
    """The Secret SHOULD not have changed since the database started."""
    require(judge.unchanged(costmgmt_release))


@check(
    id="CM-SEC-007",
    level=MUST,
    effect=PROBE,
    since="1.0",
    after=("CM-SEC-001", "CM-REL-003"),
    profiles=AFTER_INSTALL,
    rationale="That a Secret exists proves nothing: what the application does is a login over the"
    " Service, from another pod. In the database's own pod any password is accepted.",
    reference="the sclorg image's pg_hba.conf (trust on localhost, md5 or scram from elsewhere)",
)
def test_secret_opens_the_database(costmgmt_release: ReleaseFacts) -> None:
    """What the Secret holds MUST open the database from another pod over the Service."""
    require(judge.opens(costmgmt_release))


@check(
    id="CM-SEC-008",
    level=MUST,
    effect=PROBE,
    since="1.0",
    after=("CM-SEC-007",),
    profiles=AFTER_INSTALL,
    rationale="The image trusts its own localhost with the superuser; a pg_hba.conf or a sidecar"
    " that extends this to the network gives all data to everybody in it.",
    reference="charts/cost-management-infrastructure (postgres is reachable locally only)",
)
def test_superuser_stays_out(costmgmt_release: ReleaseFacts) -> None:
    """Role postgres MUST NOT be let in from another pod."""
    require(judge.superuser_stays_out(costmgmt_release))


@check(
    id="CM-SEC-009",
    level=MUST,
    effect=PROBE,
    since="1.0",
    after=("CM-SEC-007",),
    profiles=AFTER_INSTALL,
    rationale="A cluster whose network plugin enforces no NetworkPolicy accepts every one of them"
    " without a word.",
    reference="Kubernetes: Network Policies (prerequisites)",
)
def test_network_policy_is_enforced(costmgmt_release: ReleaseFacts) -> None:
    """A NetworkPolicy on the database MUST let its clients in, and nobody else."""
    require(judge.enforced(costmgmt_release))
