"""An image that stays the same is no upgrade to another, whatever Helm was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_costmgmt.facts.upgrades import Held, Stage
from pytest_costmgmt.kubernetes import helm
from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.servers.release_upgrade import IMAGE, RESOURCES, Upgrade, _Deeds
from tests.server.pod_api import pod_api


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


class Undone(Deeds):
    """A release of a chart of its own; nothing may be done to it."""

    def __init__(self, tmp_path: Path) -> None:
        super().__init__("pg:1", "pg:1")
        program = tmp_path / "helm"
        said = '[{"name": "r", "revision": "1", "status": "deployed", "chart": "all-1.0.0"}]'
        program.write_text(
            f"#!/bin/sh\ncase $1 in list) echo '{said}';; show) echo 'name: postgres';;"
            " *) exit 9;; esac\n"
        )
        program.chmod(0o755)
        found = access(kubeconfig=written(tmp_path), environ={})
        self.helm = helm.Helm(helm.Program(path=str(program), version="3.19.5"), found, "cost-mgmt")
        self.release, self.stages = "r", {}

    def _held(self) -> Held:
        return Held(row="", server="", claim="", secret="", opens=True, roles=(), extensions=())


def written(folder: Path) -> Path:
    """Return a kubeconfig of a cluster that nobody asks."""
    with pod_api() as cluster:
        return cluster.kubeconfig(folder / "kubeconfig")


def test_a_release_of_another_chart_is_refused(tmp_path: Path) -> None:
    """Ours would remove what that one has beyond it: no step is begun."""
    seen = Undone(tmp_path).all()
    assert "of chart all-1.0.0" in seen.error
    assert not seen.stages
