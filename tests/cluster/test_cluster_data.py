"""A data folder that the image must not serve: refused in a sentence, and nothing is touched."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.releases import SMALL, Release, fresh, renamed
from tests.cluster.testbed.bed import Bed, Node

MAJOR = "--set=postgresql.major={}"


@pytest.fixture
def release(bed: Bed, node: Node) -> Iterator[Release]:
    """A release of PostgreSQL 15 with rows on its volume."""
    del node
    with fresh(bed, MAJOR.format(15), name="data") as release:
        release.psql("CREATE TABLE kept AS SELECT a FROM generate_series(1, 1000) AS a")
        yield release


def folder(release: Release) -> str:
    """Return where the node has the release's volume."""
    claim = release.bed.get("pvc", "postgresql-data-postgres-0", release.namespace)
    volume = release.bed.get("pv", claim["spec"]["volumeName"])
    return str(volume["spec"]["local"]["path"])


def contents(node: Node, place: str) -> str:
    """Return every file there with its owner, mode, size and time of change."""
    return node.run("find", place, "-printf", "%p %U %G %m %s %T@ %C@\n")


def stopped(release: Release) -> None:
    """End the pod, and leave its successor to be refused."""
    release.bed.kubectl("delete", "pod", "postgres-0", "-n", release.namespace)


def refusal(release: Release) -> str:
    """Wait until the guard refused, and return its sentence."""

    def asked() -> str:
        status = release.bed.get("pod", "postgres-0", release.namespace)["status"]
        for one in status.get("initContainerStatuses", ()):
            for state in (one["state"], one.get("lastState", {})):
                if state.get("terminated", {}).get("exitCode"):
                    return str(state["terminated"]["message"])
        return ""

    return " ".join(release.bed.until("a refusal", asked).split())


def test_a_data_folder_of_another_uid(release: Release, node: Node) -> None:
    """Both uids are named; once it is given back, the same rows are served."""
    place = f"{folder(release)}/userdata"
    release.bed.kubectl("scale", "statefulset", "postgres", "--replicas=0", "-n", release.namespace)
    release.bed.until("no pod", lambda: not release.bed.list("pods", release.namespace))
    node.run("chown", "-R", "1234", place)
    before = contents(node, place)
    release.bed.kubectl("scale", "statefulset", "postgres", "--replicas=1", "-n", release.namespace)
    told = refusal(release)
    assert "/var/lib/pgsql/data/userdata belongs to uid 1234, and the pod runs as uid 26" in told
    assert "Nothing was touched." in told
    assert contents(node, place) == before
    node.run("chown", "-R", "26", place)
    release.bed.until_ready(release.namespace)
    assert release.psql("SELECT count(*) FROM kept") == "1000"


def test_a_data_folder_of_another_major_version(release: Release, node: Node) -> None:
    """An image whose name does not say it is refused by the pod; a rollback serves the rows."""
    bed = release.bed
    place, (pod, claim, database) = folder(release), release.identity()
    image = renamed(bed, node, 13)
    release.install(*SMALL, "--set=postgresql.major=", f"--set=postgresql.image.repository={image}")
    told = refusal(release)
    assert "is of PostgreSQL 15 and the image is PostgreSQL 13: set postgresql.major=15" in told
    assert "by backup and restore" in told
    before = contents(node, place)
    bed.until("another try", lambda: tries(release) > 1)
    assert contents(node, place) == before
    release.helm("rollback", "1")
    # Kubernetes waits for a broken pod to get ready, as the README says.
    stopped(release)
    release.rolled(pod)
    assert release.identity()[1:] == (claim, database)
    assert release.psql("SELECT count(*) FROM kept") == "1000"


def tries(release: Release) -> int:
    """Return how often the guard was started again."""
    status = release.bed.get("pod", "postgres-0", release.namespace)["status"]
    return sum(int(one["restartCount"]) for one in status.get("initContainerStatuses", ()))
