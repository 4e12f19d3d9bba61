"""A healthy server, made once a process and copied for each fault."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from pytest_costmgmt.engine.provision import Embedded
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.settings import resolve
from tests.faults.beds import Beds, remove


@pytest.fixture(scope="session")
def beds(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beds]:
    """Copies of a healthy server that was initialized, migrated and given tenants."""
    making = Embedded(
        resolve({}, {}, lambda _: None), load("koku-hive"), secrets.token_hex(4), say=lambda _: None
    )
    server = making.start()
    instance = making.instance
    assert instance is not None
    instance.stop(keep=True)
    made = Beds(instance.data, server, programs, tmp_path_factory.mktemp("healthy"))
    try:
        yield made
    finally:
        made.runs.close()
        remove(instance)
