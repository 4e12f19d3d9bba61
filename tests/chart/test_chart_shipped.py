"""The chart ships with the package, and Helm is what go.sum pins."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

import pytest

from pytest_costmgmt.resources import PACKAGE
from tests.chart import helm as building
from tests.chart.rendering import CHART, Helm

toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
ROOT = Path(__file__).resolve().parents[2]


def test_the_wheel_holds_the_chart() -> None:
    """The wheel takes along the folder that is tested here, to where it is looked for."""
    hatch = toml.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    taken = hatch["build"]["targets"]["wheel"]["force-include"]
    assert taken[f"charts/{CHART.name}"] == f"{PACKAGE.name}/charts/{CHART.name}"


def test_helm_is_the_pinned_one(helm: Helm) -> None:
    """What renders says the version that go.mod pins; Helm 3 is 3.17 or later."""
    said = helm.run("version", "--template", "{{.Version}}")
    major, minor, _ = (int(number) for number in said.removeprefix("v").split("."))
    text = (building.HERE / f"helm{major}" / "go.mod").read_text()
    assert re.search(rf"helm\.sh/helm/v{major} {re.escape(said)}$", text, re.MULTILINE)
    assert (major, minor) >= (3, 17)


def test_a_helm_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """COSTMGMT_HELM3 and COSTMGMT_HELM4 name programs, and nothing is built."""
    monkeypatch.setenv("COSTMGMT_HELM4", "/opt/helm")
    assert building.helm(4) == Path("/opt/helm")


def test_a_machine_that_can_get_no_go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Go, and without an index that brings one, the message says what to install."""
    for name in ("COSTMGMT_HELM3", "COSTMGMT_HELM4"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(building.CannotBuildError, match="Install Go, or name a Helm by"):
        building.helm(3)
