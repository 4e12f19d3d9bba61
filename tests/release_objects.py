"""A release as an API server tells it: what the chart renders, with what a cluster adds."""

from __future__ import annotations

import base64
import gzip
import json
from typing import Any

Object = dict[str, Any]

NAMESPACE = "cost-mgmt"
RELEASE = "cost-mgmt-infra"
PASSWORD = "Vq7hfNd2kLw9xRz4mTb6"
HIVE_PASSWORD = "Zp3cGy8sJd5vWn2qKf7h"
IMAGE = "quay.io/sclorg/postgresql-15-c9s@sha256:" + "ab" * 32
POD_IP = "10.244.0.17"
LABELS = {
    "app.kubernetes.io/name": "cost-management-infrastructure",
    "app.kubernetes.io/instance": RELEASE,
    "app.kubernetes.io/component": "postgresql",
}
CLIENT = {"cost-management/database-client": "true"}


def from_secret(name: str, secret: str, key: str) -> Object:
    """Return an environment variable that a Secret gives."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def _container() -> Object:
    return {
        "name": "postgresql",
        "image": IMAGE,
        "ports": [{"name": "postgresql", "containerPort": 5432, "protocol": "TCP"}],
        "env": [
            from_secret("POSTGRESQL_DATABASE", "postgres-credentials", "database"),
            from_secret("POSTGRESQL_USER", "postgres-credentials", "username"),
            from_secret("POSTGRESQL_PASSWORD", "postgres-credentials", "password"),
            {"name": "PGDATA", "value": "/var/lib/pgsql/data/userdata"},
        ],
        "startupProbe": {"exec": {"command": ["sh"]}},
        "readinessProbe": {"exec": {"command": ["sh"]}},
        "livenessProbe": {"exec": {"command": ["sh"]}},
        "resources": {
            "requests": {"cpu": "500m", "memory": "1Gi"},
            "limits": {"cpu": "2", "memory": "4Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": [
            {"name": "postgresql-data", "mountPath": "/var/lib/pgsql/data"},
            {"name": "configuration", "mountPath": "/opt/app-root/src/postgresql-cfg/c.conf"},
        ],
    }


def _spec() -> Object:
    return {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 26,
            "fsGroup": 26,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container()],
        "volumes": [
            {
                "name": "postgresql-data",
                "persistentVolumeClaim": {"claimName": "postgresql-data-postgres-0"},
            },
            {"name": "configuration", "configMap": {"name": "postgres-configuration"}},
        ],
    }


def stateful_set() -> Object:
    """Return the StatefulSet."""
    return {
        "metadata": {
            "name": "postgres",
            "namespace": NAMESPACE,
            "uid": "set-1",
            "generation": 1,
            "labels": LABELS,
            "annotations": {"meta.helm.sh/release-name": RELEASE},
        },
        "spec": {
            "replicas": 1,
            "serviceName": "postgres",
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": _spec()},
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "postgresql-data"},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": {"storage": "20Gi"}},
                    },
                }
            ],
        },
        "status": {
            "readyReplicas": 1,
            "observedGeneration": 1,
            "currentRevision": "postgres-1",
            "updateRevision": "postgres-1",
        },
    }


def pod() -> Object:
    """Return the pod, ready."""
    return {
        "metadata": {
            "name": "postgres-0",
            "namespace": NAMESPACE,
            "uid": "pod-1",
            "labels": {**LABELS, "controller-revision-hash": "postgres-1"},
        },
        "spec": {**_spec(), "nodeName": "node-1"},
        "status": {
            "phase": "Running",
            "podIP": POD_IP,
            "startTime": "2026-11-24T10:00:00Z",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [
                {
                    "name": "postgresql",
                    "ready": True,
                    "state": {"running": {"startedAt": "2026-11-24T10:00:05Z"}},
                }
            ],
        },
    }


def service() -> Object:
    """Return the Service."""
    return {
        "metadata": {"name": "postgres", "namespace": NAMESPACE, "labels": LABELS},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": "None",
            "selector": LABELS,
            "ports": [{"name": "postgresql", "port": 5432, "targetPort": 5432, "protocol": "TCP"}],
        },
    }


def endpoint_slice() -> Object:
    """Return the Service's endpoints."""
    return {
        "metadata": {"name": "postgres-x", "labels": {"kubernetes.io/service-name": "postgres"}},
        "ports": [{"name": "postgresql", "port": 5432, "protocol": "TCP"}],
        "endpoints": [
            {
                "addresses": [POD_IP],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": "postgres-0", "uid": "pod-1"},
            }
        ],
    }


def claim() -> Object:
    """Return the PersistentVolumeClaim."""
    return {
        "metadata": {"name": "postgresql-data-postgres-0", "uid": "claim-1"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "volumeName": "volume-1",
            "storageClassName": "fast",
            "resources": {"requests": {"storage": "20Gi"}},
        },
        "status": {"phase": "Bound", "capacity": {"storage": "20Gi"}},
    }


def secret(name: str = "postgres-credentials", **values: str) -> Object:
    """Return a Secret with these values, or the release's own."""
    given = values or {"database": "koku", "username": "koku", "password": PASSWORD}
    return {
        "metadata": {
            "name": name,
            "namespace": NAMESPACE,
            "uid": f"{name}-1",
            "creationTimestamp": "2026-11-24T09:59:00Z",
            "managedFields": [{"time": "2026-11-24T09:59:00Z", "fieldsV1": {"f:data": {}}}],
        },
        "type": "Opaque",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in given.items()},
    }


def cron_job() -> Object:
    """Return the suspended CronJob of the migrations."""
    container = {
        "name": "migration",
        "image": "quay.io/insights-onprem/koku:1.2",
        "command": ["python", "-u", "-c"],
        "env": [
            {"name": "DATABASE_SERVICE_NAME", "value": "database"},
            from_secret("DATABASE_NAME", "postgres-credentials", "database"),
            from_secret("DATABASE_USER", "postgres-credentials", "username"),
            from_secret("DATABASE_PASSWORD", "postgres-credentials", "password"),
            from_secret("HIVE_DATABASE_PASSWORD", "hive-credentials", "password"),
        ],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    template = {"metadata": {"labels": {}}, "spec": {"containers": [container]}}
    return {
        "metadata": {"name": "cost-mgmt-migration", "namespace": NAMESPACE},
        "spec": {"suspend": True, "jobTemplate": {"spec": {"template": template}}},
    }


def config_map() -> Object:
    """Return the ConfigMap with the server's further lines."""
    text = "shared_preload_libraries = 'pg_stat_statements'\nmax_connections = 100\n"
    return {"metadata": {"name": "postgres-configuration"}, "data": {"cost-management.conf": text}}


def helm_record(
    revision: int = 1,
    status: str = "deployed",
    values: Object | None = None,
    *,
    name: str = RELEASE,
    renders: str = "kind: Service",
    chart_values: Object | None = None,
    **more: object,
) -> Object:
    """Return the Secret in which Helm keeps a revision."""
    manifest = f"{renders}\n---\nkind: Secret\nstringData: {{password: {PASSWORD}}}\n"
    said = {
        "name": name,
        "config": values or {},
        "manifest": manifest,
        "chart": {
            "metadata": {"name": "cost-management-infrastructure", "version": "1.0.0"},
            "values": chart_values or {},
        },
        **more,
    }
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(said).encode()))).decode()
    return {
        "metadata": {
            "name": f"sh.helm.release.v1.{name}.v{revision}",
            "labels": {
                "owner": "helm", "name": name, "status": status, "version": str(revision),
            },
        },
        "type": "helm.sh/release.v1",
        "data": {"release": data},
    }  # fmt: skip


def network_policy(*peers: Object, everybody: bool = False) -> Object:
    """Return a NetworkPolicy of the chart, which lets these ``peers`` in too."""
    rule: Object = {"ports": [{"protocol": "TCP", "port": 5432}]}
    if not everybody:
        rule["from"] = [{"podSelector": {"matchLabels": CLIENT}}, *peers]
    return {
        "metadata": {"name": "postgres"},
        "spec": {
            "podSelector": {"matchLabels": LABELS},
            "policyTypes": ["Ingress"],
            "ingress": [rule],
        },
    }
