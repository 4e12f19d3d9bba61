"""A namespace with a release in it, behind an API server of ours: its PostgreSQL is a real one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests import release_objects as made
from tests.server.access_server import OwnServer
from tests.server.pod_api import PodApi, pod_api, status

Object = dict[str, Any]

CORE = f"/api/v1/namespaces/{made.NAMESPACE}"
APPS = f"/apis/apps/v1/namespaces/{made.NAMESPACE}"
BATCH = f"/apis/batch/v1/namespaces/{made.NAMESPACE}"
DISCOVERY = f"/apis/discovery.k8s.io/v1/namespaces/{made.NAMESPACE}"
NETWORKING = f"/apis/networking.k8s.io/v1/namespaces/{made.NAMESPACE}"


class ReleaseApi:
    """The namespace; a test changes what is in ``objects`` (PodApi's), or in the server."""

    def __init__(self, cluster: PodApi, server: OwnServer) -> None:
        self.cluster, self.server = cluster, server
        self.objects = cluster.objects
        self.objects.update(
            {
                f"/api/v1/namespaces/{made.NAMESPACE}": {"metadata": {"name": made.NAMESPACE}},
                f"{APPS}/statefulsets/postgres": made.stateful_set(),
                f"{CORE}/pods/postgres-0": made.pod(),
                f"{CORE}/services/postgres": made.service(),
                f"{DISCOVERY}/endpointslices": [made.endpoint_slice()],
                f"{CORE}/persistentvolumeclaims/postgresql-data-postgres-0": made.claim(),
                f"{CORE}/secrets/postgres-credentials": made.secret(),
                f"{CORE}/secrets/hive-credentials": made.secret(
                    "hive-credentials",
                    database="hive", username="hive", password=made.HIVE_PASSWORD,
                ),
                f"{BATCH}/cronjobs/cost-mgmt-migration": made.cron_job(),
                f"{CORE}/configmaps": [made.config_map()],
                f"{CORE}/secrets": [made.helm_record()],
                f"{NETWORKING}/networkpolicies": [],
                f"{CORE}/events": [],
                f"{CORE}/pods": self._pods,
                f"{BATCH}/jobs": self._jobs,
            }
        )  # fmt: skip
        pv = "/api/v1/persistentvolumes/volume-1"
        self.objects[pv] = status(403, "Forbidden", "persistentvolumes is forbidden")
        cluster.target = self._localhost
        cluster.hosts = {
            "postgres": "127.0.0.1", made.POD_IP: "127.0.0.1", "5432": server.port,
        }  # fmt: skip

    def _localhost(self) -> socket.socket:
        reached = socket.socket(socket.AF_UNIX)
        reached.connect(f"{self.server.folder}/.s.PGSQL.{self.server.port}")
        return reached

    def jobs(self) -> list[Object]:
        """Return the Jobs that are there."""
        return [each for path, each in self.objects.items() if path.startswith(f"{BATCH}/jobs/")]

    def _jobs(self, _: object) -> Object:
        return {"kind": "List", "metadata": {}, "items": self.jobs()}

    def _pods(self, query: dict[str, str]) -> Object:
        wanted = dict(part.split("=", 1) for part in query.get("labelSelector", "").split(",") if
                      part)  # fmt: skip
        pods = [self._pod_of(job) for job in self.jobs()]
        found = [pod for pod in pods if wanted.items() <= pod["metadata"]["labels"].items()]
        return {"kind": "List", "metadata": {}, "items": found}

    def _pod_of(self, job: Object) -> Object:
        """Return the pod that a Job's controller and a kubelet would have running by now."""
        template = job["spec"]["template"]
        running = {"name": "probe", "ready": True, "state": {"running": {}}}
        return {
            "metadata": {
                "name": f"{job['metadata']['name']}-x", "labels": template["metadata"]["labels"],
            },
            "spec": template["spec"],
            "status": {"phase": "Running", "podIP": "10.244.0.99", "containerStatuses": [running]},
        }  # fmt: skip

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig that leads here."""
        return self.cluster.kubeconfig(path)

    def made(self) -> list[str]:
        """Return what was asked for but reading and reviews of rights."""
        return [
            f"{each.method} {each.path}"
            for each in self.cluster.asked
            if each.method != "GET" and not each.path.endswith("selfsubjectaccessreviews")
        ]


@contextmanager
def release_api(server: OwnServer) -> Iterator[ReleaseApi]:
    """Serve a namespace with a release whose server this is."""
    with pod_api() as cluster:
        yield ReleaseApi(cluster, server)
