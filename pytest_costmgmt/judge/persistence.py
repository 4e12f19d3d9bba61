"""Persistence: is the data where it survives its pod."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import Objects, claim_name, covering
from pytest_costmgmt.facts.release_folders import Folder
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.facts.survival import Identity, Survival
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.release import OUTSIDE, container_of, objects_of, of_a_release, permitted
from pytest_costmgmt.kubernetes.shapes import Mount, Pod

_CLAIM = "persistentVolumeClaim"


@of_a_release
def on_the_volume(facts: ReleaseFacts) -> Judgement:
    """Judge that the server's data lies on the pod's PersistentVolumeClaim, all of it."""
    objects = objects_of(facts)
    permitted(objects, "pod postgres-0")
    if facts.inside is None:
        why = facts.errors.get("inside") or "the server was not asked"
        raise FactUnavailable(f"where the data is, is not known: {why}")
    if objects.pod is None:
        raise FactUnavailable("pod postgres-0 does not exist")
    data, pod = facts.inside.data_directory, objects.pod
    mounts = container_of(objects).mounts
    # The whole as the server names it, where nobody followed its links.
    folders = facts.inside.folders or (Folder(part=".", path=data),)
    each = [(folder, covering(mounts, folder.path)) for folder in folders]
    # Where the whole is wrong, its parts say nothing more.
    wrong = list(_astray(*each[0], data, pod))
    findings = wrong or [found for part in each[1:] for found in _astray(*part, data, pod)]
    unfollowed = facts.inside.unfollowed
    return judgement(
        [f"data_directory {data}", "the pod's mounts", "the links in it"],
        findings,
        unverified=[_unfollowed(unfollowed)] if unfollowed else (),
        summary=f"{data} lies on {_lies(pod, each[0][1])}",
    )


def _astray(folder: Folder, mount: Mount | None, data: str, pod: Pod) -> Iterator[Finding]:
    """Yield what is wrong with where a part of the data lies."""
    if mount is not None and _source(pod, mount) == _CLAIM and not mount.read_only:
        return
    whole = folder.part == "."
    name = data if whole else f"{data}/{folder.part}"
    led = "" if name == folder.path else f"{folder.path}: "
    yield Finding(
        summary=f"the data in {name} dies with its pod",
        expected=f"{name} on a PersistentVolumeClaim",
        found=led + _lies(pod, mount),
        fix=Fix(
            kind="shell",
            text="# Do not delete or upgrade the pod: its container holds the only copy.\n"
            "costmgmt backup --namespace NS --out DIR\n" + (_MOVE if whole else _UNLINK),
            needs="who installs the chart",
        ),
    )


_MOVE = "costmgmt bootstrap --namespace NS --migrate-volume"
_UNLINK = (
    "# Then, in a release whose volume holds the whole folder:\n"
    "costmgmt restore DIR --namespace NS --database NAME"
)


def _unfollowed(why: str) -> Unverified:
    return Unverified(
        what=f"whether a link leads from the data folder off the volume: {why}",
        who="who may enter the database's pod (create pods/exec)",
        how="kubectl exec postgres-0 -- sh -c"
        " 'ls -ld /var/lib/pgsql/data/userdata/pg_wal /var/lib/pgsql/data/userdata/pg_tblspc/*'",
    )


def _source(pod: Pod, mount: Mount) -> str:
    return next((each.source for each in pod.template.volumes if each.name == mount.name), "")


def _lies(pod: Pod, mount: Mount | None) -> str:
    if mount is None:
        return "the container's own layer"
    for volume in pod.template.volumes:
        if volume.name == mount.name:
            return f"{volume.source} {volume.of}, mounted at {mount.path}".replace("  ", " ")
    return f"volume {mount.name}, which the pod does not describe"


@of_a_release
def bound(facts: ReleaseFacts) -> Judgement:
    """Judge that the claim is bound, and stays."""
    objects = objects_of(facts)
    permitted(objects, "the pod's claim")
    claim = objects.claim
    look = Fix(
        kind="shell",
        text=f"kubectl describe pvc {claim_name(objects)}",
        needs="who may read the claim",
    )
    expected = "a PersistentVolumeClaim, Bound"
    if claim is None:
        found = Finding(
            summary="the pod's claim does not exist", expected=expected, found="none", fix=look
        )
        return judgement(["the pod's claim"], [found])
    findings = []
    if claim.phase != "Bound":
        told = f"claim {claim.meta.name} is {claim.phase or 'in no phase'}"
        findings.append(Finding(summary=told, expected=expected, found=told, fix=look))
    if claim.meta.deleting:
        told = f"claim {claim.meta.name} goes as soon as its pod does"
        findings.append(
            Finding(
                summary=told,
                expected="a claim that stays",
                found=f"it is being deleted since {claim.meta.deleting}",
                fix=Fix(
                    kind="shell",
                    text="# It cannot be undone: back up now, while the pod holds it.\n"
                    "costmgmt backup --namespace NS --out DIR",
                    needs="who may reach the database",
                ),
            )
        )
    return judgement(
        [f"claim {claim.meta.name}"],
        findings,
        summary=f"claim {claim.meta.name} is bound to {claim.volume} ({claim.capacity}"
        f"{_reclaimed(objects)})",
    )


def _reclaimed(objects: Objects) -> str:
    """Return what becomes of the volume without its claim, or that we may not see it."""
    if objects.volume is not None:
        return f", {objects.volume.source}, {objects.volume.reclaim} without its claim"
    unseen = objects.refused.get("the volume")
    return f"; its volume: {unseen}" if unseen else ""


def survives(facts: ReleaseFacts, act: Callable[[], Survival]) -> Judgement:
    """Judge that a row outlives its pod; ``act`` deletes it, and is asked of releases alone."""
    if facts.absent:
        return not_supported(facts.absent)
    if facts.objects is not None and facts.objects.external:
        return not_supported(f"{facts.objects.external} is no release's: {OUTSIDE}")
    seen = act()
    before, after = seen.before, seen.after
    if seen.error or before is None or after is None:
        raise FactUnavailable(seen.error or "the pod was not deleted")
    if not (before.row and before.pod and before.claim and before.server):
        raise FactUnavailable("pod, claim, server or row was not known before")
    if after.pod == before.pod:
        raise FactUnavailable("the pod that was deleted is the one that is there")
    return judgement(
        ["pod uid", "claim uid", "system_identifier", "a row"],
        _lost(before, after),
        summary=f"a row outlived its pod, on the same claim; {seen.seconds:.0f} s without a server",
    )


def _lost(before: Identity, after: Identity) -> Iterator[Finding]:
    fix = Fix(
        kind="shell",
        text="# Restore the last backup, onto a volume that stays:\n"
        "costmgmt bootstrap --namespace NS --migrate-volume",
        needs="who installs the chart",
    )
    for what, one, other in (
        ("the row", before.row, after.row),
        ("the server's system_identifier", before.server, after.server),
        ("the claim's uid", before.claim, after.claim),
    ):
        if one != other:
            yield Finding(
                summary=f"{what} is another since the pod was deleted",
                expected=f"{what} as it was: {one}",
                found=other or "gone: what the pod held died with it",
                fix=fix,
            )
