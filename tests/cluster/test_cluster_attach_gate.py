"""The whole suite over a release, disruptive checks too: nothing skipped, nothing unverifiable."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.facts.release import LEASE
from tests.chart.helm import helm
from tests.cluster.attach_bed import arguments, ended, healthy
from tests.cluster.releases import published
from tests.cluster.testbed.bed import Bed
from tests.server import run_support
from tests.server.run_support import Place

MANAGE = Path(__file__).parents[2] / "examples" / "django-project" / "manage.py"


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def test_a_release_passes_the_gate(bed: Bed, place: Place) -> None:
    """Initialized again, backed up, restored, its pod deleted, upgraded and rolled back.

    By who has the published Role and nothing else; afterwards the release is held by nobody.
    """
    programs = place.folder / "programs"
    programs.mkdir()
    (programs / "helm").symlink_to(helm(3))
    path = {**bed.environment()}["PATH"]
    with healthy(bed) as release:
        before = release.identity()
        role = published("check-disruptive")
        who = bed.account(release.namespace, "disrupter", role)
        ran = place.run(
            *arguments(release, who),
            "--costmgmt-profile=release-gate", "--costmgmt-allow=disruptive",
            "--costmgmt-upgrade-tag=next", "--costmgmt-accept-disk-risk=yes",
            f"--costmgmt-manage={shlex.join([sys.executable, str(MANAGE)])}",
            environ={"PATH": f"{programs}:{path}"},
        )  # fmt: skip
        after = release.identity()
        named = "SELECT string_agg(datname, ' ' ORDER BY datname) FROM pg_database"
        databases = release.psql(named)
        lease = bed.get("lease", LEASE, release.namespace)["spec"]
    ran.sound(0, "conformant")
    assert ended(ran) == {"CM-CON-008": "failed"}
    assert {id_ for id_ in ran.outcomes if id_.startswith("CM-UPG")} >= {"CM-UPG-001"}
    assert before[0] != after[0]
    assert before[1:] == after[1:]
    assert "holderIdentity" not in lease
    assert databases == "hive koku postgres template0 template1"
