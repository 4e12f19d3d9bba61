"""What the tests share: programs of a PostgreSQL, and servers that end with the test."""

from __future__ import annotations

import os

import pytest

from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve


@pytest.fixture(scope="session")
def programs() -> Programs:
    """The programs that an embedded server of this machine is made of."""
    return embedded.embedded_programs(resolve({}, os.environ, lambda _: None))
