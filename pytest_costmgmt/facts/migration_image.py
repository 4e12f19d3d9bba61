"""The migrations that should have been applied, asked of the release's own application image.

By a Job that is made from the suspended CronJob of its migrations: the same image, environment and
account, but its management command is only asked what it would migrate. Its database is not.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from typing import Any

from pytest_costmgmt.errors import CostMgmtError, FactUnavailable
from pytest_costmgmt.facts.migration_expected import Expected, question
from pytest_costmgmt.facts.release import MIGRATION
from pytest_costmgmt.kubernetes import probe, rights
from pytest_costmgmt.kubernetes.objects import Reader, path_of
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.shapes import ContainerState, Pod

RIGHTS = (*probe.RIGHTS, Right("get", "cronjobs", "batch"), Right("get", "pods/log"))
DEADLINE = 180.0
_PAUSE = 0.3
_BATCH = "batch/v1"


def expected_from_image(reader: Reader, *, run: str, key: bytes) -> Expected:
    """Ask it; ``run`` is the run's id, ``key`` its key. Raises CostMgmtError: why not."""
    source = reader.manifest("cronjobs", MIGRATION, key=key, group=_BATCH)
    if source is None:
        raise FactUnavailable(f"there is no CronJob {MIGRATION}, which names the application")
    if lacking := rights.missing(reader.api, reader.namespace, RIGHTS):
        told = ", ".join(right.text for right in lacking)
        raise FactUnavailable(f"we may not {told} in namespace {reader.namespace}")
    asked = question()
    name = f"costmgmt-asks-{secrets.token_hex(5)}"
    manifest, manage, container = _job(source, name, asked.code, run)
    reader.api.create(
        path_of(reader.namespace, "jobs", group=_BATCH), manifest, what="Asking the application"
    )
    try:
        return asked.answered(_said(reader, name, container), command=" ".join(manage))
    finally:
        with contextlib.suppress(CostMgmtError):
            probe.remove(reader.api, reader.namespace, name)


def _job(
    source: Mapping[str, Any], name: str, code: str, run: str
) -> tuple[dict[str, Any], list[str], str]:
    template = source["spec"]["jobTemplate"]["spec"]["template"]
    container = _migrates(template["spec"]["containers"])
    manage = management(container)
    spec = probe.ProbeSpec(run=run, image=str(container["image"]), seconds=int(DEADLINE))
    manifest = probe.job(spec, name)
    asking = {**container, "command": [*manage, "shell", "-c", code], "args": []}
    own = manifest["spec"]["template"]
    own["metadata"]["labels"] = {**(template.get("metadata") or {}).get("labels", {}),
                                 **own["metadata"]["labels"]}  # fmt: skip
    own["spec"] = {
        **template["spec"],
        "containers": [asking],
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
    }
    return manifest, manage, str(asking["name"])


def _migrates(containers: list[dict[str, Any]]) -> dict[str, Any]:
    return next((each for each in containers if each.get("name") == "migration"), containers[0])


def management(container: Mapping[str, Any]) -> list[str]:
    """Return the management command: what stands before its ``migrate``.

    >>> management({"command": ["python", "-u", "-c"],
    ...             "args": ["code...", "python", "koku/manage.py", "migrate", "--noinput"]})
    ['python', 'koku/manage.py']
    """
    words = [str(word) for word in (*(container.get("command") or ()),
                                    *(container.get("args") or ()))]  # fmt: skip
    ends = [at for at, word in enumerate(words) if word in {"migrate", "migrate_schemas"}]
    begins = [at for at in range(ends[0] if ends else 0) if words[at].endswith("manage.py")]
    if not ends or not begins:
        raise FactUnavailable(
            f"CronJob {MIGRATION} runs no `manage.py migrate`, so that it cannot be asked what it"
            " would migrate"
        )
    first = begins[-1]
    return words[max(0, first - 1) : ends[0]]


def _said(reader: Reader, name: str, container: str) -> str:
    """Return what that container of the Job's pod said, once it has ended.

    A mesh may have put containers before and beside it, which need not end.
    """
    until, seen = time.monotonic() + DEADLINE, "no pod was made"
    while True:
        pods = reader.pods({probe.NAME_LABEL: name})
        for pod in pods:
            own = next((each for each in pod.states if each.name == container), None)
            if own is not None and own.state == "terminated" and own.exit_code == 0:
                return reader.log(pod.meta.name, container) or ""
            if why := _ended(reader, pod, own):
                raise FactUnavailable(f"the application's image ended with an error: {why}")
            _, seen = probe.waits(pod, container)
            if stuck := _stuck(pod):
                raise FactUnavailable(f"the application's image cannot be started: {stuck}")
        if not pods and (why := probe.refusal(reader, name)):
            raise FactUnavailable(f"no pod of the application may be made: {why}")
        if time.monotonic() > until:
            seen = seen or "its pod still runs"
            raise FactUnavailable(f"the application's image gave no answer in time: {seen}")
        time.sleep(_PAUSE)


def _ended(reader: Reader, pod: Pod, own: ContainerState | None) -> str:
    """Return with what it ended, itself or with its pod; nothing if it may still answer."""
    failed = [each for each in pod.states if each.state == "terminated" and each.exit_code]
    if own in failed:
        failed = [own]
    elif pod.phase != "Failed":
        return ""
    if not failed:
        return f"{pod.reason or pod.phase} {pod.message}".strip()
    log = (reader.log(pod.meta.name, failed[0].name) or "").strip().splitlines()
    last = log[-1] if log else "it said nothing"
    return f"container {failed[0].name}, status {failed[0].exit_code}: {last}"


def _stuck(pod: Pod) -> str:
    """Return why one of its containers cannot start, be it what a mesh or the chart adds to it.

    A pull may be tried again, but an answer is not worth that wait: all else goes on.
    """
    looked = [(each.name, *probe.waits(pod, each.name)) for each in pod.states]
    return next(
        (
            f"container {name}: {seen}"
            for name, hopeless, seen in looked
            if hopeless or "ErrImagePull" in seen
        ),
        "",
    )
