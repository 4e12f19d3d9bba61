"""What a release lacks, and whether waiting heals it: the wait's judgement, without a cluster."""

from __future__ import annotations

import pytest

from pytest_costmgmt.initialize.deploy_wait import GRACE, Observed, look
from pytest_costmgmt.kubernetes.shapes import (
    Claim,
    Condition,
    ContainerState,
    Event,
    Meta,
    Pod,
    PodTemplate,
    StatefulSet,
)

REVISION = "postgres-6d"
LABELS = {"controller-revision-hash": REVISION}


def a_set(*, generation: int = 1, update: str = REVISION) -> StatefulSet:
    """Return the StatefulSet as its controller has seen it."""
    return StatefulSet(
        meta=Meta(name="postgres"),
        template=PodTemplate(),
        replicas=1,
        ready=0,
        service="postgres",
        selector={},
        update_revision=update,
        generation=generation,
        observed=1,
    )


def a_pod(*states: ContainerState, ready: bool = False, node: str = "node", waits: str = "") -> Pod:
    """Return the pod in a state."""
    conditions = [Condition(type="Ready", status="True" if ready else "False")]
    conditions += [Condition(type="PodScheduled", status="False", message=waits)] if waits else []
    return Pod(
        meta=Meta(name="postgres-0", namespace="ns"),
        template=PodTemplate(labels=LABELS),
        phase="Running" if ready else "Pending",
        node=node,
        conditions=tuple(conditions),
        states=states,
    )


def waiting(
    reason: str, message: str = "", *, init: bool = False, restarts: int = 0
) -> ContainerState:
    """Return a container that waits."""
    name = "check-data" if init else "postgresql"
    return ContainerState(
        name=name, state="waiting", reason=reason, message=message, init=init, restarts=restarts
    )


def a_claim(phase: str = "Pending", storage_class: str = "fast") -> Claim:
    """Return the claim."""
    return Claim(
        meta=Meta(name="postgresql-data-postgres-0", namespace="ns"),
        phase=phase,
        volume="",
        storage_class=storage_class,
        asked="20Gi",
        capacity="",
        modes=(),
    )


def an_event(kind: str, reason: str, message: str) -> Event:
    """Return an event."""
    return Event(
        kind=kind, name="any", type="Warning", reason=reason, message=message, count=1, last=""
    )


QUOTA = 'pods "postgres-0" is forbidden: exceeded quota: small, requested: cpu=500m'
TERMINATED = ContainerState(name="check-data", state="terminated", exit_code=1, init=True)
OOM = ContainerState(
    name="postgresql", state="waiting", reason="CrashLoopBackOff", last_reason="OOMKilled",
    last_exit_code=137, restarts=1,
)  # fmt: skip


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(
            Observed(
                set=a_set(), pod=None, claim=None,
                events=(an_event("StatefulSet", "FailedCreate", QUOTA),),
            ),
            ("exceeded quota: small", "Raise the quota"),
            id="quota",
        ),
        pytest.param(
            Observed(
                set=a_set(), pod=None, claim=None,
                events=(an_event("StatefulSet", "FailedCreate", "violates PodSecurity x"),),
            ),
            ("violates PodSecurity", "podSecurity.openshift"),
            id="admission",
        ),
        pytest.param(
            Observed(set=a_set(), pod=a_pod(waiting("ImagePullBackOff", "x")), claim=None),
            ("image of postgresql cannot be pulled", "postgresql.image"),
            id="image",
        ),
        pytest.param(
            Observed(
                set=a_set(),
                pod=a_pod(waiting("CreateContainerConfigError", "couldn't find key password in")),
                claim=None,
            ),
            ("find key password", "a key of it is missing"),
            id="secret-without-a-key",
        ),
        pytest.param(
            Observed(set=a_set(), pod=a_pod(TERMINATED), claim=None),
            ("check-data ended with status 1", ""),
            id="init-container-refuses",
        ),
        pytest.param(
            Observed(set=a_set(), pod=a_pod(OOM), claim=None),
            ("crashes again and again (OOMKilled", "limits.memory"),
            id="out-of-memory",
        ),
        pytest.param(
            Observed(
                set=a_set(), pod=a_pod(node="", waits="pod has unbound"), claim=a_claim(),
                events=(
                    an_event(
                        "PersistentVolumeClaim", "ProvisioningFailed",
                        'storageclass.storage.k8s.io "fast" not found',
                    ),
                ),
            ),
            ("StorageClass 'fast'", "storageClassName"),
            id="no-such-class",
        ),
        pytest.param(
            Observed(
                set=a_set(),
                pod=a_pod(node="", waits="didn't find available persistent volumes to bind"),
                claim=a_claim(),
                seconds=GRACE + 1,
            ),
            ("didn't find available persistent volumes", "get storageclass"),
            id="no-volume",
        ),
        pytest.param(
            Observed(
                set=a_set(update="postgres-7e"), pod=a_pod(waiting("ImagePullBackOff")), claim=None
            ),
            ("the pod before the change", "delete pod postgres-0"),
            id="rollout-stuck-on-a-broken-pod",
        ),
    ],
)  # fmt: skip
def test_what_does_not_heal_ends_the_wait(now: Observed, said: tuple[str, str]) -> None:
    """Each names what is wrong and what to do about it."""
    found = look(now)
    assert found.hopeless
    assert said[0] in found.seen
    assert said[1] in found.hint


@pytest.mark.parametrize(
    ("now", "said"),
    [
        pytest.param(Observed(set=None, pod=None, claim=None), "no StatefulSet", id="no-set"),
        pytest.param(Observed(set=a_set(), pod=None, claim=None), "no pod yet", id="no-pod"),
        pytest.param(
            Observed(set=a_set(generation=2), pod=a_pod(ready=True), claim=None),
            "not seen by its controller", id="ready-but-of-the-generation-before",
        ),
        pytest.param(
            Observed(set=a_set(update="postgres-7e"), pod=a_pod(ready=True), claim=None),
            "before the change", id="ready-but-of-the-revision-before",
        ),
        pytest.param(
            Observed(set=a_set(), pod=a_pod(waiting("ContainerCreating")), claim=None),
            "start", id="starting",
        ),
        pytest.param(
            Observed(set=a_set(), pod=a_pod(waiting("ErrImagePull", "timeout")), claim=None),
            "ErrImagePull", id="first-pull-failed",
        ),
        pytest.param(
            Observed(
                set=a_set(),
                pod=a_pod(node="", waits="didn't find available persistent volumes to bind"),
                claim=a_claim(),
            ),
            "is Pending", id="volume-not-there-yet",
        ),
        pytest.param(
            Observed(set=a_set(), pod=a_pod(node="", waits="Insufficient cpu"),
                     claim=a_claim("Bound"), seconds=60),
            "no node takes the pod: Insufficient cpu", id="no-node-yet",
        ),
    ],
)  # fmt: skip
def test_what_may_heal_is_waited_for(now: Observed, said: str) -> None:
    """It is not ready, and says what it waits for."""
    found = look(now)
    assert said in found.seen
    assert not found.hopeless


def test_a_ready_pod_of_the_newest_revision_is_ready() -> None:
    """Nothing is lacking, whatever was said before."""
    old = an_event("StatefulSet", "FailedCreate", QUOTA)
    assert look(Observed(set=a_set(), pod=a_pod(ready=True), claim=None, events=(old,))).seen == ""
