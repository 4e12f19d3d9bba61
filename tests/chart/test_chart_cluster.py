"""What the chart does and refuses where it finds a release, its data and its password."""

from __future__ import annotations

import base64
import copy
from typing import Any

import pytest

from tests.chart.cluster_api import Object
from tests.chart.conftest import Cluster
from tests.chart.rendering import NAMESPACE, RELEASE, Helm, RefusedError

DATA = "/var/lib/pgsql/data"
OLD = "/var/lib/postgresql/data"
EXISTING = {"postgresql": {"database": {"existingSecret": "postgres-credentials"}}}


def owned(release: str | None) -> dict[str, Any]:
    """Return metadata as Helm leaves it on what a release owns; None: made outside Helm."""
    if release is None:
        return {"namespace": NAMESPACE, "uid": "1234"}
    return {
        "namespace": NAMESPACE,
        "uid": "1234",
        "labels": {"app.kubernetes.io/managed-by": "Helm"},
        "annotations": {
            "meta.helm.sh/release-name": release,
            "meta.helm.sh/release-namespace": NAMESPACE,
        },
    }


def statefulset(
    mount: str | None = DATA, *, release: str | None = RELEASE, **more: Any
) -> dict[str, Any]:
    """Return a StatefulSet postgres as the API server has it; mount None: on an emptyDir."""
    labels = {
        "app.kubernetes.io/name": "cost-management-infrastructure",
        "app.kubernetes.io/instance": release or RELEASE,
        "app.kubernetes.io/component": "postgresql",
    }
    volume = "postgresql-data" if mount else "scratch"
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "20Gi"}}}
    mounts = [{"name": volume, "mountPath": mount or DATA}]
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "postgres", "generation": 3, **owned(release)},
        "spec": {
            "selector": {"matchLabels": labels},
            "serviceName": "postgres",
            "template": {
                "spec": {
                    "containers": [
                        {"name": "sidecar", "volumeMounts": []},
                        {"name": "postgresql", "volumeMounts": mounts},
                    ],
                    "volumes": [{"name": "scratch", "emptyDir": {}}],
                }
            },
            "volumeClaimTemplates": [
                {"metadata": {"name": "postgresql-data"}, "spec": {**claim, **more}}
            ],
        },
    }


def pod(mount: str) -> dict[str, Any]:
    """Return the pod postgres-0, with its claim mounted there."""
    claim = {"claimName": "postgresql-data-postgres-0"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "postgres-0", "namespace": NAMESPACE},
        "spec": {
            "containers": [
                {
                    "name": "postgresql",
                    "volumeMounts": [{"name": "postgresql-data", "mountPath": mount}],
                }
            ],
            "volumes": [{"name": "postgresql-data", "persistentVolumeClaim": claim}],
        },
    }


def secret(release: str | None = RELEASE, **keys: str) -> dict[str, Any]:
    """Return Secret postgres-credentials; without keys: whole."""
    data = keys or {"database": "koku", "username": "koku", "password": "kept"}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "postgres-credentials", **owned(release)},
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }


def password(rendered: Any) -> str:
    """Return the password that the rendered Secret holds."""
    return base64.b64decode(
        rendered.one("Secret", "postgres-credentials")["data"]["password"]
    ).decode()


def refusal(helm: Helm, cluster: Cluster, *objects: Object, **how: Any) -> str:
    """Return what an upgrade over those objects is refused with."""
    values = how.pop("values", None)
    with pytest.raises(RefusedError) as refused:
        helm.render(values, cluster=cluster(*objects), **{"upgrade": True, **how})
    return " ".join(str(refused.value).split())


# --- the password


def test_first_install_makes_a_password(helm: Helm, cluster: Cluster) -> None:
    """A first install makes a long password, safe in a URI, another one each time."""
    api = cluster()
    first, second = password(helm.render(cluster=api)), password(helm.render(cluster=api))
    assert len(first) == 32
    assert first.isascii()
    assert first.isalnum()
    assert first != second


def test_renders_differ_in_the_secret_only(helm: Helm, cluster: Cluster) -> None:
    """Two renders against a cluster are equal but for the Secret."""
    api = cluster()
    assert helm.render(cluster=api).without("Secret") == helm.render(cluster=api).without("Secret")


@pytest.mark.parametrize("upgrade", [False, True], ids=["install", "upgrade"])
def test_the_password_is_made_once(helm: Helm, cluster: Cluster, *, upgrade: bool) -> None:
    """An upgrade, and an install after an uninstall, keep the password that is there."""
    rendered = helm.render(cluster=cluster(statefulset(), secret()), upgrade=upgrade)
    assert password(rendered) == "kept"
    kept = rendered.one("Secret", "postgres-credentials")["metadata"]["annotations"]
    assert kept["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("there", [statefulset(), pod(DATA)], ids=["statefulset", "pod"])
def test_upgrade_without_a_secret(helm: Helm, cluster: Cluster, there: Object) -> None:
    """An upgrade that finds no Secret beside a database fails, and gives the two ways out."""
    told = refusal(helm, cluster, there)
    assert "Secret postgres-credentials in namespace cost-mgmt is gone" in told
    assert "put it back as it was, or choose a new password" in told
    assert "existingSecret=postgres-credentials" in told


def test_enabling_the_database_is_no_loss(helm: Helm, cluster: Cluster) -> None:
    """An upgrade that brings the database for the first time makes its password."""
    assert password(helm.render(cluster=cluster(), upgrade=True))


@pytest.mark.parametrize(
    ("release", "who"), [("other", "the release other left it"), (None, "made outside Helm")]
)
def test_a_secret_of_another(helm: Helm, cluster: Cluster, release: str | None, who: str) -> None:
    """Another's Secret is not taken in silence: the message gives both ways."""
    told = refusal(helm, cluster, secret(release), upgrade=False)
    assert who in told
    assert "--set postgresql.database.existingSecret=postgres-credentials" in told
    assert "--take-ownership --set postgresql.database.takeOwnership=true" in told


def test_taking_ownership_keeps_the_password(helm: Helm, cluster: Cluster) -> None:
    """Told to take another's Secret, the rendering holds the password that it had."""
    taken = {"postgresql": {"database": {"takeOwnership": True}}}
    flags = ("--take-ownership",)
    rendered = helm.render(taken, cluster=cluster(secret("other")), flags=flags)
    assert password(rendered) == "kept"


def test_existing_secret_is_never_looked_at(helm: Helm, cluster: Cluster) -> None:
    """With existingSecret nothing reads, renders or refuses a Secret; the StatefulSet says so."""
    made = statefulset()
    made["metadata"]["annotations"]["cost-management/secret-by"] = "operator"
    api = cluster(made)
    rendered = helm.render(EXISTING, cluster=api, upgrade=True)
    noted = rendered.one("StatefulSet")["metadata"]["annotations"]
    assert noted == {"cost-management/secret-by": "operator"}
    assert not [item for item in rendered.objects if item["kind"] == "Secret"]
    assert "secrets" not in {asked.resource for asked in api.asked}


def test_helm_does_not_remove_the_operators_secret(helm: Helm, cluster: Cluster) -> None:
    """What an earlier revision rendered goes with this upgrade, unless its annotation keeps it."""
    told = refusal(helm, cluster, statefulset(), secret(None), values=EXISTING)
    assert "Secret postgres-credentials in namespace cost-mgmt would be removed" in told
    assert "annotate secret postgres-credentials helm.sh/resource-policy=keep" in told
    kept = secret(None)
    kept["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    assert helm.render(EXISTING, cluster=cluster(statefulset(), kept), upgrade=True).objects
    assert helm.render(EXISTING, cluster=cluster(statefulset()), upgrade=True).objects
    elsewhere = {"postgresql": {"database": {"existingSecret": "my-own"}}}
    assert helm.render(elsewhere, cluster=cluster(statefulset(), secret(None)), upgrade=True)


def test_a_secret_without_a_password(helm: Helm, cluster: Cluster) -> None:
    """A Secret that was rendered offline gets no password in silence."""
    told = refusal(helm, cluster, secret(database="koku", username="koku"), upgrade=False)
    assert "has no password" in told
    assert "existingSecret=postgres-credentials" in told


@pytest.mark.parametrize(("key", "value"), [("database", "name"), ("username", "user")])
def test_names_are_made_once(helm: Helm, cluster: Cluster, key: str, value: str) -> None:
    """A changed name of role or database, which no start would make, is refused."""
    there = {"database": "koku", "username": "koku", "password": "kept"}
    told = refusal(helm, cluster, statefulset(), secret(**{**there, key: "older"}))
    assert f'has the {key} "older", and the values say "koku"' in told
    assert f"postgresql.database.{value}" in told


# --- data off the volume


REFUSED_FOR_DATA = [
    pytest.param([statefulset(OLD)], id="older-chart"),
    pytest.param([statefulset(OLD), pod(OLD)], id="older-chart-and-its-pod"),
    pytest.param([statefulset(None)], id="no-volume"),
    pytest.param([statefulset("/var/lib/pgsql")], id="above"),
    pytest.param([pod(OLD)], id="pod-of-an-orphaned-set"),
]


@pytest.mark.parametrize("objects", REFUSED_FOR_DATA)
@pytest.mark.parametrize("values", [{}, {"postgresql": {"enabled": False}}], ids=["on", "off"])
def test_data_off_the_volume_is_never_upgraded_over(
    helm: Helm, cluster: Cluster, objects: list[Object], values: dict[str, Any]
) -> None:
    """Data in the container's layer is not upgraded over, nor disabled away; the way is named."""
    told = refusal(helm, cluster, *objects, secret(), values=values)
    assert "costmgmt bootstrap --namespace cost-mgmt --migrate-volume" in told
    assert "Nothing was changed" in told


def test_the_place_is_told(helm: Helm, cluster: Cluster) -> None:
    """The refusal says where the older chart has its volume."""
    assert f"mounted at {OLD}" in refusal(helm, cluster, statefulset(OLD), secret())


@pytest.mark.parametrize("mount", [DATA, DATA + "/"])
def test_data_on_the_volume_is_upgraded(helm: Helm, cluster: Cluster, mount: str) -> None:
    """A release whose volume covers the data folder is upgraded."""
    api = cluster(statefulset(mount), pod(mount), secret())
    assert ("StatefulSet", "postgres") in helm.render(cluster=api, upgrade=True).names()


def test_a_part_of_the_volume_is_not_the_volume(helm: Helm, cluster: Cluster) -> None:
    """A mount of a folder of the volume is refused: the chart would look beside it."""
    there = statefulset()
    there["spec"]["template"]["spec"]["containers"][1]["volumeMounts"][0]["subPath"] = "x"
    assert "--migrate-volume" in refusal(helm, cluster, there, secret())


def copied(word: str) -> dict[str, Any]:
    """Return the older chart's StatefulSet, with somebody's word that its data was copied."""
    there = copy.deepcopy(statefulset(OLD))
    there["metadata"]["annotations"]["cost-management/data-on-volume"] = word
    return there


def test_copied_data_may_be_upgraded_over(helm: Helm, cluster: Cluster) -> None:
    """Who copied the data says so on the StatefulSet, for its uid and generation."""
    api = cluster(copied("1234.3"), pod(OLD), secret())
    assert ("StatefulSet", "postgres") in helm.render(cluster=api, upgrade=True).names()


@pytest.mark.parametrize("word", ["1234.2", "4321.3", "true", ""])
def test_an_older_word_is_void(helm: Helm, cluster: Cluster, word: str) -> None:
    """That word counts for no other StatefulSet, nor for this one after a rollback."""
    assert "--migrate-volume" in refusal(helm, cluster, copied(word), pod(OLD), secret())


# --- one release in a namespace, and what cannot be changed


def cronjob(release: str) -> dict[str, Any]:
    """Return the CronJob of a release."""
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "cost-mgmt-migration", **owned(release)},
    }


@pytest.mark.parametrize("there", [statefulset(release="first"), cronjob("first")])
def test_a_second_release(helm: Helm, cluster: Cluster, there: Object) -> None:
    """A second release in a namespace is refused in a sentence that names the first."""
    told = refusal(helm, cluster, there, upgrade=False)
    assert "Namespace cost-mgmt already has the release first of this chart" in told
    assert "helm upgrade first" in told


IMMUTABLE = [
    pytest.param({"persistence": {"size": "30Gi"}}, "made with 20Gi", "patch pvc", id="larger"),
    pytest.param(
        {"persistence": {"size": "10Gi"}}, "a volume does not shrink", "restore", id="smaller"
    ),
    pytest.param({"persistence": {"storageClassName": "fast"}}, 'is "fast"', "restore", id="class"),
    pytest.param(
        {"persistence": {"accessModes": ["ReadWriteOncePod"]}},
        '["ReadWriteOnce"]',
        "cannot be changed",
        id="modes",
    ),
]


@pytest.mark.parametrize(("values", "found", "way"), IMMUTABLE)
def test_the_volume_is_not_changed_by_an_upgrade(
    helm: Helm, cluster: Cluster, values: dict[str, Any], found: str, way: str
) -> None:
    """What a claim template cannot become is refused before Helm does, with the way."""
    told = refusal(helm, cluster, statefulset(), secret(), values={"postgresql": values})
    assert found in told
    assert way in told


def test_each_change_of_size_has_its_own_way(helm: Helm, cluster: Cluster) -> None:
    """A larger volume is grown by commands; a smaller one is never offered them."""
    sizes = {size: {"postgresql": {"persistence": {"size": size}}} for size in ("10Gi", "30Gi")}
    told = {
        size: refusal(helm, cluster, statefulset(), secret(), values=values)
        for size, values in sizes.items()
    }
    assert "kubectl -n cost-mgmt delete statefulset postgres --cascade=orphan" in told["30Gi"]
    assert "kubectl" not in told["10Gi"]


def running(image: str, *, ready: bool = True) -> dict[str, Any]:
    """Return the pod postgres-0 of that image."""
    found = pod(DATA)
    found["spec"]["containers"][0]["image"] = image
    found["status"] = {"conditions": [{"type": "Ready", "status": str(ready)}]}
    return found


MAJOR_15 = {"postgresql": {"major": 15}}


def test_a_major_jump_is_refused_before_the_pod_is_replaced(helm: Helm, cluster: Cluster) -> None:
    """A server that runs is not replaced by one that cannot read its data; the way is told."""
    there = (statefulset(), running("quay.io/sclorg/postgresql-13-c9s:latest"), secret())
    told = refusal(helm, cluster, *there, values=MAJOR_15)
    assert "runs PostgreSQL 13, and this rendering's image is PostgreSQL 15" in told
    assert "costmgmt backup), install anew, restore (costmgmt restore)" in told
    assert "postgresql.major=13" in told


@pytest.mark.parametrize(
    "there",
    [
        running("quay.io/sclorg/postgresql-15-c9s@sha256:0a"),
        running("registry.invalid/mine:13"),
        running("quay.io/sclorg/postgresql-13-c9s:latest", ready=False),
        pod(DATA),
    ],
    ids=["the-same", "no-telling", "on-its-way-back", "no-status"],
)
def test_what_is_no_major_jump_is_not_refused(helm: Helm, cluster: Cluster, there: Object) -> None:
    """The same major, an image that names none, and a pod that is not ready are upgraded."""
    assert helm.render(MAJOR_15, cluster=cluster(statefulset(), there, secret()), upgrade=True)


def test_equal_quantities_are_equal(helm: Helm, cluster: Cluster) -> None:
    """A size written another way than the API server writes it is no change."""
    size = {"postgresql": {"persistence": {"size": "20480Mi"}}}
    assert helm.render(size, cluster=cluster(statefulset(), secret()), upgrade=True).objects


def test_another_selector(helm: Helm, cluster: Cluster) -> None:
    """A release installed by another nameOverride says which to set."""
    values = {"nameOverride": "mine"}
    told = refusal(helm, cluster, statefulset(), secret(), values=values)
    assert "Set nameOverride as that release was installed" in told
