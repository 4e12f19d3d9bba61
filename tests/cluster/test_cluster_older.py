"""A release of the older chart, whose data is off its volume: never upgraded over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.releases import SMALL, Release
from tests.cluster.testbed.bed import Bed
from tests.cluster.testbed.images import POSTGRESQL

pytestmark = pytest.mark.gate
OLDER = Path(__file__).resolve().parent / "older-chart"
ROWS = "SELECT count(*), sum(a) FROM kept"
SMALL_DATABASE = SMALL[:2]


def older_image(bed: Bed) -> str:
    """Return which image the older chart gets: its default, or what this machine could make."""
    known = {image.name for image in bed.archive.images} if bed.archive else set()
    default = f"{POSTGRESQL[13]}:latest"
    newer = f"--set=postgresql.image.repository={POSTGRESQL[15]}"
    return newer if known and default not in known else ""


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """One that serves rows."""
    with bed.namespace("older") as namespace:
        release = Release.of_installer(bed, namespace)
        options = [one for one in (*SMALL_DATABASE, older_image(bed)) if one]
        release.install(*options, chart=OLDER)
        bed.until_ready(namespace)
        release.psql("CREATE TABLE kept AS SELECT a FROM generate_series(1, 1000) AS a")
        yield release


@pytest.mark.parametrize("major", [3, 4], ids=["helm3", "helm4"])
def test_a_plain_upgrade_is_refused(release: Release, major: int) -> None:
    """The way out is named, the pod is the same, and its rows are there."""
    before, rows = release.identity(), release.psql(ROWS)
    assert rows == "1000|500500"
    told = release.refused(*SMALL, major=major)
    assert "has its volume mounted at /var/lib/postgresql/data" in told
    assert f"costmgmt bootstrap --namespace {release.namespace} --migrate-volume" in told
    assert "Nothing was changed." in told
    assert (release.identity(), release.psql(ROWS)) == (before, rows)


def test_nor_is_it_disabled(release: Release) -> None:
    """An upgrade that removes the StatefulSet would lose the data as well."""
    told = release.refused("--set=postgresql.enabled=false")
    assert "is lost when the pod is replaced" in told
    assert release.psql(ROWS) == "1000|500500"


def test_the_fault_is_real(release: Release) -> None:
    """Its volume is empty: what the guard prevents is what a deleted pod does."""
    inside = ("exec", "-n", release.namespace, "postgres-0", "-c", "postgresql", "--")
    listed = release.bed.kubectl(*inside, "ls", "-A", "/var/lib/postgresql/data")
    assert listed.split() == []
    pod = release.identity()[0]
    release.bed.kubectl("delete", "pod", "postgres-0", "-n", release.namespace)
    release.rolled(pod)
    with pytest.raises(AssertionError, match='relation "kept" does not exist'):
        release.psql(ROWS)
