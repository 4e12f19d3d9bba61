"""As on OpenShift: the cluster gives a uid and a group, and refuses any that a pod brings."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.openshift import FIRST, constrained
from tests.cluster.releases import SMALL, Release
from tests.cluster.testbed.bed import Bed, Node

OPENSHIFT = ("--set=podSecurity.openshift=true", "--set=postgresql.major=15")


@pytest.fixture(scope="module")
def release(bed: Bed, node: Node) -> Iterator[Release]:
    """A release whose pods get their uid from the cluster."""
    del node
    with bed.namespace("openshift") as namespace, constrained(bed, namespace):
        release = Release.of_installer(bed, namespace)
        release.install(*SMALL, *OPENSHIFT)
        bed.until_ready(namespace)
        yield release


def test_the_server_runs_as_the_clusters_uid(release: Release) -> None:
    """Its processes and its data folder are of a uid that the image does not know."""
    inside = ("exec", "-n", release.namespace, "postgres-0", "-c", "postgresql", "--")
    command = ("sh", "-c", 'id -u; id -G; stat -c %u "$PGDATA"; cat /proc/1/comm')
    uid, groups, owner, process = release.bed.kubectl(*inside, *command).splitlines()
    assert (uid, owner, process) == (str(FIRST), str(FIRST), "postgres")
    assert groups.split() == ["0", str(FIRST)]


def test_helm_test_passes(release: Release) -> None:
    """The test's pod is admitted too, and its passwords open and do not open the database."""
    assert "ended with 0 2 0" in release.helm("test", "--logs")


def test_a_migration_runs(release: Release) -> None:
    """The application's image runs as that uid too."""
    release.initialize()
    release.migrate("cost-mgmt-migration-1")
    end = release.bed.until("its end", lambda: release.ended("cost-mgmt-migration-1"), seconds=600)
    logs = release.bed.tell("logs", "job/cost-mgmt-migration-1", "-n", release.namespace)
    assert end == "Complete", logs


def test_a_row_outlives_its_pod(release: Release) -> None:
    """The next pod gets the same uid, and serves what the first one wrote."""
    release.psql("CREATE TABLE kept AS SELECT 42 AS a")
    pod, claim, database = release.identity()
    release.bed.kubectl("delete", "pod", "postgres-0", "-n", release.namespace)
    release.rolled(pod)
    assert release.identity()[1:] == (claim, database)
    assert release.psql("SELECT a FROM kept") == "42"


def test_the_rendering_for_elsewhere_is_refused(bed: Bed, node: Node) -> None:
    """The uid 26 is none of the namespace's: no pod is made, and the event says which may be."""
    del node
    with bed.namespace("openshift") as namespace, constrained(bed, namespace):
        Release.of_installer(bed, namespace).install(*SMALL)

        def said() -> str:
            events = bed.list("events", namespace)
            return "\n".join(one["message"] for one in events if one["reason"] == "FailedCreate")

        told = bed.until("a refusal", said)
        assert f"runAsUser: Invalid value: must be in the ranges: [{FIRST}," in told
        assert bed.list("pods", namespace) == []
