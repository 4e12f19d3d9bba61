"""The NetworkPolicy, on a network that enforces it and on one that does not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.network import enforced
from tests.cluster.releases import Client, Release, fresh
from tests.cluster.testbed.bed import Bed, Node

CLIENT = {"cost-management/database-client": "true"}
POLICY = ("--set=postgresql.networkPolicy.enabled=true", "--set=postgresql.major=15")


@pytest.fixture(scope="module")
def release(bed: Bed, node: Node) -> Iterator[Release]:
    """A release with its policy, which nothing enforces yet."""
    del node
    with fresh(bed, *POLICY, name="network") as release:
        yield release


@pytest.fixture(scope="module")
def clients(release: Release) -> dict[str, Client]:
    """A pod that the policy includes, and one that it does not."""
    bed, namespace = release.bed, release.namespace
    pod = bed.get("pod", "postgres-0", namespace)
    image = pod["spec"]["containers"][0]["image"]
    return {
        "labelled": Client.start(bed, namespace, image, CLIENT, name="labelled"),
        "other": Client.start(bed, namespace, image, name="other"),
    }


def test_a_network_that_enforces_nothing_lets_all_in(
    release: Release, clients: dict[str, Client]
) -> None:
    """The policy is there, and both pods connect: to render one proves nothing."""
    assert release.bed.list("networkpolicies", release.namespace)
    for client in clients.values():
        assert client.asks(release, "SELECT 1") == "1"


def test_a_network_that_enforces_it_lets_clients_in_only(
    release: Release, clients: dict[str, Client]
) -> None:
    """The labelled pod connects, the other one gets no answer, and again after it is lifted."""
    with enforced(release.bed, release.namespace):
        assert clients["labelled"].asks(release, "SELECT 1") == "1"
        said = clients["other"].refused(release.password(), user="koku", database="koku")
        assert "timeout expired" in said
        assert clients["labelled"].asks(release, "SELECT 1") == "1"
    assert clients["other"].asks(release, "SELECT 1") == "1"


def test_our_own_pods_are_clients(release: Release) -> None:
    """`helm test` and a migration pass where the policy counts; their pods come after it."""
    release.initialize()
    with enforced(release.bed, release.namespace):
        assert "ended with 0 2 0" in release.helm("test", "--logs")
        release.migrate("cost-mgmt-migration-1")
        ended = release.bed.until(
            "its end", lambda: release.ended("cost-mgmt-migration-1"), seconds=600
        )
        log = release.bed.tell("logs", "job/cost-mgmt-migration-1", "-n", release.namespace)
        assert ended == "Complete", log


def test_peers_of_the_values_are_let_in(release: Release, clients: dict[str, Client]) -> None:
    """What postgresql.networkPolicy.from names is let in beside the label."""
    peer = "--set=postgresql.networkPolicy.from[0].podSelector.matchLabels.team=other"
    release.bed.kubectl("label", "pod", "other", "team=other", "-n", release.namespace)
    release.install(*POLICY, peer, "--reuse-values")
    with enforced(release.bed, release.namespace):
        assert clients["other"].asks(release, "SELECT 1") == "1"
        assert clients["labelled"].asks(release, "SELECT 1") == "1"
