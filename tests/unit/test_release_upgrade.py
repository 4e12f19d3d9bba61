"""An image that stays the same is no upgrade to another, whatever Helm was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_costmgmt.facts.upgrades import Stage
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.servers.release_upgrade import IMAGE, RESOURCES, Upgrade, _Deeds


class Deeds(_Deeds):
    """Upgrades of which each leaves the pod with one image."""

    def __init__(self, ran: str, after: str) -> None:
        place = Place(namespace="cost-mgmt", kubeconfig="kubeconfig")
        self.wanted = Upgrade(place=place, chart="", run_id="1", key="k", tag="next")
        self.after = after
        self.stages = {RESOURCES: Stage(what=RESOURCES, image=ran)}

    def _stage(self, what: str, act: Callable[[], None]) -> None:
        assert callable(act)  # and is not called: there is no cluster
        self.stages[what] = Stage(what=what, image=self.after)


@pytest.mark.parametrize(
    ("after", "left_out"),
    [pytest.param("pg:2", False, id="another"), pytest.param("pg:1", True, id="the-same")],
)
def test_the_image_is_looked_at_after_the_upgrade(after: str, *, left_out: bool) -> None:
    """The tag that runs may be named, or the chart may not heed it: that is told."""
    deeds = Deeds("pg:1", after)
    deeds._other_image()  # noqa: SLF001 - the step alone
    assert bool(deeds.stages[IMAGE].left_out) is left_out
