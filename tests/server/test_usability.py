"""Extensions used for real on a server: right answers, refusals, liars, and what is counted."""

from __future__ import annotations

import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts import extensions, usability
from pytest_costmgmt.facts.extensions import ExtensionCatalog
from pytest_costmgmt.facts.usability import UsabilityFacts
from pytest_costmgmt.judge import extensions as judge
from pytest_costmgmt.judge.finding import Finding, Judgement
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.server.test_role_facts import Bed

UUID, TRIGRAMS, STATEMENTS = "uuid-ossp", "pg_trgm", "pg_stat_statements"


@pytest.fixture(scope="module")
def instance(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server of this module's own."""
    server = embedded.start(run_id=f"uses-{secrets.token_hex(4)}", programs=programs)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def bed(instance: embedded.Instance) -> Iterator[Bed]:
    """Make an application's database with its extensions, in which migrations ran."""
    made = Bed(instance.superuser, instance.programs.bindir / "psql")
    try:
        made.sql(
            *(f'CREATE EXTENSION "{name}" SCHEMA public' for name in (UUID, TRIGRAMS, STATEMENTS)),
            "CREATE TABLE public.django_migrations (id int)",
            "CREATE SCHEMA acct1",
            "CREATE TABLE acct1.django_migrations (id int)",
        )
        yield made
    finally:
        made.drop()


def used(bed: Bed, login: Login | None = None) -> UsabilityFacts:
    """Return what the application's login makes of the extensions, through its JSON form."""
    with connect(login or bed.application, deadline=10) as connection:
        facts = usability.use(connection, bed.requirements, timeout=10)
    return msgspec.json.decode(msgspec.json.encode(facts), type=UsabilityFacts)


def catalog(bed: Bed, login: Login | None = None) -> ExtensionCatalog:
    """Return what the catalogs say of the extensions, through its JSON form."""
    with (
        connect((login or bed.superuser).on(bed.role), deadline=10) as connection,
        read_only(connection, timeout=10) as cursor,
    ):
        facts = extensions.read(cursor, bed.requirements, bed.context)
    return msgspec.json.decode(msgspec.json.encode(facts), type=ExtensionCatalog)


def judged(bed: Bed) -> dict[str, Judgement]:
    """Return every judgement of the group by a short name."""
    facts, uses, needs = catalog(bed), used(bed), bed.requirements
    return {
        "installable": judge.installable(facts, needs),
        "prepared": judge.prepared(facts, needs),
        "migrated": judge.migrated(facts, needs),
        "schemas": judge.schemas(facts, needs, created_by="application"),
        "its schema": judge.schemas(facts, needs, created_by="administrator"),
        UUID: judge.usable(facts, uses, needs, UUID),
        TRIGRAMS: judge.usable(facts, uses, needs, TRIGRAMS),
        STATEMENTS: judge.usable(facts, uses, needs, STATEMENTS),
        "counted": judge.counted(uses, needs),
    }


def failing(bed: Bed) -> dict[str, tuple[Finding, ...]]:
    """Return the judgements that found something."""
    return {name: one.findings for name, one in judged(bed).items() if one.findings}


def test_a_healthy_database_has_no_finding(bed: Bed) -> None:
    """Three extensions in public, used by the application's login, satisfy every judge."""
    for judgement in judged(bed).values():
        assert judgement.examined
        assert not judgement.findings
        assert not judgement.unverified
        assert not judgement.not_supported


# What is planted, and the only judges that may say something.
FAULTS = {
    "statements-missing": (("DROP EXTENSION pg_stat_statements",), {"prepared", STATEMENTS}),
    "uuid-missing": (('DROP EXTENSION "uuid-ossp"',), {"migrated", UUID}),
    "trigrams-missing": (("DROP EXTENSION pg_trgm",), {"migrated", TRIGRAMS}),
    "may-not-create": (
        ("DROP EXTENSION pg_trgm", "REVOKE CREATE ON DATABASE {role} FROM {role}"),
        {"installable", "migrated", TRIGRAMS},
    ),
    "elsewhere": (
        (
            'CREATE SCHEMA "Else where"',
            'GRANT USAGE ON SCHEMA "Else where" TO PUBLIC',
            'ALTER EXTENSION "uuid-ossp" SET SCHEMA "Else where"',
            'ALTER EXTENSION pg_trgm SET SCHEMA "Else where"',
            'ALTER EXTENSION pg_stat_statements SET SCHEMA "Else where"',
        ),
        {"schemas", "its schema"},
    ),
    "hidden-schema": (
        ("CREATE SCHEMA hidden", "ALTER EXTENSION pg_trgm SET SCHEMA hidden"),
        {"schemas", TRIGRAMS},
    ),
    "uuid-denied": (
        ("REVOKE EXECUTE ON FUNCTION public.uuid_generate_v4() FROM PUBLIC",),
        {UUID},
    ),
    "trigrams-denied": (
        ("REVOKE EXECUTE ON FUNCTION public.similarity(text, text) FROM PUBLIC",),
        {TRIGRAMS},
    ),
    "statements-denied": (
        ("REVOKE SELECT ON public.pg_stat_statements FROM PUBLIC",),
        {STATEMENTS},
    ),
    "track-none-in-database": (
        ("ALTER DATABASE {role} SET pg_stat_statements.track = 'none'",),
        {"counted"},
    ),
    "track-none-for-role": (
        ("ALTER ROLE {role} SET pg_stat_statements.track = 'none'",),
        {"counted"},
    ),
    "track-none-for-both": (
        ("ALTER ROLE {role} IN DATABASE {role} SET pg_stat_statements.track = 'none'",),
        {"counted"},
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_its_fixes_end_it(bed: Bed, name: str) -> None:
    """Each planted fault is found by its judges alone, and the shown SQL, twice run, ends it."""
    planted, expected = FAULTS[name]
    bed.sql(*planted)
    found = failing(bed)
    assert set(found) == expected
    for _ in range(2):
        for finding in (one for findings in found.values() for one in findings):
            bed.fix(finding)
    assert not failing(bed)


def test_a_schema_that_is_shut_is_named(bed: Bed) -> None:
    """A schema without USAGE is the reason, not a function that does not exist."""
    bed.sql("CREATE SCHEMA shut", "ALTER EXTENSION pg_trgm SET SCHEMA shut")
    (finding,) = failing(bed)[TRIGRAMS]
    assert "no USAGE on schema shut" in finding.found
    bed.fix(finding)
    assert set(failing(bed)) == {"schemas"}


def test_without_a_queryid_nothing_is_counted(bed: Bed) -> None:
    """compute_query_id = off (14 and later) is named as the reason, and its fix ends it."""
    if bed.facts().version < 140000:
        pytest.skip("the setting came with PostgreSQL 14")
    bed.sql("ALTER ROLE {role} SET compute_query_id = off")
    (finding,) = failing(bed)["counted"]
    assert "compute_query_id = off" in finding.found
    bed.fix(finding)
    assert not failing(bed)


def test_calls_are_found_without_a_queryid_too(bed: Bed) -> None:
    """Where EXPLAIN does not tell the queryid, the growth of the role's own calls is counted."""
    if bed.facts().version < 140000:
        pytest.skip("the setting came with PostgreSQL 14")
    bed.sql("ALTER ROLE {role} SET compute_query_id = regress")
    counting = used(bed).counting
    assert counting is not None
    assert (counting.by, counting.grew) == ("all calls", True)


def test_a_liar_earlier_in_the_search_path_has_no_say(bed: Bed) -> None:
    """Functions, operators and views of the same name elsewhere neither help nor harm."""
    bed.sql(
        "CREATE SCHEMA liar",
        "GRANT USAGE ON SCHEMA liar TO PUBLIC",
        "CREATE FUNCTION liar.uuid_generate_v4() RETURNS text LANGUAGE sql AS $$ SELECT '1' $$",
        "CREATE FUNCTION liar.similarity(text, text) RETURNS real LANGUAGE sql AS $$ SELECT 7 $$",
        "CREATE VIEW liar.pg_stat_statements AS SELECT 1 AS calls WHERE false",
        "CREATE FUNCTION liar.never(text, text) RETURNS boolean LANGUAGE sql AS $$ SELECT false $$",
        "CREATE OPERATOR liar.= (LEFTARG = text, RIGHTARG = text, FUNCTION = liar.never)",
        "ALTER ROLE {role} SET search_path = liar, pg_temp, public, pg_catalog",
    )
    assert not failing(bed)
    bed.sql('DROP EXTENSION "uuid-ossp"', "DROP EXTENSION pg_trgm")
    assert set(failing(bed)) == {"migrated", UUID, TRIGRAMS}


def test_a_wrong_answer_is_found(bed: Bed) -> None:
    """A function of the extension that was replaced by one that repeats itself is no use."""
    bed.sql(
        "ALTER FUNCTION public.uuid_generate_v4() RENAME TO kept",
        "CREATE FUNCTION public.uuid_generate_v4() RETURNS uuid LANGUAGE sql AS"
        " $$ SELECT '9c8df3b4-5c0e-4f0e-9d5c-0a4f0d9f2f11'::uuid $$",
    )
    (finding,) = failing(bed)[UUID]
    assert "9c8df3b4" in finding.found


def test_the_use_leaves_nothing_in_the_session(bed: Bed) -> None:
    """A pooler's next client finds the settings as they were, and no open transaction."""
    with connect(bed.application, deadline=10) as connection:
        before = connection.execute("SHOW search_path").fetchone()
        usability.use(connection, bed.requirements, timeout=10)
        assert connection.execute("SHOW search_path").fetchone() == before
        assert connection.execute("SHOW transaction_read_only").fetchone() == ("off",)
        assert connection.execute(
            "SELECT count(*) FROM pg_prepared_statements WHERE from_sql IS NOT NULL"
        ).fetchone() == (0,)


def test_a_lost_connection_is_no_finding(bed: Bed) -> None:
    """A connection that breaks proves nothing about an extension."""
    with connect(bed.application, deadline=10) as connection:
        bed.sql(f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(FactUnavailable):
            usability.use(connection, bed.requirements, timeout=10)


def test_calls_are_counted_when_the_statistics_are_full(programs: Programs) -> None:
    """With pg_stat_statements.max reached, evictions are no reason for a finding."""
    server = embedded.start(
        run_id=f"full-{secrets.token_hex(4)}",
        programs=programs,
        conf=("pg_stat_statements.max = 100",),
    )
    made = Bed(server.superuser, server.programs.bindir / "psql")
    try:
        made.sql("CREATE EXTENSION pg_stat_statements SCHEMA public")
        with connect(made.application, deadline=10) as connection:
            for width in range(1, 150):
                columns = ", ".join(f"{n} AS c{n}" for n in range(width))
                connection.execute(f"SELECT {columns}".encode())
        counting = used(made).counting
        assert counting is not None
        assert counting.grew
    finally:
        server.stop()


def test_an_extension_without_its_preload_does_not_answer(programs: Programs) -> None:
    """Created but not preloaded is refused with 55000; the fix keeps the libraries that are set."""
    there = "auto_explain, " if _has_library(programs, "auto_explain") else ""
    server = embedded.start(
        run_id=f"bare-{secrets.token_hex(4)}",
        programs=programs,
        conf=(f"shared_preload_libraries = '{there.strip(', ')}'",),
    )
    made = Bed(server.superuser, server.programs.bindir / "psql")
    try:
        made.sql("CREATE EXTENSION pg_stat_statements SCHEMA public")
        judgement = judge.usable(catalog(made), used(made), made.requirements, STATEMENTS)
        (finding,) = judgement.findings
        assert "55000" in finding.found
        for _ in range(2):
            made.fix(finding)
        written = (server.data / "postgresql.auto.conf").read_text(encoding="utf-8")
        lines = [line for line in written.splitlines() if "shared_preload" in line]
        assert lines == [f"shared_preload_libraries = '{there}pg_stat_statements'"]
    finally:
        server.stop()


def _has_library(programs: Programs, name: str) -> bool:
    asked = [str(programs.bindir / "pg_config"), "--pkglibdir"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True, timeout=60)
    except OSError:
        return False
    return (Path(said.stdout.strip()) / f"{name}.so").exists()
