"""The public ``costmgmt_*`` fixtures: wiring only.

Read at the start of every pytest run, also unrelated ones: pytest and the standard library only.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow

    from pytest_costmgmt.backup.model import Proof
    from pytest_costmgmt.engine.user_fixtures_database import Credentials, Database
    from pytest_costmgmt.engine.user_fixtures_databases import Databases
    from pytest_costmgmt.servers import Server
    from pytest_costmgmt.settings import Settings


@pytest.fixture(scope="session")
def costmgmt_settings(pytestconfig: pytest.Config) -> Settings:
    """What was asked for by options, environment and ini; override it to ask for something else."""
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    return user_fixtures.settings(pytestconfig)


@pytest.fixture(scope="session")
def costmgmt_server(pytestconfig: pytest.Config, costmgmt_settings: Settings) -> Server:
    """A running PostgreSQL, one for the run: embedded and initialized, or the one that was named.

    An embedded one is also migrated if --costmgmt-manage names a management command.
    """
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    with user_fixtures.telling(pytestconfig, "costmgmt_server") as broker:
        return broker.server(costmgmt_settings).server


@pytest.fixture(scope="session")
def costmgmt_credentials(pytestconfig: pytest.Config, costmgmt_server: Server) -> Credentials:
    """The role that owns every fresh database, and its password as a Secret, which never prints."""
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    with user_fixtures.telling(pytestconfig, "costmgmt_credentials") as broker:
        return broker.credentials(costmgmt_server)


@pytest.fixture(scope="session")
def costmgmt_database_factory(
    pytestconfig: pytest.Config,
    costmgmt_settings: Settings,
    costmgmt_server: Server,
    costmgmt_credentials: Credentials,
) -> Databases:
    """Makes fresh databases for wider scopes: ``with costmgmt_database_factory.fresh() as db``."""
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    with user_fixtures.telling(pytestconfig, "costmgmt_database_factory") as broker:
        return broker.databases(costmgmt_settings, costmgmt_server, costmgmt_credentials)


@pytest.fixture
def costmgmt_database(
    request: pytest.FixtureRequest,
    costmgmt_settings: Settings,
    costmgmt_server: Server,
    costmgmt_credentials: Credentials,
) -> Iterator[Database]:
    """A fresh, initialized database of this test alone: ``.url``, ``.conninfo``, ``.environ()``.

    Migrated too if --costmgmt-manage names a management command. Removed after the test, unless
    --costmgmt-keep keeps it.
    """
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    with user_fixtures.telling(request.config, "costmgmt_database") as broker:
        databases = broker.databases(costmgmt_settings, costmgmt_server, costmgmt_credentials)
    yield from user_fixtures.for_test(request, databases)


@pytest.fixture
def costmgmt_connection(
    request: pytest.FixtureRequest, costmgmt_database: Database
) -> Iterator[Connection[TupleRow]]:
    """A psycopg connection to ``costmgmt_database``, closed after the test."""
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    with user_fixtures.telling(request.config, "costmgmt_connection"):
        connection = costmgmt_database.connect()
    yield connection
    connection.close()


@pytest.fixture
def costmgmt_roundtrip(
    request: pytest.FixtureRequest, costmgmt_settings: Settings, costmgmt_server: Server
) -> Callable[[Database], Proof]:
    """Backs a database up, restores it beside, proves that it is the same, and removes it.

    ``costmgmt_roundtrip(costmgmt_database)`` returns the proof; what differs is an AssertionError.
    """
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - only when asked for

    with user_fixtures.telling(request.config, "costmgmt_roundtrip") as broker:
        from pytest_costmgmt.engine.user_fixtures_roundtrip import proving  # noqa: PLC0415

        return proving(costmgmt_settings, broker.here(costmgmt_settings, costmgmt_server).server)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Name for xdist's workers a folder in which one of them may leave a server for all.

    Nothing is made here: a run that uses none of the fixtures pays for a few bytes.
    """
    config = node.config
    handed = getattr(config, "_costmgmt_handed", None)
    if handed is None:
        run = os.urandom(4).hex()
        # The embedded server's sweep knows this name, should everything be killed at once.
        name = f"costmgmt-server-{run}-{os.urandom(8).hex()}"
        folder = os.path.join(tempfile.gettempdir(), name)  # noqa: PTH118 - no Path needed
        handed = {
            "run": run,
            "folder": folder,
            "pid": os.getpid(),
            "host": os.uname().nodename,
            "typed": [str(word) for word in config.invocation_params.args],
        }
        config._costmgmt_handed = handed  # noqa: SLF001 - cheaper than a stash key
        config.add_cleanup(lambda: _end_run(config, folder, run))
    node.workerinput["costmgmt_user_fixtures"] = handed


def _end_run(config: pytest.Config, folder: str, run: str) -> None:
    if not os.path.lexists(folder):
        return
    from pathlib import Path  # noqa: PLC0415

    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - a worker asked

    user_fixtures.end_run(config, Path(folder), run)
