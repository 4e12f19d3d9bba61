"""Helm's records of a release: one Secret a revision, of which only the labels are looked at."""

from __future__ import annotations

from typing import Any

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.helm import PENDING
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.kubernetes.trouble import NotThere

RUN = "cost-management/run"
"The label by which a revision says which run of ours began it."


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A revision's record. ``run`` may be inherited: Helm copies labels to the next revision."""

    name: str
    uid: str
    version: str
    status: str
    run: str


def record(api: Api, namespace: str, release: str, revision: int) -> Record | None:
    """Return a revision's record, or None if Helm keeps it elsewhere."""
    name = f"sh.helm.release.v1.{release}.v{revision}"
    try:
        found = api.get(path_of(namespace, "secrets", name), what=f"Reading Helm's record {name}")
    except NotThere:
        return None
    meta: dict[str, Any] = found.get("metadata") or {}
    labels = meta.get("labels") or {}
    return Record(
        name=name,
        uid=str(meta.get("uid") or ""),
        version=str(meta.get("resourceVersion") or ""),
        status=str(labels.get("status") or ""),
        run=str(labels.get(RUN) or ""),
    )


def forget(api: Api, namespace: str, pending: Record) -> None:
    """Remove the record of a revision that is pending, if it still is what was seen."""
    if pending.status not in PENDING:
        raise ValueError(f"{pending.name} is {pending.status}: it is no pending revision")
    exactly = {"uid": pending.uid, "resourceVersion": pending.version}
    options = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": exactly}
    path = path_of(namespace, "secrets", pending.name)
    api.delete(path, options, what=f"Removing Helm's record {pending.name}")
