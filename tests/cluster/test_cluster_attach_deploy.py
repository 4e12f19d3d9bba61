"""A release that a run deploys, judges and removes; and what it leaves alone."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.attach_bed import ended
from tests.cluster.testbed.bed import Bed, CommandFailed
from tests.server import run_support
from tests.server.run_support import Place

VALUES = {
    "postgresql": {
        "major": 15,
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
    },
    "migration": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}},
}


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def deployed(place: Place, bed: Bed, namespace: str, *more: str) -> run_support.Ran:
    """Deploy into a namespace, judge and remove it; Helm of the tests is in PATH."""
    from tests.chart.helm import helm  # noqa: PLC0415 - made when first asked

    programs = place.folder / "programs"
    programs.mkdir()
    (programs / "helm").symlink_to(helm(3))
    values = place.folder / "values.yaml"
    values.write_text(json.dumps(VALUES))
    path = {**bed.environment()}["PATH"]
    return place.run(
        f"--costmgmt-namespace={namespace}", f"--costmgmt-kubeconfig={bed.kubeconfig}",
        "--costmgmt-deploy", f"--costmgmt-values={values}", *more,
        environ={"PATH": f"{programs}:{path}"},
    )  # fmt: skip


def test_it_makes_a_namespace_and_removes_it(bed: Bed, place: Place) -> None:
    """From nothing to a verdict by profile full, and nothing is left."""
    name = f"deploy-{secrets.token_hex(3)}"
    ran = deployed(place, bed, name)
    told = ended(ran)
    assert told.keys() <= {"CM-CON-008", "CM-REL-006", "CM-INI-001", "CM-INI-002"}, ran.said
    assert ran.report["profile"] == "full"
    assert ran.outcomes["CM-SEC-007"] == "passed"
    assert ran.outcomes["CM-BKP-005"] == "passed"
    assert ran.outcomes["CM-MIG-002"] == "passed"

    def gone() -> bool:
        try:
            return "deletionTimestamp" in bed.get("ns", name)["metadata"]
        except CommandFailed:
            return True

    bed.until("the namespace's end", gone)
    assert Path(bed.kubeconfig).exists()


def test_a_namespace_that_is_not_empty_is_left_alone(bed: Bed, place: Place) -> None:
    """One error that names what is there; it is there afterwards."""
    with bed.namespace("occupied") as namespace:
        bed.kubectl("create", "secret", "generic", "somebodys", "-n", namespace)
        ran = deployed(place, bed, namespace).sound(8, "inconclusive")
        assert "secrets somebodys" in ran.summary("CM-REL-001")
        assert bed.get("secret", "somebodys", namespace)
        assert bed.list("pods", namespace) == []
