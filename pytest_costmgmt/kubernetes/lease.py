"""A Lease: one run at a time in a namespace, and what a run that was killed had begun.

Whoever holds it renews it; one that is not renewed expires, and the next run takes it over. It
carries notes, so that the next run knows what to clear.
"""

from __future__ import annotations

import contextlib
import getpass
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.owner import abandoned, owner
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.trouble import ApiRefused, LeaseHeld, LeaseLost, NotThere

GROUP = "coordination.k8s.io"
RIGHTS = tuple(Right(verb, "leases", GROUP) for verb in ("get", "create", "update"))

SECONDS = 30
RENEWED_EVERY = 5.0
OWNER = "cost-management/owner"
NOTES = "cost-management/note-"
_CONFLICT = 409
_STAMP = "%Y-%m-%dT%H:%M:%S.%fZ"


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """A Lease as it was found."""

    holder: str
    renewed: datetime | None
    seconds: int
    notes: dict[str, str] = {}
    owner: str = ""
    transitions: int = 0
    version: str = ""

    @property
    def expires(self) -> datetime | None:
        """When it ends unless it is renewed."""
        return self.renewed and self.renewed + timedelta(seconds=self.seconds)

    @property
    def live(self) -> bool:
        """Whether somebody holds it who is not known to have ended, and it has not expired."""
        if not self.holder or self.expires is None or abandoned(self.owner):
            return False
        return self.expires > datetime.now(timezone.utc)

    def of(self, run: str) -> bool:
        """Say whether it is a run's, by its id."""
        return self.holder.endswith(f" run {run}")

    @property
    def text(self) -> str:
        """Who holds it, since when and until when."""
        if not self.holder or self.renewed is None or self.expires is None:
            return self.holder or "nobody"
        return (
            f"{self.holder}, renewed {self.renewed:%H:%M:%S}, expires {self.expires:%H:%M:%S UTC}"
        )


class Lease:
    """A Lease that we hold."""

    def __init__(self, api: Api, namespace: str, name: str, *, holder: str, seconds: int) -> None:
        self._api, self._namespace, self._name = api, namespace, name
        self.holder, self._seconds = holder, seconds
        self._lock, self._done = threading.Lock(), threading.Event()
        self._object: dict[str, Any] = {}
        self._renewed = time.monotonic()
        self._lost = ""
        self.before: Seen | None = None
        "What the run before us left, None if there was none."

    @property
    def notes(self) -> dict[str, str]:
        """What is noted on it now."""
        return _notes(self._object)

    def note(self, name: str, text: str | None) -> None:
        """Write a note for whoever comes after us, or remove it."""
        self.check()
        with self._lock:
            self._write(name, text)
        self.check()

    def check(self) -> None:
        """Raise LeaseLost unless it is still ours: nothing may be begun without."""
        if not self._lost and time.monotonic() - self._renewed > self._seconds:
            self._lost = f"it was not renewed for {self._seconds} s: the API server did not answer"
        if self._lost:
            raise LeaseLost(
                f"Lease {self._name} in namespace {self._namespace} is ours no more: {self._lost}.",
                hint="Run it again: what is done stays done.",
            )

    def take(self) -> None:
        """Take the Lease, or raise LeaseHeld."""
        try:
            found: dict[str, Any] | None = self._api.get(self._path(), what=self._what)
        except NotThere:
            found = None
        if found is not None:
            self.before = before = _seen(found)
            if before.holder and not self._ended(before):
                raise LeaseHeld(self._namespace, self._name, before.text)
        body = self._body(found)
        try:
            with self._lock:
                self._object = (
                    self._api.create(self._path(named=False), body, what=self._what)
                    if found is None
                    else self._api.replace(self._path(), body, what=self._what)
                )
        except ApiRefused as error:
            if error.code != _CONFLICT:
                raise
            raise LeaseHeld(self._namespace, self._name, "another run, just now") from None
        self._renewed = time.monotonic()

    def keep(self) -> None:
        """Renew it until :meth:`give_up`."""
        while not self._done.wait(RENEWED_EVERY):
            with self._lock:
                if self._done.is_set():
                    return
                self._renew()
            if self._lost:
                return

    def give_up(self) -> None:
        """Leave it to whoever comes next; its notes stay."""
        self._done.set()
        with self._lock, contextlib.suppress(CostMgmtError):
            if not self._lost:
                self._object["spec"].pop("holderIdentity", None)
                self._object["metadata"].get("annotations", {}).pop(OWNER, None)
                self._object = self._api.replace(self._path(), self._object, what=self._what)

    def _renew(self) -> None:
        with contextlib.suppress(CostMgmtError):  # check() says when that went on for too long
            self._write()

    def _write(self, name: str = "", text: str | None = None) -> None:
        """Renew it, and write a note. What we sent before may have arrived without an answer."""
        try:
            self._object = self._sent(self._object, name, text)
        except ApiRefused as error:
            if error.code != _CONFLICT:
                raise
            found = self._api.get(self._path(), what=self._what)
            if _seen(found).holder != self.holder:
                self._lost = f"it is held by {_seen(found).text}"
                return
            self._object = self._sent(found, name, text)
        self._renewed = time.monotonic()

    def _sent(self, found: dict[str, Any], name: str, text: str | None) -> dict[str, Any]:
        found["spec"]["renewTime"] = _now()
        annotations = found["metadata"].setdefault("annotations", {})
        if name and text is None:
            annotations.pop(NOTES + name, None)
        elif name:
            annotations[NOTES + name] = text
        return self._api.replace(self._path(), found, what=self._what)

    def _ended(self, before: Seen) -> bool:
        """Say whether its holder is gone: known to have ended, or expired and still not renewed.

        The second look tells a clock that differs from ours.
        """
        if abandoned(before.owner):
            return True
        if before.expires is not None and before.expires > datetime.now(timezone.utc):
            return False
        time.sleep(RENEWED_EVERY * 1.5)
        return _seen(self._api.get(self._path(), what=self._what)).version == before.version

    def _body(self, found: Mapping[str, Any] | None) -> dict[str, Any]:
        meta = dict((found or {}).get("metadata") or {"name": self._name})
        meta["annotations"] = {**(meta.get("annotations") or {}), OWNER: owner()}
        transitions = _seen(found).transitions + 1 if found else 0
        return {
            "apiVersion": f"{GROUP}/v1",
            "kind": "Lease",
            "metadata": meta,
            "spec": {
                "holderIdentity": self.holder,
                "leaseDurationSeconds": self._seconds,
                "acquireTime": _now(),
                "renewTime": _now(),
                "leaseTransitions": transitions,
            },
        }

    @property
    def _what(self) -> str:
        return f"Taking Lease {self._name} in namespace {self._namespace}"

    def _path(self, *, named: bool = True) -> str:
        base = f"/apis/{GROUP}/v1/namespaces/{self._namespace}/leases"
        return f"{base}/{self._name}" if named else base


@contextlib.contextmanager
def held_lease(
    api: Api, namespace: str, name: str, *, run: str, seconds: int = SECONDS
) -> Iterator[Lease]:
    """Hold a Lease; another run that holds it is LeaseHeld, and nothing was done."""
    lease = Lease(api, namespace, name, holder=f"{_who()} run {run}", seconds=seconds)
    lease.take()
    keeper = threading.Thread(target=lease.keep, name="costmgmt-lease", daemon=True)
    keeper.start()
    try:
        yield lease
    finally:
        lease.give_up()
        keeper.join(RENEWED_EVERY)


def look(api: Api, namespace: str, name: str) -> Seen | None:
    """Return a Lease as it is, or None."""
    path = f"/apis/{GROUP}/v1/namespaces/{namespace}/leases/{name}"
    try:
        return _seen(api.get(path, what=f"Reading Lease {name} in namespace {namespace}"))
    except NotThere:
        return None


def confirm(api: Api, namespace: str, name: str, *, run: str) -> None:
    """Raise LeaseLost unless a run holds the Lease now: another of its processes renews it."""
    seen = look(api, namespace, name)
    if seen is not None and seen.live and seen.of(run):
        return
    told = "it is gone" if seen is None else f"it is held by {seen.text}"
    raise LeaseLost(
        f"Lease {name} in namespace {namespace} is not this run's any more: {told}.",
        hint="Nothing further was done. Run it again.",
    )


def _who() -> str:
    who: Callable[[], str] = getpass.getuser
    try:
        return f"{who()}@{socket.gethostname()}"
    except (OSError, KeyError):
        return socket.gethostname()


def _seen(found: Mapping[str, Any]) -> Seen:
    meta, spec = found.get("metadata") or {}, found.get("spec") or {}
    return Seen(
        holder=str(spec.get("holderIdentity") or ""),
        renewed=_time(spec.get("renewTime")),
        seconds=int(spec.get("leaseDurationSeconds") or 0),
        notes=_notes(found),
        owner=str((meta.get("annotations") or {}).get(OWNER, "")),
        transitions=int(spec.get("leaseTransitions") or 0),
        version=str(meta.get("resourceVersion") or ""),
    )


def _notes(found: Mapping[str, Any]) -> dict[str, str]:
    annotations = (found.get("metadata") or {}).get("annotations") or {}
    return {
        name.removeprefix(NOTES): str(text)
        for name, text in annotations.items()
        if name.startswith(NOTES)
    }


def _now() -> str:
    return datetime.now(timezone.utc).strftime(_STAMP)


def _time(text: object) -> datetime | None:
    """Return an API server's time, which has a fraction or none."""
    for form in (_STAMP, "%Y-%m-%dT%H:%M:%SZ"):
        with contextlib.suppress(ValueError):
            return datetime.strptime(str(text), form).replace(tzinfo=timezone.utc)
    return None
