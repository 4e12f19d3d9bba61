"""The release itself: what Helm is asked for, and what a run that was killed left behind."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_costmgmt.errors import StepFailed
from pytest_costmgmt.initialize.deploy_secrets import Credentials
from pytest_costmgmt.initialize.deploy_site import LEASE, RELEASE, SET, Site, at, merged
from pytest_costmgmt.kubernetes.helm import Revision
from pytest_costmgmt.kubernetes.helm_records import RUN, forget, record
from pytest_costmgmt.kubernetes.lease import look
from pytest_costmgmt.kubernetes.shapes import StatefulSet
from pytest_costmgmt.secret import MASK

NOTE = "helm"
"The Lease's note: which revision of which release this run is about to make."
_REUSE = "--reset-then-reuse-values"


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What is there before Helm is asked. ``values`` are the release's and the operator's."""

    release: str
    last: Revision | None
    set: StatefulSet | None
    values: dict[str, Any]
    foreign: bool = False
    "The StatefulSet was deployed otherwise than by Helm."


def find(site: Site) -> Found:
    """Return the release of the namespace; one of another name than the one wanted is refused."""
    there = site.reader.stateful_set(SET)
    named = there.meta.release if there is not None else ""
    wanted = site.wanted.release
    if named and wanted and named != wanted:
        raise StepFailed(
            f"release {wanted}",
            f"namespace {site.namespace} has the release {named} already, and one is all that it"
            " may have: applications find it by the names postgres and postgres-credentials",
            hint=f"Give --release {named}, or choose another namespace.",
        )
    release = wanted or named or RELEASE
    last = site.helm.status(release)
    values = dict(site.wanted.values)
    if last is not None:
        values = merged(_of_release(site, release), values)
    if at(values, "postgresql", "enabled") is False:
        raise StepFailed(
            f"release {release}",
            "postgresql.enabled is false: there is no database to deploy",
            hint="A server of your own is initialized by costmgmt bootstrap --dsn ... --admin-dsn"
            " ...",
        )
    foreign = there is not None and not named and last is None
    return Found(release=release, last=last, set=there, values=values, foreign=foreign)


def _of_release(site: Site, release: str) -> dict[str, Any]:
    values = site.helm.values(release)
    if MASK in repr(values):
        raise StepFailed(
            f"release {release}",
            "its values hold a password, which every record of the release shows",
            hint="Put it into a Secret, and helm upgrade without it, first.",
        )
    return values


def clear(site: Site, found: Found) -> Found:
    """Clear a revision that a killed run of ours left pending; another's stops us."""
    last = found.last
    if last is None or not last.pending:
        return found
    step = f"release {found.release}"
    pending = record(site.api, site.namespace, found.release, last.revision)
    before = site.lease.before if site.lease is not None else look(site.api, site.namespace, LEASE)
    ours = (
        pending is not None
        and before is not None
        and pending.run != ""
        and before.notes.get(NOTE) == _noted(found.release, last.revision, pending.run)
    )
    if not ours or pending is None:
        raise _not_ours(site, last)
    told = f"revision {last.revision} was left {last.status} by a run of ours that was killed"
    if site.dry_run:
        site.done(step, "planned", f"{told}; its record would be removed")
        return found
    forget(site.api, site.namespace, pending)
    site.done(step, "changed", f"{told}; its record is removed")
    return msgspec.structs.replace(found, last=site.helm.status(found.release))


def _not_ours(site: Site, last: Revision) -> StepFailed:
    name, space = last.release, site.namespace
    earlier = [r for r in site.helm.history(name) if r.status in {"deployed", "superseded"}]
    way = (
        f"helm rollback {name} {earlier[-1].revision} -n {space}"
        if earlier
        else f"kubectl -n {space} delete secret sh.helm.release.v1.{name}.v{last.revision}"
    )
    return StepFailed(
        f"release {name}",
        f"revision {last.revision} is {last.status} since {last.updated}, and no run of ours began"
        " it: somebody's helm is at work, or was killed",
        hint=f"If nobody's is, this ends it, and then run bootstrap again:\n    {way}",
    )


def _noted(release: str, revision: int, run: str) -> str:
    return f"{release} {revision} {run}"


def overlay(site: Site, application: Credentials, hive: Credentials | None) -> dict[str, Any]:
    """Return the values that Helm gets: the operator's, and ours."""
    ours: dict[str, Any] = {}
    if not application.helm:
        # One that Helm made stays Helm's: left out of the rendering it would be deleted.
        ours = {"postgresql": {"database": {"existingSecret": application.secret}}}
    if site.wanted.requirements.hive.policy == "forbidden":
        ours = merged(ours, {"migration": {"onprem": True}})
    elif hive is not None:
        ours = merged(ours, {"migration": {"hive": {"existingSecret": hive.secret}}})
    return merged(site.wanted.values, ours)


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """What Helm would do: every object, and those that would be other than they are."""

    objects: tuple[dict[str, Any], ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]

    @property
    def pod(self) -> dict[str, Any]:
        """The database pod's spec as rendered."""
        sets = [each for each in self.objects if each.get("kind") == "StatefulSet"]
        return (at(sets[0], "spec", "template", "spec") or {}) if sets else {}

    @property
    def image(self) -> str:
        """The database's image as rendered."""
        return str((self.pod.get("containers") or [{}])[0].get("image") or "")


def rehearse(site: Site, found: Found, values: Mapping[str, Any]) -> Rehearsed:
    """Render as an upgrade would, with all guards of the chart; nothing is changed."""
    rendered = site.helm.rehearse(
        found.release, site.wanted.chart, key=site.key, values=values, arguments=_arguments(found)
    )
    before: list[dict[str, Any]] = []
    if found.last is not None and found.last.status == "deployed":
        before = site.helm.manifest(found.release, key=site.key)
    then, now = _named(before), _named(rendered)
    changed = tuple(name for name, each in now.items() if then.get(name) != each)
    gone = tuple(name for name in then if name not in now)
    return Rehearsed(objects=tuple(rendered), changed=changed, gone=gone)


def _named(objects: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {f"{each.get('kind')} {at(each, 'metadata', 'name')}": each for each in objects}


def _arguments(found: Found) -> tuple[str, ...]:
    return (_REUSE,) if found.last is not None else ()


def upgrade(site: Site, found: Found, values: Mapping[str, Any]) -> None:
    """Let Helm install or upgrade it; a killed run's revision is known by label and Lease."""
    revision = found.last.revision + 1 if found.last is not None else 1
    assert site.lease is not None  # noqa: S101 - a dry run does not get here
    site.lease.note(NOTE, _noted(found.release, revision, site.run))
    site.helm.upgrade(
        found.release,
        site.wanted.chart,
        values=values,
        arguments=[*_arguments(found), "--labels", f"{RUN}={site.run}"],
    )
    site.lease.note(NOTE, None)


_VERSION = re.compile(r"\(PostgreSQL\) (\d+)(?:\.(\d+))?")


def version_number(said: str) -> int | None:
    """Return ``postgres --version`` as server_version_num.

    >>> version_number("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)")
    150014
    >>> version_number("bash: postgres: command not found")
    """
    found = _VERSION.search(said)
    return int(found[1]) * 10000 + int(found[2] or 0) if found else None


def fitting(image: str, said: str, server: int) -> str:
    """Return a remark on the new image's version; raise StepFailed if it cannot serve the data.

    ``server`` is the running server's server_version_num.
    """
    new = version_number(said)
    if new is None:
        raise StepFailed(
            f"image {image}",
            f"`postgres --version` in it said {said.strip()[:200]!r}: it is no PostgreSQL image",
            hint="Set postgresql.image to the one that the database runs, or a later minor of it.",
        )
    if new // 10000 != server // 10000:
        raise StepFailed(
            f"image {image}",
            f"it is PostgreSQL {new // 10000}, and the data is of PostgreSQL {server // 10000},"
            " which it cannot read; nothing was changed",
            hint=f"Set postgresql.major={server // 10000} (or the former image). To another major"
            " version: costmgmt backup, install anew, costmgmt restore.",
        )
    told = f"PostgreSQL {new // 10000}.{new % 10000}"
    older = new < server
    return f"{told}, older than the server's {server // 10000}.{server % 10000}" if older else told
