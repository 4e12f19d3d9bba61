"""SQL text for people: the boundary's, under the name by which the judges know it."""

from __future__ import annotations

from pytest_costmgmt.postgres.sqltext import ident, literal, qualified

__all__ = ["ident", "literal", "qualified"]
