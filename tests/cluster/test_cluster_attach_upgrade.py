"""The release is upgraded on purpose, by good charts and by bad ones: what each leaves is told."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.facts.upgrades import Upgrades
from pytest_costmgmt.judge import upgrade as judge
from pytest_costmgmt.kubernetes import helm
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.servers.release import attach
from pytest_costmgmt.servers.release_hold import hold
from pytest_costmgmt.servers.release_upgrade import Upgrade, Upgrading
from tests.chart.helm import helm as helm_program
from tests.chart.rendering import CHART
from tests.cluster.releases import Release, fresh
from tests.cluster.testbed.bed import Bed

EACH = ("the same values", "the same values again", "other resources", "another image tag",
        "rollback")  # fmt: skip
WIPE = """
      initContainers:
        - name: wipe
          image: {{ include "cmi.postgresqlImage" . | quote }}
          imagePullPolicy: IfNotPresent
          command: [sh, -c, rm -rf /var/lib/pgsql/data/userdata]
          securityContext:
            {{- include "cmi.containerSecurity" . | nindent 12 }}
          volumeMounts:
            - name: postgresql-data
              mountPath: /var/lib/pgsql/data
"""


@pytest.fixture
def release(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> Iterator[Release]:
    """A release that is ready; Helm is found, and finds the bed."""
    program = helm.Program(path=str(helm_program(3)), version="3.19.5")
    monkeypatch.setattr(helm, "find", lambda *_, **__: program)
    with fresh(bed, "--set=postgresql.major=15", name="upgrade") as made:
        yield made


def upgraded(release: Release, chart: Path, *, tag: str = "next") -> tuple[ReleaseFacts, Upgrades]:
    """Do all of it with this chart; return the release's facts, and what came of it."""
    place = Place(namespace=release.namespace, kubeconfig=str(release.bed.kubeconfig))
    wanted = Upgrade(place=place, chart=str(chart), run_id="0a1b2c3d", key="00", tag=tag)
    acting = attach(place, load("koku-hive"), effect="probe", run=wanted.run_id)
    with contextlib.closing(acting) as attached:
        hold(attached)
        found = ReleaseFacts(objects=attached.objects)
        return found, Upgrading(wanted, attached.require())()


def failing(found: ReleaseFacts, seen: Upgrades) -> dict[str, tuple[str, ...]]:
    """Return what each step's judgement says against it."""
    judged = {name: judge.kept(found, lambda: seen, name) for name in EACH}
    return {
        name: tuple(each.summary for each in one.findings)
        for name, one in judged.items()
        if one.findings
    }


def test_a_release_of_another_chart_is_left_alone(release: Release, tmp_path: Path) -> None:
    """A chart of another name would remove what it does not render: nothing is upgraded."""
    other = tmp_path / "other"
    shutil.copytree(CHART, other)
    described = other / "Chart.yaml"
    described.write_text(described.read_text().replace("name: ", "name: other-", 1))
    _, seen = upgraded(release, other)
    assert "--costmgmt-chart" in seen.error
    assert not seen.stages
    revisions = release.bed.list("secret", release.namespace, f"owner=helm,name={release.name}")
    assert len(revisions) == 1


def test_the_bundled_chart_keeps_everything(release: Release) -> None:
    """Twice the same, other resources, another image, and back: all is as it was."""
    claim, server = release.identity()[1:]
    found, seen = upgraded(release, CHART)
    assert seen.error == ""
    assert failing(found, seen) == {}
    assert not [each for each in seen.stages.values() if each.left_out]
    assert seen.stages["another image tag"].image.endswith(":next")
    assert not seen.stages["rollback"].image.endswith(":next")
    assert judge.growth(found, lambda: seen, "a larger volume").findings == ()
    assert release.identity()[1:] == (claim, server)


def test_a_chart_that_makes_the_password_anew_is_told(release: Release, tmp_path: Path) -> None:
    """And a size that nobody refuses, before Kubernetes does."""
    chart = copied(tmp_path)
    replace(chart / "templates" / "secret.yaml", "$kept.data.password }}",
            "(randAlphaNum 32 | b64enc) }}")  # fmt: skip
    guards = chart / "templates" / "_guards.tpl"
    text = guards.read_text().replace("--cascade=orphan", "--now")
    guards.write_text(text)
    found, seen = upgraded(release, chart, tag="")
    told = failing(found, seen)["the same values"]
    assert any(each.startswith("the password in the Secret changed") for each in told)
    assert judge.growth(found, lambda: seen, "a larger volume").findings
    assert judge.kept(found, lambda: seen, "another image tag").unverified


def test_resources_that_a_chart_does_not_heed_are_no_upgrade(
    release: Release, tmp_path: Path
) -> None:
    """It is upgraded, and the pod stays: that is told, and no other step suffers from it."""
    chart = copied(tmp_path)
    replace(chart / "templates" / "statefulset.yaml",
            "{{- toYaml $postgresql.resources | nindent 12 }}",
            "{requests: {cpu: 20m, memory: 64Mi}, limits: {memory: 512Mi}}")  # fmt: skip
    found, seen = upgraded(release, chart)
    assert failing(found, seen) == {}
    judged = {name: judge.kept(found, lambda: seen, name) for name in EACH}
    assert [name for name, one in judged.items() if one.unverified] == ["other resources"]
    assert "cpu 20m" in judged["other resources"].unverified[0].what


def test_resources_that_a_chart_does_not_know_are_no_fault(
    release: Release, tmp_path: Path
) -> None:
    """Its schema refuses the value, in Helm's words: nothing was tried."""
    chart = copied(tmp_path)
    schema = json.loads((chart / "values.schema.json").read_text())
    own = schema["properties"]["postgresql"]["properties"]["resources"]
    rule = {"not": {"required": ["requests"], "properties": {"requests": {"properties": {
        "cpu": {"enum": ["19m"]}}, "required": ["cpu"]}}}}  # fmt: skip
    schema["properties"]["postgresql"]["properties"]["resources"] = {"allOf": [own, rule]}
    (chart / "values.schema.json").write_text(json.dumps(schema))
    found, seen = upgraded(release, chart)
    assert failing(found, seen) == {}
    judged = judge.kept(found, lambda: seen, "other resources")
    assert "does not take the value" in judged.unverified[0].what


def test_a_chart_that_wipes_is_told_by_each_step(release: Release, tmp_path: Path) -> None:
    """The pod comes back ready, and empty."""
    chart = copied(tmp_path)
    replace(chart / "templates" / "statefulset.yaml", "\n      initContainers:\n", WIPE)
    found, seen = upgraded(release, chart)
    told = failing(found, seen)
    assert set(told) == set(EACH)
    for each in told.values():
        assert any(line.startswith("the server's system_identifier changed") for line in each)


def copied(folder: Path) -> Path:
    """Return a copy of the chart, to be spoilt."""
    chart = folder / CHART.name
    shutil.copytree(CHART, chart)
    return chart


def replace(file: Path, old: str, new: str) -> None:
    """Replace what must be there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
