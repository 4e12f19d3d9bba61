"""A namespace with a release in it, behind an API server of ours: its PostgreSQL is a real one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.requirements.reader import load
from tests import release_objects as made
from tests.server.access_server import OwnServer, own_server
from tests.server.pod_api import PodApi, pod_api, status
from tests.server.run_support import Place, Ran

Object = dict[str, Any]

CORE = f"/api/v1/namespaces/{made.NAMESPACE}"
APPS = f"/apis/apps/v1/namespaces/{made.NAMESPACE}"
BATCH = f"/apis/batch/v1/namespaces/{made.NAMESPACE}"
DISCOVERY = f"/apis/discovery.k8s.io/v1/namespaces/{made.NAMESPACE}"
LEASES = f"/apis/coordination.k8s.io/v1/namespaces/{made.NAMESPACE}/leases"
TRUSTED = "local all all trust"
ASKED = "host all all 127.0.0.1/32 scram-sha-256"
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
    """Serve a namespace with a release whose server this is, its data on the claim's mount."""
    with pod_api() as cluster:
        api = ReleaseApi(cluster, server)
        for path in (f"{CORE}/pods/postgres-0", f"{APPS}/statefulsets/postgres"):
            spec = api.objects[path]["spec"]
            container = spec.get("template", {}).get("spec", spec)["containers"][0]
            container["volumeMounts"][0]["mountPath"] = str(server.data.parent)
        yield api


@contextmanager
def release_server(programs: Programs) -> Iterator[OwnServer]:
    """Yield a server as a release's is: nobody on its localhost is asked, everybody else is."""
    settings = ("shared_preload_libraries=pg_stat_statements", "timezone=UTC")
    with own_server(programs, settings, hba=(TRUSTED, ASKED)) as server:
        server.sql(
            f"CREATE ROLE koku LOGIN PASSWORD '{made.PASSWORD}'",
            "CREATE DATABASE koku OWNER koku TEMPLATE template0",
            f"CREATE ROLE hive LOGIN PASSWORD '{made.HIVE_PASSWORD}'",
            "CREATE DATABASE hive OWNER hive TEMPLATE template0",
        )
        admin = Login(role="postgres", database="postgres", where=server.where)
        initialize(admin, requirements=load("koku-hive"), ours=False, deadline=10)
        yield server


def attached(place: Place, release: ReleaseApi, *arguments: str) -> Ran:
    """Run the suite over the release; no password is said or written, nothing is left."""
    kubeconfig = release.kubeconfig(place.folder / "kubeconfig")
    ran = place.run(
        "--costmgmt-namespace", made.NAMESPACE, f"--costmgmt-kubeconfig={kubeconfig}", *arguments
    )
    for password in (made.PASSWORD, made.HIVE_PASSWORD):
        assert password not in ran.said
        assert password not in (ran.folder / "report.json").read_text()
    assert place.litter() == []
    return ran
