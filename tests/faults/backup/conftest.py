"""One restored torture database a process, copied for each mutation."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.faults.backup.bed import Bed, bed


@pytest.fixture(scope="session")
def superuser(programs: Programs) -> Iterator[Login]:
    """A superuser's login to a server of these tests' own: roles are mutated, too."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance.superuser
    instance.stop()


@pytest.fixture(scope="session")
def restored(superuser: Login, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bed]:
    """A template that was restored from a backup of the torture database."""
    folder: Path = tmp_path_factory.mktemp("backup")
    with bed(superuser, folder) as made:
        yield made
