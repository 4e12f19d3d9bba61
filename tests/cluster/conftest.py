"""The cluster that these tests run on: KUBECONFIG's, else one made here and gone after."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.attach_bed import checker, healthy
from tests.cluster.releases import Release
from tests.cluster.testbed import bed as testbed
from tests.cluster.testbed.bed import Bed, Node

BEDS = 5
"Beds side by side, one a worker: more than half of a test is waiting for a pod."


LONGEST = (
    "attach_faults", "bootstrap_migration", "start", "migration", "bootstrap_refused", "deploy",
    "attach_orphans", "move", "bootstrap_killed", "attach_upgrade", "upgrade", "attach_fixes",
)  # fmt: skip
"""Whose tests wait longest, by file: begun last, they would be waited for by all others."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest; `--no-loadscope-reorder` has xdist keep to it."""
    order = {f"test_cluster_{name}": place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` is here; a cluster that was given is one for all."""
    return 1 if "KUBECONFIG" in os.environ else BEDS


@pytest.fixture(scope="session")
def bed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A cluster, as its administrator has it."""
    if (given := testbed.given(tmp_path_factory.mktemp("bed"))) is not None:
        yield given
        return
    with testbed.made() as made:
        yield made


@pytest.fixture(scope="session")
def node(bed: Bed) -> Node:
    """The node of a bed of our own; a cluster that was given has none to play with."""
    if bed.node is None:
        pytest.skip(f"KUBECONFIG={os.environ['KUBECONFIG']} names somebody's cluster")
    return bed.node


@pytest.fixture(scope="session")
def judged_release(bed: Bed) -> Iterator[Release]:
    """A release as bootstrap leaves it, for tests that leave it so: one for all of them."""
    with healthy(bed) as made:
        yield made


@pytest.fixture(scope="session")
def prober(judged_release: Release) -> Path:
    """Who may there what the effect probe takes, read hive's Secret, and nothing else."""
    return judged_release.bed.account(judged_release.namespace, "prober", checker())
