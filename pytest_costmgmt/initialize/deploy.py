"""Deploy a release, or find it: each step looks first, does what is missing, says what it did."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import msgspec

from pytest_costmgmt.errors import ConnectFailed, CostMgmtError
from pytest_costmgmt.initialize import deploy_release, deploy_secrets
from pytest_costmgmt.initialize.deploy_live import drifted
from pytest_costmgmt.initialize.deploy_release import Found, Rehearsed
from pytest_costmgmt.initialize.deploy_secrets import Credentials
from pytest_costmgmt.initialize.deploy_site import CONTAINER, POD, Site, at
from pytest_costmgmt.initialize.deploy_wait import wait
from pytest_costmgmt.kubernetes.probe import ProbeSpec, probe
from pytest_costmgmt.kubernetes.relay import Loopback
from pytest_costmgmt.kubernetes.shapes import Pod
from pytest_costmgmt.kubernetes.socket_door import unix_door
from pytest_costmgmt.kubernetes.streams import run
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import rows

_ASK_SECONDS = 10.0
_ROLE = "SELECT 1 FROM pg_catalog.pg_roles AS r WHERE r.rolname = %(name)s"


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A server that runs already: its server_version_num, and whether it has hive's role."""

    number: int
    hive: bool


class Deployed(msgspec.Struct, frozen=True, kw_only=True):
    """A release whose database is ready. ``pod`` None is a dry run's."""

    release: str
    application: Credentials
    hive: Credentials | None
    pod: Pod | None
    changed: bool


def create_namespace(site: Site) -> None:
    """Create the namespace."""
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": site.namespace}}
    site.api.create("/api/v1/namespaces", body, what=f"Creating namespace {site.namespace}")
    site.done(f"namespace {site.namespace}", "created")


def deploy(site: Site) -> Deployed:
    """Take every step up to a database that is ready.

    Raises StepFailed for what is refused, NotDeployed with the evidence for what does not run.
    """
    site.begin("credentials")
    found = deploy_release.clear(site, deploy_release.find(site))
    server = running(site) if found.set is not None else None
    application = deploy_secrets.application(site, found.values, running=found.set is not None)
    exists = None if server is None else server.hive
    hive = deploy_secrets.hive(site, found.values, exists=exists)
    site.begin("release")
    changed = _release(site, found, application, hive, server)
    pod = None
    if not site.dry_run:
        site.begin("pod")
        pod = wait(site)
        site.done(f"pod {POD}", "present", f"ready on node {pod.node}")
    return Deployed(
        release=found.release, application=application, hive=hive, pod=pod, changed=changed
    )


def _release(
    site: Site,
    found: Found,
    application: Credentials,
    hive: Credentials | None,
    server: Running | None,
) -> bool:
    """Install or upgrade the release if anything would be other than it is."""
    step = f"release {found.release}"
    if found.foreign:
        site.done(step, "present", "it was deployed otherwise than by Helm, and is left as it is")
        return False
    values = deploy_release.overlay(site, application, hive)
    rehearsed = deploy_release.rehearse(site, found, values)
    changes = [*rehearsed.changed, *(f"{name}, which goes" for name in rehearsed.gone)]
    if found.last is not None and not changes:
        changes = list(drifted(site, rehearsed.objects))
    if not changes:
        site.done(step, "present", "as the chart and the values say")
        return False
    told = ", ".join(changes)
    if server is not None:
        told += f"; image: {_fitting(site, rehearsed, server)}"
    if site.dry_run:
        site.done(step, "planned", told)
        return True
    site.lease_check()
    deploy_release.upgrade(site, found, values)
    site.done(step, "created" if found.last is None else "changed", told)
    return True


def _fitting(site: Site, rehearsed: Rehearsed, server: Running) -> str:
    """Compare the new image's version with the server's, before Helm is called."""
    if site.dry_run:
        return f"{rehearsed.image}, to be compared with the server by a probe"
    spec: dict[str, Any] = rehearsed.pod
    pull = tuple(str(each.get("name")) for each in at(spec, "imagePullSecrets") or ())
    wanted = ProbeSpec(
        run=site.run,
        image=rehearsed.image,
        seconds=120,
        pull_secrets=pull,
        run_as_user=at(spec, "securityContext", "runAsUser"),
        node_selector=at(spec, "nodeSelector") or {},
    )
    with probe(site.api, site.namespace, wanted) as made:
        said = run(
            site.api,
            site.namespace,
            made.pod,
            ["postgres", "--version"],
            container=made.container,
        )
    return deploy_release.fitting(rehearsed.image, said.stdout + said.stderr, server.number)


@contextlib.contextmanager
def superuser(site: Site) -> Iterator[Login]:
    """Yield the superuser's login by the loopback door: a Unix socket that only we may use."""
    with unix_door(Loopback(site.api, site.namespace, POD)) as door:
        yield Login(role="postgres", database="postgres", where=door.where)


def running(site: Site) -> Running | None:
    """Ask the server that runs already; None if none answers."""
    pod = site.reader.pod(POD)
    if pod is None or not any(s.name == CONTAINER and s.state == "running" for s in pod.states):
        return None
    try:
        with superuser(site) as login:
            connection = connect(login, deadline=_ASK_SECONDS)
            try:
                name = site.wanted.requirements.hive.role
                with asking("the server"), connection.cursor() as cursor:
                    hive = bool(rows(cursor, _ROLE, name=name))
                return Running(number=connection.info.server_version, hive=hive)
            finally:
                connection.close()
    except ConnectFailed as error:
        _told(site, error)
        return None


def _told(site: Site, error: CostMgmtError) -> None:
    site.say(
        f"  the server does not answer, so its version is not compared: {error.message}\n"
        "  (the pod refuses a data folder of another major version, and touches nothing)"
    )
