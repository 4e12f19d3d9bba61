"""A bootstrap that is killed in any phase is gone on with by the next one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.cluster.bootstraps import NOT_MIGRATED, Bootstrap, newest, prepared
from tests.cluster.testbed.bed import Bed

PHASES = ("credentials", "release", "helm", "pod", "initialize", "migrate")


@pytest.fixture
def bootstrap(bed: Bed, tmp_path: Path) -> Iterator[Bootstrap]:
    """A namespace with nothing in it."""
    with prepared(bed, tmp_path) as found:
        yield found


def reached(bootstrap: Bootstrap, phase: str) -> bool:
    """Say whether a run is in that phase by now."""
    if phase == "helm":
        return bool(bootstrap.note("helm"))
    return bootstrap.note("phase") == phase


def test_killed_in_every_phase(bootstrap: Bootstrap, bed: Bed) -> None:
    """Each run is killed in the next phase, the last one ends well; nothing was made twice."""
    claims = set()
    for phase in PHASES:
        status, said = bootstrap.ended_at(partial(reached, bootstrap, phase), signal.SIGKILL)
        assert status == -signal.SIGKILL, f"{phase} was never reached:\n{said}"
        claims |= {one["metadata"]["uid"] for one in bed.list("pvc", bootstrap.namespace)}
    ended = bootstrap.run()
    assert "the run before ended in phase migrate: going on from there" in ended.out
    space = bootstrap.namespace
    assert len(claims) == 1
    assert newest(bed, space) == 1
    assert int(bed.psql(space, "SELECT count(*) FROM django_migrations")) > 0
    secrets = {one["metadata"]["name"] for one in bed.list("secret", space)}
    assert secrets == {
        "postgres-credentials", "hive-credentials", "sh.helm.release.v1.cost-mgmt-infra.v1"
    }  # fmt: skip
    again = bootstrap.run()
    assert again.did("created") == again.did("changed") == []


def test_interrupted_it_says_so_and_lets_go(bootstrap: Bootstrap, bed: Bed) -> None:
    """After SIGTERM the Lease is free at once, and the next run goes on."""
    at = partial(reached, bootstrap, "pod")
    status, said = bootstrap.ended_at(at, signal.SIGTERM, values=NOT_MIGRATED)
    assert status == 128 + signal.SIGTERM, said
    assert "interrupted" in said
    lease = bed.get("lease", "costmgmt-bootstrap", bootstrap.namespace)
    assert "holderIdentity" not in lease["spec"]
    bootstrap.deployed()
