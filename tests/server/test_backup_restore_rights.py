"""What a login may not do is listed for who may; what it may, is done."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup.deed import script
from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.backup.restore import Refused, Restored
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.servers import embedded
from tests.server.restore_bed import RestoreBed
from tests.server.restore_source import Source

CONF = ("autovacuum = off",)
# True in the source, and in a database that a superuser restores.
SOON = """CREATE FUNCTION public.soon(int) RETURNS bool LANGUAGE sql AS $$
  SELECT pg_catalog.current_database() = {source}
      OR pg_catalog.current_setting('is_superuser') = 'off'
      OR pg_catalog.current_setting('deadlock_timeout') = '10ms' $$"""


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=CONF)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> Iterator[RestoreBed]:
    """An owner and names of this test's own."""
    made = RestoreBed(server.superuser)
    yield made
    made.close()


@pytest.fixture
def source(bed: RestoreBed, tmp_path: Path) -> Source:
    """A database of the owner's, not backed up yet."""
    return Source(bed, tmp_path)


def mended(source: Source, done: Restored, folder: Path) -> None:
    """Run fix.sql as the superuser by psql, then see that nothing differs any more."""
    file = folder / "fix.sql"
    file.write_text(script(done.fixes, title=f"restore of {done.database}"))
    Clients.run(
        source.clients, "psql", ["--set=ON_ERROR_STOP=1", f"--file={file}"],
        source.bed.superuser.on("postgres"), deadline=60,
    )  # fmt: skip
    again = prove(
        source.manifest,
        source.out / "archive",
        source.bed.superuser.on(source.bed.name),
        clients=source.clients,
        jobs=1,
    )
    assert again.equal, again.differences


def test_a_superusers_extension_is_listed_and_its_fix_mends_it(
    bed: RestoreBed, source: Source, tmp_path: Path
) -> None:
    """As koku's pg_stat_statements: all else is restored by the owner, the extension by fix.sql."""
    source.owned("CREATE EXTENSION pg_trgm")
    bed.run("CREATE EXTENSION pg_stat_statements SCHEMA public", on=source.name)
    done = source.backed_up(by=bed.superuser).restored()
    assert not done.whole
    assert [deed.what for deed in done.fixes] == ["extension pg_stat_statements"]
    assert {each.of.split()[-1] for each in done.pending} == {"pg_stat_statements"}
    assert bed.mark(bed.name) == "backed up"
    installed = [r[0] for r in bed.rows("SELECT extname FROM pg_extension ORDER BY 1", on=bed.name)]
    assert installed == ["pg_trgm", "plpgsql"]
    mended(source, done, tmp_path)


def test_a_superuser_creates_the_extension_himself(bed: RestoreBed, source: Source) -> None:
    """Nothing is listed where the login may do all of it."""
    bed.run("CREATE EXTENSION pg_stat_statements SCHEMA public", on=source.name)
    done = source.backed_up(by=bed.superuser).restored(by=bed.superuser.on("postgres"))
    assert done.whole
    assert done.proof.equal


def test_autovacuum_gives_way_at_once_while_a_superuser_restores(
    bed: RestoreBed, source: Source
) -> None:
    """And no longer than that; an owner, who may not set it, restores without."""
    source.owned(
        SOON.format(source=literal(source.name)),
        "CREATE TABLE public.slow (i int CHECK (public.soon(i)))",
        "INSERT INTO public.slow VALUES (1)",
    ).backed_up()
    settings = (
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase"
    )
    for login in (bed.owner, bed.superuser.on("postgres")):
        assert source.restored(by=login).whole
        assert bed.rows(f"{settings} WHERE d.datname = %s", bed.name) == []
        bed.run(f"DROP DATABASE {ident(bed.name)}")


def test_settings_of_superusers_are_listed_and_their_fix_mends_it(
    bed: RestoreBed, source: Source, tmp_path: Path
) -> None:
    """Each refused setting is listed by itself; the others are made; fix.sql is paste-able."""
    database = ident(source.name)
    bed.run(
        f"ALTER DATABASE {database} SET work_mem = '1235kB'",
        f"ALTER DATABASE {database} SET log_min_duration_statement = '17ms'",
        f"ALTER DATABASE {database} SET koku.greeting = 'it''s {{}} \\ %s'",
        f"ALTER ROLE {ident(bed.superuser.role)} IN DATABASE {database} SET work_mem = '9MB'",
    )
    done = source.backed_up().restored()
    assert len(done.fixes) == 3
    assert len(done.pending) == 3
    assert all(deed.database == "" for deed in done.fixes)
    found = bed.rows(
        "SELECT setconfig FROM pg_db_role_setting s JOIN pg_database d ON d.oid = setdatabase"
        " WHERE datname = %s",
        bed.name,
    )
    assert found == [(["work_mem=1235kB"],)]
    mended(source, done, tmp_path)


def test_replace_goes_on_where_only_an_administrator_can_end_it(
    bed: RestoreBed, source: Source, tmp_path: Path
) -> None:
    """The fixes are for the database's final name."""
    bed.run("CREATE EXTENSION pg_stat_statements SCHEMA public", on=source.name)
    source.backed_up(by=bed.superuser)
    bed.create(bed.name, "in use")
    done = source.restored(replace=True, accept_lost_writes=True, accept_disk_risk=True)
    assert {deed.database for deed in done.fixes} == {bed.name}
    assert bed.mark(bed.name) == "backed up"
    mended(source, done, tmp_path)


def test_a_role_that_owns_something_must_be_there(bed: RestoreBed, source: Source) -> None:
    """A missing owner, whom the login may not create, is named before anything is made."""
    gone = _with_second_owner(bed, source)
    with pytest.raises(Refused, match=f"gone {bed.tag}"):
        source.restored()
    assert bed.databases() == {source.name}
    assert not bed.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", gone)


def test_an_owner_whom_the_login_cannot_act_for_is_refused(bed: RestoreBed, source: Source) -> None:
    """A role that exists, and was not granted to the login, is named before anything is made."""
    gone = _with_second_owner(bed, source)
    bed.run(f"CREATE ROLE {ident(gone)}")
    with pytest.raises(Refused, match="may not act for role"):
        source.restored()


def _with_second_owner(
    bed: RestoreBed, source: Source, seen: Callable[[], None] = lambda: None
) -> str:
    """Have another role own a table, back up, and forget the role."""
    gone = f"gone {bed.tag}"
    bed.run(
        f"CREATE ROLE {ident(gone)} LOGIN NOINHERIT CONNECTION LIMIT 3 VALID UNTIL '2199-01-01Z'",
        f"ALTER ROLE {ident(gone)} SET search_path = 'x y', public",
        f"COMMENT ON ROLE {ident(gone)} IS 'it''s'",
        f"GRANT pg_monitor TO {ident(gone)} WITH ADMIN OPTION",
        f"GRANT {ident(gone)} TO {ident(bed.role)}",
    )
    bed.run(f"CREATE SCHEMA s AUTHORIZATION {ident(gone)}", on=source.name)
    source.backed_up(by=bed.superuser)
    seen()
    _forget(bed, source, gone)
    return gone


def _forget(bed: RestoreBed, source: Source, role: str) -> None:
    bed.run(f"DROP OWNED BY {ident(role)}", on=source.name)
    bed.run(f"DROP ROLE {ident(role)}")


ROLE = """
SELECT rolcanlogin, rolinherit, rolconnlimit, rolvaliduntil::text, rolconfig,
       shobj_description(oid, 'pg_authid'),
       ARRAY(SELECT pg_get_userbyid(roleid)::text || admin_option FROM pg_auth_members
              WHERE member = r.oid),
       ARRAY(SELECT pg_get_userbyid(member)::text || admin_option FROM pg_auth_members
              WHERE roleid = r.oid)
  FROM pg_roles r WHERE rolname = %s
"""


def test_a_superuser_makes_the_roles_that_are_missing(bed: RestoreBed, source: Source) -> None:
    """Attributes, settings, comment and memberships are as they were."""
    gone = f"gone {bed.tag}"
    before: list[object] = []
    _with_second_owner(bed, source, seen=lambda: before.extend(bed.rows(ROLE, gone)))
    done = source.restored(by=bed.superuser.on("postgres"))
    assert done.whole, done.fixes
    assert bed.rows(ROLE, gone) == before


def test_who_may_create_roles_makes_those_that_own(bed: RestoreBed, source: Source) -> None:
    """A login with CREATEROLE makes the owners; what it lent itself for that is given back."""
    gone = f"gone {bed.tag}"
    bed.run(f"CREATE ROLE {ident(gone)}", f"ALTER ROLE {ident(bed.role)} CREATEROLE")
    bed.run(f"CREATE SCHEMA s AUTHORIZATION {ident(gone)}", on=source.name)
    source.backed_up(by=bed.superuser)
    _forget(bed, source, gone)
    source.restored()
    assert bed.rows(
        "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 's'", on=bed.name
    ) == [(gone,)]
    # Since 16 who makes a role is its administrator; more than that is not left.
    left = bed.rows(
        "SELECT a.grantor FROM pg_auth_members a JOIN pg_roles r ON r.oid = a.member"
        " WHERE r.rolname = %s AND a.grantor <> 10",
        bed.role,
    )
    assert left == []


def test_roles_made_for_a_restore_that_fails_go_with_it(bed: RestoreBed, source: Source) -> None:
    """Nothing is left on the server: neither the database nor the roles."""
    source.owned(
        "CREATE FUNCTION public.fine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'",
        "ALTER TABLE public.mark ADD CHECK (public.fine(mark))",
        "CREATE OR REPLACE FUNCTION public.fine(text) RETURNS bool LANGUAGE sql IMMUTABLE"
        " AS 'SELECT false'",
    )
    gone = _with_second_owner(bed, source)
    with pytest.raises(BackupFailed, match="violates check constraint"):
        source.restored(by=bed.superuser.on("postgres"))
    assert bed.databases() == {source.name}
    assert not bed.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", gone)


def test_a_role_that_exists_is_not_changed(bed: RestoreBed, source: Source, tmp_path: Path) -> None:
    """Not by a superuser either: how it differs is listed, for who knows why it does."""
    member = f"member {bed.tag}"
    bed.run(f"CREATE ROLE {ident(member)}", f"GRANT {ident(bed.role)} TO {ident(member)}")
    source.backed_up(by=bed.superuser)
    role = ident(bed.role)
    bed.run(
        f"ALTER ROLE {role} CREATEROLE CONNECTION LIMIT 5 VALID UNTIL '2199-01-01Z'",
        f"ALTER ROLE {role} SET work_mem = '5MB'",
        f"COMMENT ON ROLE {role} IS 'changed'",
        f"REVOKE {role} FROM {ident(member)}",
    )
    done = source.restored(by=bed.superuser.on("postgres"))
    assert len(done.pending) == 6, done.pending
    assert bed.rows("SELECT rolcreaterole FROM pg_roles WHERE rolname = %s", bed.role) == [(True,)]
    mended(source, done, tmp_path)


def test_verifiers_come_back_on_the_word(bed: RestoreBed, source: Source) -> None:
    """A role's password is restored from its verifier, and no listing holds one."""
    gone = f"gone {bed.tag}"
    bed.run(f"CREATE ROLE {ident(gone)} LOGIN PASSWORD {literal('open sesame')}")
    bed.run(f"CREATE SCHEMA s AUTHORIZATION {ident(gone)}", on=source.name)
    query = "SELECT rolpassword FROM pg_authid WHERE rolname = %s"
    before = bed.rows(query, gone)
    backup(
        bed.superuser.on(source.name), source.out, clients=source.clients, run_id=bed.tag,
        with_role_passwords=True,
    )  # fmt: skip
    _forget(bed, source, gone)
    done = source.restored(by=bed.superuser.on("postgres"))
    assert done.whole
    assert bed.rows(query, gone) == before
    bed.run(f"ALTER ROLE {ident(gone)} PASSWORD 'another'")
    bed.run(f"DROP DATABASE {ident(bed.name)}")
    other = source.restored(by=bed.superuser.on("postgres"))
    text = script(other.fixes, title="x")
    assert f"\\password '{gone}'" in text
    assert "SCRAM" not in text


def test_privileges_of_a_role_that_is_gone_wait_for_it(
    bed: RestoreBed, source: Source, tmp_path: Path
) -> None:
    """Who may connect is restored for those who are there; for others it is listed."""
    gone, other = f'gone "=/ {bed.tag}', f"other {bed.tag}"
    database = ident(source.name)
    bed.run(f"CREATE ROLE {ident(gone)}", f"CREATE ROLE {ident(other)}")
    bed.run(
        f"REVOKE ALL ON DATABASE {database} FROM PUBLIC",
        f"GRANT CONNECT ON DATABASE {database} TO {ident(other)} WITH GRANT OPTION",
        f"GRANT TEMPORARY ON DATABASE {database} TO {ident(gone)}",
        by=bed.owner,
    )
    source.backed_up()
    bed.run(f"REVOKE ALL ON DATABASE {database} FROM {ident(gone)}", f"DROP ROLE {ident(gone)}")
    done = source.restored()
    said = [deed.what for deed in done.fixes]
    assert said == [f"role {gone}", f"privileges of database {bed.name}"]
    acl = "SELECT i::text FROM pg_database, unnest(datacl) i WHERE datname = %s ORDER BY 1"
    assert bed.rows(acl, bed.name) == bed.rows(acl, source.name)
    mended(source, done, tmp_path)


def test_what_others_granted_is_granted_by_them(bed: RestoreBed, source: Source) -> None:
    """A grant that was passed on keeps its grantor, by a superuser."""
    one, two = f"one {bed.tag}", f"two {bed.tag}"
    database = ident(source.name)
    bed.run(
        f"CREATE ROLE {ident(one)}",
        f"CREATE ROLE {ident(two)}",
        f"GRANT CREATE ON DATABASE {database} TO {ident(one)} WITH GRANT OPTION",
        f"BEGIN; SET LOCAL ROLE {ident(one)};"
        f" GRANT CREATE ON DATABASE {database} TO {ident(two)}; COMMIT",
    )
    done = source.backed_up().restored(by=bed.superuser.on("postgres"))
    assert done.whole, done.pending
    acl = "SELECT i::text FROM pg_database, unnest(datacl) i WHERE datname = %s ORDER BY 1"
    assert bed.rows(acl, bed.name) == bed.rows(acl, source.name)
    bed.run(*(f"DROP DATABASE {ident(name)}" for name in (bed.name, source.name)))


def test_a_role_that_only_tables_know_must_be_there(bed: RestoreBed, source: Source) -> None:
    """What the dump grants to a missing role would fail: it is named before anything is made."""
    gone = f"gone {bed.tag}"
    bed.run(f"CREATE ROLE {ident(gone)}")
    source.owned(f"GRANT SELECT ON public.mark TO {ident(gone)}").backed_up()
    _forget(bed, source, gone)
    with pytest.raises(Refused, match=gone):
        source.restored()
    assert bed.databases() == {source.name}


def test_names_in_fix_sql_cannot_break_out(bed: RestoreBed, source: Source, tmp_path: Path) -> None:
    """A name with quotes and a line's end is one word for psql, also where it connects."""
    bed.run('CREATE SCHEMA "it\'s; \\! x\n"', on=source.name)
    bed.run('CREATE EXTENSION pg_stat_statements SCHEMA "it\'s; \\! x\n"', on=source.name)
    bed.run(f'ALTER SCHEMA "it\'s; \\! x\n" OWNER TO {ident(bed.role)}', on=source.name)
    done = source.backed_up(by=bed.superuser).restored()
    mended(source, done, tmp_path)
