"""The migration Job: made from the chart's CronJob, or joined; its log is streamed to its end."""

from __future__ import annotations

import time
from typing import Any

import msgspec

from pytest_costmgmt.errors import StepFailed
from pytest_costmgmt.initialize import deploy_job
from pytest_costmgmt.initialize.causes import failure, usual_cause
from pytest_costmgmt.initialize.deploy_job import BATCH, Trouble
from pytest_costmgmt.initialize.deploy_site import CRONJOB, NotDeployed, Site, at
from pytest_costmgmt.initialize.deploy_wait import log_lines
from pytest_costmgmt.initialize.migrations import Follower
from pytest_costmgmt.kubernetes.log_stream import LogStream
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.shapes import Pod

MARGIN = 60.0
"How long after its own deadline a Job is waited for."
_PAUSE = 0.5
_IMAGE_LACKS = "migration.image lacks it, or migration.command starts another Python than its own."
_TAIL = 60
_NOTHING = "No migrations to apply."


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """A migration Job that completed. ``applied`` are the migrations in its log."""

    job: str
    applied: tuple[str, ...]
    seconds: float


def migrate(site: Site) -> Migrated | None:
    """Run the application's migrations, or join a run that is under way.

    None if the release has no CronJob for them. Raises NotDeployed or StepFailed with the cause.
    """
    cronjob = site.reader.manifest("cronjobs", CRONJOB, key=site.key, group=BATCH)
    if cronjob is None:
        site.done("migrations", "present", "the release has no CronJob: migration.enabled is false")
        return None
    name, made = deploy_job.chosen(site)
    try:
        follow = _Follow(site, name)
        done = follow.to_its_end()
    except KeyboardInterrupt:
        site.say(f"Job {name} goes on by itself; the next run joins it, or sees what it has done")
        raise
    if made and follow.nothing and not done.applied:
        # It changed nothing, and its log says nothing more: a second run leaves nothing behind.
        deploy_job.remove(site, name)
    return done


class _Follow:
    """Follows one Job: its pods' state, and their log."""

    def __init__(self, site: Site, job: str) -> None:
        self.site, self.job, self.told = site, job, ""
        self.follower = Follower(lambda line: site.say(f"  {line}"))
        self.streams: dict[str, LogStream] = {}
        self.tail: list[str] = []
        self.before = set(site.reader.events("Job", job))
        self.nothing = False
        "Whether the application said that there was nothing to apply."

    def to_its_end(self) -> Migrated:
        began = time.monotonic()
        path = path_of(self.site.namespace, "jobs", self.job, group=BATCH)
        while True:
            job = self.site.api.get(path, what=f"Following Job {self.job}")
            pods = self.site.reader.pods({"job-name": self.job})
            how, why = deploy_job.end_of(job)
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
                self.nothing = self.nothing or _NOTHING in line
                if line.startswith("cost-mgmt-migration: "):
                    self.site.say(f"  {line.removeprefix('cost-mgmt-migration: ')}")

    def _hopeless(self, pods: tuple[Pod, ...]) -> None:
        """End at once for what the Job would only wait for until its deadline."""
        events = [e for e in self.site.reader.events("Job", self.job) if e not in self.before]
        if (found := deploy_job.trouble(pods, events)) is not None:
            raise self._stuck(found)
        for pod in pods:
            waits = [c.message for c in pod.conditions if c.status == "False" and c.message]
            self._tell(waits[0] if waits and not pod.states else "")

    def _tell(self, seen: str) -> None:
        if seen and seen != self.told:
            self.told = seen
            self.site.say(f"  waiting: {seen}")

    def _stuck(self, found: Trouble) -> NotDeployed:
        return NotDeployed(
            f"Job {self.job} cannot run: {found.why}.",
            evidence=tuple(f"event: {e.reason}: {e.message}" for e in self._events()[-4:]),
            hint=f"{found.hint}\nThe Job waits. Run bootstrap again when it is mended: a Job of its"
            f" own that never ran is replaced. By hand: kubectl -n {self.site.namespace} delete job"
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
