"""Two servers for all bends: a healthy one, and one with a planted fault."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from pytest_costmgmt.engine.provision import Embedded
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.settings import resolve
from tests.faults.beds import Beds, remove
from tests.faults.model import Sql
from tests.plugin.bends.support import Pair, Target

FAULT = "CM-ROL-005"


@pytest.fixture(scope="session")
def pair(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A healthy server and one whose role hive may create databases."""
    making = Embedded(
        resolve({}, {}, lambda _: None), load("koku-hive"), secrets.token_hex(4), say=lambda _: None
    )
    server = making.start()
    instance = making.instance
    assert instance is not None
    instance.stop(keep=True)
    beds = Beds(instance.data, server, programs, tmp_path_factory.mktemp("beds"))
    good, bad = tmp_path_factory.mktemp("healthy"), tmp_path_factory.mktemp("faulty")
    try:
        with beds.copy(good) as healthy, beds.copy(bad) as faulty:
            faulty.execute(Sql(statements=("ALTER ROLE {hive_role} CREATEDB",)))
            yield Pair(Target(healthy), Target(faulty), FAULT)
    finally:
        remove(instance)
