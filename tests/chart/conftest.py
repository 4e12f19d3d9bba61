"""Both Helms, and a cluster to look things up in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.chart.cluster_api import ClusterApi, Object, cluster_api
from tests.chart.helm import helm as built
from tests.chart.rendering import Helm

Cluster = Callable[..., ClusterApi]


@pytest.fixture(scope="session", params=[3, 4], ids=["helm3", "helm4"])
def helm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Helm:
    """Each of the two Helms that people have."""
    return Helm(built(request.param), tmp_path_factory.mktemp("helm"))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Return a function that serves objects as a cluster has them."""
    with ExitStack() as stack:

        def serve(*objects: Object, openshift: bool = False) -> ClusterApi:
            return stack.enter_context(cluster_api(tmp_path, objects, openshift=openshift))

        yield serve
