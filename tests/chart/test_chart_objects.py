"""What the chart renders by default: the contract of its documentation, and what data needs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.chart.rendering import NAMESPACE, OPENSHIFT, RELEASE, Helm, Rendered, environment

IDENTITY = {
    "app.kubernetes.io/name": "cost-management-infrastructure",
    "app.kubernetes.io/instance": RELEASE,
}
SELECTOR = {**IDENTITY, "app.kubernetes.io/component": "postgresql"}
EVERYTHING = {
    "imagePullSecrets": [{"name": "pull"}],
    "postgresql": {
        "networkPolicy": {"enabled": True},
        "podDisruptionBudget": {"enabled": True},
        "tls": {"secretName": "postgres-tls"},
    },
    "migration": {
        "hive": {"existingSecret": "hive-credentials"},
        "tls": {"caSecretName": "postgres-tls"},
    },
}


@pytest.fixture(scope="module")
def default(helm: Helm) -> Rendered:
    """The chart without any value set."""
    return helm.render()


@pytest.fixture(scope="module")
def everything(helm: Helm) -> Rendered:
    """The chart with every object that it can render."""
    return helm.render(EVERYTHING)


def test_documented_objects(default: Rendered) -> None:
    """By default there are the documented objects, the configuration, the CronJob and the test."""
    assert default.names() == {
        ("Secret", "postgres-credentials"),
        ("ConfigMap", "postgres-configuration"),
        ("Service", "postgres"),
        ("StatefulSet", "postgres"),
        ("CronJob", "cost-mgmt-migration"),
        ("Pod", "postgres-test"),
    }
    assert default.one("Service")["spec"]["type"] == "ClusterIP"
    assert default.one("Secret", "postgres-credentials")["type"] == "Opaque"
    (claim,) = default.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] + "-postgres-0" == "postgresql-data-postgres-0"


def test_documented_values(default: Rendered) -> None:
    """The defaults are those of the documentation's table."""
    container = default.server()
    (claim,) = default.one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert container["image"].rpartition(":")[0] == "quay.io/sclorg/postgresql-13-c9s"
    assert container["resources"]["requests"] == {"cpu": "500m", "memory": "1Gi"}
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "20Gi"}},
    }
    # base64 of koku, which the table gives as name and user.
    assert default.one("Secret", "postgres-credentials")["data"] == {
        "database": "a29rdQ==",
        "username": "a29rdQ==",
    }


def test_immutable_fields_are_the_older_charts(default: Rendered) -> None:
    """What an upgrade cannot change equals the older chart, and holds no version."""
    spec = default.one("StatefulSet")["spec"]
    (claim,) = spec["volumeClaimTemplates"]
    assert spec["selector"] == {"matchLabels": SELECTOR}
    assert spec["serviceName"] == "postgres"
    assert claim["metadata"]["labels"] == SELECTOR
    assert default.server()["name"] == "postgresql"
    assert default.one("Service")["spec"]["clusterIP"] == "None"
    assert default.one("Service")["spec"]["selector"] == SELECTOR
    assert not {"podManagementPolicy", "revisionHistoryLimit"} & set(spec)


def test_a_new_chart_version_rolls_no_pod(everything: Rendered) -> None:
    """No pod's labels hold the chart's or the application's version."""
    for name, pod in everything.pods():
        if not name.startswith("Pod "):
            labels = pod["metadata"]["labels"]
            assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(labels), name


def test_every_object_is_in_the_namespace(everything: Rendered) -> None:
    """Nothing is cluster-scoped, and nothing is in another namespace."""
    assert {item["metadata"]["namespace"] for item in everything.objects} == {NAMESPACE}
    assert {item["kind"] for item in everything.objects} == {
        *("Secret", "ConfigMap", "Service", "StatefulSet", "CronJob", "Pod"),
        *("NetworkPolicy", "PodDisruptionBudget"),
    }


def test_data_is_on_the_volume(default: Rendered) -> None:
    """The claim is mounted where the image keeps its data, whatever PGDATA said."""
    container = default.server()
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["postgresql-data"] == {
        "name": "postgresql-data",
        "mountPath": "/var/lib/pgsql/data",
    }
    assert environment(container)["PGDATA"] == "/var/lib/pgsql/data/userdata"


def test_preload_and_log(default: Rendered) -> None:
    """pg_stat_statements is preloaded with new and old images, and the log is the pod's."""
    variables = environment(default.server())
    configuration = default.one("ConfigMap", "postgres-configuration")["data"]
    mounts = {mount["name"]: mount for mount in default.server()["volumeMounts"]}
    assert variables["POSTGRESQL_LIBRARIES"] == "pg_stat_statements"
    assert variables["POSTGRESQL_LOG_DESTINATION"] == "/dev/stderr"
    assert (
        "shared_preload_libraries = 'pg_stat_statements'"
        in configuration["cost-management.conf"].splitlines()
    )
    assert mounts["configuration"]["mountPath"].startswith("/opt/app-root/src/postgresql-cfg/")


def test_superuser_is_local_only(everything: Rendered) -> None:
    """Nothing gives postgres a password, which is what lets it in from elsewhere."""
    for _, pod in everything.pods():
        for container in pod["spec"]["containers"]:
            assert "POSTGRESQL_ADMIN_PASSWORD" not in environment(container)


def test_passwords_come_from_secrets_only(everything: Rendered) -> None:
    """Each variable that is a password refers to a Secret's key."""
    for name, pod in everything.pods():
        for container in pod["spec"]["containers"]:
            for variable, value in environment(container).items():
                if "PASSWORD" in variable:
                    assert isinstance(value, tuple), f"{name}: {variable}"


@pytest.mark.parametrize("flags", [(), OPENSHIFT], ids=["kubernetes", "openshift"])
def test_pods_are_restricted(helm: Helm, flags: tuple[str, ...]) -> None:
    """Every pod passes the restricted policy, holds no token and gets no service links."""
    pods = dict(helm.render(EVERYTHING, flags=flags).pods())
    assert set(pods) == {"StatefulSet postgres", "CronJob cost-mgmt-migration", "Pod postgres-test"}
    for name, pod in pods.items():
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["enableServiceLinks"] is False, name
        assert spec["imagePullSecrets"] == [{"name": "pull"}], name
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert set(container["resources"]) == {"requests", "limits"}, name


FIXED_IDS = {"runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy", "supplementalGroups"}


@pytest.mark.parametrize(
    ("said", "flags", "fixed"),
    [
        ("auto", (), True),
        ("auto", OPENSHIFT, False),
        (True, (), False),
        (False, OPENSHIFT, True),
        ("true", (), False),
        ("false", OPENSHIFT, True),
    ],
)
def test_uids(helm: Helm, said: Any, flags: tuple[str, ...], *, fixed: bool) -> None:
    """OpenShift gives uid, gid and fsGroup itself; elsewhere the database's are the image's 26."""
    pods = dict(helm.render({"podSecurity": {"openshift": said}}, flags=flags).pods())
    for name, pod in pods.items():
        context = pod["spec"]["securityContext"]
        assert bool(FIXED_IDS & set(context)) is fixed, name
    if fixed:
        context = pods["StatefulSet postgres"]["spec"]["securityContext"]
        assert {key: context[key] for key in FIXED_IDS if key in context} == {
            "runAsUser": 26,
            "runAsGroup": 26,
            "fsGroup": 26,
            "fsGroupChangePolicy": "OnRootMismatch",
        }


def test_probes(default: Rendered) -> None:
    """Readiness has five seconds, a start half an hour, and no probe knows a password."""
    container = default.server()
    ready = container["readinessProbe"]
    start = container["startupProbe"]
    assert ready["timeoutSeconds"] == 5
    assert start["exec"] == ready["exec"]
    assert start["periodSeconds"] * start["failureThreshold"] == 1800
    for name in ("readinessProbe", "startupProbe", "livenessProbe"):
        assert "PASSWORD" not in "".join(container[name]["exec"]["command"])
    grace = default.one("StatefulSet")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    seconds = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert 0 < seconds < grace


def test_the_guard_reads_only(default: Rendered) -> None:
    """What looks at the data folder before the server has it read-only, in the server's image."""
    (guard,) = default.one("StatefulSet")["spec"]["template"]["spec"]["initContainers"]
    (mount,) = guard["volumeMounts"]
    assert (mount["name"], mount["readOnly"]) == ("postgresql-data", True)
    assert guard["args"][-1] == mount["mountPath"] == "/var/lib/pgsql/data"
    assert guard["image"] == default.server()["image"]


def test_kubernetes_expands_nothing_in_scripts(everything: Rendered) -> None:
    """No script has what Kubernetes would replace: $$, or $(NAME) of a variable."""
    for name, pod in everything.pods():
        spec = pod["spec"]
        for container in (*spec.get("initContainers", ()), *spec["containers"]):
            variables = {variable["name"] for variable in container.get("env", ())}
            for text in (*container.get("command", ()), *container.get("args", ())):
                assert "$$" not in text, name
                assert not set(re.findall(r"\$\((\w+)\)", text)) & variables, name


def test_migration_never_runs_by_itself(default: Rendered) -> None:
    """The CronJob is suspended, and a Job made from it has everything that it needs."""
    spec = default.one("CronJob", "cost-mgmt-migration")["spec"]
    job = spec["jobTemplate"]["spec"]
    pod = job["template"]["spec"]
    assert spec["suspend"] is True
    assert job["backoffLimit"] == 0
    assert job["activeDeadlineSeconds"] == 7200
    assert job["ttlSecondsAfterFinished"] == 7 * 24 * 3600
    assert pod["restartPolicy"] == "Never"
    assert [container["name"] for container in pod["containers"]] == ["migration"]


def test_migration_environment_is_kokus(everything: Rendered) -> None:
    """The container finds the database by koku's own variables, and hive by its own Secret."""
    variables = environment(everything.migration())
    assert variables.pop("COSTMGMT_WAIT_SECONDS") == "300"
    assert variables.pop("PROMETHEUS_MULTIPROC_DIR") in {
        mount["mountPath"] for mount in everything.migration()["volumeMounts"]
    }
    assert variables == {
        "DATABASE_SERVICE_NAME": "database",
        "DATABASE_ENGINE": "postgresql",
        "DATABASE_SERVICE_HOST": "postgres",
        "DATABASE_SERVICE_PORT": "5432",
        "DATABASE_NAME": ("postgres-credentials", "database"),
        "DATABASE_USER": ("postgres-credentials", "username"),
        "DATABASE_PASSWORD": ("postgres-credentials", "password"),
        "HIVE_DATABASE_NAME": ("hive-credentials", "database"),
        "HIVE_DATABASE_USER": ("hive-credentials", "username"),
        "HIVE_DATABASE_PASSWORD": ("hive-credentials", "password"),
        "DATABASE_SERVICE_CERT": "verify-full",
        "DATABASE_SERVICE_CERTFILE": "/etc/cost-management/ca/ca.crt",
        "ONPREM": "False",
    }


def test_helm_test_is_a_hook(default: Rendered) -> None:
    """`helm test` runs a pod from the application's side, and leaves its log."""
    pod = default.one("Pod", "postgres-test")
    assert pod["metadata"]["annotations"] == {
        "helm.sh/hook": "test",
        "helm.sh/hook-delete-policy": "before-hook-creation",
    }
    assert environment(pod["spec"]["containers"][0]) == {
        "PGHOST": "postgres",
        "PGPORT": "5432",
        "PGDATABASE": ("postgres-credentials", "database"),
        "PGUSER": ("postgres-credentials", "username"),
        "SECRET_PASSWORD": ("postgres-credentials", "password"),
    }


def test_network_policy_lets_clients_in(helm: Helm, everything: Rendered) -> None:
    """Port 5432 is open to labelled pods and to the values' peers; our own clients are labelled."""
    peer = {"namespaceSelector": {"matchLabels": {"team": "koku"}}}
    label = {"cost-management/database-client": "true"}
    policy = {"postgresql": {"networkPolicy": {"enabled": True, "from": [peer]}}}
    spec = helm.render(policy).one("NetworkPolicy")["spec"]
    assert spec == {
        "podSelector": {"matchLabels": SELECTOR},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "ports": [{"protocol": "TCP", "port": 5432}],
                "from": [{"podSelector": {"matchLabels": label}}, peer],
            }
        ],
    }
    for name, pod in everything.pods():
        if name != "StatefulSet postgres":
            assert label.items() <= pod["metadata"]["labels"].items(), name


def test_disruption_budget(everything: Rendered) -> None:
    """A PodDisruptionBudget, once asked for, keeps the one pod."""
    spec = everything.one("PodDisruptionBudget")["spec"]
    assert spec == {"minAvailable": 1, "selector": {"matchLabels": SELECTOR}}


def test_tls(everything: Rendered) -> None:
    """A TLS Secret is mounted as PostgreSQL wants a key; clients get only the authority."""
    spec = everything.one("StatefulSet")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    text = everything.one("ConfigMap", "postgres-configuration")["data"]["cost-management.conf"]
    pair = [{"key": each, "path": each} for each in ("tls.crt", "tls.key")]
    kept = {"secretName": "postgres-tls", "defaultMode": 0o640, "items": pair}
    assert volumes["tls"]["secret"] == kept
    assert "ssl = on" in text.splitlines()
    assert "ssl_key_file = '/etc/cost-management/tls/tls.key'" in text.splitlines()
    job = everything.one("CronJob", "cost-mgmt-migration")["spec"]["jobTemplate"]["spec"]
    volumes = {volume["name"]: volume for volume in job["template"]["spec"]["volumes"]}
    assert volumes["ca"]["secret"]["items"] == [{"key": "ca.crt", "path": "ca.crt"}]
