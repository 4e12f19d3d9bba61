"""What is read of a namespace beside the release's own objects: its policies, Helm's records."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.leaks import record
from pytest_costmgmt.kubernetes.policies import isolating
from pytest_costmgmt.secret import Secret
from tests import release_objects as made
from tests.server.pod_api import PodApi, pod_api, status

CORE = f"/api/v1/namespaces/{made.NAMESPACE}"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{made.NAMESPACE}/networkpolicies"


@pytest.fixture
def cluster() -> Iterator[PodApi]:
    """An API server."""
    with pod_api() as found:
        yield found


@pytest.fixture
def api(cluster: PodApi, tmp_path: Path) -> Api:
    """The way to it."""
    return Api(access(kubeconfig=cluster.kubeconfig(tmp_path / "kubeconfig"), environ={}),
               patience=0)  # fmt: skip


def test_what_earlier_revisions_hold_of_todays_passwords_is_told(cluster: PodApi, api: Api) -> None:
    """A value that was taken out is printed by `helm get values --revision` all the same."""
    given = {"migration": {"env": [{"name": "X", "value": made.HIVE_PASSWORD}]}}
    cluster.objects[f"{CORE}/secrets"] = [
        made.helm_record(10, values={}),
        made.helm_record(9, "superseded", given),
        made.helm_record(8, "superseded", given),
        made.helm_record(2, "superseded", {"x": "a password of last year"}),
    ]
    found = record(api, made.NAMESPACE, made.RELEASE, (Secret(made.HIVE_PASSWORD),))
    assert found is not None
    assert (found.revision, found.status, found.leaks) == (10, "deployed", ())
    assert found.earlier == {"values.migration.env[0].value": (8, 9)}


@pytest.mark.parametrize(
    ("labels", "lets_in", "perhaps"),
    [
        pytest.param({"team": "cost"}, True, 0, id="selected"),
        pytest.param({"team": "other"}, False, 0, id="not-selected"),
        pytest.param(None, False, 1, id="not-seen"),
    ],
)
def test_a_peer_by_namespace_is_held_against_ours(
    cluster: PodApi, api: Api, labels: dict[str, str] | None, lets_in: bool, perhaps: int
) -> None:
    """Its labels decide whether our own pods are let in; without them nobody knows."""
    peer = {"namespaceSelector": {"matchLabels": {"team": "cost"}}}
    cluster.objects[POLICIES] = [made.network_policy(peer)]
    cluster.objects[CORE] = status(403, "Forbidden", "no")
    if labels is not None:
        cluster.objects[CORE] = {"metadata": {"name": made.NAMESPACE, "labels": labels}}
    (found,) = isolating(api, made.NAMESPACE, made.LABELS, port=5432)
    assert (found.lets_in_all, len(found.perhaps)) == (lets_in, perhaps)
