"""The server of a user's own tests: started, or reached, once in a run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.engine.provision import Embedded, check_manage
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.initialize import template
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.errand import maintenance
from pytest_costmgmt.postgres.programs_serve import write_passfile
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers import Server, embedded
from pytest_costmgmt.servers.external import external_server
from pytest_costmgmt.settings import Settings, environment

PREFIX = "costmgmt_"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is wanted; ``key`` is the same in all processes of a run."""

    settings: Settings
    requirements: Requirements
    external: Server | None
    key: str


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A server that is there. ``template`` is a database to clone, or "" if none is made yet."""

    wanted: Wanted
    server: Server
    template: str = ""


def wanted(settings: Settings) -> Wanted:
    """Return what the settings ask for; nothing is started or connected to. Raises UsageProblem."""
    if settings.mode == "release":
        raise UsageProblem(
            "--costmgmt-namespace is for the conformance suite: your own tests run on the embedded"
            " server, or on one that --costmgmt-dsn names."
        )
    requirements, external = load(settings.requirements), None
    if settings.mode == "external":
        external = external_server(settings, requirements, environment())
        app = external.application
        requirements = requirements.named(role=app.role, database=app.database)
    elif settings.manage:
        check_manage(settings)
    where = None
    if external is not None:
        where = [external.application.where, app.role, app.database]
    told = [settings.mode, settings.requirements, settings.manage, settings.postgres, where]
    told += [str(settings.bindir), str(settings.cache)]
    return Wanted(
        settings=settings,
        requirements=requirements,
        external=external,
        key="server-" + digest(told),
    )


def digest(told: object) -> str:
    """Return a short name for plain data."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def unpacked(what: Wanted, data: dict[str, Any]) -> Made:
    """Return what :func:`reached` or :class:`Started` packed."""
    return Made(wanted=what, server=Server.unpack(data["server"]), template=data["template"])


def reached(what: Wanted, server: Server) -> dict[str, Any]:
    """Prove by one connection that the external server is there; return it packed.

    Once in a run: each refused password counts at somebody else's server.
    """
    connect(server.application, deadline=what.settings.connect_timeout).close()
    return _packed(server, keep=what.settings.keep)


def _packed(
    server: Server, *, keep: str, template: str = "", folder: str = "", how: str = ""
) -> dict[str, Any]:
    return {
        "server": server.pack(),
        "template": template,
        "folder": folder,
        "keep": keep,
        "how": how,
    }


class Started(Embedded):
    """The embedded server, initialized, and migrated if a management command was given."""

    def __init__(self, what: Wanted, run_id: str) -> None:
        super().__init__(what.settings, what.requirements, run_id, say=lambda _: None)

    def begin(self, *, watch_pid: int | None, also: Sequence[Path]) -> dict[str, Any]:
        """Start it; leave nothing if that fails. ``watch_pid`` and ``also`` as embedded.start."""
        programs = embedded.embedded_programs(self.settings, environment())
        self.instance = embedded.start(
            run_id=self.run_id, programs=programs, watch_pid=watch_pid, also=also
        )
        try:
            return self._filled(self.instance)
        except BaseException:
            self.instance.stop()
            raise

    def _filled(self, instance: embedded.Instance) -> dict[str, Any]:
        server = self._initialized(instance)
        if self.settings.manage:
            self._migrate(server, instance)
        if self.settings.keep != "never":
            write_passfile(instance.passfile, [instance.superuser, *self.logins])
        name, app = f"{PREFIX}{self.run_id}_template", server.application
        errand = maintenance(instance.superuser, deadline=self.settings.connect_timeout)
        try:
            # Nobody but us knows this server yet, so nobody is connected to what is copied.
            made = template.clone(errand, name, template=app.database, owner=app.role, ours=True)
            errand.run(*made, template.shut(name))
        finally:
            errand.close()
        return _packed(
            server,
            keep=self.settings.keep,
            template=name,
            folder=str(instance.run_folder),
            how=instance.how_to_connect(),
        )
