"""Does a test's database survive a backup? Made, restored beside, proven and removed."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.backup.roundtrip import roundtrip
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres.clients import choose
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.embedded import cache_folder
from pytest_costmgmt.settings import Settings, environment

if TYPE_CHECKING:
    from pytest_costmgmt.backup.model import Proof
    from pytest_costmgmt.engine.user_fixtures_database import Database


def proving(settings: Settings, server: Server) -> Callable[[Database], Proof]:
    """Return what proves a database of ``server``.

    It raises NotEqual, an AssertionError that names each difference, and BackupFailed.
    """
    if not (server.ours or settings.allows("scratch")):
        raise UsageProblem(
            f"costmgmt_roundtrip restores into a scratch database, but {settings.allow} is all that"
            " is allowed: give --costmgmt-allow=scratch."
        )

    def prove(database: Database) -> Proof:
        login = (server.administrator or database.login).on(database.name)
        with connect(login, deadline=settings.connect_timeout) as connection:
            number = connection.info.server_version
        cache = cache_folder(settings, environment())
        clients = choose(number, cache=cache, environ=environment())
        run_id = secrets.token_hex(4)
        with scratch(server.folder or None) as place:
            folder = place / "backup"
            backup(login, folder, clients=clients, run_id=run_id)
            done = roundtrip(
                folder,
                login,
                clients=clients,
                run_id=run_id,
                source=login,
                accept_disk_risk=settings.accept_disk_risk,
            )
        return done.proof

    return prove
