"""A release that a run deploys, judges and removes; and what it leaves alone."""

from __future__ import annotations

import contextlib
import json
import secrets
import shutil
import signal
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.chart.rendering import CHART
from tests.cluster import deployments
from tests.cluster.attach_bed import ended
from tests.cluster.deployments import (
    EXPIRES,
    MINE,
    OWNER,
    RUN,
    SMOKE,
    deploying,
    gone,
    hours,
    objects,
    plant,
    seen,
    until_phase,
)
from tests.cluster.releases import published, without
from tests.cluster.testbed.bed import Bed
from tests.server import run_support
from tests.server.run_support import Place

# The bed's server offers no TLS, and its image is no pinned one.
KNOWN = {"CM-CON-008", "CM-REL-006"}


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


@pytest.fixture
def name(bed: Bed) -> Iterator[str]:
    """The name of a namespace that is not there; whatever becomes of the test, it is gone after."""
    found = f"deploy-{secrets.token_hex(3)}"
    yield found
    if seen(bed, found):
        bed.remove(found)


@pytest.fixture
def namespace(bed: Bed) -> Iterator[str]:
    """A namespace that is there, and empty but for somebody's ConfigMap."""
    with bed.namespace("deploy") as found:
        bed.kubectl("create", "configmap", "somebodys", "-n", found)
        yield found


def deployer(bed: Bed, namespace: str) -> Path:
    """Return somebody who may what the two published Roles say."""
    return bed.account(namespace, "deployer", published("bootstrap"), published("deploy"))


def test_it_makes_a_namespace_and_removes_it(bed: Bed, place: Place, name: str) -> None:
    """From nothing to a verdict by profile full; it bears run and expiry; nothing is left."""
    run = deploying(place, bed, name, "--costmgmt-release=mine")
    until_phase(bed, name, run, "credentials", "release", "pod", "initialize", "migrate")
    meta = seen(bed, name)
    ran = run.finished()
    told = ended(ran)
    assert told.keys() <= KNOWN | {"CM-INI-001", "CM-INI-002"}, ran.said
    assert ran.report["profile"] == "full"
    assert f"release mine in namespace {name}" in ran.report["target"]["label"]
    assert ran.outcomes["CM-SEC-007"] == "passed"
    assert ran.outcomes["CM-BKP-005"] == "passed"
    assert ran.outcomes["CM-MIG-002"] == "passed"
    assert meta["annotations"][RUN] == ran.report["run"]["id"]
    left = datetime.fromisoformat(meta["annotations"][EXPIRES]) - datetime.now(timezone.utc)
    assert timedelta(hours=5) < left <= timedelta(hours=6)
    bed.until("the namespace's end", lambda: gone(bed, name))


def test_of_a_namespace_that_was_there_only_what_it_made_is_removed(
    bed: Bed, place: Place, namespace: str, tmp_path: Path
) -> None:
    """By the published Roles alone, with a chart of one's own; another run is refused meanwhile."""
    chart = tmp_path / "chart"
    shutil.copytree(CHART, chart)
    meta = chart / "Chart.yaml"
    version = next(one for one in meta.read_text().splitlines() if one.startswith("version:"))
    meta.write_text(meta.read_text().replace(version, "version: 9.8.7"))
    before, who = objects(bed, namespace), deployer(bed, namespace)
    run = deploying(place, bed, namespace, SMOKE, f"--costmgmt-chart={chart}", kubeconfig=who)
    until_phase(bed, namespace, run, "pod", "initialize", "migrate")
    labels = bed.get("statefulset", "postgres", namespace)["metadata"]["labels"]
    assert labels["helm.sh/chart"].endswith("-9.8.7")
    with run_support.place() as elsewhere:
        other = deploying(elsewhere, bed, namespace, SMOKE).finished().sound(8, "inconclusive")
        assert "is not empty" in other.summary("CM-REL-001")
    assert bed.get("statefulset", "postgres", namespace)["metadata"]["labels"] == labels
    ran = run.finished()
    assert ended(ran).keys() <= KNOWN, ran.said
    assert ran.outcomes["CM-SEC-007"] == "passed"
    assert objects(bed, namespace) == before
    assert bed.get("configmap", "somebodys", namespace)


def test_a_namespace_that_is_not_empty_is_left_alone(bed: Bed, place: Place) -> None:
    """One error that names what is there; it is there afterwards."""
    with bed.namespace("occupied") as namespace:
        bed.kubectl("create", "secret", "generic", "somebodys", "-n", namespace)
        ran = deploying(place, bed, namespace).finished().sound(8, "inconclusive")
        assert "secrets somebodys" in ran.summary("CM-REL-001")
        assert objects(bed, namespace) == {"Secret somebodys"}


def test_a_right_that_is_missing_is_named_before_anything_is_made(
    bed: Bed, place: Place, namespace: str
) -> None:
    """Who could not remove the volume does not make it."""
    less = without(published("deploy"), "delete", "persistentvolumeclaims")
    who = bed.account(namespace, "less", published("bootstrap"), less)
    ran = deploying(place, bed, namespace, SMOKE, kubeconfig=who).finished()
    ran.sound(8, "inconclusive")
    assert "delete persistentvolumeclaims" in ran.summary("CM-REL-001")
    assert objects(bed, namespace) == set()


def test_what_killed_runs_left_is_swept_and_nothing_else(bed: Bed, place: Place) -> None:
    """Expired, or of a process that is no more; not a living one's, a kept one, or anybody's."""
    tag, dead = secrets.token_hex(3), "0123456789abcdef 1 1"
    marks = {
        "expired": (MINE, {RUN: "0a", EXPIRES: hours(-1), OWNER: dead}),
        "another-machines": (MINE, {RUN: "0b", EXPIRES: hours(1), OWNER: dead}),
        "kept": (MINE, {RUN: "0c"}),
        "no-run": (MINE, {EXPIRES: hours(-1)}),
        "somebodys": ({}, {RUN: "0d", EXPIRES: hours(-1)}),
        "half-labelled": (dict([next(iter(MINE.items()))]), {RUN: "0e", EXPIRES: hours(-1)}),
        "no-time": (MINE, {RUN: "0f", EXPIRES: "soon"}),
    }
    names = {each: f"sweep-{each}-{tag}" for each in marks}
    try:
        for each, (labels, annotations) in marks.items():
            plant(bed, names[each], labels, annotations)
        with bed.namespace("occupied") as namespace:
            bed.kubectl("create", "secret", "generic", "somebodys", "-n", namespace)
            ran = deploying(place, bed, namespace).finished().sound(8, "inconclusive")
        removed = {each for each, own in names.items() if gone(bed, own)}
        assert removed == {"expired"}
        assert f"removed namespace {names['expired']}, which run 0a left" in ran.said
    finally:
        bed.tell("delete", "ns", *names.values(), "--ignore-not-found", "--wait=false")


def test_what_is_kept_stays(bed: Bed, place: Place, name: str) -> None:
    """It is told how it is removed, bears no expiry any more, and a later run leaves it alone."""
    ran = deploying(place, bed, name, SMOKE, "--costmgmt-keep=always").finished()
    assert ended(ran).keys() <= KNOWN, ran.said
    assert f"kubectl delete namespace {name}" in ran.said
    assert not {EXPIRES, OWNER} & seen(bed, name)["annotations"].keys()
    bed.until_ready(name)
    with run_support.place() as elsewhere:
        deploying(elsewhere, bed, name, SMOKE).finished().sound(8, "inconclusive")
    assert bed.ready(name)


def test_killed_it_is_removed_by_the_next(bed: Bed, place: Place, name: str) -> None:
    """The namespace that it made bears its mark; the next run of that name makes it anew."""
    run = deploying(place, bed, name, SMOKE)
    until_phase(bed, name, run, "pod", "initialize")
    before = seen(bed, name)["uid"]
    run.process.kill()
    run.process.wait()
    assert not gone(bed, name)
    ran = deploying(place, bed, name, SMOKE).finished()
    assert f"removed namespace {name}, which run" in ran.said
    assert ended(ran).keys() <= KNOWN, ran.said
    assert seen(bed, name).get("uid") != before or gone(bed, name)
    bed.until("the namespace's end", lambda: gone(bed, name))


def test_killed_in_a_namespace_that_was_there(bed: Bed, place: Place, namespace: str) -> None:
    """The next run removes what the killed one left, and goes on; the namespace stays."""
    before, who = objects(bed, namespace), deployer(bed, namespace)
    run = deploying(place, bed, namespace, SMOKE, kubeconfig=who)
    until_phase(bed, namespace, run, "pod", "initialize")
    run.process.kill()
    run.process.wait()
    claim = bed.get("pvc", "postgresql-data-postgres-0", namespace)["metadata"]["uid"]
    assert deployments.noted(bed, namespace, "deployment")
    next_ = deploying(place, bed, namespace, SMOKE, kubeconfig=who)
    until_phase(bed, namespace, next_, "initialize", "migrate")
    again = bed.get("pvc", "postgresql-data-postgres-0", namespace)["metadata"]["uid"]
    ran = next_.finished()
    assert again != claim
    assert "that was killed" in ran.said
    assert ended(ran).keys() <= KNOWN, ran.said
    assert objects(bed, namespace) == before


def test_what_a_killed_run_left_and_somebody_uses_is_not_removed(
    bed: Bed, place: Place, namespace: str
) -> None:
    """Where the mark may be a living run's, or is gone, the namespace is just not empty."""
    bed.kubectl("create", "secret", "generic", "somebodys", "-n", namespace)
    mark = {"run": "0a0a0a0a", "expires": hours(1), "owner": "0123456789abcdef 1 1"}
    lease = {
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": deployments.LEASE,
            "annotations": {"cost-management/note-deployment": json.dumps(mark)},
        },
    }  # fmt: skip
    bed.apply(lease, namespace=namespace)
    ran = deploying(place, bed, namespace, SMOKE).finished().sound(8, "inconclusive")
    assert "run 0a0a0a0a deployed there" in ran.summary("CM-REL-001")
    assert bed.get("secret", "somebodys", namespace)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["int", "term"])
def test_interrupted_it_removes_what_it_made(
    bed: Bed, place: Place, name: str, number: signal.Signals
) -> None:
    """While it deploys, a signal ends it, and the namespace goes."""
    run = deploying(place, bed, name, SMOKE)
    until_phase(bed, name, run, "pod", "initialize")
    run.process.send_signal(number)
    ran = run.finished()
    assert ran.status != 0
    with contextlib.suppress(FileNotFoundError):
        assert ran.report["verdict"] == "inconclusive"
    bed.until("the namespace's end", lambda: gone(bed, name))
