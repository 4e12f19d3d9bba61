"""Steps about extensions: created by the least powerful role that may."""

from __future__ import annotations

from typing import Any

from pytest_costmgmt.initialize.step import By, Change, Work
from pytest_costmgmt.postgres.statements import Statement, rows
from pytest_costmgmt.requirements.model import ExtensionNeeds

EXTENSION = """
SELECT n.nspname
  FROM pg_catalog.pg_extension AS e
  JOIN pg_catalog.pg_namespace AS n ON n.oid = e.extnamespace
 WHERE e.extname = %(extension)s
"""

AVAILABLE = """
SELECT a.name FROM pg_catalog.pg_available_extensions AS a WHERE a.name = %(extension)s
"""


def extension(needs: ExtensionNeeds, *, database: str) -> Work:
    """Return the step that creates an extension, or says who can."""
    create = Statement("CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}", (needs.name, needs.schema))
    by: By = "superuser" if needs.created_by == "administrator" else "application"

    def look(cursor: Any) -> Change:
        if found := rows(cursor, EXTENSION, extension=needs.name):
            return _as_found(needs, found[0][0])
        if not rows(cursor, AVAILABLE, extension=needs.name):
            return Change(
                refusal="the server does not have its files: install PostgreSQL's contrib package"
                " of the server's own version",
                statements=(create,),
            )
        return Change(statements=(create,))

    return Work(
        name=f"extension {needs.name}",
        database=database,
        by=by,
        look=look,
        fresh=Change(statements=(create,)),
        after=(f"database {database}", f"schema {needs.schema}"),
    )


def _as_found(needs: ExtensionNeeds, schema: str) -> Change:
    if schema == needs.schema:
        return Change()
    # koku's IF NOT EXISTS passes, and moving it may break what uses it: told, not changed.
    return Change(remark=f"in schema {schema}, not {needs.schema}")
