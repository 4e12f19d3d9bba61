"""Which of a namespace's Helm releases an object is of, where the object itself does not say."""

from __future__ import annotations

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.leaks import rendered
from pytest_costmgmt.kubernetes.objects import path_of


def holders(api: Api, namespace: str, kind: str, name: str, *, key: bytes) -> tuple[str, ...]:
    """Return the releases whose last revision renders that object, by Helm's own records.

    ``key`` is the run's. Raises AccessDenied where they may not be listed.
    """
    found = api.items(
        path_of(namespace, "secrets"),
        [("labelSelector", "owner=helm"), ("fieldSelector", "type=helm.sh/release.v1")],
        what="Reading Helm's records",
    )
    labels = [(each.get("metadata") or {}).get("labels") or {} for each in found]
    last: dict[str, str] = {}
    for each in sorted(labels, key=lambda each: int(each.get("version") or 0)):
        last[str(each.get("name") or "")] = str(each.get("status") or "")
    # What was uninstalled and kept for its history renders nothing any more.
    names = sorted(each for each, status in last.items() if each and status != "uninstalled")
    return tuple(
        release for release in names if _holds(api, namespace, release, kind, name, key=key)
    )


def _holds(api: Api, namespace: str, release: str, kind: str, name: str, *, key: bytes) -> bool:
    return any(
        made.get("kind") == kind and (made.get("metadata") or {}).get("name") == name
        for made in rendered(api, namespace, release, key=key)
    )
