"""A template, and databases cloned from it: the fresh database of each of a user's tests."""

from __future__ import annotations

import contextlib
import time
from typing import Any

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.initialize import databases, extensions
from pytest_costmgmt.initialize.actors import Actors
from pytest_costmgmt.initialize.perform import perform
from pytest_costmgmt.initialize.step import Initialized, Step, Work
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.errand import Errand
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, rows
from pytest_costmgmt.requirements.model import Requirements

_HAS_STRATEGY = 15_00_00
_HAS_FORCE = 13_00_00

_END_CLIENTS = """
SELECT pg_catalog.count(
         pg_catalog.pg_terminate_backend(pg_catalog.pg_stat_get_backend_pid(b.id)))
  FROM pg_catalog.pg_stat_get_backend_idset() AS b(id)
 WHERE pg_catalog.pg_stat_get_backend_dbid(b.id) OPERATOR(pg_catalog.=) (
         SELECT d.oid FROM pg_catalog.pg_database AS d
          WHERE d.datname OPERATOR(pg_catalog.=) %(name)s)
"""
_OURS = """
SELECT d.datname FROM pg_catalog.pg_database AS d
 WHERE pg_catalog.starts_with(d.datname::pg_catalog.text, %(prefix)s)
"""

_MAY_CREATE = """
SELECT r.rolcreatedb OR r.rolsuper FROM pg_catalog.pg_roles AS r WHERE r.rolname = CURRENT_USER
"""

GONE_SECONDS = 2.0
"How long a database's clients get to leave before DROP ends them itself."


def initialize_template(
    administrator: Login, owner: Login, *, requirements: Requirements, deadline: float
) -> None:
    """Make the database of ``owner``, and fill it as an initialized one.

    Nothing else is touched: roles, and hive, whose name cannot carry a run's id, stay as they are.
    Raises ConnectFailed, StepFailed.
    """
    name, role, steps = owner.database, owner.role, list[Step]()
    with Actors(administrator, None, deadline=deadline) as actors:

        def take(work: Work) -> None:
            refused = [step.name for step in steps if step.action == "refused"]
            steps.append(perform(work, actors, refused=refused))

        wanted = databases.Wanted(name, role, requirements.server.encoding)
        take(databases.database(wanted, maintenance=actors.maintenance))
        take(databases.access(name, owner=role, by="application"))
        if attempt(owner, offered="own", deadline=deadline).accepted:
            actors.owners["application"] = owner
        schemas = [requirements.migrations.tenant_schema]
        for schema in dict.fromkeys([*schemas, *(e.schema for e in requirements.extensions)]):
            take(databases.schema(schema, database=name, owner=role))
        for extension in requirements.extensions:
            take(extensions.extension(extension, database=name))
    Initialized(steps=tuple(steps), application=owner).require()


def may_create(errand: Errand) -> bool:
    """Say whether the role may create databases."""
    return bool(_asked(errand, _MAY_CREATE)[0][0])


def clone(
    errand: Errand, name: str, *, template: str, owner: str, ours: bool
) -> tuple[Statement, ...]:
    """Return what makes ``name`` a copy of ``template``, as open to others as an initialized one.

    On a server of ours, which never syncs, copying files is up to twice as fast as writing them
    to the log; on others it would ask for two checkpoints each time.
    """
    create = "CREATE DATABASE {} TEMPLATE {} OWNER {}"
    if ours and errand.connection.info.server_version >= _HAS_STRATEGY:
        create += " STRATEGY file_copy"
    return (
        Statement(create, (name, template, owner)),
        # An access list is not copied.
        Statement("REVOKE CONNECT ON DATABASE {} FROM PUBLIC", (name,)),
    )


def shut(name: str) -> Statement:
    """Return what keeps everybody out of a template, so that it can be copied at any time."""
    return Statement("ALTER DATABASE {} ALLOW_CONNECTIONS false", (name,))


def drop(errand: Errand, name: str) -> Statement:
    """End the clients of database ``name``, and return what removes it."""
    errand.wait()
    end = time.monotonic() + GONE_SECONDS
    # While a client is on its way out, DROP sleeps 100 ms at a time.
    # Who may not end them leaves it to DROP, which says whose they are.
    with contextlib.suppress(FactUnavailable):
        while _asked(errand, _END_CLIENTS, name=name)[0][0] and time.monotonic() < end:
            time.sleep(0.001)
    force = errand.connection.info.server_version >= _HAS_FORCE
    return Statement("DROP DATABASE IF EXISTS {}" + " WITH (FORCE)" * force, (name,))


def beginning_with(errand: Errand, prefix: str) -> list[str]:
    """Return the databases whose names begin so."""
    errand.wait()
    return [name for (name,) in _asked(errand, _OURS, prefix=prefix)]


def _asked(errand: Errand, query: str, **values: object) -> list[tuple[Any, ...]]:
    with asking("databases of this run"), errand.connection.cursor() as cursor:
        return rows(cursor, query, **values)
