"""A pod of ours in the namespace, to look at the database from where an application stands.

It is a Job, so that the cluster removes it within its deadline and a minute even if we are killed;
its pod sleeps and is entered by exec. It is small, meets ``restricted``, and gets no token.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import Reader, path_of
from pytest_costmgmt.kubernetes.owner import abandoned, owner
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.shapes import ContainerState, Event, Pod
from pytest_costmgmt.kubernetes.trouble import AccessDenied, NotThere, ProbeFailed

CONTAINER = "probe"
KIND = {"app.kubernetes.io/managed-by": "pytest-costmgmt", "cost-management/kind": "probe"}
RUN_LABEL = "cost-management/run"
NAME_LABEL = "cost-management/probe"
OWNER = "cost-management/owner"
LEFT_SECONDS = 60
"How long an ended probe stays, if we do not remove it."

RIGHTS = (
    Right("create", "jobs", "batch"),
    Right("delete", "jobs", "batch"),
    Right("list", "jobs", "batch"),
    Right("list", "pods"),
    Right("create", "pods/exec"),
    # A WebSocket begins as a GET, which older API servers ask this for.
    Right("get", "pods/exec"),
)
"What a probe takes; events (list) are read if they may be."

_REQUESTS = {"cpu": "10m", "memory": "32Mi"}
_LIMITS = {"cpu": "500m", "memory": "128Mi"}
_ROOM = (
    f"requests {_REQUESTS['cpu']} and {_REQUESTS['memory']},"
    f" limits {_LIMITS['cpu']} and {_LIMITS['memory']}"
)
_JOBS = {"group": "batch/v1"}
_PAUSE = 0.2
_STAMP = "%Y-%m-%dT%H:%M:%SZ"
_HOPELESS = frozenset(
    {"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError",
     "CreateContainerError", "RunContainerError", "CrashLoopBackOff"}
)  # fmt: skip


class ProbeSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a probe is made of. ``run`` is this run's id; ``seconds`` its longest life."""

    run: str
    image: str
    seconds: int = 600
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    pull_secrets: tuple[str, ...] = ()
    run_as_user: int | None = None
    "None leaves it to the image, or to OpenShift."
    pull_policy: str = "IfNotPresent"


class Alive(msgspec.Struct, frozen=True, kw_only=True):
    """A probe of a run that may be at work. ``since`` and ``until`` are times of the cluster."""

    name: str
    run: str
    since: str
    until: str


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """A probe that runs: where to exec."""

    namespace: str
    name: str
    pod: str
    container: str
    ip: str
    seconds: float
    "How long it took to run."


def job(spec: ProbeSpec, name: str) -> dict[str, Any]:
    """Return the Job's manifest."""
    labels = {**spec.labels, **KIND, RUN_LABEL: spec.run, NAME_LABEL: name}
    security: dict[str, Any] = {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if spec.run_as_user is not None:
        security |= {"runAsUser": spec.run_as_user}
    container = {
        "name": CONTAINER,
        "image": spec.image,
        "imagePullPolicy": spec.pull_policy,
        # A shell that waits ends at once when it is told to; a sleep as process 1 would not.
        "command": ["/bin/sh", "-c", f"trap 'exit 0' TERM; sleep {spec.seconds} & wait"],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {
            "requests": dict(_REQUESTS),
            "limits": dict(_LIMITS),
        },
    }
    pod = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": security,
        "nodeSelector": dict(spec.node_selector),
        "imagePullSecrets": [{"name": each} for each in spec.pull_secrets],
        "containers": [container],
    }
    annotations = {**spec.annotations, OWNER: owner()}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels, "annotations": annotations},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": spec.seconds,
            "ttlSecondsAfterFinished": LEFT_SECONDS,
            "template": {
                "metadata": {"labels": labels, "annotations": dict(spec.annotations)},
                "spec": pod,
            },
        },
    }


@contextlib.contextmanager
def probe(api: Api, namespace: str, spec: ProbeSpec, *, deadline: float = 120.0) -> Iterator[Probe]:
    """Yield a probe that can be entered; afterwards it is removed.

    Raises ProbeFailed, with the evidence, for what cannot heal at once, for the rest at the
    ``deadline``.
    """
    name = f"costmgmt-probe-{secrets.token_hex(5)}"
    started = time.monotonic()
    api.create(path_of(namespace, "jobs", **_JOBS), job(spec, name), what="Creating a probe")
    try:
        pod = _running(Reader(api, namespace), name, spec, until=started + deadline)
        yield Probe(
            namespace=namespace,
            name=name,
            pod=pod.meta.name,
            container=CONTAINER,
            ip=pod.ip,
            seconds=time.monotonic() - started,
        )
    finally:
        # What cannot be removed now, the cluster removes.
        with contextlib.suppress(CostMgmtError):
            remove(api, namespace, name)


def remove(api: Api, namespace: str, name: str) -> None:
    """Delete a probe and its pod."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    api.delete(path_of(namespace, "jobs", name, **_JOBS), options, what=f"Removing probe {name}")


def sweep(api: Api, namespace: str) -> tuple[str, ...]:
    """Remove the probes of runs of this machine that have ended; return their names.

    Those of other machines are left to the cluster: their runs may be alive.
    """
    gone = []
    for each in _probes(api, namespace, what="Looking for probes left behind"):
        meta = each.get("metadata") or {}
        if abandoned((meta.get("annotations") or {}).get(OWNER, "")):
            remove(api, namespace, str(meta["name"]))
            gone.append(str(meta["name"]))
    return tuple(gone)


def clear(api: Api, namespace: str, run: str) -> None:
    """Remove what is left of a run's own probes."""
    for each in _probes(api, namespace, what="Looking for this run's probes"):
        if (each["metadata"].get("labels") or {}).get(RUN_LABEL) == run:
            remove(api, namespace, str(each["metadata"]["name"]))


def alive(api: Api, namespace: str) -> tuple[Alive, ...]:
    """Return the probes whose runs are not known to have ended, and who have not themselves."""
    found = []
    for each in _probes(api, namespace, what="Looking for the probes of other runs"):
        meta, status = each.get("metadata") or {}, each.get("status") or {}
        over = any(one.get("status") == "True" and one.get("type") in {"Complete", "Failed"}
                   for one in status.get("conditions") or ())  # fmt: skip
        mark = (meta.get("annotations") or {}).get(OWNER, "")
        if over or "deletionTimestamp" in meta or abandoned(mark):
            continue
        since = str(meta.get("creationTimestamp") or "")
        found.append(
            Alive(
                name=str(meta["name"]),
                run=str((meta.get("labels") or {}).get(RUN_LABEL, "")),
                since=since,
                until=_later(since, (each.get("spec") or {}).get("activeDeadlineSeconds") or 0),
            )
        )
    return tuple(found)


def _later(since: str, seconds: int) -> str:
    """Return when a probe is gone at the latest.

    >>> _later("2026-11-24T10:00:00Z", 600), _later("", 600)
    ('2026-11-24T10:11:00Z', 'its deadline')
    """
    try:
        begun = datetime.strptime(since, _STAMP).replace(tzinfo=timezone.utc)
    except ValueError:
        return "its deadline"
    return (begun + timedelta(seconds=seconds + LEFT_SECONDS)).strftime(_STAMP)


def _probes(api: Api, namespace: str, *, what: str) -> list[dict[str, Any]]:
    selector = ",".join(f"{name}={value}" for name, value in KIND.items())
    return api.items(path_of(namespace, "jobs", **_JOBS), [("labelSelector", selector)], what=what)


def _running(reader: Reader, name: str, spec: ProbeSpec, *, until: float) -> Pod:
    seen = "no pod was made"
    while True:
        pods = reader.pods({NAME_LABEL: name})
        for pod in pods:
            problem, seen = waits(pod, CONTAINER)
            if problem:
                raise _failed(reader, name, spec, seen, pod)
            if not seen:
                return pod
        if not pods and refusal(reader, name):
            raise _failed(reader, name, spec, "no pod may be made", None)
        if time.monotonic() > until:
            raise _failed(reader, name, spec, f"{seen}, and the wait is over", None)
        time.sleep(_PAUSE)


def refusal(reader: Reader, name: str) -> str:
    """Return why no pod of a Job may be made, or nothing: a quota, a limit, a policy."""
    events = _events(reader, "Job", name)
    return next((each.message for each in events if each.reason == "FailedCreate"), "")


def waits(pod: Pod, container: str) -> tuple[bool, str]:
    """Return whether it cannot run any more, and what it lacks; nothing if it runs."""
    if pod.phase in {"Failed", "Succeeded"}:
        return True, f"its pod ended ({pod.reason or pod.phase}) {pod.message}".strip()
    state = next((each for each in pod.states if each.name == container), None)
    if state is None:
        unscheduled = [each for each in pod.conditions if each.status == "False" and each.message]
        told = unscheduled[0].message if unscheduled else "it is not scheduled yet"
        return False, f"its pod waits: {told}"
    if state.state == "running":
        return False, ""
    return state.reason in _HOPELESS, f"its pod waits: {_told(state)}"


def _told(state: ContainerState) -> str:
    return f"{state.reason or state.state} {state.message}".strip()


def _failed(reader: Reader, name: str, spec: ProbeSpec, seen: str, pod: Pod | None) -> ProbeFailed:
    events = list(_events(reader, "Job", name))
    if pod is not None:
        events += _events(reader, "Pod", pod.meta.name)
    return ProbeFailed(
        f"A probe pod ({spec.image}) does not run in namespace {reader.namespace}: {seen}.",
        evidence=tuple(f"{each.type} {each.reason}: {each.message}" for each in events[-8:]),
        hint="Name an image that this cluster can run and that has bash, and what its policies ask"
        " for: --costmgmt-probe-image, -label, -annotation, -node-selector; leave room for it"
        f" ({_ROOM}); or --costmgmt-allow=read-only, which makes none.",
    )


def _events(reader: Reader, kind: str, name: str) -> tuple[Event, ...]:
    try:
        return reader.events(kind, name)
    except (AccessDenied, NotThere):
        return ()
