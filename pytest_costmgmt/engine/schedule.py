"""One scope a target: order is kept, and nothing overlaps, under every ``--dist``."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

from pytest_costmgmt.engine.collection import NODE_ID


class OneScope(LoadScopeScheduling):  # type: ignore[misc]
    """All checks of the target are one unit of work, in the catalogue's order."""

    def _split_scope(self, nodeid: str) -> str:  # noqa: ARG002 - xdist's signature
        return NODE_ID
