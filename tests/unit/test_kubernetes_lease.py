"""One run at a time: who holds a Lease, when it is over, and what the next run is told."""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any, cast

import pytest

from pytest_costmgmt.kubernetes import lease as leases
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.lease import OWNER, Lease, held_lease, look
from pytest_costmgmt.kubernetes.owner import owner
from pytest_costmgmt.kubernetes.trouble import ApiRefused, LeaseHeld, LeaseLost, NotThere

NAME = "costmgmt-bootstrap"


class Store:
    """An API server with one Lease, which refuses what is of another version."""

    def __init__(self) -> None:
        self.found: dict[str, Any] | None = None
        self.unanswered: Callable[[], None] = lambda: None

    def get(self, path: str, *, what: str = "") -> dict[str, Any]:
        """Return it."""
        if self.found is None:
            raise NotThere(f"{what} {path}", code=404)
        return copy.deepcopy(self.found)

    def create(self, path: str, body: dict[str, Any], *, what: str = "") -> dict[str, Any]:
        """Create it."""
        if self.found is not None:
            raise ApiRefused(f"{what} {path}", code=409)
        return self._kept(body, 1)

    def replace(self, path: str, body: dict[str, Any], *, what: str = "") -> dict[str, Any]:
        """Replace it, if it still is that version."""
        assert self.found is not None
        version = self.found["metadata"]["resourceVersion"]
        if body["metadata"].get("resourceVersion") != version:
            raise ApiRefused(f"{what} {path}", code=409)
        kept = self._kept(body, int(version) + 1)
        self.unanswered()
        return kept

    def _kept(self, body: dict[str, Any], version: int) -> dict[str, Any]:
        self.found = copy.deepcopy(body)
        self.found["metadata"]["resourceVersion"] = str(version)
        return copy.deepcopy(self.found)

    def held(self, *, ago: float, mark: str = "another-machine 1 2") -> None:
        """Have another run hold it, that renewed it so many seconds ago."""
        renewed = datetime.now(timezone.utc) - timedelta(seconds=ago)
        self.found = {
            "metadata": {
                "name": NAME,
                "resourceVersion": "7",
                "annotations": {OWNER: mark, "cost-management/note-phase": "pod"},
            },
            "spec": {
                "holderIdentity": "alice@elsewhere run 1a2b",
                "leaseDurationSeconds": 30,
                "renewTime": renewed.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Store:
    """An API server without a Lease; renewing takes less than in earnest."""
    monkeypatch.setattr(leases, "RENEWED_EVERY", 0.1)
    return Store()


def a_lease(store: Store) -> Lease:
    """Return a Lease of ours that is not taken yet."""
    return Lease(cast("Api", store), "ns", NAME, holder="we run 3c4d", seconds=30)


def test_a_live_holder_is_not_disturbed(store: Store) -> None:
    """Who holds it, since when and until when is told; it stays as it is."""
    store.held(ago=3)
    before = copy.deepcopy(store.found)
    with pytest.raises(LeaseHeld, match=r"held by alice@elsewhere run 1a2b, renewed .* expires"):
        a_lease(store).take()
    assert store.found == before


def test_one_that_expired_is_taken_with_its_notes(store: Store) -> None:
    """What the run before had begun is known to the next one."""
    store.held(ago=31)
    lease = a_lease(store)
    lease.take()
    assert lease.before is not None
    assert lease.before.notes == lease.notes == {"phase": "pod"}
    assert store.get("")["spec"]["holderIdentity"] == "we run 3c4d"


def test_one_whose_clock_is_behind_is_not_taken(store: Store) -> None:
    """Expired by our clock, but renewed while we look: it lives."""
    store.held(ago=300)

    def renew() -> None:
        time.sleep(0.05)
        assert store.found is not None
        store.found["metadata"]["resourceVersion"] = "8"

    other = threading.Thread(target=renew)
    other.start()
    with pytest.raises(LeaseHeld):
        a_lease(store).take()
    other.join()


def test_one_of_a_process_that_is_known_to_have_ended_is_taken_at_once(store: Store) -> None:
    """It ran here, and is gone: nobody renews it."""
    machine, _, _ = owner().partition(" ")
    store.held(ago=1, mark=f"{machine} 4194304 1")
    a_lease(store).take()


def test_it_is_renewed_and_left(store: Store) -> None:
    """While it is held its time moves; afterwards nobody holds it, and its notes stay."""
    with held_lease(cast("Api", store), "ns", NAME, run="3c4d") as lease:
        first = store.get("")["spec"]["renewTime"]
        lease.note("helm", "release 2 3c4d")
        time.sleep(0.5)
        assert store.get("")["spec"]["renewTime"] > first
        lease.check()
        with pytest.raises(LeaseHeld):
            a_lease(store).take()
    seen = look(cast("Api", store), "ns", NAME)
    assert seen is not None
    assert seen.holder == ""
    assert seen.notes == {"helm": "release 2 3c4d"}


def test_one_that_another_took_is_lost(store: Store) -> None:
    """Nothing is begun any more, and the other's is not touched."""
    with held_lease(cast("Api", store), "ns", NAME, run="3c4d") as lease:
        store.held(ago=0)
        time.sleep(0.5)
        with pytest.raises(LeaseLost, match="held by alice"):
            lease.check()
    assert store.get("")["spec"]["holderIdentity"] == "alice@elsewhere run 1a2b"


def test_an_answer_that_was_lost_is_no_other_run(store: Store) -> None:
    """What we wrote arrived: the next renewal finds itself."""
    lease = a_lease(store)
    lease.take()

    def lost() -> None:
        store.unanswered = lambda: None
        raise ApiRefused("no answer", code=503)

    store.unanswered = lost
    with pytest.raises(ApiRefused):
        lease.note("phase", "release")
    lease.note("phase", "pod")
    assert lease.notes == {"phase": "pod"}
    lease.check()
