"""Which of a namespace's Helm releases an object is of, where the object itself does not say."""

from __future__ import annotations

from typing import NamedTuple

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.leaks import rendered, revision_of
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.trouble import RecordUnread


class Holders(NamedTuple):
    """The releases that render an object, and of which nobody knows whether they do, and why."""

    known: tuple[str, ...]
    unread: dict[str, str]


def holders(api: Api, namespace: str, kind: str, name: str, *, key: bytes) -> Holders:
    """Return the releases whose last revision renders that object, by Helm's own records.

    ``key`` is the run's. Raises AccessDenied where they may not be listed.
    """
    found = api.items(
        path_of(namespace, "secrets"),
        [("labelSelector", "owner=helm"), ("fieldSelector", "type=helm.sh/release.v1")],
        what="Reading Helm's records",
    )
    last: dict[str, str] = {}
    for each in sorted(found, key=revision_of):
        labels = (each.get("metadata") or {}).get("labels") or {}
        last[str(labels.get("name") or "")] = str(labels.get("status") or "")
    # What was uninstalled and kept for its history renders nothing any more.
    names = sorted(each for each, status in last.items() if each and status != "uninstalled")
    held = {release: _holds(api, namespace, release, kind, name, key=key) for release in names}
    return Holders(
        known=tuple(release for release, said in held.items() if said is True),
        unread={release: said for release, said in held.items() if isinstance(said, str)},
    )


def _holds(
    api: Api, namespace: str, release: str, kind: str, name: str, *, key: bytes
) -> bool | str:
    """Say whether a release's last revision renders it, or why nobody knows."""
    try:
        made = rendered(api, namespace, release, key=key)
    except RecordUnread as error:
        return error.message
    return any(
        each.get("kind") == kind and (each.get("metadata") or {}).get("name") == name
        for each in made
    )
