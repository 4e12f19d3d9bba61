"""The snapshot on a real server: what is seen, by whom, and that nothing can disguise it."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec
import pytest

from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.server import ServerFacts
from pytest_costmgmt.judge import server, session
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.server.catalog_bed import Bed, failing, judged


@pytest.fixture(scope="module")
def superuser(programs: Programs) -> Iterator[Login]:
    """Start a server and yield its superuser: a server of this module's own."""
    instance = embedded.start(run_id=f"catalog-{secrets.token_hex(4)}", programs=programs)
    try:
        yield instance.superuser
    finally:
        instance.stop()


@pytest.fixture
def bed(superuser: Login) -> Iterator[Bed]:
    """Make an application's database on the shared server."""
    made = Bed(superuser)
    try:
        yield made
    finally:
        made.drop()


@pytest.mark.parametrize("who", ["superuser", "application"])
def test_a_healthy_database_has_no_findings(bed: Bed, who: str) -> None:
    """Whoever reads the catalogs, a right database is right, and every judgement examined it."""
    facts = bed.read(bed.application if who == "application" else None)
    assert failing(bed, facts) == set()
    assert all(each.examined and not each.unverified for each in judged(bed, facts).values())


def test_the_snapshot_survives_the_way_to_a_worker(bed: Bed) -> None:
    """The facts are plain data: JSON and back is the same."""
    facts = bed.used()
    assert msgspec.json.decode(msgspec.json.encode(facts), type=Catalog) == facts


def test_nothing_on_the_search_path_disguises_the_facts(bed: Bed) -> None:
    """Operators, functions, tables and types of a hostile schema change no fact."""
    before = msgspec.json.encode(bed.read())
    bed.sql(
        "CREATE SCHEMA hostile",
        "CREATE FUNCTION hostile.no(pg_catalog.name, pg_catalog.name) RETURNS pg_catalog.bool"
        " LANGUAGE sql AS 'SELECT false'",
        "CREATE OPERATOR hostile.= (FUNCTION = hostile.no, LEFTARG = pg_catalog.name,"
        " RIGHTARG = pg_catalog.name)",
        "CREATE OPERATOR hostile.<> (FUNCTION = hostile.no, LEFTARG = pg_catalog.name,"
        " RIGHTARG = pg_catalog.name)",
        "CREATE FUNCTION hostile.now() RETURNS pg_catalog.timestamptz LANGUAGE sql"
        " AS $$SELECT '1999-01-01'::pg_catalog.timestamptz$$",
        "CREATE FUNCTION hostile.current_setting(pg_catalog.text) RETURNS pg_catalog.text"
        " LANGUAGE sql AS $$SELECT '1'$$",
        "CREATE TABLE hostile.pg_class (oid pg_catalog.oid)",
        "CREATE TABLE hostile.pg_settings (name pg_catalog.text)",
        "CREATE DOMAIN hostile.int4 AS pg_catalog.bool",
    )
    for whom in (f"ROLE {ident(bed.superuser.role)}", f"ROLE {ident(bed.name)}"):
        bed.sql(f"ALTER {whom} IN DATABASE {ident(bed.name)} SET search_path = hostile, pg_catalog")
    for login in (bed.superuser, bed.application):
        facts = bed.read(login)
        found = msgspec.json.decode(before, type=Catalog)
        assert facts.server.version == found.server.version
        assert facts.server.connections.maximum == found.server.connections.maximum
        assert msgspec.structs.replace(facts.privileges, used=None) == found.privileges
    # The path itself is a finding: what migrations create would go to the hostile schema.
    assert failing(bed, bed.read()) == {"settings"}


def test_hidden_libraries_are_never_called_absent(bed: Bed) -> None:
    """An ordinary login sees no shared_preload_libraries: another setting witnesses, or nobody."""
    facts = bed.read(bed.application).server
    assert facts.preload is None
    assert "shared_preload_libraries" in facts.hidden
    assert not server.preloaded(facts, bed.requirements).unverified
    needs = msgspec.structs.replace(
        bed.requirements,
        server=msgspec.structs.replace(bed.requirements.server, preload=("auto_explain",)),
    )
    assert server.preloaded(facts, needs).unverified
    assert not server.preloaded(facts, needs).findings


SETTINGS = [
    ("ALTER ROLE {role} SET default_transaction_read_only = yes", "default_transaction_read_only"),
    ("ALTER DATABASE {database} SET search_path = template0, public", ""),
    ("ALTER DATABASE {database} SET search_path = pg_catalog, public", "search_path"),
    ("ALTER ROLE {role} SET search_path = ''", "search_path"),
    ("ALTER ROLE {role} IN DATABASE {database} SET statement_timeout = '90s'", "statement_timeout"),
    ("ALTER ROLE {role} SET statement_timeout = 0", ""),
    ("ALTER ROLE {role} SET statement_timeout = '10min'", ""),
    ("ALTER ROLE ALL SET lock_timeout = 500", "lock_timeout"),
    ("ALTER ROLE {role} SET standard_conforming_strings = off", "standard_conforming_strings"),
    ("ALTER ROLE {role} SET default_transaction_isolation = 'serializable'",
     "default_transaction_isolation"),
    ("ALTER ROLE {role} SET session_replication_role = 'replica'", "session_replication_role"),
    ("ALTER ROLE {role} SET role = 'pg_monitor'", "role"),
]  # fmt: skip


@pytest.mark.parametrize(("statement", "named"), SETTINGS, ids=[s[:60] for s, _ in SETTINGS])
def test_a_setting_that_breaks_the_application_is_found_and_its_fix_ends_it(
    bed: Bed, statement: str, named: str
) -> None:
    """Each scope of ALTER ROLE and ALTER DATABASE is seen; what does no harm is no finding."""
    try:
        bed.sql(statement.format(role=ident(bed.name), database=ident(bed.name)))
        found = session.session_settings(bed.read().server, {}, bed.context)
        assert [f.expected.partition(":")[0] for f in found.findings] == ([named] if named else [])
        if named:
            bed.apply(found)
            assert failing(bed, bed.read()) == set()
    finally:
        bed.sql("ALTER ROLE ALL RESET ALL")


def test_a_more_specific_setting_covers_a_bad_one(bed: Bed) -> None:
    """What the role sets for the database wins over what the database sets."""
    role, database = ident(bed.name), ident(bed.name)
    bed.sql(
        f"ALTER ROLE {role} SET default_transaction_read_only = off",
        f"ALTER DATABASE {database} SET default_transaction_read_only = on",
    )
    assert failing(bed, bed.read()) == set()
    bed.sql(
        f"BEGIN READ WRITE; ALTER ROLE {role} RESET default_transaction_read_only; COMMIT",
    )
    facts = bed.read()
    assert failing(bed, facts) == {"settings"}
    bed.apply(judged(bed, facts)["settings"])
    assert failing(bed, bed.read()) == set()


@pytest.mark.parametrize("limit", ["ALTER ROLE {name}", "ALTER DATABASE {name}"])
def test_a_connection_limit_is_a_finding(bed: Bed, limit: str) -> None:
    """A limit of role or database below what the application opens is found and lifted."""
    bed.sql(f"{limit.format(name=ident(bed.name))} CONNECTION LIMIT 3")
    facts = bed.read()
    assert failing(bed, facts) == {"connections"}
    bed.apply(judged(bed, facts)["connections"])
    assert failing(bed, bed.read()) == set()


def test_the_application_s_own_sessions_use_up_nothing(bed: Bed) -> None:
    """Sessions of the application are what the requirement is about; others' sessions are not."""
    with connect(bed.application, deadline=10), connect(bed.superuser.on(bed.name), deadline=10):
        at = bed.read().server.connections
        as_seen_by_itself = bed.read(bed.application).server.connections
    assert (at.used_by_application, at.used_by_others_here) == (1, 1)
    assert as_seen_by_itself == at


def test_collation_versions_are_compared(bed: Bed) -> None:
    """A recorded version that is not the server's is found, for the database and template1."""
    if bed.read().server.major < 15:
        pytest.skip("before PostgreSQL 15 no database records a version")
    here = "datname = pg_catalog.current_database()"
    version = "UPDATE pg_catalog.pg_database SET datcollversion = {} WHERE {}"
    bed.sql(version.format("'0'", here))
    assert failing(bed, bed.read()) == {"collation"}
    bed.sql(version.format("NULL", here))
    try:
        bed.sql(version.format("'0'", "datname = 'template1'"))
        facts = bed.read()
        assert failing(bed, facts) == {"collations"}
        bed.apply(judged(bed, facts)["collations"])
        assert failing(bed, bed.read()) == set()
    finally:
        bed.sql(version.format("NULL", "datname = 'template1'"))


def test_a_collation_counts_only_where_something_uses_it(bed: Bed) -> None:
    """A collation of another version is a finding once a column is sorted by it."""
    version = "UPDATE pg_catalog.pg_collation SET collversion = '0' WHERE collname = '{}'"
    bed.sql(
        'CREATE COLLATION public."Odd" FROM "C"',
        'CREATE COLLATION public."Unused" FROM "C"',
        'CREATE TABLE public.sorted (name text COLLATE public."Odd" UNIQUE)',
        version.format("Unused"),
    )
    assert failing(bed, bed.read()) == set()
    bed.sql(version.format("Odd"))
    assert failing(bed, bed.read()) == {"collations"}


def test_another_encoding_is_found(bed: Bed) -> None:
    """A database that says SQL_ASCII is not UTF8, whatever the client's encoding is."""
    bed.sql(
        "UPDATE pg_catalog.pg_database SET encoding = 0"
        " WHERE datname = pg_catalog.current_database()"
    )
    assert failing(bed, bed.read()) == {"encoding"}


def _settings_of(facts: ServerFacts) -> dict[str, str]:
    return {setting.name: setting.value for setting in facts.settings}


def test_settings_of_other_roles_are_not_the_application_s(bed: Bed) -> None:
    """Only what reaches the application's sessions counts."""
    bed.sql(
        f"ALTER ROLE {ident(bed.superuser.role)} IN DATABASE {ident(bed.name)}"
        " SET default_transaction_read_only = on"
    )
    assert _settings_of(bed.read().server) == {}


def test_everybody_sees_the_age_of_every_database(bed: Bed) -> None:
    """Those to which nobody may connect have one; what is left of an interrupted DROP has none."""
    ages = bed.read(bed.application).server.ages
    assert ages == bed.read().server.ages
    assert {age.database for age in ages if not age.connects} == {"template0"}
    assert {"template1", "postgres", bed.name} <= {age.database for age in ages}
    assert all(0 <= age.transactions < 1_000_000 and age.multixacts >= 0 for age in ages)
    limit = "UPDATE pg_catalog.pg_database SET datconnlimit = {} WHERE datname = 'template1'"
    bed.sql(limit.format(-2))
    try:
        assert "template1" not in {age.database for age in bed.read().server.ages}
    finally:
        bed.sql(limit.format(-1))
