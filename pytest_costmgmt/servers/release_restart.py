"""Delete the database's pod, wait for the next one, and look whether everything is still there."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from pytest_costmgmt.errors import CostMgmtError, ServerNotReady
from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.facts.survival import Identity, Survival
from pytest_costmgmt.kubernetes import rights
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.lease import confirm
from pytest_costmgmt.kubernetes.objects import Reader, path_of
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.shapes import Pod
from pytest_costmgmt.postgres.kept_row import KeptRow
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.servers.cluster import Place

DEADLINE = 600.0
"Seconds from the pod's deletion to the next one's readiness, its shutdown included."
_PAUSE = 0.5
RIGHTS = (Right("delete", "pods"), Right("get", "pods"), Right("get", "persistentvolumeclaims"))


class Restart:
    """The deed, once for a run: asked again it returns what it saw."""

    def __init__(
        self, place: Place, administrator: Login, *, run_id: str, deadline: float = DEADLINE
    ) -> None:
        self.place, self.administrator = place, administrator
        self.run_id, self.deadline = run_id, deadline
        self._seen: Survival | None = None

    def __call__(self) -> Survival:
        """Do it, and return what came of it; whatever breaks is in it."""
        if self._seen is None:
            self._seen = self._acted()
        return self._seen

    def _acted(self) -> Survival:
        before: Identity | None = None
        after: Identity | None = None
        began = time.monotonic()
        row = KeptRow(self.administrator, run_id=self.run_id, deadline=60.0)
        try:
            api = self.place.api()
            rights.demand(api, self.place.namespace, RIGHTS, purpose="Deleting the database's pod")
            row.plant()
            try:
                before = self._identity(api, row)
                # The controller renews it; nothing is deleted without.
                confirm(api, self.place.namespace, facts.LEASE, run=self.run_id)
                began = time.monotonic()
                self._delete(api)
                self._until(api, _another(before.pod))
                after = self._identity(api, row)
            finally:
                row.remove()
        except CostMgmtError as error:
            return Survival(before=before, after=after, error=str(error))
        return Survival(before=before, after=after, seconds=time.monotonic() - began)

    def _identity(self, api: Api, row: KeptRow) -> Identity:
        reader = Reader(api, self.place.namespace)
        pod = reader.pod(facts.POD)
        name = facts.claim_of(pod)
        claim = reader.claim(name) if name else None
        said, server = row.read()
        return Identity(
            pod="" if pod is None else pod.meta.uid,
            claim="" if claim is None else claim.meta.uid,
            server=server,
            row=said,
        )

    def _delete(self, api: Api) -> None:
        path = path_of(self.place.namespace, "pods", facts.POD)
        api.delete(path, what=f"Deleting pod {facts.POD}")

    def _until(self, api: Api, done: Callable[[object], str]) -> None:
        reader, began = Reader(api, self.place.namespace), time.monotonic()
        while True:
            pod = reader.pod(facts.POD)
            if not (seen := done(pod)):
                return
            if (waited := time.monotonic() - began) > self.deadline:
                raise ServerNotReady(f"the pod after {facts.POD} was deleted", waited, seen)
            time.sleep(_PAUSE)


def _another(uid: str) -> Callable[[object], str]:
    """Return what says how far another pod than ``uid`` is from being ready; "" if it is."""

    def lacks(pod: object) -> str:
        if not isinstance(pod, Pod):
            return "no pod"
        if pod.meta.uid == uid:
            return "the old pod is still there"
        return "" if pod.ready else facts.state_of(pod)

    return lacks


def restart(place: str, administrator: Login, *, run_id: str) -> Restart:
    """Return the deed for a place that was encoded; nothing is done yet."""
    where = msgspec.json.decode(place, type=Place) if place else Place(namespace="")
    return Restart(where, administrator, run_id=run_id)
