"""Initialization of a real server: idempotent, resumable, safe at once, and honest."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from psycopg import Connection

from pytest_costmgmt.errors import ConnectFailed, StepFailed, UsageProblem
from pytest_costmgmt.initialize import perform
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login, pack
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.statements import Statement, StatementFailed, held, locked, run
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.server.initialize_bed import ALL, Bed, actions, only


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server that logs every statement, with another default isolation."""
    instance = embedded.start(
        run_id=secrets.token_hex(4),
        programs=programs,
        conf=("log_statement = all", "default_transaction_isolation = 'serializable'"),
    )
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> Bed:
    """Names of this test's own."""
    return Bed(server.superuser)


def plain(login: Login) -> str:
    """Return a password, as a test must."""
    packed = pack(login)
    assert packed is not None
    return str(packed["password"])


def test_from_nothing_everything_is_made_and_the_logins_work(bed: Bed) -> None:
    """On an empty server every step is taken, and both owners' logins open their databases."""
    done = bed.initialize().require()
    assert len(done.steps) == ALL
    assert only(done, "refused") == []
    assert done.hive is not None
    for login in (done.application, done.hive):
        tried = attempt(login, offered="own", deadline=10)
        assert (tried.outcome, tried.current_database) == ("accepted", login.database)


def test_a_second_run_changes_nothing(bed: Bed) -> None:
    """The catalog is the same after a second run, whose steps all found things present."""
    bed.initialize().require()
    before = bed.fingerprint()
    again = bed.initialize()
    assert set(actions(again).values()) == {"present"}
    assert bed.fingerprint() == before


def test_the_roles_have_nothing_that_they_must_not_have(bed: Bed) -> None:
    """The roles may log in and no more, own their databases, and nobody else may enter these."""
    bed.initialize()
    roles = bed.rows(
        "SELECT rolcanlogin, rolsuper, rolcreatedb, rolcreaterole, rolbypassrls, rolreplication"
        " FROM pg_roles WHERE rolname = ANY (%s)",
        [bed.role, bed.needs.hive.role],
    )
    assert roles == [(True, False, False, False, False, False)] * 2
    crossing = bed.rows(
        "SELECT d.datname, r.rolname FROM pg_database d, pg_roles r"
        " WHERE has_database_privilege(r.oid, d.oid, 'CONNECT')"
        " AND d.datname = ANY (%s) AND NOT r.rolsuper",
        [bed.database, bed.needs.hive.database],
    )
    assert set(crossing) == {
        (bed.database, bed.role),
        (bed.needs.hive.database, bed.needs.hive.role),
    }


def test_verifiers_have_as_many_iterations_as_everywhere(bed: Bed) -> None:
    """What the checks judge is what a customer's server gets: libpq's own verifier."""
    done = bed.initialize().require()
    assert done.hive is not None
    with closing(connect(bed.superuser, deadline=10)) as connection:
        for login in (done.application, done.hive):
            query = "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = %s"
            (verifier,) = connection.execute(query, (login.role,)).fetchone() or ("",)
            assert verifier.startswith("SCRAM-SHA-256$4096:")


def test_no_plain_password_reaches_the_servers_log(bed: Bed, server: embedded.Instance) -> None:
    """With every statement logged, the log holds no password: only verifiers are sent."""
    password = Secret("never-in-a-log-" + bed.tag)
    done = bed.initialize(application_password=password, hive_password=None)
    assert done.hive is not None
    log = server.log.read_text(errors="replace")
    assert f"CREATE ROLE {ident(bed.role)}" in log
    assert plain(done.application) == "never-in-a-log-" + bed.tag
    assert plain(done.application) not in log
    assert plain(done.hive) not in log


def test_two_processes_at_once_both_succeed(bed: Bed) -> None:
    """Two processes that initialize an empty server at once both end well, with one result."""
    first, second = bed.process(), bed.process()
    said = [child.communicate(timeout=240)[0].split() for child in (first, second)]
    assert [words[-1] for words in said] == ["done", "done"]
    assert [child.returncode for child in (first, second)] == [0, 0]
    # Each thing was made by one of them.
    made = [
        sum(word in {"created", "changed"} for word in pair) for pair in zip(*said, strict=True)
    ]
    assert max(made) == 1
    assert set(actions(bed.initialize()).values()) == {"present"}


@pytest.mark.parametrize("steps", [1, 2, 5, 9, 11])
def test_a_killed_run_is_resumed(bed: Bed, steps: int) -> None:
    """After SIGKILL behind any step the next run does what is left, and nothing again."""
    child = bed.process(steps)
    assert child.stdout is not None
    while (line := child.stdout.readline()) != "waiting\n":
        assert line
    child.kill()
    child.communicate()
    resumed = bed.initialize().require()
    assert {step.action for step in resumed.steps[:steps]} == {"present"}
    assert set(actions(bed.initialize()).values()) == {"present"}


@pytest.mark.parametrize("last", range(10))
def test_a_crash_inside_a_step_leaves_it_done_or_not_begun(
    bed: Bed, last: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What breaks after a step's statements and before its commit is resumed by the next run."""
    left = [last]

    def crash(connection: Connection[Any], statements: Sequence[Statement]) -> None:
        run(connection, statements)
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1

    with monkeypatch.context() as patched:
        patched.setattr(perform, "run", crash)
        try:
            bed.initialize()
        except KeyboardInterrupt:
            pass
        else:
            assert last > 8  # fewer steps than that change anything: all were taken
    bed.initialize().require()
    assert set(actions(bed.initialize()).values()) == {"present"}


def test_a_dry_run_executes_nothing(bed: Bed) -> None:
    """A dry run shows all SQL with placeholders for passwords, and the catalog stays as it was."""
    before = bed.fingerprint()
    planned = bed.initialize(dry_run=True)
    assert bed.fingerprint() == before
    sql = "\n".join(line for step in planned.steps for line in step.sql)
    assert f"CREATE ROLE {ident(bed.role)} LOGIN" in sql
    assert f"CREATE DATABASE {ident(bed.database)} OWNER {ident(bed.role)}" in sql
    assert 'CREATE EXTENSION IF NOT EXISTS "pg_stat_statements" SCHEMA "public"' in sql
    assert "PASSWORD :'password'" in sql
    assert bed.tag not in sql.replace(bed.role, "").replace(bed.database, "").replace(
        ident(bed.role), ""
    ).replace(bed.needs.hive.role, "").replace(bed.needs.hive.database, "")
    assert set(actions(planned).values()) <= {"planned", "present"}


def test_a_dry_run_of_what_is_done_plans_nothing(bed: Bed) -> None:
    """After initialization a dry run finds everything present."""
    bed.initialize()
    assert set(actions(bed.initialize(dry_run=True)).values()) == {"present"}


def test_drift_is_put_right_and_nothing_else(bed: Bed) -> None:
    """A role that gained attributes, and a database that admits everybody, are put right."""
    bed.initialize()
    healthy = bed.fingerprint()
    bed.sql(
        f"ALTER ROLE {ident(bed.role)} SUPERUSER CREATEDB",
        f"GRANT CONNECT ON DATABASE {ident(bed.database)} TO PUBLIC",
        f"REVOKE CREATE ON DATABASE {ident(bed.database)} FROM {ident(bed.role)}",
    )
    done = bed.initialize()
    assert only(done, "changed") == [f"role {bed.role}", f"access to {bed.database}"]
    assert bed.fingerprint() == healthy


def test_a_schema_that_the_application_may_not_use_is_opened(bed: Bed) -> None:
    """CREATE on schema public is granted where the owner does not have it any more."""
    bed.initialize()
    bed.sql(
        "ALTER SCHEMA public OWNER TO CURRENT_USER",
        "REVOKE ALL ON SCHEMA public FROM PUBLIC, pg_database_owner",
        on=bed.database,
    )
    assert only(bed.initialize(), "changed") == ["schema public"]


def test_a_foreign_owner_is_refused_with_the_fix(bed: Bed) -> None:
    """A database of somebody else is left alone; the fix names it and its owner to be."""
    bed.sql(f"CREATE DATABASE {ident(bed.database)}")
    done = bed.initialize()
    step = next(s for s in done.steps if s.name == f"database {bed.database}")
    assert step.action == "refused"
    assert step.sql == (f"ALTER DATABASE {ident(bed.database)} OWNER TO {ident(bed.role)}",)
    waiting = next(s for s in done.steps if s.name == "extension pg_trgm")
    assert waiting.action == "refused"
    with pytest.raises(StepFailed, match="it belongs to role postgres"):
        done.require()
    bed.sql(step.sql[0])
    bed.initialize().require()


def test_another_encoding_is_refused(bed: Bed) -> None:
    """A database in LATIN1 cannot be changed: refused, and what to do is said."""
    bed.sql(
        f"CREATE ROLE {ident(bed.role)}",
        f"CREATE DATABASE {ident(bed.database)} OWNER {ident(bed.role)} TEMPLATE template0"
        " ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'",
    )
    done = bed.initialize()
    assert only(done, "changed")[0] == f"role {bed.role}"  # it had no LOGIN
    step = next(s for s in done.steps if s.name == f"database {bed.database}")
    assert "its encoding is LATIN1, not UTF8" in step.remark


def test_the_first_superuser_is_never_the_application(bed: Bed) -> None:
    """A requirement set whose role is the administrator's is refused, and nothing is demoted."""
    needs = bed.needs.named(role=bed.superuser.role, database=bed.database)
    done = initialize(bed.superuser, requirements=needs, ours=True)
    assert done.steps[0].action == "refused"
    assert bed.rows("SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(True,)]


def test_a_wrong_password_is_replaced_only_on_a_server_of_ours(bed: Bed) -> None:
    """Elsewhere a login that is refused is told, and the role keeps its password."""
    bed.initialize()
    before = bed.fingerprint()
    other = Secret("another-" + bed.tag)
    foreign = bed.initialize(application_password=other, ours=False)
    assert only(foreign, "refused") == [f"login {bed.role}"]
    assert foreign.refused[0].sql == (f"\\password {ident(bed.role)}",)
    assert bed.fingerprint() == before
    assert only(bed.initialize(application_password=other), "changed") == [f"login {bed.role}"]


def test_the_applications_login_does_what_it_may(bed: Bed) -> None:
    """Without an administrator the owner creates what is trusted; the rest is a person's SQL."""
    bed.sql(f"CREATE ROLE {ident(bed.role)} LOGIN PASSWORD 'plain-{bed.tag}'")
    bed.sql(f"CREATE DATABASE {ident(bed.database)} OWNER {ident(bed.role)}")
    login = bed.superuser.acting_as(bed.role, Secret(f"plain-{bed.tag}"), database=bed.database)
    done = initialize(None, requirements=bed.needs, application=login)
    assert only(done, "created") == ["extension uuid-ossp", "extension pg_trgm"]
    assert only(done, "changed") == [f"access to {bed.database}"]
    hive = bed.needs.hive
    assert [s.name for s in done.refused] == [
        "extension pg_stat_statements",
        f"role {hive.role}",
        f"database {hive.database}",
        f"access to {hive.database}",
    ]
    with pytest.raises(StepFailed) as caught:
        done.require()
    assert f"in database {bed.database}:" in str(caught.value)
    assert 'CREATE EXTENSION IF NOT EXISTS "pg_stat_statements"' in str(caught.value)


def test_an_administrator_who_is_no_superuser(bed: Bed) -> None:
    """CREATEROLE and CREATEDB make all but pg_stat_statements, and leave no membership behind."""
    name = f"admin {bed.tag}"
    bed.sql(f"CREATE ROLE {ident(name)} LOGIN CREATEROLE CREATEDB PASSWORD 'plain-{bed.tag}'")
    login = bed.superuser.acting_as(name, Secret(f"plain-{bed.tag}"), database="postgres")
    done = bed.initialize(login, ours=False)
    assert [s.name for s in done.refused] == ["extension pg_stat_statements"]
    bed.sql(f"{done.refused[0].sql[0]}", on=bed.database)
    assert set(actions(bed.initialize(login, ours=False)).values()) == {"present"}
    usable = bed.rows("SELECT pg_has_role(%s, %s, 'USAGE')", name, bed.role)
    assert usable == [(False,)]


def test_hive_that_must_not_exist_is_told_and_not_dropped(server: embedded.Instance) -> None:
    """Where hive is forbidden, an existing one is refused by name, stays, and blocks nothing."""
    bed = Bed(server.superuser, era="koku-onprem")
    hive = bed.needs.hive
    bed.sql(f"CREATE ROLE {ident(hive.role)}", f"CREATE DATABASE {ident(hive.database)}")
    done = bed.initialize().require()
    assert only(done, "refused") == ["no hive"]
    assert done.hive is None
    assert bed.rows("SELECT count(*) FROM pg_database WHERE datname = %s", hive.database) == [(1,)]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hive_password": Secret("hive")}, "everybody knows"),
        ({"application_password": Secret("")}, "is empty"),
    ],
)
def test_a_password_that_is_none(bed: Bed, given: dict[str, Any], told: str) -> None:
    """The password `hive`, and an empty one, are refused before anything is done."""
    with pytest.raises(UsageProblem, match=told):
        bed.initialize(**given)


def test_an_unavailable_extension_names_the_package(bed: Bed) -> None:
    """An extension whose files the server lacks is refused with what to install."""
    extra = msgspec.structs.replace(bed.needs.extensions[0], name="no-such-extension")
    bed.needs = msgspec.structs.replace(bed.needs, extensions=(extra,))
    done = bed.initialize()
    assert only(done, "refused") == ["extension no-such-extension"]
    assert "contrib" in done.refused[0].remark


def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """A server that cannot be reached is a ConnectFailed, not a refused step."""
    nowhere = Login(role="x", database="postgres", where={"host": str(tmp_path)})
    with pytest.raises(ConnectFailed):
        initialize(nowhere, requirements=load())


def test_the_lock_is_waited_for_and_told(bed: Bed) -> None:
    """Who waits for the lock in vain is told so by SQLSTATE, not by a hang."""
    with (
        held(bed.superuser, deadline=10),
        closing(connect(bed.superuser, deadline=10)) as other,
        pytest.raises(StatementFailed) as caught,
        locked(other, wait=0.1),
    ):
        pass
    assert caught.value.sqlstate == "55P03"
