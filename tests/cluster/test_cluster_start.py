"""A release that cannot start: what its operator sees, and that the documented way heals it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.chart.rendering import CHART
from tests.cluster.releases import SECRET, SMALL, Release
from tests.cluster.testbed.bed import Bed, CommandFailed, Object

EXISTING = f"--set=postgresql.database.existingSecret={SECRET}"


@pytest.fixture
def release(bed: Bed) -> Iterator[Release]:
    """A namespace, and who may install into it."""
    with bed.namespace("start") as namespace:
        yield Release.of_installer(bed, namespace)


def said(release: Release, reason: str) -> str:
    """Wait for events of that reason, and return their messages."""

    def asked() -> str:
        events = release.bed.list("events", release.namespace)
        return "\n".join(one["message"] for one in events if one["reason"] == reason)

    return str(release.bed.until(f"an event {reason}", asked))


def waits(release: Release) -> str:
    """Return why the pod's containers do not start, or nothing yet."""
    status = release.bed.get("pod", "postgres-0", release.namespace)["status"]
    states = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    waiting = [one["state"]["waiting"] for one in states if "waiting" in one["state"]]
    return "\n".join(f"{one['reason']}: {one.get('message', '')}" for one in waiting)


def credentials(**data: str) -> Object:
    """Return the Secret that an operator makes."""
    metadata = {"name": SECRET}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}


def test_a_storage_class_that_does_not_exist(release: Release) -> None:
    """The claim says which; the chart then refuses the right one, because a claim cannot change."""
    release.install(*SMALL, "--set=postgresql.persistence.storageClassName=no-such-class")
    told = said(release, "ProvisioningFailed")
    assert 'storageclass.storage.k8s.io "no-such-class" not found' in told
    assert "unbound immediate PersistentVolumeClaims" in said(release, "FailedScheduling")
    assert "a volume cannot change its class" in release.refused(*SMALL)
    # Nothing was ever written there: installed anew, it is the right one's.
    release.helm("uninstall")
    release.bed.kubectl("delete", "pvc", "--all", "-n", release.namespace)
    release.install(*SMALL)
    release.bed.until_ready(release.namespace)


def test_no_volume_that_is_large_enough(release: Release) -> None:
    """The pod is not scheduled, and its event says that no volume fits."""
    release.install(*SMALL, "--set=postgresql.persistence.size=500Ti")
    told = said(release, "FailedScheduling")
    assert "didn't find available persistent volumes to bind" in told


def test_an_image_that_does_not_exist(release: Release) -> None:
    """The pod says which; as the README says, after an upgrade it must be deleted by hand."""
    release.install(*SMALL, "--set=postgresql.image.tag=no-such-tag")
    bed = release.bed
    bed.until("the image", lambda: ":no-such-tag" in waits(release))
    bed.until("the end of tries", lambda: "ImagePullBackOff" in waits(release))
    release.install(*SMALL)
    bed.kubectl("delete", "pod", "postgres-0", "-n", release.namespace)
    bed.until_ready(release.namespace)


def test_a_quota_that_is_exceeded(release: Release) -> None:
    """No pod is made until there is room; then it starts without anybody's doing."""
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "small"},
        "spec": {"hard": {"limits.memory": "256Mi"}},
    }
    release.bed.apply(quota, namespace=release.namespace)
    release.install(*SMALL)
    assert "exceeded quota: small, requested: limits.memory=512Mi" in said(release, "FailedCreate")
    assert release.bed.list("pods", release.namespace) == []
    release.bed.kubectl("delete", "resourcequota", "small", "-n", release.namespace)
    release.bed.until_ready(release.namespace)


def test_a_limit_range_that_forbids_it(release: Release) -> None:
    """No pod is made, and the event names limit and request; smaller resources pass."""
    limits: Object = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "small"},
        "spec": {"limits": [{"type": "Container", "max": {"memory": "256Mi"}}]},
    }
    release.bed.apply(limits, namespace=release.namespace)
    release.install(*SMALL)
    told = said(release, "FailedCreate")
    assert "maximum memory usage per Container is 256Mi, but limit is 512Mi" in told
    release.install(*SMALL, "--set=postgresql.resources.limits.memory=256Mi")
    release.bed.until_ready(release.namespace)


def test_a_secret_that_does_not_exist(release: Release) -> None:
    """The container waits for it by name, and starts once it is there."""
    release.install(*SMALL, EXISTING)
    told = release.bed.until("why", lambda: waits_for_secret(release))
    assert f'secret "{SECRET}" not found' in told
    made = credentials(database="koku", username="koku", password="made-later")
    release.bed.apply(made, namespace=release.namespace)
    release.bed.until_ready(release.namespace)


def test_a_secret_without_its_password(release: Release) -> None:
    """The container waits for the key by name; nothing is initialized with an empty password."""
    bed, namespace = release.bed, release.namespace
    bed.apply(credentials(database="koku", username="koku"), namespace=namespace)
    release.install(*SMALL, EXISTING)
    told = bed.until("why", lambda: waits_for_secret(release))
    assert "couldn't find key password in Secret" in told
    patch = json.dumps({"stringData": {"password": "written-later"}})
    bed.kubectl("patch", "secret", SECRET, "--type=merge", "-p", patch, "-n", namespace)
    bed.until_ready(namespace)
    assert "ended with 0 2 0" in release.helm("test", "--logs")


def waits_for_secret(release: Release) -> str:
    """Return why the container cannot be made, or nothing yet."""
    told = waits(release)
    return told if "CreateContainerConfigError" in told else ""


def test_rendered_without_a_cluster_it_waits_for_a_password(release: Release) -> None:
    """What GitOps applies has none: the pod waits, and a later apply takes none away."""
    bed, namespace = release.bed, release.namespace
    chart = release.bed.helm("template", release.name, str(CHART), "-n", namespace, *SMALL)
    applied = ("apply", "-n", namespace, "-f", "-")
    bed.kubectl(*applied, given=chart)
    told = bed.until("why", lambda: waits_for_secret(release))
    assert "couldn't find key password in Secret" in told
    patch = json.dumps({"stringData": {"password": "of-the-operator"}})
    bed.kubectl("patch", "secret", SECRET, "--type=merge", "-p", patch, "-n", namespace)
    bed.until_ready(namespace)
    bed.kubectl(*applied, given=chart)
    assert release.password() == "of-the-operator"


def test_a_service_that_selects_nothing(release: Release) -> None:
    """The pod is ready, and yet nobody finds it: `helm test` fails; an upgrade puts it right."""
    release.install(*SMALL)
    release.bed.until_ready(release.namespace)
    patch = json.dumps({"spec": {"selector": {"app.kubernetes.io/component": "elsewhere"}}})
    release.bed.kubectl("patch", "service", "postgres", "-p", patch, "-n", release.namespace)
    with pytest.raises(CommandFailed):
        release.helm("test")
    told = release.bed.kubectl("logs", "postgres-test", "-n", release.namespace)
    assert "psql ended with 2 2 2" in told
    release.install(*SMALL)
    assert "ended with 0 2 0" in release.helm("test", "--logs")
