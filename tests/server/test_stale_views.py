"""A materialized view is told stale if its query gives something else; what is not known says why.

No query is run that could do more than read: a database's owner must not act by our login.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from pytest_costmgmt.facts import hazards, stale_views
from pytest_costmgmt.facts.stale_views import Looked
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """A server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


class Bed:
    """A database of an owner of its own."""

    def __init__(self, superuser: Login) -> None:
        tag = secrets.token_hex(3)
        self.role, self.superuser = f"Öwner {tag}", superuser.on(f"Späre {tag}")
        password = Secret.generate()
        self.owner = superuser.acting_as(self.role, password, database=self.superuser.database)
        self.run(
            f"CREATE ROLE {ident(self.role)} LOGIN PASSWORD {literal(password.reveal())}",
            f"CREATE DATABASE {ident(self.owner.database)} OWNER {ident(self.role)}"
            " TEMPLATE template0",
            by=superuser.on("postgres"),
        )

    def run(self, *statements: str, by: Login | None = None) -> None:
        """Run statements, each by itself, by default as the owner."""
        with closing(connect(by or self.owner, deadline=10)) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def look(self, by: Login | None = None, **given: Any) -> dict[str, Looked]:
        """Look at the views, by default as the superuser; return them by their bare names."""
        with (
            closing(connect(by or self.superuser, deadline=10)) as connection,
            read_only(connection, timeout=30) as cursor,
        ):
            found = stale_views.look(cursor, **given)
            left = cursor.execute(
                "SELECT count(*) FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation"
                " WHERE l.pid = pg_backend_pid() AND c.oid >= 16384"
            ).fetchone()
            assert left == (0,)
        return {each.view.rpartition(".")[2]: each for each in found}


@pytest.fixture
def bed(server: embedded.Instance) -> Iterator[Bed]:
    """A database with a table of every type that prints oddly."""
    made = Bed(server.superuser)
    made.run(
        "CREATE TABLE t (a int, f float8, j json, p point, b bytea, i interval, n numeric,"
        ' "Ä b" text)',
        "INSERT INTO t SELECT g, g / 7.0, '{\"a\": 1}', point(g, 1), '\\x00', '1 day', 1.00,"
        " E'it''s \\\\' FROM generate_series(1, 100) AS g",
    )
    yield made
    made.run(
        f"DROP DATABASE {ident(made.owner.database)} WITH (FORCE)",
        f"DROP ROLE {ident(made.role)}",
        by=server.superuser.on("postgres"),
    )


def view(name: str, query: str) -> str:
    """Return the statement that makes a view."""
    return f"CREATE MATERIALIZED VIEW {name} AS {query}"


def test_rows_that_came_later_make_it_stale(bed: Bed) -> None:
    """Each kind of query is current until its table changes, and stale from then on."""
    bed.run(
        view("whole", "SELECT * FROM t"),
        view('"Of spä.re"', 'SELECT "Ä b" AS "select", f FROM t'),
        view("sums", "SELECT a % 3 AS k, count(*), sum(n), max(f) FROM t GROUP BY 1"),
        view("pairs", "WITH u AS (SELECT a FROM t) SELECT x.a, y.f FROM u x JOIN t y USING (a)"),
        view("of_another", "SELECT k FROM sums"),
        view("constant", "SELECT 1 AS a UNION ALL SELECT 1"),
        view("nobody", "SELECT a FROM t WHERE false"),
        view("no_columns", "SELECT FROM t"),
        view("not_yet", "SELECT a FROM t WITH NO DATA"),
    )
    # By what follows the last dot of their names.
    names = {"whole", 're"', "sums", "pairs", "of_another", "constant", "nobody", "no_columns"}
    for by in (bed.superuser, bed.owner):
        assert {name: each.state for name, each in bed.look(by).items()} == dict.fromkeys(
            names, "current"
        )
    bed.run("INSERT INTO t (a) VALUES (5)")
    found = {name for name, each in bed.look().items() if each.state == "stale"}
    assert found == {"whole", 're"', "sums", "pairs", "no_columns"}
    assert set(bed.look(only=[("public", "sums"), ("none", "such")])) == {"sums"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param("UPDATE t SET n = 1.0 WHERE a = 1", "stale", id="prints-otherwise"),
        pytest.param("UPDATE t SET f = f + 1e-15 WHERE a = 1", "stale", id="last-digit"),
        pytest.param("UPDATE t SET a = a", "current", id="another-order"),
        pytest.param("UPDATE t SET \"Ä b\" = '' WHERE a = 1", "stale", id="empty"),
        pytest.param("TRUNCATE t", "stale", id="truncated"),
    ],
)
def test_what_counts_as_another_content(bed: Bed, change: str, expected: str) -> None:
    """Values that print otherwise count, the order of rows does not."""
    bed.run(view("whole", "SELECT * FROM t"), change)
    assert bed.look()["whole"].state == expected


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("SELECT a, now() AS at FROM t", id="now"),
        pytest.param("SELECT a, CURRENT_DATE AS d FROM t", id="current-date"),
        pytest.param("SELECT array_agg(a) AS x FROM t", id="order-of-an-array"),
        pytest.param("SELECT sum(f) AS x FROM t", id="sum-of-floats"),
        pytest.param("SELECT a FROM t LIMIT 3", id="limit"),
        pytest.param("SELECT a, row_number() OVER () AS n FROM t", id="window"),
        pytest.param("SELECT DISTINCT ON (n) a, n FROM t", id="distinct-on"),
    ],
)
def test_what_depends_on_more_than_rows_is_not_called_stale(bed: Bed, query: str) -> None:
    """Where the same rows may give another answer, a difference proves nothing, and says so."""
    changes = ("UPDATE t SET f = 1e15 WHERE a < 50", "DELETE FROM t WHERE a = 1")
    bed.run(view("v", query), *changes)
    found = bed.look()["v"]
    assert found.state == "unknown"
    assert "depends on" in found.why


EVIL = """
CREATE FUNCTION {name}(int) RETURNS int {how} LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('is_superuser') = 'on' THEN RAISE EXCEPTION 'it was run'; END IF;
  RETURN $1; END $$
"""


def test_nothing_of_others_is_run_by_a_superuser(bed: Bed) -> None:
    """Functions, operators, domains, views: what an owner wrote is his to run, not ours."""
    bed.run(
        EVIL.format(name="f", how="IMMUTABLE"),
        "CREATE FUNCTION two(int, int) RETURNS bool IMMUTABLE LANGUAGE sql"
        " AS 'SELECT public.f($1) = $2'",
        "CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = two)",
        "CREATE FUNCTION plus(int, int) RETURNS int IMMUTABLE LANGUAGE sql"
        " AS 'SELECT public.f($1) + $2'",
        "CREATE AGGREGATE total(int) (SFUNC = plus, STYPE = int, INITCOND = '0')",
        "CREATE DOMAIN checked AS int CHECK (f(VALUE) > 0)",
        "CREATE VIEW beside AS SELECT f(a) AS a FROM t",
        view("calls", "SELECT f(a) AS a FROM t"),
        view("operates", "SELECT a FROM t WHERE a === 1"),
        view("aggregates", "SELECT total(a) AS a FROM t"),
        view("casts", "SELECT a::checked AS a FROM t"),
        view("casts_arrays", "SELECT '{1}'::text::checked[] AS a FROM t"),
        view("reads_view", "SELECT a FROM beside"),
        view("chance", "SELECT random() AS a FROM t"),
    )
    found = bed.look()
    assert {each.state for each in found.values()} == {"unknown"}
    said = [each.why for each in found.values() if "was not run" not in each.why]
    assert said == []
    mine = {name for name, each in bed.look(bed.owner).items() if each.state == "current"}
    assert {"calls", "operates"} <= mine
    assert "chance" not in mine


def test_what_may_not_be_read_is_not_known(bed: Bed) -> None:
    """A refusal, row security and a lock are told as why it is not known."""
    bed.run(
        "CREATE TABLE hidden AS SELECT 1 AS a",
        view("of_hidden", "SELECT a FROM hidden"),
        view("locked", "SELECT a FROM t"),
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
    )
    with closing(connect(bed.superuser, deadline=10, autocommit=False)) as other:
        other.execute("LOCK TABLE t")
        found = bed.look(each=0.3)
    assert "row security" in found["of_hidden"].why
    assert "55P03" in found["locked"].why or "57014" in found["locked"].why
    bed.run("ALTER TABLE t OWNER TO CURRENT_USER", "REVOKE SELECT ON t FROM CURRENT_USER")
    assert "42501" in bed.look(bed.owner)["locked"].why
    assert "over" in bed.look(together=0)["locked"].why


def test_a_view_that_is_refreshed_meanwhile_is_not_called_stale(bed: Bed) -> None:
    """A refresh writes what every snapshot sees: newer than its tables, it is not known."""
    bed.run(view("v", "SELECT a FROM t"))
    with (
        closing(connect(bed.superuser, deadline=10)) as connection,
        read_only(connection, timeout=30) as cursor,
    ):
        cursor.execute("SELECT 1")
        bed.run("DELETE FROM t WHERE a = 1", "REFRESH MATERIALIZED VIEW v")
        (found,) = stale_views.look(cursor)
    assert (found.state, found.why) == ("unknown", "it was refreshed meanwhile")


def test_a_backup_is_told_of_stale_views_and_of_roles(bed: Bed) -> None:
    """Stale and not comparable views are hazards with their fix; roles are named."""
    bed.run(
        view("v", "SELECT a FROM t"),
        view("w", "SELECT random() AS r FROM t"),
        "DELETE FROM t WHERE a = 7",
    )
    with (
        closing(connect(bed.superuser, deadline=10)) as connection,
        read_only(connection, timeout=30) as cursor,
    ):
        found = hazards.read(cursor)
    (stale,) = found.of("stale materialized view")
    assert (stale.of, stale.fix) == (
        "materialized view public.v",
        "REFRESH MATERIALIZED VIEW public.v",
    )
    (unknown,) = found.of("materialized view not compared")
    assert "random()" in unknown.consequence
    assert [each.of for each in found.of("role outside the dump")] == [f"role {ident(bed.role)}"]
