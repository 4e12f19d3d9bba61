"""As much of a Kubernetes API as Helm asks for when it renders: discovery, and objects to look up.

Not a cluster: it keeps nothing and admits everything. The real one's answers are tests/cluster's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

Object = Mapping[str, Any]

KINDS = {
    "v1": {
        "configmaps": "ConfigMap",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "pods": "Pod",
        "secrets": "Secret",
        "serviceaccounts": "ServiceAccount",
        "services": "Service",
    },
    "apps/v1": {"statefulsets": "StatefulSet"},
    "batch/v1": {"cronjobs": "CronJob", "jobs": "Job"},
    "networking.k8s.io/v1": {"networkpolicies": "NetworkPolicy"},
    "policy/v1": {"poddisruptionbudgets": "PodDisruptionBudget"},
}
OPENSHIFT = "security.openshift.io/v1"
VERBS = ["create", "delete", "get", "list", "patch", "update", "watch"]


class Asked(NamedTuple):
    """One request for objects: who may not make it cannot render."""

    group: str
    resource: str
    verb: str


class ClusterApi:
    """What the cluster has in its one namespace, and what was asked of it."""

    def __init__(self, objects: Iterable[Object], *, openshift: bool) -> None:
        self.objects = {(item["kind"], item["metadata"]["name"]): item for item in objects}
        self.groups = {**KINDS, **({OPENSHIFT: {}} if openshift else {})}
        self.asked: set[Asked] = set()
        self.forbidden: set[Asked] = set()
        self.kubeconfig = Path()

    def answer(self, path: str) -> tuple[int, Object]:
        """Return status and body of a GET."""
        parts = [part for part in path.split("?", maxsplit=1)[0].split("/") if part]
        if parts == ["version"]:
            return 200, {"major": "1", "minor": "34", "gitVersion": "v1.34.4"}
        if parts == ["api"]:
            return 200, {"kind": "APIVersions", "versions": ["v1"]}
        if parts == ["apis"]:
            groups = [_group(name) for name in self.groups if "/" in name]
            return 200, {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        split = 2 if parts[:1] == ["api"] else 3
        version = "/".join(parts[1:split])
        if version not in self.groups:
            return _refused(404, f"no {path} here")
        rest = parts[split:]
        if not rest:
            return 200, _resources(version, self.groups[version])
        return self._objects(version, rest)

    def _objects(self, version: str, rest: list[str]) -> tuple[int, Object]:
        if rest[0] != "namespaces" or len(rest) not in {3, 4}:
            return _refused(404, "/".join(rest))
        resource = rest[2]
        kind = self.groups[version][resource]
        group = version.rpartition("/")[0]
        asked = Asked(group, resource, "get" if rest[3:] else "list")
        self.asked.add(asked)
        if asked in self.forbidden:
            return _refused(403, f"{resource} is forbidden: cannot {asked.verb} {resource}")
        if rest[3:]:
            found = self.objects.get((kind, rest[3]))
            return (200, found) if found else _refused(404, f'{resource} "{rest[3]}" not found')
        items = [item for (of, _), item in self.objects.items() if of == kind]
        return 200, {"kind": f"{kind}List", "apiVersion": version, "metadata": {}, "items": items}


def _group(version: str) -> Object:
    name, _, number = version.partition("/")
    served = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [served], "preferredVersion": served}


def _resources(version: str, kinds: Mapping[str, str]) -> Object:
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": VERBS}
        for name, kind in kinds.items()
    ]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": version,
        "resources": resources,
    }


def _refused(code: int, message: str) -> tuple[int, Object]:
    reason = {403: "Forbidden", 404: "NotFound"}[code]
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code}
    return code, {**body, "reason": reason, "message": message}


@contextmanager
def cluster_api(
    folder: Path, objects: Iterable[Object] = (), *, openshift: bool = False
) -> Iterator[ClusterApi]:
    """Serve the objects on loopback; ``kubeconfig`` names the file by which Helm finds them."""
    api = ClusterApi(objects, openshift=openshift)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            code, body = api.answer(self.path)
            text = json.dumps(body).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            """Say nothing: what was asked is kept."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        api.kubeconfig = _kubeconfig(folder / "kubeconfig.json", server.server_address[1])
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _kubeconfig(path: Path, port: int) -> Path:
    cluster = {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{port}"}}
    context = {"name": "fake", "context": {"cluster": "fake", "user": "fake"}}
    body: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "current-context": "fake"}
    user = {"name": "fake", "user": {}}
    body |= {"clusters": [cluster], "contexts": [context], "users": [user]}
    path.write_text(json.dumps(body))
    return path
