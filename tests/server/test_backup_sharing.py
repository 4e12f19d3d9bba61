"""Rows are hashed with the cores that other work leaves."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial

import pytest

from pytest_costmgmt.backup import content
from pytest_costmgmt.backup.listing import Listing
from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.backup.sharing import Cores
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.server.content_bed import run


@pytest.fixture(scope="module")
def login(programs: Programs) -> Iterator[Login]:
    """Return a database of one table with one row."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    run(instance.superuser, "CREATE TABLE one (a int)", "INSERT INTO one VALUES (1)")
    yield instance.superuser
    instance.stop()


@pytest.fixture
def listed(login: Login) -> Listing:
    """Return what is to be hashed."""
    with connect(login, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        return content.listed(cursor)


def test_other_work_has_the_cores_first(login: Login, listed: Listing) -> None:
    """No session begins while its core is taken; then all is hashed."""
    cores, told = Cores(1), list[Progress]()
    hash_all = partial(
        content.hash_all, login, listed, snapshot=None, jobs=1, timeout=60, cores=cores
    )
    with ThreadPoolExecutor(1) as pool:
        with cores.taken():
            hashed = pool.submit(hash_all, told=told.append)
            assert not wait({hashed}, timeout=0.5).done
            assert not told
        assert [each.rows for each in hashed.result(60)] == [1]


def test_what_waits_for_a_core_ends_when_it_is_told_to_stop(login: Login, listed: Listing) -> None:
    """A core that is never free keeps nobody."""
    cores = Cores(1)
    with cores.taken(), pytest.raises(BackupFailed, match="told to stop"):
        content.hash_all(
            login, listed, snapshot=None, jobs=1, timeout=60, stop=lambda: True, cores=cores
        )
