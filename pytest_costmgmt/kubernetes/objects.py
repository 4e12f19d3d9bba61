"""Read a release's objects, by name, from one namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

import msgspec

from pytest_costmgmt.kubernetes import shapes
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.secret_objects import stripped
from pytest_costmgmt.kubernetes.shapes_read import (
    claim,
    endpoints,
    event,
    persistent_volume,
    pod,
    service,
    stateful_set,
)
from pytest_costmgmt.kubernetes.streams import pod_path
from pytest_costmgmt.kubernetes.trouble import AccessDenied, ApiRefused, NotThere
from pytest_costmgmt.secret import redact

T = TypeVar("T")

LOG_LINES = 400
LOG_BYTES = 128 * 1024
EVENTS = 60


def path_of(namespace: str, resource: str, name: str = "", *, group: str = "") -> str:
    """Return where a namespaced object is.

    >>> path_of("ns", "statefulsets", "postgres", group="apps/v1")
    '/apis/apps/v1/namespaces/ns/statefulsets/postgres'
    """
    base = f"/apis/{group}" if group else "/api/v1"
    below = f"/{quote(name, safe='')}" if name else ""
    return f"{base}/namespaces/{quote(namespace, safe='')}/{resource}{below}"


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace, as far as we may see it: ``exists`` None is not permitted to ask."""

    name: str
    exists: bool | None
    phase: str = ""
    annotations: dict[str, str] = {}
    labels: dict[str, str] = {}


class Reader:
    """Reads one namespace. What does not exist is None; what is refused is an error."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api, self.namespace = api, namespace

    def namespace_seen(self) -> Namespace:
        """Return the namespace; asking needs a right beyond it, which we may lack."""
        what = f"Looking for namespace {self.namespace}"
        try:
            found = self.api.get(f"/api/v1/namespaces/{quote(self.namespace, safe='')}", what=what)
        except NotThere:
            return Namespace(name=self.namespace, exists=False)
        except AccessDenied as error:
            if error.code == 401:  # noqa: PLR2004 - not even known
                raise
            return Namespace(name=self.namespace, exists=None)
        meta = found.get("metadata") or {}
        return Namespace(
            name=self.namespace,
            exists=True,
            phase=str((found.get("status") or {}).get("phase") or ""),
            annotations=_plain(meta.get("annotations")),
            labels=_plain(meta.get("labels")),
        )

    def stateful_set(self, name: str) -> shapes.StatefulSet | None:
        """Return a StatefulSet."""
        found = self._one("statefulsets", name, group="apps/v1")
        return None if found is None else stateful_set(found)

    def pod(self, name: str) -> shapes.Pod | None:
        """Return a pod."""
        found = self._one("pods", name)
        return None if found is None else pod(found)

    def pods(self, labels: Mapping[str, str]) -> tuple[shapes.Pod, ...]:
        """Return the pods that have all these labels."""
        return tuple(pod(each) for each in self._all("pods", selector=labels))

    def service(self, name: str) -> shapes.Service | None:
        """Return a Service."""
        found = self._one("services", name)
        return None if found is None else service(found)

    def endpoints(self, name: str) -> tuple[shapes.Endpoint, ...]:
        """Return the addresses behind a Service, ready or not, of all its slices."""
        labels = {"kubernetes.io/service-name": name}
        found = self._all("endpointslices", selector=labels, group="discovery.k8s.io/v1")
        return tuple(each for slice_ in found for each in endpoints(slice_))

    def claim(self, name: str) -> shapes.Claim | None:
        """Return a PersistentVolumeClaim."""
        found = self._one("persistentvolumeclaims", name)
        return None if found is None else claim(found)

    def account_mounts(self, name: str) -> bool | None:
        """Say whether a service account has its token mounted where a pod does not say."""
        found = self._one("serviceaccounts", name)
        return None if found is None else found.get("automountServiceAccountToken") is not False

    def persistent_volume(self, name: str) -> shapes.PersistentVolume | str | None:
        """Return a PersistentVolume, or why it may not be read: it is the cluster's, not ours."""
        path = f"/api/v1/persistentvolumes/{quote(name, safe='')}"
        try:
            return persistent_volume(self.api.get(path, what=f"Reading volume {name}"))
        except NotThere:
            return None
        except AccessDenied:
            return "not permitted"

    def events(
        self, kind: str = "", name: str = "", *, most: int = EVENTS
    ) -> tuple[shapes.Event, ...]:
        """Return events, oldest first, the last ``most``: all, a kind's or one object's."""
        fields = [f"involvedObject.kind={kind}"] if kind else []
        fields += [f"involvedObject.name={name}"] if name else []
        query = [("fieldSelector", ",".join(fields))] if fields else []
        found = self.api.items(
            path_of(self.namespace, "events"), query, what=f"Reading events of {self.namespace}"
        )
        return tuple(sorted(map(event, found), key=lambda each: each.last)[-most:])

    def log(
        self,
        name: str,
        container: str,
        *,
        previous: bool = False,
        lines: int = LOG_LINES,
        most: int = LOG_BYTES,
    ) -> str | None:
        """Return the end of a container's log, redacted; None if it has no such log."""
        query = [("container", container), ("tailLines", str(lines)), ("timestamps", "false")]
        query += [("limitBytes", str(most * 8)), *([("previous", "true")] if previous else [])]
        what = f"Reading the log of {container} in {name}"
        try:
            raw = self.api.text(pod_path(self.namespace, name, "log"), query, what=what)
        except NotThere:
            return None
        except ApiRefused as error:
            # 400: it has not started yet, or there was none before.
            if error.code == 400:  # noqa: PLR2004
                return None
            raise
        return capped(redact(raw.decode("utf-8", "backslashreplace")), most)

    def manifest(
        self, resource: str, name: str, *, key: bytes, group: str = ""
    ) -> dict[str, Any] | None:
        """Return an object as plain data, without a Secret's; ``key`` is the run's."""
        found = self._one(resource, name, group=group)
        if found is None:
            return None
        plain: dict[str, Any] = stripped(found, key=key)
        return plain

    def names(self, resource: str, *, group: str = "") -> tuple[str, ...]:
        """Return the names of all objects of a sort."""
        return tuple(str(each["metadata"]["name"]) for each in self._all(resource, group=group))

    def _one(self, resource: str, name: str, *, group: str = "") -> dict[str, Any] | None:
        path = path_of(self.namespace, resource, name, group=group)
        try:
            return self.api.get(path, what=f"Reading {resource} {name} in {self.namespace}")
        except NotThere:
            return None

    def _all(
        self, resource: str, *, selector: Mapping[str, str] | None = None, group: str = ""
    ) -> Sequence[dict[str, Any]]:
        labels = ",".join(f"{name}={value}" for name, value in (selector or {}).items())
        query = [("labelSelector", labels)] if labels else []
        path = path_of(self.namespace, resource, group=group)
        return self.api.items(path, query, what=f"Listing {resource} in {self.namespace}")


def capped(text: str, most: int) -> str:
    """Return the last ``most`` characters, from a line's begin, and say what was left out.

    >>> print(capped(chr(10).join(["one", "two", "three"]), 7))
    [8 characters before this are left out]
    three
    """
    if len(text) <= most:
        return text
    kept = text[-most:].partition("\n")[2] or text[-most:]
    return f"[{len(text) - len(kept)} characters before this are left out]\n{kept}"


def _plain(found: Mapping[str, Any] | None) -> dict[str, str]:
    return {str(name): redact(str(value)) for name, value in (found or {}).items()}
