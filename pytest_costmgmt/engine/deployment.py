"""A release that this run deploys, judges and removes: in an empty namespace, or in one it makes.

Deploying is what ``costmgmt bootstrap --namespace`` does. What is made carries the run's id and
its expiry, so that a later run removes what a killed one left.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

from pytest_costmgmt.engine import release_bootstrap
from pytest_costmgmt.errors import CostMgmtError, ProvisionFailed
from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.initialize.deploy_site import HIVE_SECRET
from pytest_costmgmt.kubernetes import helm
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import Reader, path_of
from pytest_costmgmt.kubernetes.trouble import AccessDenied
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.settings import Settings, environment

Say = Callable[[str], None]

NAMESPACES = "/api/v1/namespaces"
RUN, EXPIRES = "cost-management/run", "cost-management/expires"
MANAGED = {"app.kubernetes.io/managed-by": "pytest-costmgmt", "cost-management/kind": "deployment"}
LIFE = timedelta(hours=6)
"How long a deployment may stay if nobody removes it."


class Deployment:
    """One deployment. ``made`` says whether the namespace is this run's."""

    def __init__(self, settings: Settings, place: Place, run_id: str, *, say: Say) -> None:
        self.settings, self.place, self.run_id, self.say = settings, place, run_id, say
        self.made = self.begun = False

    def up(self) -> None:
        """Deploy into the namespace, which must be empty. Raises CostMgmtError."""
        api = self.place.api()
        self._sweep(api)
        reader = Reader(api, self.place.namespace)
        if reader.namespace_seen().exists is False:
            self._make(api)
        elif found := list(_occupied(reader)):
            raise ProvisionFailed(
                f"Namespace {self.place.namespace} is not empty ({', '.join(found)}), and"
                " --costmgmt-deploy removes what it deploys.",
                hint="Name one that is empty or does not exist; or leave --costmgmt-deploy out, to"
                " judge what is there.",
            )
        self.begun = True
        asked = release_bootstrap.Asked(
            settings=self.settings,
            release=self.settings.release,
            chart=self.settings.chart,
            values=self.settings.values,
        )
        status = release_bootstrap.run(asked, environment(), validate=lambda: 0, echo=self.say)
        if status:
            raise ProvisionFailed(
                f"The release was not deployed into namespace {self.place.namespace}: see above."
            )

    def down(self, *, keep: bool) -> str:
        """Remove what was deployed; return what stays, and how it is removed."""
        namespace = self.place.namespace
        if not (self.begun or self.made):
            return ""
        if keep:
            how = f"kubectl delete namespace {namespace}" if self.made else (
                f"helm uninstall, and the claim and Secrets in namespace {namespace}"
            )  # fmt: skip
            return f"costmgmt kept the release in namespace {namespace}; to remove it: {how}"
        try:
            api = self.place.api()
            if self.made:
                api.delete(f"{NAMESPACES}/{namespace}", what=f"Removing namespace {namespace}")
            else:
                self._empty(api)
        except CostMgmtError as error:
            return f"costmgmt: what was deployed into namespace {namespace} stays: {error}"
        return ""

    def _make(self, api: Api) -> None:
        expires = datetime.now(timezone.utc) + LIFE
        meta = {
            "name": self.place.namespace,
            "labels": MANAGED,
            "annotations": {RUN: self.run_id, EXPIRES: expires.isoformat(timespec="seconds")},
        }
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
        api.create(NAMESPACES, body, what=f"Creating namespace {self.place.namespace}")
        self.made = True
        self.say(f"namespace {self.place.namespace} made for this run")

    def _empty(self, api: Api) -> None:
        """Remove the release and what outlives it, in a namespace that was empty before."""
        namespace = self.place.namespace
        program = helm.Helm(helm.find(), api.access, namespace)
        for release in program.releases():
            program.uninstall(release.release)
        # Named, not by a list: the account of a service may have made objects of its own since.
        for resource, group, name in (
            ("persistentvolumeclaims", "", f"postgresql-data-{facts.POD}"),
            ("secrets", "", facts.SECRET),
            ("secrets", "", HIVE_SECRET),
        ):
            api.delete(path_of(namespace, resource, name, group=group), what=f"Removing {name}")
        jobs = path_of(namespace, "jobs", group="batch/v1")
        for job in api.items(jobs, what="Looking for migrations"):
            name = str(job["metadata"]["name"])
            if name.startswith(facts.MIGRATION):
                options = {"propagationPolicy": "Background", "kind": "DeleteOptions",
                           "apiVersion": "v1"}  # fmt: skip
                api.delete(f"{jobs}/{name}", options, what=f"Removing {name}")

    def _sweep(self, api: Api) -> None:
        """Remove the namespaces of runs that were killed, once they have expired."""
        selector = ",".join(f"{name}={value}" for name, value in MANAGED.items())
        with contextlib.suppress(AccessDenied):
            for each in api.items(NAMESPACES, [("labelSelector", selector)], what="Sweeping"):
                name = str(each["metadata"]["name"])
                if name != self.place.namespace and expired(each):
                    api.delete(f"{NAMESPACES}/{name}", what=f"Removing namespace {name}")
                    self.say(f"removed namespace {name}, which a run that was killed left")


def expired(namespace: dict[str, Any]) -> bool:
    """Say whether a namespace of ours is past its time; without a time it is left alone."""
    told = (namespace["metadata"].get("annotations") or {}).get(EXPIRES, "")
    try:
        return datetime.fromisoformat(told) < datetime.now(timezone.utc)
    except (ValueError, TypeError):
        return False


def _occupied(reader: Reader) -> Any:
    """Yield what a namespace holds that a deployment would meet."""
    for resource, group in (
        ("statefulsets", "apps/v1"), ("deployments", "apps/v1"), ("pods", ""), ("services", ""),
        ("persistentvolumeclaims", ""), ("secrets", ""),
    ):  # fmt: skip
        names = [
            name
            for name in reader.names(resource, group=group)
            if not name.startswith(("default-token-", "default-dockercfg", "builder-", "deployer-"))
        ]
        if names:
            yield f"{resource} {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}"
