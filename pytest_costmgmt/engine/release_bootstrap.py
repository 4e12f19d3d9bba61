"""The body of ``costmgmt bootstrap --namespace``: a release from nothing, or from where it is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.engine.backup_way import interruptible
from pytest_costmgmt.engine.volume_move import NOTE, Move
from pytest_costmgmt.errors import StepFailed, UsageProblem
from pytest_costmgmt.initialize import deploy_migration, deploy_rights
from pytest_costmgmt.initialize import deploy_volume as volume
from pytest_costmgmt.initialize.deploy import Deployed, create_namespace, deploy, superuser
from pytest_costmgmt.initialize.deploy_site import (
    CONTAINER,
    DEPLOYMENT,
    LEASE,
    POD,
    SERVICE,
    SET,
    Site,
    Wanted,
)
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.initialize.step import Initialized, fixes
from pytest_costmgmt.kubernetes import helm
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.helm_values import read_values
from pytest_costmgmt.kubernetes.lease import held_lease, look
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.relay import Network
from pytest_costmgmt.kubernetes.socket_door import unix_door
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.resources import resource
from pytest_costmgmt.servers.cluster import place_of
from pytest_costmgmt.settings import Settings

Echo = Callable[[str], None]

DONE, NOT_READY = 0, 1
TIMEOUT = 600.0
CHART = "charts/cost-management-infrastructure"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the command was asked for. ``timeout`` are seconds."""

    settings: Settings
    release: str | None = None
    chart: Path | None = None
    values: Path | None = None
    create_namespace: bool = False
    dry_run: bool = False
    timeout: float | None = None
    migrate_volume: bool = False
    backup_to: Path | None = None
    run: str = ""
    first: Callable[[Site], None] | None = None
    "What is done before all else, with the Lease held, by whoever removes the release again."


def run(
    asked: Asked, environ: Mapping[str, str], *, validate: Callable[[], int], echo: Echo
) -> int:
    """Deploy, wait, initialize, migrate, ``validate``; return the exit status.

    0: ready; 1: something was refused; else as ``validate`` says. Raises UsageProblem (4), and
    what a step raises.
    """
    with interruptible() as signals:
        site = _site(asked, environ, echo)
        name = site.wanted.requirements.name
        echo(f"bootstrap of namespace {site.namespace} in {site.api.label} ({name})")
        exists = deploy_rights.namespace(site.reader, create=asked.create_namespace)
        deploy_rights.demand_all(site.api, site.wanted)
        if asked.dry_run:
            return _rehearse(site, asked, exists=exists)
        if not exists:
            create_namespace(site)
        run_id = site.run
        with held_lease(site.api, site.namespace, LEASE, run=run_id) as lease:
            site = msgspec.structs.replace(site, lease=lease)
            if asked.first is not None:
                asked.first(site)
            else:
                _taken_over(site)
            deployed = _bootstrap(site, asked, environ)
            if deployed is None:
                return NOT_READY
            site.begin("validate")
            status = validate()
            signals.check()
            if status:
                echo("Deployed, but not ready: see above. What is done stays done.")
                return status
            lease.note("phase", None)
        for line in application_values(deployed):
            echo(line)
    return DONE


def _taken_over(site: Site) -> None:
    """Say what a run before was in; what a run of the suite deployed is from now on to stay."""
    assert site.lease is not None  # noqa: S101 - it is held
    if site.lease.before is None:
        return
    if phase := site.lease.before.notes.get("phase"):
        site.say(f"the run before ended in phase {phase}: going on from there")
    if DEPLOYMENT in site.lease.notes:
        site.lease.note(DEPLOYMENT, None)


def _site(asked: Asked, environ: Mapping[str, str], echo: Echo) -> Site:
    chart = asked.chart or resource(CHART)
    if not (chart / "Chart.yaml").is_file():
        raise UsageProblem(f"--chart {chart} is no chart: it has no Chart.yaml.")
    settings, place = asked.settings, place_of(asked.settings)
    wanted = Wanted(
        namespace=place.namespace,
        chart=chart,
        requirements=load(settings.requirements),
        values=read_values(asked.values) if asked.values else {},
        release=asked.release or "",
        create_namespace=asked.create_namespace,
        timeout=asked.timeout or TIMEOUT,
        migrate_timeout=settings.migrate_timeout,
    )
    way = place.access(environ)
    program = helm.find(environ=environ)
    api = Api(way)
    return Site(
        wanted=wanted,
        api=api,
        reader=Reader(api, place.namespace),
        helm=helm.Helm(program, way, place.namespace, environ=environ),
        run=asked.run or secrets.token_hex(4),
        key=secrets.token_bytes(32),
        say=echo,
        step=lambda step: echo(step.line),
    )


def _bootstrap(site: Site, asked: Asked, environ: Mapping[str, str]) -> Deployed | None:
    """Do everything but validate; None if something is left for a person to do."""
    move, connect = None, asked.settings.connect_timeout
    if asked.migrate_volume:
        move = Move(site, folder=asked.backup_to, environ=environ, connect=connect)
        site = move.prepare()
    else:
        _on_volume(site)
    deployed = deploy(site)
    if move is not None:
        move.finish()
    site.begin("initialize")
    done = _initialized(site, deployed, deadline=connect)
    if done.refused:
        for line in fixes(done.steps):
            site.say(line)
        site.say("Not ready: run the above, then costmgmt bootstrap again; what is done stays.")
        return None
    site.begin("migrate")
    migrated = deploy_migration.migrate(site)
    if migrated is not None:
        number = len(migrated.applied)
        told = f"{number} applied" if number else "nothing was left to apply"
        site.done("migrations", "changed" if number else "present", f"{told}; Job {migrated.job}")
    return deployed


def _on_volume(site: Site) -> None:
    """Refuse data off the volume, and a move that is not at its end."""
    way = f"costmgmt bootstrap --namespace {site.namespace} --migrate-volume"
    if site.lease is not None and NOTE in site.lease.notes:
        raise StepFailed(
            volume.STEP, "a run before began to move the data, and was killed", hint=f"Go on: {way}"
        )
    where = volume.place(site.reader.stateful_set(SET))
    if where is not None:
        raise StepFailed(
            volume.STEP,
            f"it is mounted at {where or 'no place at all'}, but the image keeps its data in"
            f" {volume.HOME}: the database is in the container's own layer, and is lost when the"
            " pod is replaced; nothing was changed",
            hint=f"Move it first: {way}\nUntil then delete neither the pod nor the StatefulSet.",
        )


@contextmanager
def _doors(site: Site, deployed: Deployed) -> Iterator[tuple[Login, dict[str, str]]]:
    """Yield the superuser's login, and the way on which a login must prove itself.

    That goes to the pod's own address, from within the pod: not what its image trusts.
    """
    assert deployed.pod is not None  # noqa: S101 - it was waited for
    outside = Network(site.api, site.namespace, POD, container=CONTAINER, host=deployed.pod.ip)
    with superuser(site) as administrator, unix_door(outside) as door:
        yield administrator, door.where


def _initialized(site: Site, deployed: Deployed, *, deadline: float) -> Initialized:
    application, hive = deployed.application, deployed.hive
    needs = site.wanted.requirements
    if hive is not None:
        named = msgspec.structs.replace(needs.hive, role=hive.role, database=hive.database)
        needs = msgspec.structs.replace(needs, hive=named)
    with _doors(site, deployed) as (administrator, outside):
        login = Login(
            role=application.role,
            database=application.database,
            where=outside,
            password=application.password,
        )
        return initialize(
            administrator,
            requirements=needs,
            application=login,
            hive_password=None if hive is None else hive.password,
            deadline=deadline,
            told=site.step,
            proven_at=outside,
        )


def application_values(deployed: Deployed) -> list[str]:
    """Return what goes into the values of the application's chart."""
    return [
        "Into the values of the application's chart:",
        "    costManagement:",
        "      database:",
        f"        host: {SERVICE}",
        "        port: 5432",
        f"        secretName: {deployed.application.secret}",
    ]


def _rehearse_move(site: Site) -> int:
    where = volume.place(site.reader.stateful_set(SET))
    if where is None:
        site.done(volume.STEP, "present", "the data is on it, or there is none")
    else:
        for told in (
            "a backup of every database outside the cluster; roles read-only",
            f"pg_basebackup into {where}/{volume.DATA}, by the pod's own programs",
            "helm upgrade with the mount where the image keeps its data, the image as it is",
            "the same system_identifier and every row as in the backup, then roles as they were",
        ):
            site.done(volume.STEP, "planned", told)
    site.say("Nothing was changed.")
    return DONE


def _rehearse(site: Site, asked: Asked, *, exists: bool) -> int:
    """Say what would be done; nothing is changed."""
    if not exists:
        site.done(f"namespace {site.namespace}", "planned")
    elif (held := look(site.api, site.namespace, LEASE)) is not None and held.holder:
        site.say(f"  Lease {LEASE} is held by {held.text}: a run would be refused meanwhile")
    site.done(f"Lease {LEASE}", "planned", "held while it runs")
    if asked.migrate_volume:
        return _rehearse_move(site)
    _on_volume(site)
    deployed = deploy(site)
    for line in _further(site.wanted.requirements):
        site.say(line)
    for line in application_values(deployed):
        site.say(line)
    site.say("Nothing was changed.")
    return DONE


def _further(needs: Requirements) -> list[str]:
    names: list[Any] = [f"extension {each.name}" for each in needs.extensions]
    if needs.hive.policy == "required":
        names += [f"role {needs.hive.role}", f"database {needs.hive.database}"]
    return [
        f"planned  in the database, as postgres, what is missing of: {', '.join(names)}",
        "planned  a Job from CronJob cost-mgmt-migration, or the one that runs joined",
    ]
