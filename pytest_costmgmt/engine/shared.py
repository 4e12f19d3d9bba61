"""What the controller hands to the processes that run the checks: data, once."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.gathered import Facts
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import publish
from pytest_costmgmt.servers import Server

WORKER_KEY = "costmgmt"


class Means(msgspec.Struct, frozen=True, kw_only=True):
    """What an acting check needs beyond the server: programs to run, and what was accepted."""

    manage: tuple[str, ...] = ()
    migrate_timeout: float = 1800.0
    connect_timeout: float = 10.0
    example: bool = False
    cache: str = ""
    "The folder of programs that a wheel brought."
    accept_disk_risk: bool = False
    place: str = ""
    "The release's place (servers.cluster), encoded; it holds no credentials."
    upgrade: str = ""
    "What its upgrade is to be (servers.release_upgrade), encoded."


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """The controller's findings before the run; ``server`` is None if provisioning failed."""

    facts: Facts
    means: Means
    skip: dict[str, str]
    expected: tuple[str, ...]
    context: Context | None = None
    requirements: Requirements | None = None
    server: Server | None = None
    problem: str = ""
    release: str = ""
    "The facts of the release, encoded: most runs have none, and do not pay for their types."

    def pack(self) -> dict[str, Any]:
        """Return plain data for ``workerinput`` (it goes through the worker's stdin pipe)."""
        rest = msgspec.structs.replace(self, server=None)
        return {
            "rest": msgspec.json.encode(rest).decode(),
            "server": None if self.server is None else self.server.pack(),
        }

    @classmethod
    def unpack(cls, data: dict[str, Any]) -> Shared:
        """Return what :meth:`pack` packed."""
        rest = msgspec.json.decode(data["rest"], type=_WithoutServer)
        server = None if data["server"] is None else Server.unpack(data["server"])
        if server is not None and rest.requirements is not None:
            publish(public_names(server, rest.requirements))
        return cls(
            facts=rest.facts,
            means=rest.means,
            skip=rest.skip,
            expected=rest.expected,
            context=rest.context,
            requirements=rest.requirements,
            server=server,
            problem=rest.problem,
            release=rest.release,
        )


class _WithoutServer(msgspec.Struct, frozen=True, kw_only=True):
    facts: Facts
    means: Means
    skip: dict[str, str]
    expected: tuple[str, ...]
    context: Context | None = None
    requirements: Requirements | None = None
    server: None = None
    problem: str = ""
    release: str = ""


def public_names(server: Server, needs: Requirements) -> set[str]:
    """Return the names that a report must be able to say, whatever the passwords are."""
    app = server.application
    names = {app.role, app.database, needs.role.name, needs.database.name}
    return names | {needs.hive.role, needs.hive.database, *app.where.values()}


KEY: pytest.StashKey[Shared] = pytest.StashKey()


def of(config: pytest.Config) -> Shared:
    """Return the shared data of this run, in the controller or in a worker."""
    if (data := config.stash.get(KEY, None)) is None:
        packed = getattr(config, "workerinput", {}).get(WORKER_KEY)
        if packed is None:
            raise RuntimeError("the controller handed over nothing: provisioning did not run")
        data = config.stash[KEY] = Shared.unpack(packed)
    return data
