"""The cluster that these tests run on: KUBECONFIG's, else one made here and gone after."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.cluster.testbed import bed as testbed
from tests.cluster.testbed.bed import Bed, Node


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
