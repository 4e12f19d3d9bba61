"""A release that this run deploys, judges and removes: in an empty namespace, or in one it makes.

Deploying is what ``costmgmt bootstrap --namespace`` does. What is made carries the run's id and
its expiry, so that a later run removes what a killed one left.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from pytest_costmgmt.engine import deployment_mark as marks
from pytest_costmgmt.engine import release_bootstrap
from pytest_costmgmt.engine.deployment_mark import Mark
from pytest_costmgmt.errors import CostMgmtError, ProvisionFailed
from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.initialize.deploy_rights import DEPLOYING, MAKING
from pytest_costmgmt.initialize.deploy_site import DEPLOYMENT, HIVE_SECRET, LEASE, Site
from pytest_costmgmt.kubernetes import helm
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.helm_records import RUN, record
from pytest_costmgmt.kubernetes.lease import GROUP, held_lease, look
from pytest_costmgmt.kubernetes.objects import Namespace, Reader, path_of
from pytest_costmgmt.kubernetes.rights import demand
from pytest_costmgmt.kubernetes.trouble import AccessDenied, NotThere
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.settings import Settings, environment

Say = Callable[[str], None]

NAMESPACES = "/api/v1/namespaces"
PURPOSE = "--costmgmt-deploy"
GONE_WITHIN = 300.0
"Seconds in which a cluster removes a namespace: pods and volumes have their time to end."
_PAUSE = 0.5


class Deployment:
    """One deployment. ``making``: the namespace is this run's, if it bears its mark."""

    def __init__(self, settings: Settings, place: Place, run_id: str, *, say: Say) -> None:
        self.settings, self.place, self.run_id, self.say = settings, place, run_id, say
        self.making = self.begun = False

    def up(self) -> None:
        """Deploy into the namespace, which must be empty. Raises CostMgmtError."""
        api = self.place.api()
        self._sweep(api)
        reader = Reader(api, self.place.namespace)
        if self._seen(api, reader).exists is False:
            demand(api, "", MAKING, purpose=PURPOSE)
            self._make(api)
        else:
            demand(api, self.place.namespace, DEPLOYING, purpose=PURPOSE)
            self._free(api, reader)
        asked = release_bootstrap.Asked(
            settings=self.settings,
            release=self.settings.release,
            chart=self.settings.chart,
            values=self.settings.values,
            run=self.run_id,
            first=self._begin,
        )
        status = release_bootstrap.run(asked, environment(), validate=lambda: 0, echo=self.say)
        if status:
            raise ProvisionFailed(
                f"The release was not deployed into namespace {self.place.namespace}: see above."
            )

    def down(self, *, keep: bool) -> str:
        """Remove what was deployed; return what stays, and how it is removed."""
        if not (self.begun or self.making):
            return ""
        try:
            api = self.place.api()
            made = self._is_ours(api)
            if not (made or self.begun):
                return ""
            if keep:
                return self._kept(api, made=made)
            if made:
                api.delete(self._path, what=f"Removing {self._named}")
            else:
                self._empty(api, self.run_id)
        except CostMgmtError as error:
            return f"costmgmt: what was deployed into {self._named} stays: {error}"
        return ""

    @property
    def _named(self) -> str:
        return f"namespace {self.place.namespace}"

    @property
    def _path(self) -> str:
        return f"{NAMESPACES}/{self.place.namespace}"

    def _seen(self, api: Api, reader: Reader) -> Namespace:
        """Return the namespace; what a run of ours that is over made of that name is removed."""
        seen = reader.namespace_seen()
        if not seen.exists:
            return seen
        mark = marks.of_namespace(api.get(self._path, what=f"Reading {self._named}"))
        if mark is None:
            return seen
        if seen.phase != "Terminating":
            if not mark.over:
                return seen
            api.delete(self._path, what=f"Removing {self._named}")
            self.say(f"removed {self._named}, which run {mark.run} left that was killed")
        return self._gone(reader)

    def _gone(self, reader: Reader) -> Namespace:
        """Wait until the namespace is no more."""
        self.say(f"waiting until the cluster has removed {self._named}")
        began = time.monotonic()
        while (seen := reader.namespace_seen()).exists:
            if time.monotonic() - began > GONE_WITHIN:
                raise ProvisionFailed(
                    f"The {self._named} is still {seen.phase or 'there'} {GONE_WITHIN:.0f} s after"
                    " it was deleted.",
                    hint=f"kubectl get namespace {seen.name} -o yaml says what holds it.",
                )
            time.sleep(_PAUSE)
        return seen

    def _make(self, api: Api) -> None:
        meta = {
            "name": self.place.namespace,
            "labels": marks.MANAGED,
            "annotations": marks.ours(self.run_id).annotations,
        }
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}
        # Before it is asked for: an interrupt may come when it is made and we do not know yet.
        self.making = True
        api.create(NAMESPACES, body, what=f"Creating {self._named}")
        self.say(f"{self._named} made for this run")

    def _is_ours(self, api: Api) -> bool:
        """Say whether this run made the namespace."""
        if not self.making:
            return False
        with contextlib.suppress(NotThere):
            mark = marks.of_namespace(api.get(self._path, what=f"Reading {self._named}"))
            return mark is not None and mark.run == self.run_id
        return False

    def _begin(self, site: Site) -> None:
        """See, with the Lease held, that nobody was faster; from now on it is ours to remove."""
        assert site.lease is not None  # noqa: S101 - it is held
        if not self.making:
            left = self._free(site.api, site.reader)
            if left is not None:
                self._empty(site.api, left.run, lease=False)
                self.say(f"removed what run {left.run} left in {self._named} that was killed")
            site.lease.note(DEPLOYMENT, marks.ours(self.run_id).text)
        self.begun = True

    def _free(self, api: Api, reader: Reader) -> Mark | None:
        """Raise ProvisionFailed if there is anything; return the mark of what may be removed."""
        found = list(_occupied(reader))
        if not found:
            return None
        lease = look(api, self.place.namespace, LEASE)
        mark = None if lease is None else marks.of_note(lease.notes.get(DEPLOYMENT))
        if mark is not None and mark.over:
            return mark
        named = ", ".join(found)
        if mark is not None:
            raise ProvisionFailed(
                f"The {self._named} is not empty ({named}): run {mark.run} deployed there, and"
                f" nothing says that it has ended.",
                hint=f"Wait for its end. From {mark.expires} on, a later run removes what it left.",
            )
        raise ProvisionFailed(
            f"The {self._named} is not empty ({named}), and {PURPOSE} removes what it deploys.",
            hint="Name one that is empty or does not exist; or leave --costmgmt-deploy out, to"
            " judge what is there.",
        )

    def _kept(self, api: Api, *, made: bool) -> str:
        """Take the mark off, so that no later run removes what is kept; say how it is removed."""
        namespace = self.place.namespace
        how = f"kubectl delete namespace {namespace}" if made else (
            f"helm -n {namespace} list, helm uninstall, and kubectl -n {namespace} delete"
            f" pvc/postgresql-data-{facts.POD} secret/{facts.SECRET} secret/{HIVE_SECRET}"
        )  # fmt: skip
        told = f"costmgmt kept the release in {self._named}; to remove it: {how}"
        try:
            if made:
                gone = {"metadata": {"annotations": {marks.EXPIRES: None, marks.OWNER: None}}}
                api.patch(self._path, gone, what=f"Keeping {self._named}")
            else:
                with held_lease(api, namespace, LEASE, run=self.run_id) as lease:
                    lease.note(DEPLOYMENT, None)
        except CostMgmtError as error:
            return f"{told}\ncostmgmt: a later run may remove it: {error}"
        return told

    def _empty(self, api: Api, run: str, *, lease: bool = True) -> None:
        """Remove the release and what outlives it, in a namespace that was empty before.

        Only what carries ``run``, or comes with what does.
        """
        namespace = self.place.namespace
        program = helm.Helm(helm.find(), api.access, namespace)
        for each in program.releases():
            found = record(api, namespace, each.release, each.revision)
            if found is not None and found.run == run:
                program.uninstall(each.release)
        for name in (facts.SECRET, HIVE_SECRET):
            path = path_of(namespace, "secrets", name)
            if _run_of(api, path) == run:
                api.delete(path, what=f"Removing Secret {name}")
        claim = f"postgresql-data-{facts.POD}"
        path = path_of(namespace, "persistentvolumeclaims", claim)
        api.delete(path, what=f"Removing PVC {claim}")
        jobs = path_of(namespace, "jobs", group="batch/v1")
        for job in api.items(jobs, what="Looking for migrations"):
            name = str(job["metadata"]["name"])
            if name.startswith(facts.MIGRATION):
                options = {"propagationPolicy": "Background", "kind": "DeleteOptions",
                           "apiVersion": "v1"}  # fmt: skip
                api.delete(f"{jobs}/{name}", options, what=f"Removing {name}")
        self._until_empty(Reader(api, namespace), claim)
        if lease:
            path = path_of(namespace, "leases", LEASE, group=f"{GROUP}/v1")
            api.delete(path, what=f"Removing Lease {LEASE}")

    def _until_empty(self, reader: Reader, claim: str) -> None:
        """Wait for what ends in its own time, and would be in the next one's way."""
        began = time.monotonic()
        while True:
            there = [f"pod {facts.POD}"] if reader.pod(facts.POD) is not None else []
            there += [f"PVC {claim}"] if reader.claim(claim) is not None else []
            if not there:
                return
            if time.monotonic() - began > GONE_WITHIN:
                raise ProvisionFailed(
                    f"{' and '.join(there)} in {self._named} is still there {GONE_WITHIN:.0f} s"
                    " after it was deleted.",
                    hint=f"See kubectl -n {self.place.namespace} describe {there[0]}.",
                )
            time.sleep(_PAUSE)

    def _sweep(self, api: Api) -> None:
        """Remove the namespaces of runs that were killed or have expired."""
        selector = ",".join(f"{name}={value}" for name, value in marks.MANAGED.items())
        with contextlib.suppress(AccessDenied):
            for each in api.items(NAMESPACES, [("labelSelector", selector)], what="Sweeping"):
                name, mark = str(each["metadata"]["name"]), marks.of_namespace(each)
                going = each["metadata"].get("deletionTimestamp")
                if name == self.place.namespace or going or mark is None or not mark.over:
                    continue
                api.delete(f"{NAMESPACES}/{name}", what=f"Removing namespace {name}")
                self.say(f"removed namespace {name}, which run {mark.run} left that was killed")


def _run_of(api: Api, path: str) -> str:
    """Return the run that an object says it is of."""
    with contextlib.suppress(NotThere):
        meta = api.get(path, what="Looking whose it is").get("metadata") or {}
        return str((meta.get("annotations") or {}).get(RUN, ""))
    return ""


def _occupied(reader: Reader) -> Iterator[Any]:
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
