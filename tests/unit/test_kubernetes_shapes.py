"""What an API server sends becomes typed values; what it leaves out has its API's meaning."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.shapes import (
    Endpoint,
    EnvVariable,
    Mount,
    PodTemplate,
    Port,
    Security,
    Volume,
)
from pytest_costmgmt.kubernetes.shapes_read import (
    claim,
    endpoints,
    event,
    persistent_volume,
    pod,
    service,
    stateful_set,
    template,
)
from pytest_costmgmt.kubernetes.trouble import AccessDenied, ApiRefused
from pytest_costmgmt.secret import MASK, register
from tests.server.pod_api import PodApi, pod_api, status

NAMESPACE = "/api/v1/namespaces/cost-mgmt"
PASSWORD = "in-some-text-of-the-cluster"


@pytest.fixture
def cluster() -> Iterator[PodApi]:
    """An API server."""
    with pod_api() as made:
        yield made


@pytest.fixture
def reader(cluster: PodApi, tmp_path: Path) -> Reader:
    """One that reads its namespace ``cost-mgmt``."""
    path = cluster.kubeconfig(tmp_path / "kubeconfig")
    return Reader(Api(access(kubeconfig=path, environ={}), patience=0), "cost-mgmt")


def test_what_is_left_out_has_the_meaning_of_its_api() -> None:
    """Who mounts a token is then the account's word; a Service is a ClusterIP; unsaid is ready."""
    assert pod({}).template == PodTemplate()
    assert template({}).mounts_token is None
    assert template({"spec": {"automountServiceAccountToken": False}}).mounts_token is False
    assert service({"spec": {"ports": [{"port": 5432}]}}).ports == (Port(port=5432, target="5432"),)
    assert service({}).type == "ClusterIP"
    assert stateful_set({}).replicas == 1
    unsaid = {"ports": [{"port": 5432}], "endpoints": [{"addresses": ["10.0.0.1"]}]}
    assert endpoints(unsaid) == (Endpoint(address="10.0.0.1", ready=True, ports=(5432,)),)


CONTAINER: dict[str, Any] = {
    "name": "postgresql",
    "image": "quay.io/sclorg/postgresql-15-c9s",
    "ports": [{"containerPort": 5432}],
    "env": [
        {"name": "PLAIN", "value": f"is {PASSWORD}"},
        {"name": "EMPTY"},
        {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
    ],
    "envFrom": [{"secretRef": {"name": "all"}}, {"prefix": "P_", "configMapRef": {"name": "c"}}],
    "volumeMounts": [{"name": "data", "mountPath": "/var/lib/pgsql/data", "readOnly": True}],
    "resources": {"requests": {"cpu": "500m"}, "limits": {"memory": "1Gi"}},
    "readinessProbe": {"exec": {}},
    "securityContext": {
        "runAsUser": 0, "runAsNonRoot": False, "capabilities": {"drop": ["ALL"], "add": ["CHOWN"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}  # fmt: skip


def test_a_container_is_told_whole_and_redacted() -> None:
    """Literals and what comes from elsewhere are kept apart; 0 and False are not unsaid."""
    register(PASSWORD)
    (found,) = template({"spec": {"containers": [CONTAINER]}}).containers
    assert found.env == (
        EnvVariable(name="PLAIN", literal=f"is {MASK}", source="literal"),
        EnvVariable(name="EMPTY", source="literal"),
        EnvVariable(name="WORD", source="secret", secret="s", key="password"),
        EnvVariable(name="IP", source="field", key="status.podIP"),
    )
    assert found.env_from == ("secret/all", "configmap/c")
    assert found.mounts == (Mount(name="data", path="/var/lib/pgsql/data", read_only=True),)
    assert (found.ports, found.probes) == ((5432,), ("readiness",))
    assert (found.requests, found.limits) == ({"cpu": "500m"}, {"memory": "1Gi"})
    assert found.security == Security(
        run_as_user=0, run_as_non_root=False, dropped=("ALL",), added=("CHOWN",),
        seccomp="RuntimeDefault",
    )  # fmt: skip


def test_a_pod_that_is_being_deleted_is_not_ready() -> None:
    """Its condition says so until its end; a container's last end is told with it."""
    ready = [{"type": "Ready", "status": "True"}]
    state = {
        "name": "postgresql", "restartCount": 3,
        "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}},
        "lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}},
    }  # fmt: skip
    states = {"containerStatuses": [state], "initContainerStatuses": [{"name": "i"}]}
    found: Any = {"metadata": {"name": "p"}, "status": {"conditions": ready, **states}}
    first, second = pod(found).states
    assert (first.name, first.init, first.state) == ("i", True, "waiting")
    assert (second.reason, second.restarts, second.init) == ("CrashLoopBackOff", 3, False)
    assert (second.last_reason, second.last_exit_code) == ("OOMKilled", 137)
    assert pod(found).ready
    found["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not pod(found).ready


def test_of_a_secret_s_keys_a_volume_may_hold_some() -> None:
    """Then a token is in it only if it is among them."""

    def read(source: dict[str, Any]) -> tuple[str, ...]:
        return template({"spec": {"volumes": [{"name": "v", **source}]}}).volumes[0].secrets

    pair, token = [{"key": "tls.crt", "path": "c"}], [{"key": "token", "path": "t"}]
    assert read({"secret": {"secretName": "s", "items": pair}}) == ()
    assert read({"secret": {"secretName": "s", "items": [*pair, *token]}}) == ("s",)
    several = [{"secret": {"name": "a", "items": pair}}, {"secret": {"name": "b"}}]
    assert read({"projected": {"sources": several}}) == ("b",)


def test_volumes_and_claims_are_named_by_what_is_behind_them() -> None:
    """A mount is followed to its claim, and the claim to its volume."""
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "tmp",
               "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x"}},
                   {"name": "p", "projected": {"sources": [{"secret": {"name": "y"}},
                   {"configMap": {"name": "z"}}]}}]  # fmt: skip
    assert template({"spec": {"volumes": volumes}}).volumes == (
        Volume(name="data", source="persistentVolumeClaim", of="c"),
        Volume(name="tmp", source="emptyDir"),
        Volume(name="s", source="secret", of="x", secrets=("x",)),
        Volume(name="p", source="projected", secrets=("y",)),
    )
    asked = {"resources": {"requests": {"storage": "20Gi"}}, "accessModes": ["ReadWriteOnce"]}
    (made,) = stateful_set({"spec": {"volumeClaimTemplates": [{"spec": asked}]}}).claims
    assert (made.size, made.storage_class, made.modes) == ("20Gi", None, ("ReadWriteOnce",))
    bound = claim({"spec": {**asked, "volumeName": "v"}, "status": {"phase": "Bound"}})
    assert (bound.asked, bound.volume, bound.phase) == ("20Gi", "v", "Bound")
    volume = {"spec": {"capacity": {"storage": "1Gi"}, "csi": {"driver": "d"},
                       "persistentVolumeReclaimPolicy": "Delete"}}  # fmt: skip
    assert (persistent_volume(volume).source, persistent_volume(volume).reclaim) == (
        "csi", "Delete")  # fmt: skip


def test_events_of_both_apis_are_one_kind() -> None:
    """The older counts itself, the newer has a series; a text is a message or a note."""
    old = {"involvedObject": {"kind": "Pod", "name": "p"}, "message": "m", "count": 3,
           "lastTimestamp": "2026-01-01T00:00:02Z"}  # fmt: skip
    new = {"regarding": {"kind": "Pod", "name": "p"}, "note": "m",
           "series": {"count": 3, "lastObservedTime": "2026-01-01T00:00:02Z"}}  # fmt: skip
    assert event(old) == event(new)
    assert event({"eventTime": "t"}).count == 1


def test_events_come_oldest_first_and_the_last_are_kept(cluster: PodApi, reader: Reader) -> None:
    """Those of one object are asked for by fields."""
    asked: list[dict[str, str]] = []

    def given(query: dict[str, str]) -> dict[str, Any]:
        asked.append(query)
        items = [{"message": str(n), "lastTimestamp": f"2026-01-01T00:00:0{n}Z"} for n in (3, 1, 2)]
        return {"kind": "List", "metadata": {}, "items": items}

    cluster.objects[f"{NAMESPACE}/events"] = given
    assert [each.message for each in reader.events("Pod", "p", most=2)] == ["2", "3"]
    assert asked[0]["fieldSelector"] == "involvedObject.kind=Pod,involvedObject.name=p"


def test_a_namespace_that_may_not_be_asked_for_is_neither_there_nor_gone(
    cluster: PodApi, reader: Reader
) -> None:
    """To read one is a right beyond it; not to be known at all is an error."""
    assert reader.namespace_seen().exists is False
    cluster.objects[NAMESPACE] = status(403, "Forbidden", "no")
    assert reader.namespace_seen().exists is None
    cluster.objects[NAMESPACE] = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Active"}}
    assert reader.namespace_seen().exists is True
    assert reader.namespace_seen().labels == {"a": "b"}
    cluster.users.clear()
    with pytest.raises(AccessDenied):
        reader.namespace_seen()


def test_absent_is_none_and_refused_is_an_error(cluster: PodApi, reader: Reader) -> None:
    """What may not be read is never taken for what is not there."""
    path = "/apis/apps/v1/namespaces/cost-mgmt/statefulsets/postgres"
    assert reader.stateful_set("postgres") is None
    cluster.objects[path] = status(403, "Forbidden", "no")
    with pytest.raises(AccessDenied):
        reader.stateful_set("postgres")
    cluster.objects["/api/v1/persistentvolumes/v"] = status(403, "Forbidden", "no")
    assert reader.persistent_volume("v") == "not permitted"


def test_a_log_is_redacted_and_capped(cluster: PodApi, reader: Reader) -> None:
    """Its end is what matters; a container that has none yet is no error, a refusal is."""
    register(PASSWORD)
    path = f"{NAMESPACE}/pods/p/log"
    assert reader.log("p", "c") is None
    cluster.objects[path] = status(400, "BadRequest", "container is waiting to start")
    assert reader.log("p", "c") is None
    cluster.objects[path] = status(500, "InternalError", "no")
    with pytest.raises(ApiRefused):
        reader.log("p", "c")
    cluster.objects[path] = f"first {PASSWORD}\nsecond\n\xff\n".encode("latin-1")
    assert reader.log("p", "c") == f"first {MASK}\nsecond\n\\xff\n"
    assert reader.log("p", "c", most=12) == "[22 characters before this are left out]\n\\xff\n"


def test_a_manifest_of_a_secret_has_no_data(cluster: PodApi, reader: Reader) -> None:
    """As evidence it says lengths and hashes."""
    held = {"password": base64.b64encode(b"evidence-of-a-secret").decode()}
    cluster.objects[f"{NAMESPACE}/secrets/s"] = {"kind": "Secret", "data": held}
    found = reader.manifest("secrets", "s", key=b"k")
    assert found is not None
    assert found["data"]["password"].startswith("20 bytes, ")
    assert "ZXZpZGVuY2" not in json.dumps(found)
    assert reader.manifest("secrets", "gone", key=b"k") is None
