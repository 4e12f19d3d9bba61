"""The chart without a cluster: it lints, and renders the same each time."""

from __future__ import annotations

import pytest

from tests.chart.rendering import CHART, OPENSHIFT, Helm, RefusedError
from tests.chart.test_chart_objects import EVERYTHING
from tests.chart.test_chart_values import OUTSIDE


@pytest.mark.parametrize("values", [{}, EVERYTHING, OUTSIDE], ids=["default", "all", "outside"])
def test_lint(helm: Helm, values: dict[str, object]) -> None:
    """`helm lint --strict` finds nothing, offline."""
    assert "0 chart(s) failed" in helm.run("lint", "--strict", str(CHART), values=values)


def test_lint_finds_something(helm: Helm) -> None:
    """`helm lint --strict` would say so."""
    with pytest.raises(RefusedError):
        helm.run("lint", "--strict", str(CHART), values={"postgresql": {"major": 14}})


@pytest.mark.parametrize("flags", [(), OPENSHIFT], ids=["kubernetes", "openshift"])
def test_two_renders_are_equal(helm: Helm, flags: tuple[str, ...]) -> None:
    """Offline nothing is made up: two renders are equal, the Secret too."""
    assert helm.render(EVERYTHING, flags=flags) == helm.render(EVERYTHING, flags=flags)


def test_offline_secret_has_no_password(helm: Helm) -> None:
    """Rendered without a cluster the Secret has no password key, even if told of the API."""
    # As Argo CD does: it knows the API's kinds, but `lookup` finds nothing.
    for flags in ((), ("--api-versions", "v1/Secret,apps/v1/StatefulSet")):
        for upgrade in (False, True):
            secret = helm.render(flags=flags, upgrade=upgrade).one("Secret", "postgres-credentials")
            assert set(secret["data"]) == {"database", "username"}
            assert "stringData" not in secret
            assert secret["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}


def test_nothing_is_made_up_elsewhere() -> None:
    """Only the Secret's template may make a password; nothing asks for the time."""
    made_up = ("now", "rand", "uuidv4", "genCA", "genSelfSigned", "genSigned", "genPrivate", "date")
    found = {
        (path.name, word)
        for path in (CHART / "templates").rglob("*")
        if path.is_file() and path.name != "NOTES.txt"
        for line in path.read_text().split("{{")[1:]
        for word in line.partition("}}")[0].replace("(", " ").replace('"', " ").split()
        if word.startswith(made_up)
    }
    assert found == {("secret.yaml", "randAlphaNum")}
