"""A run that is killed leaves a probe: the cluster removes it by itself, a next run at once."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from tests.cluster.releases import Release

DEADLINE = 20
PATIENCE = 45
"What a controller may take on a busy machine, beyond what was promised."
RUN = """
import sys, time
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place, ProbeWishes
from pytest_costmgmt.servers.release import attach

place = Place(namespace=sys.argv[1], kubeconfig=sys.argv[2])
wishes = ProbeWishes(seconds=int(sys.argv[3]))
attached = attach(place, load("koku-hive"), effect="probe", wishes=wishes)
print(attached.probe.name, flush=True)
time.sleep(3600)
"""


def killed(release: Release, kubeconfig: Path, seconds: int) -> str:
    """Attach in a process, and end that as nothing can be prepared for; return its probe's name."""
    command = [sys.executable, "-c", RUN, release.namespace, str(kubeconfig), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        process.kill()
    assert name.startswith("costmgmt-probe-")
    return name


def left(release: Release, name: str) -> list[str]:
    """Return what is there of a probe, also what is on its way out."""
    found = release.bed.list("job,pod", release.namespace, f"cost-management/probe={name}")
    return [f"{each['kind']}/{each['metadata']['name']}" for each in found]


def test_the_cluster_removes_it_within_its_deadline_and_a_minute(
    judged_release: Release, prober: Path
) -> None:
    """Nobody of ours looks: pod and Job go by the Job's own deadline and its time to live."""
    name = killed(judged_release, prober, DEADLINE)
    job = judged_release.bed.get("job", name, judged_release.namespace)
    assert job["spec"]["activeDeadlineSeconds"] <= DEADLINE
    begun = datetime.fromisoformat(job["metadata"]["creationTimestamp"].replace("Z", "+00:00"))
    assert f"Job/{name}" in left(judged_release, name)
    promised = begun + timedelta(seconds=DEADLINE + 60)
    end = promised + timedelta(seconds=PATIENCE)
    while there := left(judged_release, name):
        assert datetime.now(timezone.utc) < end, there
        time.sleep(0.5)


@pytest.mark.parametrize("seconds", [900])
def test_the_next_run_removes_it_at_once(
    judged_release: Release, prober: Path, seconds: int
) -> None:
    """On this machine it is known that its run has ended; long before the cluster would."""
    name = killed(judged_release, prober, seconds)
    other = killed(judged_release, prober, seconds)
    judged_release.bed.until(
        "the first one's end", lambda: not left(judged_release, name), seconds=PATIENCE
    )
    assert left(judged_release, other), "nobody came after it yet"
    last = killed(judged_release, prober, DEADLINE)
    judged_release.bed.until(
        "the second one's end", lambda: not left(judged_release, other), seconds=PATIENCE
    )
    judged_release.bed.kubectl("delete", "job", last, "-n", judged_release.namespace)
