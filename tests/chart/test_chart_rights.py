"""Which rights an install takes, and what a person reads after it."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.cluster_api import Asked
from tests.chart.conftest import Cluster
from tests.chart.rendering import CHART, Helm, RefusedError
from tests.chart.test_chart_cluster import secret, statefulset


def role(name: str) -> set[Asked]:
    """Return everything that a published Role allows."""
    rules = yaml.safe_load((CHART / "rbac" / f"{name}.yaml").read_text())["rules"]
    return {
        Asked(group, resource, verb)
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_rendering_asks_for_no_more_than_the_role(helm: Helm, cluster: Cluster) -> None:
    """Whatever a rendering looks up, the published Role for an install allows."""
    api = cluster(statefulset(), secret())
    helm.render(cluster=api, upgrade=True)
    assert api.asked
    assert api.asked <= role("install")


def test_the_role_covers_what_is_rendered(helm: Helm) -> None:
    """Each kind that the chart can render may be made, changed and removed by that Role."""
    everything = {
        "postgresql": {
            "networkPolicy": {"enabled": True},
            "podDisruptionBudget": {"enabled": True},
        }
    }
    allowed = role("install")
    for item in helm.render(everything).objects:
        resource = item["kind"].lower().replace("policy", "policie") + "s"
        group = item["apiVersion"].rpartition("/")[0]
        for verb in ("get", "create", "patch", "delete"):
            assert Asked(group, resource, verb) in allowed


@pytest.mark.parametrize(
    "asked",
    [
        Asked("apps", "statefulsets", "list"),
        Asked("apps", "statefulsets", "get"),
        Asked("", "pods", "get"),
        Asked("", "secrets", "get"),
        Asked("batch", "cronjobs", "get"),
    ],
)
def test_a_missing_right_is_an_error(helm: Helm, cluster: Cluster, asked: Asked) -> None:
    """Where we may not look, nothing is rendered as if there were nothing."""
    api = cluster(statefulset(), secret())
    api.forbidden.add(asked)
    with pytest.raises(RefusedError, match=f"{asked.resource} is forbidden"):
        helm.render(cluster=api, upgrade=True)


def test_openshift_is_asked_of_the_cluster(helm: Helm, cluster: Cluster) -> None:
    """auto: a cluster that serves OpenShift's security API gets no uid."""
    rendered, _ = helm.install(cluster(openshift=True))
    pods = dict(rendered.pods())
    assert "runAsUser" not in pods["StatefulSet postgres"]["spec"]["securityContext"]


NOTES = [
    pytest.param({}, "costmgmt bootstrap --namespace cost-mgmt", id="next-step"),
    pytest.param({}, "PostgreSQL 13 is past its end of life", id="13"),
    pytest.param({}, "Set postgresql.image.digest", id="floating"),
    pytest.param({}, "Secret postgres-credentials stays when the release goes", id="kept"),
    pytest.param({}, "create job --from=cronjob/cost-mgmt-migration", id="migration"),
    pytest.param(
        {"postgresql": {"networkPolicy": {"enabled": True}}},
        "cost-management/database-client",
        id="label",
    ),
    pytest.param({"postgresql": {"enabled": False}}, "No database was deployed", id="none"),
]


@pytest.mark.parametrize(("values", "said"), NOTES)
def test_notes(helm: Helm, cluster: Cluster, values: dict[str, Any], said: str) -> None:
    """After an install a person reads the next step, and what to mind."""
    _, notes = helm.install(cluster(), values)
    assert said in notes


def test_notes_warn_only_where_it_is_so(helm: Helm, cluster: Cluster) -> None:
    """A pinned image of a supported version, and a Secret made outside, give no warning."""
    digest = {"digest": "sha256:" + "0" * 64}
    values = {
        "postgresql": {"major": 16, "image": digest, "database": {"existingSecret": "mine"}},
        "migration": {"image": digest},
    }
    _, notes = helm.install(cluster(), values)
    assert "WARNING" not in notes
    assert "Secret mine" in notes
