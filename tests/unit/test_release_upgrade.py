"""What stays the same is no upgrade to another, whatever Helm was asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.facts.upgrades import Held, Stage, Upgrades
from pytest_costmgmt.judge import upgrade
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.kubernetes import helm, shapes_read
from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.trouble import HelmFailed
from pytest_costmgmt.servers import release_upgrade
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.servers.release_upgrade import (
    AGAIN,
    IMAGE,
    RESOURCES,
    SAME,
    Upgrade,
    _Deeds,
)
from tests import release_objects as made
from tests.server.pod_api import pod_api
from tests.unit.release_faults import facts as release_facts
from tests.unit.release_faults import outcome, raw


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


HELD = Held(row="r", server="7", claim="c", secret="s", opens=True, roles=(), extensions=())
TAKEN = {"postgresql": {"resources": {"requests": {"cpu": "499m"}}}}
SCHEMA = (
    "helm upgrade failed; it said:\nError: UPGRADE FAILED: values don't meet the specifications of"
    " the schema(s) in the following chart(s):\npostgres:\n- at '/postgresql': additional"
    " properties 'resources' not allowed"
)


class Charted(_Deeds):
    """All upgrades of a release whose chart takes the values that ``heeds`` says."""

    def __init__(self, heeds: tuple[str, ...], *, refuses: str = "", asks: str = "500m") -> None:
        self.heeds, self.refuses, self.release = heeds, refuses, "r"
        self.pod = {"cpu": asks, "image": "pg:1"}
        self.stages = {}
        self.upgraded: list[object] = []
        place = Place(namespace="cost-mgmt", kubeconfig="kubeconfig")
        self.wanted = Upgrade(place=place, chart="", run_id="1", key="k", tag="2")
        described = made.stateful_set()
        (container,) = described["spec"]["template"]["spec"]["containers"]
        container["resources"]["requests"]["cpu"] = asks
        self.objects = facts.Objects(
            namespace="cost-mgmt", stateful_set=shapes_read.stateful_set(described)
        )

    def acted(self) -> Upgrades:
        """Do what is done between the first look and the rollback."""
        self._stage(SAME, self._upgrade)
        self._stage(AGAIN, self._upgrade)
        self._other_resources()
        self._other_image()
        return Upgrades(before=HELD, stages=self.stages)

    def _upgrade(self, values: Mapping[str, Any] | None = None) -> None:
        self.upgraded.append(values)
        given = (values or {}).get("postgresql", {})
        if self.refuses in given:
            raise HelmFailed(SCHEMA, status=1)
        if "resources" in given and "resources" in self.heeds:
            self.pod["cpu"] = given["resources"]["requests"]["cpu"]
        if "image" in given and "image" in self.heeds:
            self.pod["image"] = f"pg:{given['image']['tag']}"

    def _settled(self) -> tuple[str, str]:
        return self.pod["image"], self.pod["cpu"]

    def _held(self) -> Held:
        return HELD


@pytest.fixture
def unheld(monkeypatch: pytest.MonkeyPatch) -> None:
    """Confirm no Lease: there is no cluster."""
    monkeypatch.setattr(release_upgrade, "confirm", lambda *_, **__: None)
    monkeypatch.setattr(Charted, "reader", Reader(cast(Api, None), "cost-mgmt"), raising=False)


BOTH = ("resources", "image")


@pytest.mark.usefixtures("unheld")
@pytest.mark.parametrize(
    ("deeds", "resources", "image"),
    [
        pytest.param(Charted(BOTH), "passed", "passed", id="heeds-both"),
        pytest.param(Charted(("image",)), "unverifiable", "passed", id="no-resources"),
        pytest.param(Charted(("resources",)), "passed", "unverifiable", id="no-image"),
        pytest.param(Charted(()), "unverifiable", "unverifiable", id="neither"),
        pytest.param(Charted(BOTH, refuses="resources"), "unverifiable", "passed", id="unknown"),
        pytest.param(
            Charted((), refuses="resources"), "unverifiable", "unverifiable",
            id="unknown-and-no-image",
        ),
        pytest.param(Charted(BOTH, refuses="image"), "passed", "unverifiable", id="unknown-image"),
    ],
)  # fmt: skip
def test_what_a_chart_does_not_heed_was_not_tried(
    deeds: Charted, resources: str, image: str
) -> None:
    """A pod that was not replaced shows nothing: that is neither a pass nor a fault."""
    seen = deeds.acted()
    there = release_facts(raw())

    def judged(name: str) -> Callable[[ReleaseFacts], Judgement]:
        return lambda found: upgrade.kept(found, lambda: seen, name)

    assert outcome(judged(RESOURCES), there) == resources
    assert outcome(judged(IMAGE), there) == image
    assert deeds.upgraded[2] == TAKEN


@pytest.mark.usefixtures("unheld")
def test_other_resources_that_are_refused_otherwise_are_told() -> None:
    """Only what the chart's schema says is about the value itself."""
    deeds = Charted(BOTH)

    def refused(values: Mapping[str, Any] | None = None) -> None:
        if values is not None:
            raise HelmFailed("exceeded quota", status=1)

    deeds._upgrade = refused  # type: ignore[method-assign] # noqa: SLF001 - Helm's own part
    assert "exceeded quota" in deeds.acted().stages[RESOURCES].refused


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
