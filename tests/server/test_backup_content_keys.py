"""Which rows differ: told by their keys, counted beyond a limit, in small memory."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from pytest_costmgmt.backup.keys import differing_rows
from pytest_costmgmt.backup.model import Relation
from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.snapshot import exported
from pytest_costmgmt.servers import embedded

Pair = tuple[Login, Login]


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


@pytest.fixture
def pair(server: embedded.Instance) -> Iterator[Pair]:
    """Return two empty databases: what was dumped, and what was restored."""
    logins = [server.superuser.on(f"{name} {secrets.token_hex(3)}") for name in ("one", "two")]
    for login in logins:
        run(server.superuser, f"CREATE DATABASE {ident(login.database)} TEMPLATE template0")
    yield logins[0], logins[1]
    for login in logins:
        run(server.superuser, f"DROP DATABASE {ident(login.database)} WITH (FORCE)")


def run(login: Login, *statements: str) -> None:
    """Run statements, each on its own."""
    with connect(login, deadline=10) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def both(pair: Pair, *statements: str) -> None:
    """Run statements in both databases."""
    for login in pair:
        run(login, *statements)


def relation(name: str, schema: str = "public") -> Relation:
    """Return a relation as the manifest names it; its hash plays no part here."""
    return Relation(schema=schema, name=name, kind="table", rows=0, content="")


def test_each_row_that_differs_is_named(pair: Pair) -> None:
    """A missing, an additional and a changed row by the primary key; equal ones never."""
    both(pair, "CREATE TABLE t (id int PRIMARY KEY, v numeric, w text)",
         "INSERT INTO t SELECT i, 1.0, 'w' || i FROM generate_series(1, 5000) AS i")  # fmt: skip
    assert differing_rows(*pair, relation("t")) == ((), 0)
    run(pair[1], "DELETE FROM t WHERE id = 17", "INSERT INTO t VALUES (-1, 1, '')",
        "UPDATE t SET v = 1.00 WHERE id = 4000")  # fmt: skip
    keys, more = differing_rows(*pair, relation("t"))
    assert set(keys) == {"(id)=(17) missing", "(id)=(-1) additional", "(id)=(4000) changed"}
    assert more == 0


def test_rows_beyond_the_limit_are_counted(pair: Pair) -> None:
    """At most so many keys, and the exact number of the others."""
    both(pair, "CREATE TABLE t (id int PRIMARY KEY, v int)",
         "INSERT INTO t SELECT i, 0 FROM generate_series(1, 9000) AS i")  # fmt: skip
    run(pair[1], "UPDATE t SET v = 1 WHERE id > 10", "DELETE FROM t WHERE id <= 5")
    keys, more = differing_rows(*pair, relation("t"), limit=7)
    assert (len(set(keys)), more) == (7, 9000 - 5 - 7)


def test_a_key_of_several_awkward_columns_is_told_as_it_is(pair: Pair) -> None:
    """Names that need quoting, values with commas and quotes, another order of columns."""
    run(pair[0], 'CREATE TABLE "{relation} ""r" ("B %s" text, "{key}" "char", c int,'
        ' PRIMARY KEY ("{key}", "B %s"))')  # fmt: skip
    run(pair[1], 'CREATE TABLE "{relation} ""r" (c int, "{key}" "char", "B %s" text,'
        ' PRIMARY KEY ("{key}", "B %s"))')  # fmt: skip
    both(pair, """INSERT INTO "{relation} ""r" ("{key}", "B %s", c) VALUES ('x', 'a, "b"', 1)""")
    assert differing_rows(*pair, relation('{relation} "r')) == ((), 0)
    run(pair[1], 'UPDATE "{relation} ""r" SET c = 2')
    keys, more = differing_rows(*pair, relation('{relation} "r'))
    assert keys == ('({key}, B %s)=(x,"a, ""b""") changed',)
    assert more == 0


@pytest.mark.parametrize(
    ("columns", "names"),
    [
        pytest.param("a int PRIMARY KEY, b int UNIQUE NOT NULL", "a", id="primary-first"),
        pytest.param("a int, b int NOT NULL UNIQUE", "b", id="unique-and-not-null"),
        pytest.param("a int UNIQUE, b int", "", id="nullable-is-no-key"),
        pytest.param("a int, b int", "", id="none"),
    ],
)
def test_the_key_is_the_primary_one_or_unique_without_null(
    pair: Pair, columns: str, names: str
) -> None:
    """Without such a key the rows that differ are counted, and none is named."""
    both(pair, f"CREATE TABLE t ({columns})", "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    run(pair[1], "DELETE FROM t WHERE a = 2")
    expected = ((f"({names})=(2) missing",), 0) if names else ((), 1)
    assert differing_rows(*pair, relation("t")) == expected


def test_equal_rows_without_a_key_are_counted(pair: Pair) -> None:
    """Of seven equal rows three are left, and one is new: five rows differ."""
    both(pair, "CREATE TABLE t (a text)", "INSERT INTO t SELECT 'x' FROM generate_series(1, 7)")
    run(pair[1], "DELETE FROM t WHERE ctid = ANY (ARRAY(SELECT ctid FROM t LIMIT 4))",
        "INSERT INTO t VALUES ('y')")  # fmt: skip
    assert differing_rows(*pair, relation("t")) == ((), 5)


def test_a_partial_or_computed_index_is_no_key(pair: Pair) -> None:
    """What is unique only for some rows, or of an expression, names no row."""
    both(pair, "CREATE TABLE t (a int NOT NULL, b int NOT NULL)",
         "CREATE UNIQUE INDEX ON t (a) WHERE a > 0", "CREATE UNIQUE INDEX ON t ((-a))")  # fmt: skip
    run(pair[0], "INSERT INTO t VALUES (1, 1)")
    assert differing_rows(*pair, relation("t")) == ((), 1)


def test_the_source_is_read_in_its_snapshot(pair: Pair) -> None:
    """Rows that were written since the dump do not differ."""
    both(pair, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1), (2)")
    run(pair[1], "DELETE FROM t WHERE id = 2")
    with exported(pair[0], deadline=10) as snapshot:
        run(pair[0], "INSERT INTO t VALUES (3)")
        found = differing_rows(*pair, relation("t"), snapshot=snapshot.name)
    assert found == (("(id)=(2) missing",), 0)


def test_children_are_not_their_parents(pair: Pair) -> None:
    """Rows of a table that inherits are no rows of the other."""
    both(pair, "CREATE TABLE t (id int PRIMARY KEY)", "CREATE TABLE child () INHERITS (t)",
         "INSERT INTO t VALUES (1)")  # fmt: skip
    run(pair[1], "INSERT INTO child VALUES (1), (2)")
    assert differing_rows(*pair, relation("t")) == ((), 0)


def test_a_long_key_is_cut(pair: Pair) -> None:
    """A key is told in at most 200 characters."""
    both(pair, "CREATE TABLE t (id text PRIMARY KEY)")
    run(pair[0], "INSERT INTO t VALUES (repeat('k', 1000))")
    ((key,), _) = differing_rows(*pair, relation("t"))
    assert key == f"(id)=({'k' * 199}... missing"


def test_a_relation_that_one_side_lacks_has_no_rows_to_name(pair: Pair) -> None:
    """That it is absent is told elsewhere."""
    run(pair[0], "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    assert differing_rows(*pair, relation("t")) == ((), 0)


def test_a_side_that_cannot_be_read_is_an_error(pair: Pair) -> None:
    """A lock of another session ends the search by its deadline."""
    both(pair, "CREATE TABLE t (id int PRIMARY KEY)", "INSERT INTO t VALUES (1)")
    with connect(pair[1], deadline=10, autocommit=False) as holder:
        holder.execute("LOCK TABLE t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(FactUnavailable, match=r"public\.t.*(55P03|57014)"):
            differing_rows(*pair, relation("t"), timeout=0.3)
