"""Privileges on a real server: judged from catalogs, used, refused by event triggers, healed."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import msgspec
import pytest

from pytest_costmgmt.facts import used_privileges
from pytest_costmgmt.judge import privileges, server
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.server.catalog_bed import Bed, failing, judged


@pytest.fixture(scope="module")
def superuser(programs: Programs) -> Iterator[Login]:
    """Start a server and yield its superuser: a server of this module's own."""
    instance = embedded.start(run_id=f"rights-{secrets.token_hex(4)}", programs=programs)
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


def objects(bed: Bed) -> list[tuple[object, ...]]:
    """Return everything that the database holds, by name."""
    with connect(bed.superuser.on(bed.name), deadline=10) as connection:
        return connection.execute(
            "SELECT oid, relname::text, relnamespace FROM pg_class"
            " UNION ALL SELECT oid, nspname::text, 0 FROM pg_namespace"
            " UNION ALL SELECT oid, proname::text, pronamespace FROM pg_proc ORDER BY 1"
        ).fetchall()


def not_owner(bed: Bed) -> None:
    """Take the database away from the role; GRANT ALL ON DATABASE instead, the common mistake."""
    bed.sql(
        f"ALTER DATABASE {ident(bed.name)} OWNER TO {ident(bed.superuser.role)}",
        f"GRANT ALL ON DATABASE {ident(bed.name)} TO {ident(bed.name)}",
    )


def test_using_the_privileges_leaves_nothing(bed: Bed) -> None:
    """Everything that migrations do is tried, works, and is gone afterwards."""
    before = objects(bed)
    used = bed.used().privileges.used
    assert used is not None
    assert not used.problem
    assert [a for a in used.attempts if a.sqlstate] == []
    places = ("database", "public", "temporary")
    assert {place: len(used.at(place)) > 0 for place in places} == dict.fromkeys(places, True)
    assert objects(bed) == before


@pytest.mark.parametrize("use", [False, True], ids=["from catalogs", "used"])
def test_grant_all_on_database_is_not_enough_since_15(bed: Bed, use: bool) -> None:
    """A role that does not own the database needs CREATE on schema public besides."""
    not_owner(bed)
    facts = bed.used() if use else bed.read()
    if facts.server.major < 15:
        assert failing(bed, facts) == set()
        return
    assert failing(bed, facts) == {"public"}
    finding = judged(bed, facts)["public"].findings[0]
    assert "GRANT ALL ON DATABASE" in finding.found
    assert ("SQLSTATE 42501" in finding.found) is use
    bed.apply(judged(bed, facts)["public"])
    assert failing(bed, bed.used() if use else bed.read()) == set()


REVOKED = {
    "database": "REVOKE CREATE ON DATABASE {name} FROM {name}, PUBLIC",
    "temporary": "REVOKE TEMPORARY ON DATABASE {name} FROM {name}, PUBLIC",
    "public": "REVOKE USAGE ON SCHEMA public FROM PUBLIC, {name}, pg_database_owner",
    "language": "REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC",
}


@pytest.mark.parametrize("use", [False, True], ids=["from catalogs", "used"])
@pytest.mark.parametrize("what", REVOKED)
def test_a_privilege_that_was_revoked_is_found_and_its_fix_ends_it(
    bed: Bed, what: str, use: bool
) -> None:
    """Each missing privilege fails its own judgement alone."""
    bed.sql(REVOKED[what].format(name=ident(bed.name)))
    facts = bed.used() if use else bed.read()
    assert failing(bed, facts) == {what}
    bed.apply(judged(bed, facts)[what])
    assert failing(bed, bed.used() if use else bed.read()) == set()


def test_objects_restored_as_another_role_are_found_and_handed_over(bed: Bed) -> None:
    """Schemas, tables, sequences and functions of another owner are found; extensions' are not."""
    names = ["public", "template0", "acct\"1'"]
    for name in names:
        bed.sql(
            f"CREATE SCHEMA IF NOT EXISTS {ident(name)}",
            f"CREATE TABLE {ident(name)}.django_migrations (id serial, app text)",
            f"CREATE TABLE {ident(name)}.{ident('p t')} (at date) PARTITION BY RANGE (at)",
            f"CREATE SEQUENCE {ident(name)}.free",
            f"CREATE FUNCTION {ident(name)}.f(int, text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            f"CREATE VIEW {ident(name)}.watched AS SELECT 1 AS one",
        )
    bed.sql("CREATE EXTENSION pg_trgm SCHEMA public", "CREATE SCHEMA elsewhere")
    bed.sql("CREATE TABLE elsewhere.of_others (id int)")
    facts = bed.read()
    assert failing(bed, facts) == {"ownership"}
    found = {group.kind: group.count for group in facts.privileges.foreign}
    assert found == {"schema": 2, "table": 6, "sequence": 3, "function": 3}
    bed.apply(judged(bed, facts)["ownership"])
    healed = bed.read()
    assert healed.privileges.foreign == ()
    with connect(bed.application, deadline=10) as connection:
        connection.execute("ALTER TABLE public.django_migrations ADD name text")
    bed.apply(judged(bed, facts)["ownership"])  # a second time changes nothing


def test_what_a_role_may_act_for_is_not_foreign(bed: Bed) -> None:
    """Objects of a group whose rights the role has can be altered by it."""
    group = f"group {secrets.token_hex(3)}"
    bed.sql(
        f"CREATE ROLE {ident(group)} ROLE {ident(bed.name)}",
        "CREATE TABLE public.django_migrations (id int)",
        f"ALTER TABLE public.django_migrations OWNER TO {ident(group)}",
    )
    assert failing(bed, bed.read()) == set()
    bed.sql("DROP TABLE public.django_migrations", f"DROP ROLE {ident(group)}")


FORBID = (
    "CREATE FUNCTION public.{function}() RETURNS event_trigger LANGUAGE plpgsql AS"
    " $$BEGIN {body}; END$$"
)


def plant(bed: Bed, body: str, *, on: str = "ddl_command_start", tags: str = "") -> None:
    """Create an event trigger whose name and function need quoting."""
    function = ident("No DDL")
    bed.sql(
        FORBID.format(function=function, body=body),
        f"CREATE EVENT TRIGGER {ident('for bid')} ON {on} {tags}"
        f" EXECUTE FUNCTION public.{function}()",
    )


FORBIDDING = {
    "any": ("ddl_command_start", "", "RAISE 'no'"),
    "as a privilege": ("ddl_command_start", "", "RAISE insufficient_privilege"),
    "rewrites": ("table_rewrite", "", "RAISE 'no'"),
    "drops": ("sql_drop", "", "RAISE 'no'"),
    "schemas": ("ddl_command_end", "WHEN TAG IN ('CREATE SCHEMA')", "RAISE 'no'"),
    "extensions": ("ddl_command_start", "WHEN TAG IN ('CREATE EXTENSION')", "RAISE 'no'"),
    "grants": ("ddl_command_start", "WHEN TAG IN ('GRANT', 'COMMENT')", "RAISE 'no'"),
    "one of all": ("ddl_command_end", "", "IF tg_tag = 'ALTER TYPE' THEN RAISE 'no'; END IF"),
}


@pytest.mark.parametrize("case", FORBIDDING)
def test_an_event_trigger_that_forbids_is_found_by_use(bed: Bed, case: str) -> None:
    """The trigger is blamed, and the privileges are not, whatever the trigger raises."""
    on, tags, body = FORBIDDING[case]
    plant(bed, body, on=on, tags=tags)
    facts = bed.used()
    assert failing(bed, facts) == {"event triggers"}
    bed.apply(judged(bed, facts)["event triggers"])
    assert failing(bed, bed.used()) == set()


def test_every_command_that_a_trigger_may_forbid_is_tried(bed: Bed) -> None:
    """None is taken for harmless because it was left out; on a healthy server all succeed."""
    used = bed.used().privileges.used
    assert used is not None
    assert not [attempt for attempt in used.attempts if attempt.sqlstate]
    assert {attempt.command for attempt in used.attempts} >= server.COMMANDS


def test_a_trigger_for_what_could_not_be_tried_is_unverified(bed: Bed) -> None:
    """What was not reached is neither a pass nor a finding."""
    plant(bed, "PERFORM 1", tags="WHEN TAG IN ('ALTER TYPE')")
    facts = bed.used()
    used = facts.privileges.used
    assert used is not None
    less = tuple(a for a in used.attempts if a.command != "ALTER TYPE")
    cut = msgspec.structs.replace(used, attempts=less)
    assert server.event_triggers(facts.server, used, bed.context).unverified == ()
    assert server.event_triggers(facts.server, cut, bed.context).unverified


def test_an_event_trigger_that_lets_all_pass_is_no_finding(bed: Bed) -> None:
    """A trigger that only watches is fine once the statements were tried."""
    plant(bed, "PERFORM 1")
    facts = bed.used()
    found = judged(bed, facts)["event triggers"]
    assert (found.findings, found.unverified) == ((), ())


def test_an_event_trigger_that_nobody_tried_is_unverified(bed: Bed) -> None:
    """Where writing is not allowed, an enabled trigger is neither a pass nor a finding."""
    plant(bed, "PERFORM 1")
    facts = bed.read()
    found = server.event_triggers(facts.server, None, bed.context)
    assert not found.findings
    assert "for bid" in found.unverified[0].what


def test_an_event_trigger_for_other_commands_does_no_harm(bed: Bed) -> None:
    """A trigger on a command that the application never gives needs no trial."""
    plant(bed, "RAISE 'no'", tags="WHEN TAG IN ('CREATE CONVERSION')")
    found = server.event_triggers(bed.read().server, None, bed.context)
    assert (found.findings, found.unverified) == ((), ())


def test_a_lock_that_is_not_had_is_no_missing_privilege(bed: Bed) -> None:
    """A server that is busy makes the trial unverified, not failed."""
    with connect(bed.superuser.on(bed.name), deadline=10, autocommit=False) as holder:
        holder.execute("LOCK TABLE pg_catalog.pg_namespace IN ACCESS EXCLUSIVE MODE")
        used = used_privileges.use(bed.application, run_id="busy", deadline=0.5, extensions={})
        holder.rollback()
    facts = bed.read().with_used(used)
    assert failing(bed, facts) == set()
    assert used.problem
    assert privileges.create_on_database(facts.privileges, ()).unverified


def test_a_login_that_does_not_open_is_a_problem_not_an_exception(bed: Bed) -> None:
    """Using privileges never raises for what the server refuses."""
    bed.sql(f"ALTER ROLE {ident(bed.name)} PASSWORD {literal('another-password')}")
    used = used_privileges.use(bed.application, run_id="refused", deadline=60, extensions={})
    assert used.attempts == ()
    assert used.problem
