"""A bootstrap that is killed in any phase is gone on with by the next one."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.bootstraps import Bootstrap, newest, prepared
from tests.cluster.testbed.bed import Bed

PHASES = ("credentials", "release", "helm", "pod", "initialize", "migrate")


@pytest.fixture
def bootstrap(bed: Bed, tmp_path: Path) -> Iterator[Bootstrap]:
    """A namespace with nothing in it."""
    with prepared(bed, tmp_path) as found:
        yield found


def test_killed_in_every_phase(bootstrap: Bootstrap, bed: Bed) -> None:
    """Each run is killed in the next phase, the last one ends well; nothing was made twice."""
    claims = set()
    for phase in PHASES:
        status, said = bootstrap.ended_in(phase, signal.SIGKILL)
        assert status == -signal.SIGKILL, f"in {phase}:\n{said}"
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


INTERRUPTED = (
    ("credentials", signal.SIGTERM),
    ("helm", signal.SIGINT),
    ("pod", signal.SIGTERM),
    ("initialize", signal.SIGINT),
    ("migrate", signal.SIGTERM),
    ("validate", signal.SIGINT),
)


def test_interrupted_in_every_phase(bootstrap: Bootstrap, bed: Bed) -> None:
    """It says so, lets the Lease go at once, leaves nothing half-made, and the next goes on."""
    space = bootstrap.namespace
    for phase, number in INTERRUPTED:
        status, said = bootstrap.ended_in(phase, number)
        assert status == 128 + number, f"in {phase}:\n{said}"
        assert "costmgmt: interrupted" in said
        assert "Traceback" not in said
        assert "Deployed, but not ready" not in said
        if " is made\n" in said:
            assert "goes on by itself; the next run joins it" in said
        lease = bed.get("lease", "costmgmt-bootstrap", space)
        assert "holderIdentity" not in lease["spec"], phase
    ended = bootstrap.run()
    assert "the run before ended in phase validate: going on from there" in ended.out
    assert int(bed.psql(space, "SELECT count(*) FROM django_migrations")) > 0
    jobs = [one["metadata"]["name"] for one in bed.list("job", space)]
    ours = [one for one in jobs if one.startswith("cost-mgmt-migration-")]
    assert len(ours) == 1, "it was joined, or seen to be done; none was made beside it"
    assert newest(bed, space) <= 2
    again = bootstrap.run()
    assert again.did("created") == again.did("changed") == []
