"""What the catalogs say of extensions that are not there yet, on a real server."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from psycopg.errors import InsufficientPrivilege

from pytest_costmgmt.facts import used_privileges
from pytest_costmgmt.judge import extensions as judge
from pytest_costmgmt.postgres.programs import Programs, find_programs
from pytest_costmgmt.servers import embedded
from tests.server.test_role_facts import Bed
from tests.server.test_usability import STATEMENTS, TRIGRAMS, UUID, catalog, judged


@pytest.fixture(scope="module")
def instance(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server of this module's own."""
    server = embedded.start(run_id=f"offers-{secrets.token_hex(4)}", programs=programs)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def bed(instance: embedded.Instance) -> Iterator[Bed]:
    """Make an application's database, before anything is installed."""
    made = Bed(instance.superuser, instance.programs.bindir / "psql")
    try:
        yield made
    finally:
        made.drop()


def test_an_empty_database_lacks_only_the_administrators_extension(bed: Bed) -> None:
    """Before an install, what the migrations will create is not missing; what they may not is."""
    judgements = judged(bed)
    assert {name for name, one in judgements.items() if one.findings} == {"prepared", STATEMENTS}
    neutral = {name for name, one in judgements.items() if one.not_supported}
    assert neutral == {"migrated", "schemas", "its schema", UUID, TRIGRAMS}


def test_a_providers_list_is_read_whatever_its_letters(bed: Bed) -> None:
    """Azure lists in capitals what it allows; what is not on the list is named with the list."""
    bed.sql("ALTER DATABASE {role} SET azure.extensions = 'PG_TRGM, Uuid-Ossp'")
    assert catalog(bed).allowed == ("pg_trgm", "uuid-ossp")
    (finding,) = judged(bed)["installable"].findings
    assert STATEMENTS in finding.summary
    assert finding.found == "azure.extensions allows pg_trgm, uuid-ossp"


def test_trusted_extensions_are_the_owners_to_create(bed: Bed) -> None:
    """Of the three, pg_stat_statements alone needs a superuser, as the server itself says."""
    facts = catalog(bed)
    offered = {one.name: one for one in facts.available}
    assert set(offered) == {UUID, TRIGRAMS, STATEMENTS}
    assert [name for name, one in offered.items() if not one.trusted] == [STATEMENTS]
    assert facts.role_creates is True
    assert catalog(bed, bed.application) == facts


def test_the_owner_can_do_what_the_judge_says(bed: Bed) -> None:
    """The application's login creates what was judged installable, and may not the rest."""
    login = bed.application
    with bed.connected(login) as connection:
        connection.execute(f'CREATE EXTENSION "{UUID}" SCHEMA public'.encode())
        connection.execute(f"CREATE EXTENSION {TRIGRAMS} SCHEMA public".encode())
        with pytest.raises(InsufficientPrivilege):
            connection.execute(f"CREATE EXTENSION {STATEMENTS} SCHEMA public".encode())
    assert {one.name for one in catalog(bed).installed} == {UUID, TRIGRAMS}


def test_public_alone_does_not_need_pg_trgm(bed: Bed) -> None:
    """pg_trgm comes with the first tenant: until then only uuid-ossp must be there."""
    bed.sql("CREATE EXTENSION pg_stat_statements", "CREATE TABLE public.django_migrations (id int)")
    missing = judge.migrated(catalog(bed), bed.requirements)
    assert [finding.summary for finding in missing.findings] == [
        "extension uuid-ossp is not installed"
    ]
    bed.sql("CREATE SCHEMA acct1", "CREATE TABLE acct1.django_migrations (id int)")
    assert catalog(bed).migrated_tenants == 1
    assert len(judge.migrated(catalog(bed), bed.requirements).findings) == 2


def test_files_that_the_server_lacks_are_a_finding(bed: Bed) -> None:
    """An extension without files cannot be installed by anybody: packages are the fix."""
    needs = bed.requirements.extensions
    unknown = msgspec.structs.replace(needs[0], name="no such extension")
    bed.requirements = msgspec.structs.replace(bed.requirements, extensions=(*needs, unknown))
    (finding,) = judge.installable(catalog(bed), bed.requirements).findings
    assert finding.fix is not None
    assert finding.fix.kind == "shell"
    assert "no such extension" in finding.summary


DEBIAN = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))), None)


@pytest.mark.skipif(DEBIAN is None, reason="no PostgreSQL in Debian's layout")
def test_a_library_that_does_not_load_shows_when_it_is_tried() -> None:
    """The server offers the extension all the same: its control file is there."""
    assert DEBIAN is not None
    major = DEBIAN.parents[1].name
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as name:
        base = Path(name)
        base.chmod(0o755)
        for part in (f"lib/postgresql/{major}", f"share/postgresql/{major}"):
            left_out = shutil.ignore_patterns("bitcode", "man", "*.jar")
            shutil.copytree(Path("/usr") / part, base / part, ignore=left_out)
        bindir = base / f"lib/postgresql/{major}/bin"
        programs = find_programs(bindir=bindir, version=None, cache=base, environ={})
        server = embedded.start(run_id="unloadable", programs=programs)
        try:
            bed = Bed(server.superuser, bindir / "psql")
            (base / f"lib/postgresql/{major}/lib/uuid-ossp.so").write_bytes(b"")
            seen = catalog(bed)
            used = used_privileges.use(
                bed.application,
                run_id=bed.tag,
                deadline=30,
                extensions={UUID: "public", TRIGRAMS: "public"},
            )
        finally:
            server.stop()
    by_catalog = judge.installable(seen, bed.requirements).findings
    found = judge.installable(seen, bed.requirements, used).findings
    assert [one.summary for one in by_catalog] == []
    (finding,) = found
    assert finding.summary == f"creating extension {UUID} fails, although the server offers it"
    assert "uuid-ossp" in finding.found
    assert finding.fix is not None
    assert "postgresql-contrib" in finding.fix.text
