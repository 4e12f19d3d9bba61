"""Migrations: one that goes wrong ends by itself, its log and status say why, the next goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.releases import SMALL, Release, fresh
from tests.cluster.testbed.bed import Bed, Object

HALF = """
import subprocess, sys
done = subprocess.run([sys.executable, "koku/manage.py", "migrate", "--noinput", "api", "0001"])
sys.exit(done.returncode or "stopped half way")
"""
MAJOR = "--set=postgresql.major=15"
EATS = "held = [bytearray(1 << 20) for _ in range(4096)]"


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """A release that nobody has migrated yet."""
    with fresh(bed, MAJOR, name="migration") as release:
        release.initialize()
        yield release


def command(*words: str) -> str:
    """Return the option that has a migration run this."""
    return f"--set-json=migration.command={json.dumps(words)}"


def ended(release: Release, name: str, *options: str, deadline: int = 0) -> tuple[str, str, Object]:
    """Migrate with those options; return how the Job ended, its log, and its container's end.

    A ``deadline`` comes sooner than the chart lets one be.
    """
    bed, namespace = release.bed, release.namespace
    release.install(*SMALL, MAJOR, *options)
    release.migrate(name)
    if deadline:
        sooner = json.dumps({"spec": {"activeDeadlineSeconds": deadline}})
        bed.kubectl("patch", "job", name, "--type=merge", "-p", sooner, "-n", namespace)
    bed.until("the Job's end", lambda: release.ended(name), seconds=600)
    conditions = bed.get("job", name, namespace)["status"]["conditions"]
    reasons = [one["reason"] for one in conditions if one["type"] in {"Failed", "Complete"}]
    log = bed.tell("logs", f"job/{name}", "-n", namespace)
    pods = bed.list("pods", namespace, f"job-name={name}")
    states = [one["status"].get("containerStatuses", [{}])[0].get("state", {}) for one in pods]
    return reasons[0], log, states[0] if states else {}


def test_one_that_fails(release: Release) -> None:
    """Its own words are in the log, then its status; it is not tried again."""
    fails = "import sys; print('no such column', file=sys.stderr); sys.exit(3)"
    reason, log, state = ended(release, "fails", command("python", "-c", fails))
    assert reason == "BackoffLimitExceeded"
    assert "no such column" in log
    assert "the migration command failed with status 3: see its last lines above" in log
    assert state["terminated"]["exitCode"] == 1
    assert len(release.bed.list("pods", release.namespace, "job-name=fails")) == 1


def test_one_that_hangs(release: Release) -> None:
    """The Job's deadline ends it, and it leaves no lock behind."""
    hangs = command("python", "-c", "import time; time.sleep(86400)")
    reason, _, _ = ended(release, "hangs", hangs, deadline=15)
    assert reason == "DeadlineExceeded"
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    release.bed.until("its lock to be free", lambda: release.psql(locks) == "0")


def test_one_that_takes_too_much_memory(release: Release) -> None:
    """Whether the command or all of it was killed, the end says that it was for want of memory."""
    eats = command("python", "-c", EATS)
    limit = "--set=migration.resources.limits.memory=128Mi"
    reason, log, state = ended(release, "eats", eats, limit)
    assert reason == "BackoffLimitExceeded"
    assert "(killed: out of memory?)" in log or state["terminated"]["reason"] == "OOMKilled"


def test_an_image_that_does_not_exist(release: Release) -> None:
    """The pod's event says which, and the Job's deadline ends the wait."""
    reason, _, _ = ended(release, "missing", "--set=migration.image.tag=gone", deadline=20)
    assert reason == "DeadlineExceeded"
    events = release.bed.list("events", release.namespace)
    told = [one["message"] for one in events if one["involvedObject"]["name"].startswith("missing")]
    assert any("quay.io/insights-onprem/koku:gone" in each for each in told)


def test_one_that_stops_half_way_is_finished_by_the_next(release: Release) -> None:
    """What was migrated stays, the next run does the rest."""
    reason, log, _ = ended(release, "half", command("python", "-c", HALF))
    assert (reason, "stopped half way" in log) == ("BackoffLimitExceeded", True)
    asked = "SELECT count(*) FROM django_migrations WHERE app = 'api'"
    half = int(release.psql(asked))
    assert half >= 1
    reason, log, _ = ended(release, "rest")
    assert reason in {"CompletionsReached", "Complete"}, log
    assert "connected as koku at postgres:5432, database koku" in log
    assert "cost-mgmt-migration: migrated in " in log
    assert int(release.psql(asked)) > half


def test_two_at_once_migrate_one_after_the_other(release: Release) -> None:
    """A Job may start its pod twice: the second waits for the lock of the first, and says so."""
    slow = "import time; time.sleep(20)"
    release.install(*SMALL, MAJOR, command("python", "-c", slow))
    bed, namespace = release.bed, release.namespace
    release.migrate("first")
    told = "migrating: python"
    bed.until("the first", lambda: told in bed.tell("logs", "job/first", "-n", namespace))
    release.migrate("second")
    bed.until("both", lambda: release.ended("first") and release.ended("second"))
    assert (release.ended("first"), release.ended("second")) == ("Complete", "Complete")
    log = bed.kubectl("logs", "job/second", "-n", namespace)
    waits, migrates = log.index("another migration runs"), log.index("migrating: ")
    assert waits < migrates
