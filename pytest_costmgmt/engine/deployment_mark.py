"""Whose a deployment is: the mark on a namespace that a run made, or on the Lease of one given.

A later run removes what a killed one left, and nothing else: what bears no mark, or the mark of a
run that may still be alive, is left alone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from pytest_costmgmt.kubernetes.helm_records import RUN
from pytest_costmgmt.kubernetes.owner import abandoned, owner

EXPIRES, OWNER = "cost-management/expires", "cost-management/owner"
MANAGED = {"app.kubernetes.io/managed-by": "pytest-costmgmt", "cost-management/kind": "deployment"}
LIFE = timedelta(hours=6)
"How long a deployment may stay if nobody removes it."


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """The run that deployed, when its time is over, and its process on its machine."""

    run: str
    expires: str = ""
    owner: str = ""

    @property
    def over(self) -> bool:
        """Whether that run is known to have ended, or is past its time; without both, never."""
        return abandoned(self.owner) or _past(self.expires)

    @property
    def annotations(self) -> dict[str, str]:
        """The mark as a namespace bears it."""
        return {RUN: self.run, EXPIRES: self.expires, OWNER: self.owner}

    @property
    def text(self) -> str:
        """The mark as a Lease's note."""
        return msgspec.json.encode(self).decode()


def ours(run: str) -> Mark:
    """Return the mark of this process, from now on."""
    expires = datetime.now(timezone.utc) + LIFE
    return Mark(run=run, expires=expires.isoformat(timespec="seconds"), owner=owner())


def of_namespace(namespace: Mapping[str, Any]) -> Mark | None:
    """Return the mark of a namespace that a run made, or None: then it is somebody's.

    >>> meta = {"labels": MANAGED, "annotations": {RUN: "0a", EXPIRES: "2020-01-01T00:00:00+00:00"}}
    >>> of_namespace({"metadata": meta}).over, of_namespace({"metadata": {"labels": {}}})
    (True, None)
    """
    meta = namespace.get("metadata") or {}
    labels, told = meta.get("labels") or {}, meta.get("annotations") or {}
    if not told.get(RUN) or any(labels.get(name) != value for name, value in MANAGED.items()):
        return None
    return Mark(run=told[RUN], expires=told.get(EXPIRES, ""), owner=told.get(OWNER, ""))


def of_note(text: str | None) -> Mark | None:
    """Return the mark that a Lease's note is, or None.

    >>> of_note(Mark(run="0a").text).run, of_note(None), of_note("no mark")
    ('0a', None, None)
    """
    with contextlib.suppress(msgspec.MsgspecError):
        return msgspec.json.decode(text or "", type=Mark)
    return None


def _past(told: str) -> bool:
    """Say whether a time is over; what is no time is never over.

    >>> _past("2020-01-01T00:00:00+00:00"), _past("2020-01-01"), _past("")
    (True, False, False)
    """
    try:
        return datetime.fromisoformat(told) < datetime.now(timezone.utc)
    except (ValueError, TypeError):
        return False
