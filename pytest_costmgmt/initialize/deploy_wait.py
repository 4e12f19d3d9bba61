"""Wait for the database's pod, and end at once for what no waiting heals."""

from __future__ import annotations

import time

import msgspec

from pytest_costmgmt.initialize.deploy_site import CLAIM, CONTAINER, POD, SET, NotDeployed, Site
from pytest_costmgmt.kubernetes.objects import Reader, path_of
from pytest_costmgmt.kubernetes.shapes import Claim, ContainerState, Event, Pod, StatefulSet

PAUSE = 0.3
GRACE = 10.0
"How long a volume may be looked for: a provisioner takes its time, a missing one has no end."
REVISION = "controller-revision-hash"
ABOUT = (("StatefulSet", SET), ("Pod", POD), ("PersistentVolumeClaim", CLAIM))
HEARD_EVERY = 1.0
_LOG_LINES = 15
_EVENTS_TOLD = 6
_CRASHES = 2

_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}
)  # fmt: skip
_CRASH = "CrashLoopBackOff"


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What is there now; ``events`` are those that came since the wait began."""

    set: StatefulSet | None
    pod: Pod | None
    claim: Claim | None
    events: tuple[Event, ...] = ()
    seconds: float = 0.0
    "How long the wait has taken."


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen; nothing if it is ready. ``hopeless``: waiting does not heal it."""

    seen: str
    hopeless: bool = False
    hint: str = ""
    log_of: str = ""
    "The container whose log says more."


READY = Look(seen="")


def look(now: Observed) -> Look:
    """Say what the release still lacks."""
    if now.set is None:
        return Look(seen=f"there is no StatefulSet {SET}")
    if now.pod is None or now.pod.meta.deleting:
        return _no_pod(now)
    if now.set.observed < now.set.generation:
        return Look(seen="the StatefulSet's change is not seen by its controller yet")
    old = now.set.update_revision and (
        now.pod.template.labels.get(REVISION) != now.set.update_revision
    )
    problem = _pod(now, now.pod)
    if old:
        stuck = (
            "Kubernetes replaces a broken pod only when it gets ready, or is deleted:"
            f" kubectl -n {now.pod.meta.namespace} delete pod {POD}"
        )
        if problem.hopeless:
            return msgspec.structs.replace(
                problem, seen=f"the pod before the change: {problem.seen}", hint=stuck
            )
        return Look(seen="the pod is still the one before the change")
    return problem


def _no_pod(now: Observed) -> Look:
    failed = [e for e in now.events if e.kind == "StatefulSet" and e.reason == "FailedCreate"]
    if failed and now.pod is None:
        said = failed[-1].message
        return Look(seen=f"no pod may be made: {said}", hopeless=True, hint=_refusal(said))
    if now.pod is not None:
        return Look(seen=f"pod {POD} is ending")
    return Look(seen="there is no pod yet")


def _refusal(said: str) -> str:
    """Return what may be done about what the API server does not admit.

    >>> _refusal("pods postgres-0 is forbidden: exceeded quota: small")
    'Raise the quota, or lower postgresql.resources (or persistence.size).'
    """
    if "quota" in said:
        return "Raise the quota, or lower postgresql.resources (or persistence.size)."
    if "LimitRange" in said or "maximum" in said or "minimum" in said:
        return "Set postgresql.resources within the namespace's LimitRange."
    if "PodSecurity" in said or "security context constraint" in said:
        return "Set podSecurity.openshift as the cluster is, or have the policy allow the chart's."
    return "Its admission says why; what it asks for goes into the chart's values."


def _pod(now: Observed, pod: Pod) -> Look:
    if pod.ready:
        return READY
    if pod.phase == "Failed":
        return Look(seen=f"the pod failed: {pod.reason} {pod.message}".strip(), hopeless=True)
    if not pod.node and not pod.states:
        return _unscheduled(now, pod)
    for state in pod.states:
        if (found := _container(state)) is not None:
            return found
    mounts = [e for e in now.events if e.kind == "Pod" and e.reason == "FailedMount"]
    if mounts:
        return Look(seen=f"a volume is not mounted: {mounts[-1].message}")
    running = any(each.name == CONTAINER and each.state == "running" for each in pod.states)
    return Look(
        seen="PostgreSQL starts, and is not ready yet" if running else "the pod's containers start",
        log_of=CONTAINER if running else "",
    )


def _unscheduled(now: Observed, pod: Pod) -> Look:
    said = next((c.message for c in pod.conditions if c.type == "PodScheduled" and c.message), "")
    claim = now.claim
    if claim is None:
        return Look(seen=f"there is no PVC {CLAIM} yet; {said}".removesuffix("; "))
    if claim.phase != "Bound":
        return _unbound(now, claim, said)
    return Look(seen=f"no node takes the pod: {said or 'it is not scheduled yet'}")


def _unbound(now: Observed, claim: Claim, said: str) -> Look:
    of_class = f"StorageClass {claim.storage_class!r}" if claim.storage_class else "no StorageClass"
    seen = f"PVC {CLAIM} ({claim.asked}, {of_class}) is {claim.phase}"
    hint = (
        "Set postgresql.persistence.storageClassName to one that the cluster has and that has"
        " volumes (kubectl get storageclass). The PVC stays as it was made: it holds nothing, and"
        f" may be deleted by hand (kubectl -n {claim.meta.namespace} delete pvc {CLAIM}), with the"
        " StatefulSet."
    )
    events = [e for e in now.events if e.kind == "PersistentVolumeClaim"]
    for each in reversed(events):
        final = "not found" in each.message or "no storage class is set" in each.message
        if each.reason in {"ProvisioningFailed", "FailedBinding"}:
            hopeless = final or now.seconds > GRACE
            return Look(seen=f"{seen}: {each.message}", hopeless=hopeless, hint=hint)
    volume = "persistent volume" in said or "persistentvolumeclaim" in said.lower()
    if volume and "bind" in said:
        return Look(seen=f"{seen}: {said}", hopeless=now.seconds > GRACE, hint=hint)
    return Look(seen=f"{seen}: {said}".removesuffix(": "))


def _container(state: ContainerState) -> Look | None:
    """Return what a container lacks, or None if it is as it should be by now."""
    what = "the init container" if state.init else "the container"
    said = f"{state.reason} {state.message}".strip()
    if state.reason in _IMAGE:
        return Look(
            seen=f"the image of {state.name} cannot be pulled: {said}",
            hopeless=True,
            hint="Check postgresql.image, the registry, and imagePullSecrets.",
        )
    if state.reason in _CONFIG:
        return Look(
            seen=f"{what} {state.name} cannot be made: {said}",
            hopeless=True,
            hint="Often a Secret or a key of it is missing: the message names it.",
        )
    ended = state.state == "terminated" and state.exit_code not in (None, 0)
    if state.init and (ended or state.reason == _CRASH):
        code = state.exit_code if ended else state.last_exit_code
        return Look(
            seen=f"{what} {state.name} ended with status {code}: it refuses this data folder",
            hopeless=True,
            log_of=state.name,
        )
    if state.reason == _CRASH or (state.restarts >= _CRASHES and not state.ready):
        why = f"{state.last_reason} with status {state.last_exit_code}"
        memory = "Raise postgresql.resources.limits.memory." * (state.last_reason == "OOMKilled")
        return Look(seen=f"{what} {state.name} crashes again and again ({why})", hopeless=True,
                    hint=memory, log_of=state.name)  # fmt: skip
    if state.state == "waiting" and state.reason not in {
        "",
        "PodInitializing",
        "ContainerCreating",
    }:
        return Look(seen=f"{what} {state.name} waits: {said}")
    return None


def wait(site: Site) -> Pod:
    """Return the database's pod, ready and of the newest revision.

    Raises NotDeployed, with events and logs, at once for what does not heal, else at the deadline.
    """
    reader, began, told = site.reader, time.monotonic(), ""
    heard = _Heard(reader)
    _nudge(site)
    while True:
        pod = reader.pod(POD)
        now = Observed(
            set=reader.stateful_set(SET),
            pod=pod,
            claim=reader.claim(CLAIM),
            events=heard.since(),
            seconds=time.monotonic() - began,
        )
        seen = look(now)
        if not seen.seen and pod is not None:
            return pod
        site.lease_check()
        if seen.hopeless:
            raise _failed(reader, seen, "")
        if now.seconds > site.wanted.timeout:
            raise _failed(reader, seen, f" after {now.seconds:.0f} s")
        if seen.seen != told:
            told = seen.seen
            site.say(f"  waiting: {told}")
        time.sleep(PAUSE)


class _Heard:
    """The events about the release that came since; asked for once a second."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self._before = set(events_about(reader))
        self._found: tuple[Event, ...] = ()
        self._asked = time.monotonic()

    def since(self) -> tuple[Event, ...]:
        """Return them, oldest first."""
        if time.monotonic() - self._asked > HEARD_EVERY:
            found = events_about(self.reader)
            self._found = tuple(each for each in found if each not in self._before)
            self._asked = time.monotonic()
        return self._found


def events_about(reader: Reader) -> tuple[Event, ...]:
    """Return the events of the StatefulSet, its pod and its claim, oldest first."""
    found = [each for kind, name in ABOUT for each in reader.events(kind, name)]
    return tuple(sorted(found, key=lambda each: each.last))


def _nudge(site: Site) -> None:
    """Have the StatefulSet's controller look again: after failures it pauses for minutes."""
    there = site.reader.stateful_set(SET)
    if there is None or site.reader.pod(POD) is not None:
        return
    path = path_of(site.namespace, "statefulsets", SET, group="apps/v1")
    mark = {"metadata": {"annotations": {"cost-management/looked-at": site.run}}}
    site.api.patch(path, mark, what=f"Marking StatefulSet {SET}")


def _failed(reader: Reader, seen: Look, when: str) -> NotDeployed:
    return NotDeployed(
        f"The release in namespace {reader.namespace} does not come to run{when}: {seen.seen}.",
        evidence=evidence(reader, seen.log_of),
        hint=seen.hint or "Run bootstrap again when it is mended: what is done stays done.",
    )


def evidence(reader: Reader, log_of: str) -> tuple[str, ...]:
    """Return the last events of pod, set and claim, and the end of a container's log."""
    events = [e for e in events_about(reader) if e.type != "Normal"]
    lines = [f"event: {e.kind} {e.name}: {e.reason}: {e.message}" for e in events[-_EVENTS_TOLD:]]
    if log_of:
        lines += log_lines(reader, POD, log_of)
    return tuple(lines)


def log_lines(reader: Reader, pod: str, container: str) -> list[str]:
    """Return the end of a container's log, the one before it too if it was started again."""
    before, now = (
        (reader.log(pod, container, previous=previous, lines=_LOG_LINES) or "").splitlines()
        for previous in (True, False)
    )
    # One that waits to be started again has no log yet: both are the last one's.
    told = [*([] if before == now else before), *now]
    return [f"log: {line}" for line in told if line.strip()]
