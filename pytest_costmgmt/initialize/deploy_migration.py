"""The migration Job: made from the chart's CronJob, or joined; its log is streamed to its end."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

import msgspec

from pytest_costmgmt.errors import StepFailed
from pytest_costmgmt.initialize.causes import failure, usual_cause
from pytest_costmgmt.initialize.deploy_site import CRONJOB, NotDeployed, Site, at
from pytest_costmgmt.initialize.deploy_wait import log_lines
from pytest_costmgmt.initialize.migrations import Follower
from pytest_costmgmt.kubernetes.log_stream import LogStream
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.shapes import Pod

MARGIN = 60.0
"How long after its own deadline a Job is waited for."
_PAUSE = 0.5
_IMAGE = frozenset({"ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CONFIG = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_BATCH = "batch/v1"
_IMAGE_LACKS = "migration.image lacks it, or migration.command starts another Python than its own."
_TAIL = 60


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """A migration Job that completed. ``applied`` are the migrations in its log."""

    job: str
    applied: tuple[str, ...]
    seconds: float


def migrate(site: Site) -> Migrated | None:
    """Run the application's migrations, or join a run that is under way.

    None if the release has no CronJob for them. Raises NotDeployed or StepFailed with the cause.
    """
    cronjob = site.reader.manifest("cronjobs", CRONJOB, key=site.key, group=_BATCH)
    if cronjob is None:
        site.done("migrations", "present", "the release has no CronJob: migration.enabled is false")
        return None
    active = _active(site, cronjob)
    if active:
        site.say(f"Job {active} is under way: joining it")
    name = active or _create(site)
    return _Follow(site, name).to_its_end()


def _active(site: Site, cronjob: Mapping[str, Any]) -> str:
    """Return the Job of this CronJob, or of its name, that has not ended; the oldest."""
    jobs = site.api.items(path_of(site.namespace, "jobs", group=_BATCH), what="Looking for Jobs")
    uid = at(cronjob, "metadata", "uid")
    ours = [
        (str(at(job, "metadata", "creationTimestamp")), str(at(job, "metadata", "name")))
        for job in jobs
        if _end(job) == ("", "")
        and (
            any(owner.get("uid") == uid for owner in at(job, "metadata", "ownerReferences") or ())
            or str(at(job, "metadata", "name")).startswith(f"{CRONJOB}-")
        )
    ]
    return min(ours)[1] if ours else ""


def _create(site: Site) -> str:
    """Make a Job as ``kubectl create job --from`` does."""
    path = path_of(site.namespace, "cronjobs", CRONJOB, group=_BATCH)
    cronjob = site.api.get(path, what=f"Reading CronJob {CRONJOB}")
    template = at(cronjob, "spec", "jobTemplate") or {}
    name = f"{CRONJOB}-{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
    owner = {
        "apiVersion": _BATCH, "kind": "CronJob", "name": CRONJOB, "controller": True,
        "uid": at(cronjob, "metadata", "uid"),
    }  # fmt: skip
    annotations = {
        **(at(template, "metadata", "annotations") or {}),
        "cronjob.kubernetes.io/instantiate": "manual",
    }
    body = {
        "apiVersion": _BATCH,
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": at(template, "metadata", "labels") or {},
            "annotations": annotations,
            "ownerReferences": [owner],
        },
        "spec": template["spec"],
    }
    site.api.create(
        path_of(site.namespace, "jobs", group=_BATCH), body, what=f"Creating Job {name}"
    )
    site.say(f"Job {name} is made")
    return name


def _end(job: Mapping[str, Any]) -> tuple[str, str]:
    """Return how a Job ended (Complete, Failed) and why; nothing while it runs."""
    for each in at(job, "status", "conditions") or ():
        if each.get("type") in {"Complete", "Failed"} and each.get("status") == "True":
            return str(each["type"]), f"{each.get('reason')} {each.get('message') or ''}".strip()
    return "", ""


class _Follow:
    """Follows one Job: its pods' state, and their log."""

    def __init__(self, site: Site, job: str) -> None:
        self.site, self.job, self.told = site, job, ""
        self.follower = Follower(lambda line: site.say(f"  {line}"))
        self.streams: dict[str, LogStream] = {}
        self.tail: list[str] = []
        self.before = set(site.reader.events("Job", job))

    def to_its_end(self) -> Migrated:
        began = time.monotonic()
        path = path_of(self.site.namespace, "jobs", self.job, group=_BATCH)
        while True:
            job = self.site.api.get(path, what=f"Following Job {self.job}")
            pods = self.site.reader.pods({"job-name": self.job})
            how, why = _end(job)
            self._hear(pods, last=bool(how))
            seconds = time.monotonic() - began
            if how == "Complete":
                return Migrated(job=self.job, applied=tuple(self.follower.applied), seconds=seconds)
            if how == "Failed":
                raise self._failed(pods, why)
            self._hopeless(pods)
            limit = float(at(job, "spec", "activeDeadlineSeconds") or 0)
            if seconds > max(limit, self.site.wanted.migrate_timeout if not limit else 0) + MARGIN:
                raise self._failed(pods, f"it has not ended in {seconds:.0f} s")
            self.site.lease_check()
            time.sleep(_PAUSE)

    def _hear(self, pods: tuple[Pod, ...], *, last: bool) -> None:
        for pod in pods:
            container = pod.template.containers[0].name
            if not any(s.name == container and s.state != "waiting" for s in pod.states):
                continue
            key = pod.meta.name
            if key not in self.streams:
                self.streams[key] = LogStream(self.site.api, self.site.namespace, key, container)
            for line in self.streams[key].more(last=last):
                self.tail = [*self.tail, line][-_TAIL:]
                self.follower.hear(line)
                if line.startswith("cost-mgmt-migration: "):
                    self.site.say(f"  {line.removeprefix('cost-mgmt-migration: ')}")

    def _hopeless(self, pods: tuple[Pod, ...]) -> None:
        """End at once for what the Job would only wait for until its deadline."""
        events = [e for e in self.site.reader.events("Job", self.job) if e not in self.before]
        refused = [e for e in events if e.reason == "FailedCreate"]
        if refused and not pods:
            raise self._stuck(f"no pod may be made: {refused[-1].message}",
                              "Raise the quota, or lower migration.resources.")  # fmt: skip
        for pod in pods:
            for state in pod.states:
                said = f"{state.reason} {state.message}".strip()
                if state.reason in _IMAGE:
                    raise self._stuck(f"the application's image cannot be pulled: {said}",
                                      "Check migration.image and imagePullSecrets.")  # fmt: skip
                if state.reason in _CONFIG:
                    raise self._stuck(f"its container cannot be made: {said}",
                                      "Often a Secret or a key of it is missing: the message says"
                                      " which.")  # fmt: skip
            waits = [c.message for c in pod.conditions if c.status == "False" and c.message]
            self._tell(waits[0] if waits and not pod.states else "")

    def _tell(self, seen: str) -> None:
        if seen and seen != self.told:
            self.told = seen
            self.site.say(f"  waiting: {seen}")

    def _stuck(self, why: str, hint: str) -> NotDeployed:
        return NotDeployed(
            f"Job {self.job} cannot run: {why}.",
            evidence=tuple(f"event: {e.reason}: {e.message}" for e in self._events()[-4:]),
            hint=f"{hint}\nThe Job waits; to end it: kubectl -n {self.site.namespace} delete job"
            f" {self.job}",
        )

    def _events(self) -> list[Any]:
        return [e for e in self.site.reader.events("Job", self.job) if e.type != "Normal"]

    def _failed(self, pods: tuple[Pod, ...], why: str) -> StepFailed:
        """Return the failure as a person needs it: where, what, usually why."""
        ended = [s for pod in pods for s in pod.states if s.state == "terminated"]
        if any(state.reason == "OOMKilled" for state in ended):
            why = "its container was killed: it needs more memory than its limit (OOMKilled)"
            hint = "Raise migration.resources.limits.memory."
        elif "DeadlineExceeded" in why:
            hint = "Raise migration.deadlineSeconds, or see in pg_stat_activity what it waits for."
        else:
            hint = ""
        done, current = len(self.follower.applied), self.follower.current
        where = f" in {current}" if current else ""
        cause = failure(self.tail)
        said = f": {cause.kind}: {cause.text}" if cause is not None else f": {why}"
        if cause is not None and not hint:
            lacks = cause.name in {"ModuleNotFoundError", "ImportError"}
            hint = _IMAGE_LACKS if lacks else usual_cause(current, cause)
        lines = [f"log: {line}" for line in self.tail if line.strip()][-8:]
        if not lines:
            lines = [
                line
                for pod in pods
                for line in log_lines(
                    self.site.reader, pod.meta.name, pod.template.containers[0].name
                )
            ]
        evidence = "".join(f"\n  {line}" for line in lines)
        whole = f"The whole log: kubectl -n {self.site.namespace} logs job/{self.job}"
        return StepFailed(
            "migrations",
            f"Job {self.job} failed{where} (after {done} others){said}{evidence}",
            hint=f"{hint}\n{whole}\nRun bootstrap again when it is mended.".strip(),
        )
