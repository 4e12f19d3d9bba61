"""What is read of privileges and migrations, from the oldest and the newest PostgreSQL."""

# ruff: noqa: S608 - the names are our own

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_costmgmt.facts import migrations
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.connect import connect, read_only
from tests import postgres_versions
from tests.server.catalog_bed import Bed


@pytest.fixture(scope="module", params=[13, 18])
def bed(request: pytest.FixtureRequest) -> Iterator[Bed]:
    """Make an application's database on a server of one version."""
    with postgres_versions.server(request.param) as server:
        yield Bed(server.superuser)


def test_what_keeps_an_owner_from_its_own_is_read(bed: Bed) -> None:
    """Forced row security, a rule and default privileges are told, each by its kind."""
    name = ident(bed.name)
    bed.sql(
        "CREATE TABLE public.django_migrations (id serial PRIMARY KEY, app text, name text)",
        "ALTER TABLE public.django_migrations ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE public.django_migrations FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY own ON public.django_migrations FOR SELECT TO {name} USING (true)",
        "CREATE RULE no AS ON DELETE TO public.django_migrations DO INSTEAD NOTHING",
        f"ALTER TABLE public.django_migrations OWNER TO {name}",
        f"ALTER DEFAULT PRIVILEGES FOR ROLE {name} REVOKE INSERT ON TABLES FROM {name}",
    )
    found = {(group.why, group.lacking) for group in bed.read().privileges.shut}
    assert found == {
        ("row security", "INSERT, UPDATE, DELETE"),
        ("rule", "DELETE"),
        ("default", "INSERT"),
    }


def test_a_tenant_s_lost_key_is_read(bed: Bed) -> None:
    """The template has a primary key more."""
    for schema in ("template0", "acct1"):
        bed.sql(
            f"CREATE SCHEMA {schema}",
            f"CREATE TABLE {schema}.django_migrations (id serial PRIMARY KEY, app text, name text)",
            f"INSERT INTO {schema}.django_migrations (app, name) VALUES ('api', '0001')",
        )
    bed.sql("ALTER TABLE acct1.django_migrations DROP CONSTRAINT django_migrations_pkey")
    login = bed.superuser.on(bed.name)
    with connect(login, deadline=20) as connection, read_only(connection, timeout=30) as cursor:
        found = migrations.read(cursor, bed.requirements, None)
    assert found.lacking == (migrations.Lacking("acct1", 1, ("primary key of django_migrations",)),)
