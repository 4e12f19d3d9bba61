"""Two runs in one namespace: what both may do at once they do, and what would disturb waits."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.facts.release import LEASE
from pytest_costmgmt.kubernetes.lease import confirm, held_lease
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place as Namespace
from pytest_costmgmt.servers.release import Attachment, attach
from pytest_costmgmt.servers.release_hold import hold
from tests.cluster.attach_bed import arguments, ended, judged
from tests.cluster.releases import Release
from tests.server import run_support
from tests.server.run_support import Place

PLAIN = {"CM-CON-008": "failed"}
GATE = ("--costmgmt-profile=release-gate", "--costmgmt-allow=disruptive")


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the runs."""
    with run_support.place() as found:
        yield found


def attached(release: Release, run: str, *, alone: bool = False) -> Attachment:
    """Attach as a run of its own does, with a probe; ``alone`` as a disruptive one."""
    where = Namespace(namespace=release.namespace, kubeconfig=str(release.bed.kubeconfig))
    found = hold if alone else lambda _: None
    return attach(where, load("koku-hive"), effect="probe", run=run, found=found)


def probes(release: Release, run: str) -> list[str]:
    """Return the uids of a run's probes that are there and to stay."""
    jobs = release.bed.list("job", release.namespace, f"cost-management/run={run}")
    return [j["metadata"]["uid"] for j in jobs if "deletionTimestamp" not in j["metadata"]]


def test_two_runs_at_once_say_the_same(judged_release: Release, prober: Path, place: Place) -> None:
    """Started together, each has its probe and its verdict, and the same one."""
    given = arguments(judged_release, prober)
    both = [run.finished() for run in (place.start(*given), place.start(*given))]
    for ran in both:
        ran.sound(0, "conformant", judged_release.password())
        assert ended(ran) == PLAIN
    assert both[0].outcomes == both[1].outcomes


def test_nothing_of_one_run_is_removed_by_another(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """One that is at work keeps its probe and its doors while another comes and goes."""
    with contextlib.closing(attached(judged_release, "aaaa1111")) as first:
        before = probes(judged_release, "aaaa1111")
        assert len(before) == 1
        ran = judged(place, judged_release, prober).sound(0, "conformant")
        assert "which a run that has ended left" not in ran.out
        assert probes(judged_release, "aaaa1111") == before
        with contextlib.closing(connect(first.require().application, deadline=10)) as opened:
            assert opened.execute("SELECT 1").fetchone() == (1,)


def test_a_disruptive_run_waits_for_one_that_judges(judged_release: Release, place: Place) -> None:
    """The other's probe is named and stays; no pod was touched, and the Lease is free again."""
    before = judged_release.identity()
    with contextlib.closing(attached(judged_release, "aaaa1111")):
        kept = probes(judged_release, "aaaa1111")
        ran = judged(place, judged_release, judged_release.bed.kubeconfig, *GATE)
        assert probes(judged_release, "aaaa1111") == kept
    ran.sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    assert "run aaaa1111" in ran.summary("CM-REL-001")
    assert judged_release.identity() == before
    spec = judged_release.bed.get("lease", LEASE, judged_release.namespace)["spec"]
    assert "holderIdentity" not in spec


BOTH = [
    pytest.param(GATE, id="disruptive", marks=pytest.mark.gate),
    pytest.param((), id="probe"),
]


@pytest.mark.parametrize("arguments_", BOTH)
def test_what_another_run_changes_is_not_judged(
    judged_release: Release, place: Place, arguments_: tuple[str, ...]
) -> None:
    """A bootstrap or another disruptive run holds the Lease: who and since when is told."""
    namespace = judged_release.namespace
    where = Namespace(namespace=namespace, kubeconfig=str(judged_release.bed.kubeconfig))
    with held_lease(where.api(), namespace, LEASE, run="bbbb2222") as lease:
        ran = judged(place, judged_release, judged_release.bed.kubeconfig, *arguments_)
        lease.check()
    ran.sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    for word in (LEASE, "run bbbb2222, renewed", "expires"):
        assert word in ran.summary("CM-REL-001")


def test_a_killed_run_holds_the_release_from_nobody(judged_release: Release, place: Place) -> None:
    """SIGKILL while it is held: the next run on this machine takes it over at once."""
    before = judged_release.identity()
    given = arguments(judged_release, judged_release.bed.kubeconfig)
    running = place.start(*given, *GATE)
    running.until_said("the release is held by Lease")
    running.process.kill()
    running.process.wait()
    with contextlib.closing(attached(judged_release, "cccc3333", alone=True)) as now:
        confirm(now.api, judged_release.namespace, LEASE, run="cccc3333")
    assert judged_release.identity() == before
