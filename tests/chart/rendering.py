"""The chart as data: what Helm renders of it, read as YAML, or what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from pytest_costmgmt.resources import resource
from tests.chart.cluster_api import ClusterApi

CHART = resource("charts/cost-management-infrastructure")
RELEASE = "cost-mgmt-infra"
NAMESPACE = "cost-mgmt"
OPENSHIFT = ("--api-versions", "security.openshift.io/v1")

Values = Mapping[str, Any]


class RefusedError(AssertionError):
    """Helm rendered nothing; the text is what it told the person."""


class Strict(yaml.SafeLoader):
    """Refuses what a server refuses and PyYAML reads over: a key that stands twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Read a mapping, each key once."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key stands twice: {sorted(keys)}"
        return super().construct_mapping(node, deep)


class Rendered(NamedTuple):
    """The objects of one rendering, in its order."""

    objects: list[dict[str, Any]]

    def names(self) -> set[tuple[str, str]]:
        """Kinds and names, all there are."""
        return {(item["kind"], item["metadata"]["name"]) for item in self.objects}

    def one(self, kind: str, name: str = "postgres") -> dict[str, Any]:
        """Return the only object of that kind and name."""
        found = [
            item
            for item in self.objects
            if (item["kind"], item["metadata"]["name"]) == (kind, name)
        ]
        assert len(found) == 1, f"{len(found)} of {kind} {name} in {sorted(self.names())}"
        return found[0]

    def without(self, kind: str) -> list[dict[str, Any]]:
        """All objects but those of a kind."""
        return [item for item in self.objects if item["kind"] != kind]

    def pods(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every pod's or pod template's owner, and its metadata and spec."""
        for item in self.objects:
            name = f"{item['kind']} {item['metadata']['name']}"
            match item["kind"]:
                case "StatefulSet":
                    yield name, item["spec"]["template"]
                case "CronJob":
                    yield name, item["spec"]["jobTemplate"]["spec"]["template"]
                case "Pod":
                    yield name, item

    def server(self) -> dict[str, Any]:
        """Return the database's container."""
        (found,) = self.one("StatefulSet")["spec"]["template"]["spec"]["containers"]
        return dict(found)

    def migration(self) -> dict[str, Any]:
        """Return the migration's container."""
        job = self.one("CronJob", "cost-mgmt-migration")["spec"]["jobTemplate"]
        return dict(job["spec"]["template"]["spec"]["containers"][0])


def environment(container: Mapping[str, Any]) -> dict[str, Any]:
    """A container's variables: the value, or (Secret, key)."""
    found: dict[str, Any] = {}
    for variable in container["env"]:
        reference = variable.get("valueFrom", {}).get("secretKeyRef")
        value = (reference["name"], reference["key"]) if reference else variable.get("value")
        assert variable["name"] not in found, f"{variable['name']} stands twice"
        found[variable["name"]] = value
    return found


def _read(text: str) -> Rendered:
    return Rendered([item for item in yaml.load_all(text, Loader=Strict) if item])


def _against(cluster: ClusterApi) -> tuple[str, ...]:
    told = ("--dry-run=server", "--disable-openapi-validation")
    return (*told, "--kubeconfig", str(cluster.kubeconfig))


class Helm:
    """One Helm, with a home of its own and no cluster but the one that is given."""

    def __init__(self, program: Path, home: Path) -> None:
        self.program, self.home = program, home
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "KUBECONFIG": str(home / "none"),
        }

    def run(self, *arguments: str, values: Values | None = None) -> str:
        """Return what it printed. Raises RefusedError with its message."""
        done = subprocess.run(
            [self.program, *arguments, *(("-f", "-") if values is not None else ())],
            input=json.dumps(values) if values is not None else None,
            capture_output=True,
            text=True,
            check=False,
            env=self.environment,
            cwd=self.home,
        )
        if done.returncode:
            raise RefusedError(done.stderr)
        return done.stdout

    def render(
        self,
        values: Values | None = None,
        *,
        release: str = RELEASE,
        flags: Sequence[str] = (),
        cluster: ClusterApi | None = None,
        upgrade: bool = False,
    ) -> Rendered:
        """Render offline, or against a cluster, as for an install or an upgrade."""
        text = self.run(
            *("template", release, str(CHART), "-n", NAMESPACE, *flags),
            *(("--is-upgrade",) if upgrade else ()),
            *(_against(cluster) if cluster else ()),
            values=values or {},
        )
        return _read(text)

    def install(self, cluster: ClusterApi, values: Values | None = None) -> tuple[Rendered, str]:
        """Return what an install would make, and what a person would read after it.

        Helm 3's template asks a cluster for objects only, never for its APIs: an install does.
        """
        told = self.run(
            *("install", RELEASE, str(CHART), "-n", NAMESPACE, "-o", "json"),
            *_against(cluster),
            values=values or {},
        )
        made = json.loads(told)
        return _read(made.get("manifest", "")), str(made["info"]["notes"])
