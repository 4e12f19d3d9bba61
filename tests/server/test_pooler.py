"""A transaction pooler in front of the server: judged alike, and nothing of ours stays in it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
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


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[OwnServer]:
    """A server with the application's and hive's roles and databases."""
    with pooled_server(programs) as started:
        yield started


def test_a_pooler_in_front_tells_of_shared_sessions_and_keeps_nothing(
    place: Place, server: OwnServer
) -> None:
    """Settings, locks and prepared statements of ours do not reach the pool's next client.

    The application's own would: that is told, and nothing else is another outcome.
    """
    with pooler(server, "scram-sha-256", verifiers(server)) as bouncer:
        direct = judged(place, server.port).outcomes
        assert direct["CM-SRV-011"] == "passed"
        pooled = judged(place, bouncer.port).outcomes
        assert pooled == {**direct, "CM-SRV-011": "unverifiable"}
        with connect(bouncer.login(), deadline=60) as connection:
            left = connection.execute(
                "SELECT (SELECT count(*) FROM pg_settings WHERE source = 'session'"
                " AND name <> 'application_name'),"
                " (SELECT count(*) FROM pg_prepared_statements),"
                " (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory')"
            ).fetchone()
        assert left == (0, 0, 0)


def test_a_pooler_that_keeps_sessions_changes_no_outcome(place: Place, server: OwnServer) -> None:
    """In session mode a second client has a process of its own."""
    with pooler(server, "scram-sha-256", verifiers(server), mode="session") as bouncer:
        assert judged(place, bouncer.port).outcomes == judged(place, server.port).outcomes


def test_a_pooler_that_asks_for_nothing_is_trust(place: Place, server: OwnServer) -> None:
    """The server asks for passwords; who reaches the pooler needs none, and that is found."""
    with pooler(server, "trust", KNOWN) as bouncer:
        ran = judged(place, bouncer.port)
    assert ran.outcomes["CM-CON-005"] == "failed"
    assert ran.status == 1


def test_a_pooler_that_holds_a_refused_login_back_is_no_error(
    place: Place, server: OwnServer
) -> None:
    """A second run at once gets no answer for hive: that is told, and the verdict stands."""
    with pooler(server, "scram-sha-256", verifiers(server)) as bouncer:
        first = judged(place, bouncer.port)
        second = judged(place, bouncer.port)
    assert second.outcomes == {**first.outcomes, "CM-CON-009": "unverifiable"}
    assert second.report["verdict"] == first.report["verdict"]
    told = next(check for check in second.report["checks"] if check["id"] == "CM-CON-009")
    (unverified,) = told["unverified"]
    assert "holds logins back" in unverified["what"]
