"""The initialization's lock, while migrations run beside it."""

from __future__ import annotations

from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.statements import held
from tests.server.access_server import own_server


def test_the_lock_holds_no_snapshot(programs: Programs) -> None:
    """Who holds the lock holds up no VACUUM and no CREATE INDEX CONCURRENTLY."""
    with own_server(programs) as server:
        server.sql("CREATE TABLE t (i int)")
        with held(server.admin, deadline=10):
            server.sql("SET statement_timeout = '20s'", "CREATE INDEX CONCURRENTLY ON t (i)")
            held_up = server.sql(
                "SELECT count(backend_xmin) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction'"
            )
        assert held_up == [(0,)]
