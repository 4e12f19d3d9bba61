"""A pooler in front of servers that say how a login was admitted: theirs, not the client's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.login import Login
from tests import postgres_versions
from tests.server import run_support
from tests.server.access_server import OwnServer
from tests.server.pooler_bed import (
    KNOWN,
    judged,
    needs_pgbouncer,
    pooled_server,
    pooler,
    verifiers,
)
from tests.server.run_support import Place

pytestmark = needs_pgbouncer


@pytest.fixture(scope="module", params=[16, 18])
def server(request: pytest.FixtureRequest) -> Iterator[OwnServer]:
    """A server of one version with the application's and hive's roles and databases."""
    with pooled_server(postgres_versions.programs(request.param)) as started:
        yield started


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def test_a_pooler_that_asks_for_nothing_is_trust(place: Place, server: OwnServer) -> None:
    """The server's word on the pooler's own login is no word on the client's."""
    with pooler(server, "trust", KNOWN) as bouncer:
        ran = judged(place, bouncer.port)
    assert ran.outcomes["CM-CON-005"] == "failed"
    assert ran.outcomes["CM-CON-006"] == "not-supported"
    assert ran.status == 1


def test_a_direct_login_is_admitted_as_the_server_says(server: OwnServer) -> None:
    """Nothing stands between: peer is told from trust without pg_hba.conf."""
    server.sql("DROP ROLE IF EXISTS peer_by_map", "CREATE ROLE peer_by_map LOGIN")
    login = Login(role="peer_by_map", database="postgres", where=server.where)
    assert attempt(login, offered="none", deadline=60).method == "peer"


def test_a_sound_pooler_changes_no_outcome(place: Place, server: OwnServer) -> None:
    """Behind one that asks for SCRAM and keeps sessions everything is as it is without it."""
    with pooler(server, "scram-sha-256", verifiers(server), mode="session") as bouncer:
        assert judged(place, bouncer.port).outcomes == judged(place, server.port).outcomes
