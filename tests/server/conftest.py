"""What tests over a release share: its server, the namespace around it, a run's folders."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_costmgmt.postgres.programs import Programs
from tests.server import run_support
from tests.server.access_server import OwnServer
from tests.server.release_api import ReleaseApi, release_api, release_server
from tests.server.run_support import Place


@pytest.fixture(scope="module")
def release_host(programs: Programs) -> Iterator[OwnServer]:
    """A server with the application's role and database, initialized."""
    with release_server(programs) as server:
        yield server


@pytest.fixture
def release(release_host: OwnServer) -> Iterator[ReleaseApi]:
    """The namespace around it; its data folder is said to be on the claim's mount."""
    with release_api(release_host) as api:
        yield api


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found
