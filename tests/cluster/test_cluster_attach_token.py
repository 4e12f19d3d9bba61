"""Whether a pod holds a token is what the API server made of it, whoever decided that."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pytest_costmgmt.facts.release import read
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.judge.release_token import tokenless
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.servers.cluster import Place
from tests.cluster.releases import Release, fresh
from tests.cluster.testbed.bed import Bed

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """A release that is ready."""
    with fresh(bed, "--set=postgresql.major=15", name="token") as made:
        yield made


def judged(release: Release) -> Judgement:
    """Return what is judged of what is there now."""
    place = Place(namespace=release.namespace, kubeconfig=str(release.bed.kubeconfig))
    objects = read(Reader(place.api(), release.namespace), key=b"run")
    return tokenless(ReleaseFacts(objects=objects))


def patch(release: Release, kind: str, name: str, body: object) -> None:
    """Patch an object of the release's namespace; null takes a field out."""
    words = ("patch", kind, name, "-n", release.namespace, "--type=merge", "-p")
    release.bed.kubectl(*words, json.dumps(body))


def say(release: Release, *, account: bool | None, pod: bool | None) -> None:
    """Have the ServiceAccount and the pod's template say it, or nothing; wait for another pod."""
    before = release.identity()[0]
    patch(release, "serviceaccount", "default", {"automountServiceAccountToken": account})
    spec = {"automountServiceAccountToken": pod}
    # Each time another template, so that each time another pod is made.
    told = {"annotations": {"tests/said": f"{account} {pod}"}}
    patch(release, "sts", "postgres", {"spec": {"template": {"metadata": told, "spec": spec}}})
    release.rolled(before)


def mounted(release: Release) -> bool:
    """Ask the container itself whether a token is in it."""
    words = ("exec", "-n", release.namespace, "postgres-0", "-c", "postgresql", "--", "sh", "-c")
    said = release.bed.kubectl(*words, f"test -e {PLACE}/token && echo yes || echo no")
    return said.split() == ["yes"]


@pytest.mark.parametrize(
    ("account", "pod", "holds"),
    [
        pytest.param(None, False, False, id="as-the-chart-has-it"),
        pytest.param(False, None, False, id="account-says-no"),
        pytest.param(None, None, True, id="nobody-says-anything"),
        pytest.param(True, None, True, id="account-says-yes"),
        pytest.param(False, True, True, id="pod-goes-before-its-account"),
        pytest.param(True, False, False, id="pod-says-no"),
    ],
)
def test_the_pod_shows_who_decided(
    release: Release, account: bool | None, pod: bool | None, holds: bool
) -> None:
    """What is judged is what the container finds."""
    say(release, account=account, pod=pod)
    assert mounted(release) is holds
    told = judged(release)
    assert bool(told.findings) is holds
    assert not told.unverified
    if holds:
        assert "container postgresql mounts volume kube-api-access-" in told.findings[0].found


def test_without_a_pod_the_service_account_is_asked(release: Release) -> None:
    """The last one: nothing runs afterwards."""
    say(release, account=False, pod=None)
    bed, namespace = release.bed, release.namespace
    bed.kubectl("scale", "sts", "postgres", "--replicas=0", "-n", namespace)
    bed.until("no pod", lambda: not bed.list("pod", namespace))
    assert not judged(release).findings
    assert not judged(release).unverified
    patch(release, "serviceaccount", "default", {"automountServiceAccountToken": True})
    assert "service account default by itself" in judged(release).findings[0].found
