"""Which Job migrates: the one that is under way, or a new one; and what one cannot get over.

A Job that only waits for its deadline, for its pod cannot run, is never joined. One that a run of
ours made is removed then: nothing in it ever started. Anybody else's is left alone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from pytest_costmgmt.initialize.deploy_site import CRONJOB, Site, at
from pytest_costmgmt.kubernetes.helm_records import RUN
from pytest_costmgmt.kubernetes.objects import Reader, path_of
from pytest_costmgmt.kubernetes.shapes import ContainerState, Event, Pod

BATCH = "batch/v1"
FIRST_PULL = "ErrImagePull"
"Said once before ImagePullBackOff, which it may heal from."
_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_CRASH = "CrashLoopBackOff"


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Why a Job cannot run, and what may be done about it."""

    why: str
    hint: str


def trouble(
    pods: tuple[Pod, ...], events: Collection[Event], *, pulled: bool = False
) -> Trouble | None:
    """Return what a Job would only wait for until its deadline, or None.

    ``events`` are the Job's. ``pulled``: one failed pull of its image is enough.
    """
    refused = [each for each in events if each.reason == "FailedCreate"]
    if refused and not pods:
        hint = "Raise the quota, or lower migration.resources."
        if "quota" not in (said := refused[-1].message):
            hint = "Its admission says why; what it asks for goes into the values of migration."
        return Trouble(why=f"no pod may be made: {said}", hint=hint)
    found = (_stuck(state, pulled=pulled) for pod in pods for state in pod.states)
    return next((each for each in found if each is not None), None)


def _stuck(state: ContainerState, *, pulled: bool) -> Trouble | None:
    said = f"{state.reason} {state.message}".strip()
    if state.reason in _IMAGE or (pulled and state.reason == FIRST_PULL):
        return Trouble(
            why=f"the application's image cannot be pulled: {said}",
            hint="Check migration.image and imagePullSecrets.",
        )
    if state.reason in _CONFIG:
        return Trouble(
            why=f"its container cannot be made: {said}",
            hint="Often a Secret or a key of it is missing: the message says which.",
        )
    if state.reason == _CRASH:
        last = f"{state.last_reason} with status {state.last_exit_code}"
        return Trouble(
            why=f"its container {state.name} crashes again and again ({last})",
            hint="Its log says why; migration.sidecars are containers, too.",
        )
    return None


def chosen(site: Site) -> tuple[str, bool]:
    """Return the Job to follow, and whether it was made for this run."""
    path = path_of(site.namespace, "cronjobs", CRONJOB, group=BATCH)
    cronjob = site.api.get(path, what=f"Reading CronJob {CRONJOB}")
    for job in _active(site, str(at(cronjob, "metadata", "uid"))):
        name = str(at(job, "metadata", "name"))
        why = _hopeless(site.reader, job)
        if not why:
            site.say(f"Job {name} is under way: joining it")
            return name, False
        if at(job, "metadata", "annotations", RUN):
            remove(site, name)
            site.done(f"Job {name}", "changed", f"removed: it never ran, for {why}")
        else:
            site.say(f"Job {name} is not joined, and left as it is: {why}")
    return _create(site, cronjob), True


def _active(site: Site, uid: str) -> list[Mapping[str, Any]]:
    """Return the Jobs of the CronJob, or of its name, that have not ended; the oldest first."""
    jobs = site.api.items(path_of(site.namespace, "jobs", group=BATCH), what="Looking for Jobs")
    ours = [
        job
        for job in jobs
        if end_of(job) == ("", "")
        and not at(job, "metadata", "deletionTimestamp")
        and (
            any(owner.get("uid") == uid for owner in at(job, "metadata", "ownerReferences") or ())
            or str(at(job, "metadata", "name")).startswith(f"{CRONJOB}-")
        )
    ]
    return sorted(ours, key=lambda job: str(at(job, "metadata", "creationTimestamp")))


def _hopeless(reader: Reader, job: Mapping[str, Any]) -> str:
    """Return why a Job that has not ended is not worth waiting for, or nothing."""
    if at(job, "spec", "suspend"):
        return "it is suspended"
    name = str(at(job, "metadata", "name"))
    pods = reader.pods({"job-name": name})
    found = trouble(pods, reader.events("Job", name), pulled=True)
    return "" if found is None else found.why


def _create(site: Site, cronjob: Mapping[str, Any]) -> str:
    """Make a Job as ``kubectl create job --from`` does."""
    template = at(cronjob, "spec", "jobTemplate") or {}
    name = _free_name(site)
    owner = {
        "apiVersion": BATCH, "kind": "CronJob", "name": CRONJOB, "controller": True,
        "uid": at(cronjob, "metadata", "uid"),
    }  # fmt: skip
    annotations = {
        **(at(template, "metadata", "annotations") or {}),
        "cronjob.kubernetes.io/instantiate": "manual",
        RUN: site.run,
    }
    body = {
        "apiVersion": BATCH,
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": at(template, "metadata", "labels") or {},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
    site.api.create(path_of(site.namespace, "jobs", group=BATCH), body, what=f"Creating Job {name}")
    site.say(f"Job {name} is made")
    return name


def _free_name(site: Site) -> str:
    """Return a name by the time; one that was made in the same second has it already."""
    name = f"{CRONJOB}-{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
    taken = site.reader.names("jobs", group=BATCH)
    return next(each for each in _numbered(name) if each not in taken)


def _numbered(name: str) -> Iterator[str]:
    yield name
    for number in range(2, 1000):
        yield f"{name}-{number}"


def remove(site: Site, name: str) -> None:
    """Remove a Job of ours, and its pods."""
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
    path = path_of(site.namespace, "jobs", name, group=BATCH)
    site.api.delete(path, options, what=f"Removing Job {name}")


def end_of(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return how a Job ended (Complete, Failed) and why; nothing while it runs.

    >>> end_of({"status": {"conditions": [{"type": "Failed", "status": "True", "reason": "a"}]}})
    ('Failed', 'a')
    """
    for each in at(job, "status", "conditions") or ():
        if each.get("type") in {"Complete", "Failed"} and each.get("status") == "True":
            return str(each["type"]), f"{each.get('reason')} {each.get('message') or ''}".strip()
    return "", ""
