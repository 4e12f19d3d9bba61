"""Whether what stands in front of the server keeps a session for its client, or shares it."""

from __future__ import annotations

from typing import Any

from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.attempt import enter
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.login import Login

_LOOKS = 3
"Another client of the pool may take a session between two looks."


def shared(connection: Any, login: Login, *, deadline: float) -> bool:
    """Return whether a second client is served by the process that serves the first.

    Both are connected meanwhile: where it is so, a session's settings are not its client's. Nothing
    is set, for it would stay in the pool. False proves nothing: the pool may have other processes.
    """
    _, second = enter(login, offered="own", deadline=deadline)
    if second is None:
        return False
    with second, asking("looking whose sessions the pooler gives"):
        return any(
            _process(connection, deadline) == _process(second, deadline) for _ in range(_LOOKS)
        )


def _process(connection: Any, deadline: float) -> int:
    with read_only(connection, timeout=deadline) as cursor:
        row = cursor.execute("SELECT pg_catalog.pg_backend_pid()").fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    return int(row[0])
