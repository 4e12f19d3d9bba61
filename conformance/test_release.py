"""Release: is what runs in the namespace what the chart describes, and safely so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.judge import release as judge
from pytest_costmgmt.judge import release_pod as pod
from pytest_costmgmt.judge import release_token as token

if TYPE_CHECKING:
    from pytest_costmgmt.facts.release_seen import ReleaseFacts

AFTER_INSTALL = ("smoke", "full", "release-gate")


@check(
    id="CM-REL-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    profiles=AFTER_INSTALL,
    rationale="A namespace that cannot be reached, or holds no release, proves nothing: one error,"
    " and all else is blocked by it. Two replicas would be two databases behind one name.",
    reference="charts/cost-management-infrastructure (StatefulSet postgres)",
)
def test_release_is_deployed(costmgmt_release: ReleaseFacts) -> None:
    """The namespace MUST hold the release: StatefulSet postgres with one replica."""
    require(judge.deployed(costmgmt_release))


@check(
    id="CM-REL-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="A pod that waits, crashes or is of an older revision is not what was deployed; its"
    " state says whether it is the image, the volume, the Secret or a quota.",
    reference="Kubernetes: Pod Lifecycle; StatefulSet rolling updates",
)
def test_pod_is_ready(costmgmt_release: ReleaseFacts) -> None:
    """Pod postgres-0 MUST be ready and of the StatefulSet's current revision."""
    require(judge.pod_ready(costmgmt_release))


@check(
    id="CM-REL-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-002",),
    profiles=AFTER_INSTALL,
    rationale="Applications know the database by the Service's name alone: a selector that misses"
    " the pod is an outage, one that meets another pod mixes two databases.",
    reference="charts/cost-management-infrastructure (Service postgres); Kubernetes: EndpointSlice",
)
def test_service_leads_to_the_pod(costmgmt_release: ReleaseFacts) -> None:
    """Service postgres MUST lead on port 5432 to the ready pod, and to nothing else."""
    require(judge.service(costmgmt_release))


@check(
    id="CM-REL-004",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="Without a startup probe crash recovery is killed half way; without readiness the"
    " Service sends clients to a server that starts; without liveness one that hangs stays.",
    reference="charts/cost-management-infrastructure (files/ready.sh, files/alive.sh)",
)
def test_pod_is_probed(costmgmt_release: ReleaseFacts) -> None:
    """The database's container MUST have startup, readiness and liveness probes."""
    require(pod.probed(costmgmt_release))


@check(
    id="CM-REL-005",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="A pod that asks for nothing is the first to be evicted, and one whose memory has no"
    " limit takes its neighbours with it; the image sizes shared_buffers by the limit.",
    reference="Kubernetes: Quality of Service; the sclorg image (POSTGRESQL_SHARED_BUFFERS)",
)
def test_pod_has_resources(costmgmt_release: ReleaseFacts) -> None:
    """The database's container SHOULD request cpu and memory, and have a limit of memory."""
    require(pod.resourced(costmgmt_release))


@check(
    id="CM-REL-006",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="A tag that moves makes a new pod run another server than the old one did, at a"
    " moment that nobody chose.",
    reference="charts/cost-management-infrastructure (postgresql.image.digest)",
)
def test_image_is_pinned(costmgmt_release: ReleaseFacts) -> None:
    """The database's image SHOULD be pinned, by digest or by a tag that is not latest."""
    require(pod.pinned(costmgmt_release))


@check(
    id="CM-REL-007",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="All cost data lies behind this process: what breaks into it must find neither root"
    " nor capabilities. OpenShift and namespaces that enforce restricted refuse anything else.",
    reference="Kubernetes: Pod Security Standards (restricted); OpenShift restricted-v2",
)
def test_pod_is_restricted(costmgmt_release: ReleaseFacts) -> None:
    """Every container of the pod MUST meet the Pod Security Standard restricted."""
    require(pod.restricted(costmgmt_release))


@check(
    id="CM-REL-008",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="Pods, templates and ConfigMaps are read by many who may read no Secret: dashboards,"
    " operators, support bundles.",
    reference="Kubernetes: Good practices for Secrets",
)
def test_passwords_are_in_secrets_alone(costmgmt_release: ReleaseFacts) -> None:
    """No password MUST stand in arguments, literal variables or ConfigMaps."""
    require(pod.discreet(costmgmt_release))


@check(
    id="CM-REL-009",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="A release left pending refuses every later upgrade; a password among Helm's values"
    " is kept in each of its revisions, and printed by `helm get values`.",
    reference="Helm: release records (helm.sh/release.v1); docs of helm get values",
)
def test_helm_record_is_settled(costmgmt_release: ReleaseFacts) -> None:
    """Helm's record of the release MUST say deployed, and hold no password among its values."""
    require(pod.recorded(costmgmt_release))


@check(
    id="CM-REL-010",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-REL-001",),
    profiles=AFTER_INSTALL,
    rationale="PostgreSQL asks nothing of the cluster: a token is for whoever breaks into it.",
    reference="Kubernetes: automountServiceAccountToken",
)
def test_pod_has_no_token(costmgmt_release: ReleaseFacts) -> None:
    """The pod SHOULD hold no token of a service account."""
    require(token.tokenless(costmgmt_release))
