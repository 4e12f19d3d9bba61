"""The rows' hash: the same for the same rows in any order, another for every kind of difference."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_costmgmt.backup import content, locks, properties
from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.errors import BackupFailed, FactUnavailable
from pytest_costmgmt.facts import hazards
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.postgres import streamed
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.snapshot import exported, importing
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.backup_torture import build
from tests.backup_torture.changes import CHANGES
from tests.server.content_bed import Changed, Way, copy, hashes, relations, run

NONE = "0" * 16


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


@pytest.fixture(scope="module")
def torture(server: embedded.Instance) -> Login:
    """Build the torture database once."""
    return build.create(server.superuser, rows=300)


@pytest.fixture(scope="module", autouse=True, params=["server", "lines"])
def way(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hash tables of whatever size by the server, or as lines."""
    Way.lines = request.param == "lines"
    yield
    Way.lines = None


@pytest.fixture(scope="module")
def worn(torture: Login, way: None) -> Login:  # noqa: ARG001 - made once for each
    """Return a copy that this module's tests change, each something else."""
    return copy(torture)


@pytest.fixture(scope="module")
def changed(torture: Login, way: None) -> Changed:  # noqa: ARG001 - made once for each
    """Return a copy that is changed step by step."""
    return Changed(copy(torture))


@pytest.fixture
def empty(server: embedded.Instance) -> Iterator[Login]:
    """Return a database with nothing in it, for one test."""
    login = server.superuser.on(f"empty {secrets.token_hex(3)}")
    run(login.on("postgres"), f"CREATE DATABASE {ident(login.database)} TEMPLATE template0")
    yield login
    build.drop(login)


def test_each_relation_with_rows_is_hashed_once(torture: Login) -> None:
    """Tables, partitions, children and materialized views count; parents of partitions do not."""
    found = relations(torture)
    names = [f"{each.schema}.{each.name}" for each in found]
    expected = run(
        torture,
        "SELECT n.nspname::pg_catalog.text, c.relname::pg_catalog.text"
        " FROM pg_catalog.pg_class AS c, pg_catalog.pg_namespace AS n"
        " WHERE n.oid OPERATOR(pg_catalog.=) c.relnamespace"
        " AND c.relkind::pg_catalog.text OPERATOR(pg_catalog.~) '[rm]'"
        " AND n.nspname::pg_catalog.text OPERATOR(pg_catalog.!~) '^(pg_|information_schema)'",
    )
    assert sorted(names) == sorted(".".join(row) for row in expected)
    by_name = dict(zip(names, found, strict=True))
    assert "torture.ranged" not in by_name
    assert by_name["torture.parent"].rows == 1
    assert by_name["torture.grandchild"].rows == 1
    assert by_name["torture.sums"].kind == "materialized view"
    assert by_name["torture.many"].rows == 300
    assert sum(by_name[f"torture.ranged_{p}"].rows for p in ("2024_01", "2024_02", "rest")) == 100


def test_no_rows_are_no_content_however_they_went(torture: Login) -> None:
    """A table without a page, one whose rows were deleted and a view WITH NO DATA hash alike."""
    found = {each.name: each for each in relations(torture) if each.schema == "torture"}
    for name in ("nothing", "empty_", "emptied", "none", "unpopulated"):
        assert (found[name].rows, found[name].content) == (0, NONE), name
    assert not found["unpopulated"].populated
    assert found["none"].populated
    assert found["nothing_thrice"].rows == 3
    assert found["nothing_thrice"].content != NONE


def test_rows_in_any_order_hash_alike(torture: Login) -> None:
    """A copy whose every table was written anew, shuffled, hashes as the original does."""
    other = copy(torture)
    with connect(other, deadline=10) as connection:
        connection.execute(b"SET session_replication_role = replica")
        for each in relations(torture):
            if each.kind == "table" and each.rows:
                _shuffle(connection, f"{ident(each.schema)}.{ident(each.name)}")
    assert hashes(other) == hashes(torture)
    build.drop(other)


def _shuffle(connection: Any, table: str) -> None:
    columns = ", ".join(
        ident(row[0])
        for row in connection.execute(
            "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0"
            " AND NOT attisdropped AND attgenerated = ''",
            (table,),
        )
    )
    if not columns:
        return
    for statement in (
        "CREATE TEMP TABLE shuffled AS SELECT {columns} FROM ONLY {table} ORDER BY random()",
        "DELETE FROM ONLY {table}",
        "INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM shuffled",
        "DROP TABLE shuffled",
    ):
        composed = statement.replace("{columns}", columns).replace("{table}", table)
        connection.execute(composed.encode())


def test_no_setting_of_a_database_or_role_shapes_the_hash(torture: Login) -> None:
    """DateStyle, the search path and the rest: hostile in one database, default in its copy."""
    other = copy(torture)
    assert run(torture, "SHOW DateStyle") != run(other, "SHOW DateStyle")
    assert hashes(other) == hashes(torture)
    role = ident(other.role)
    run(other, *(
        f"ALTER ROLE {role} IN DATABASE {ident(other.database)} SET {each}"
        for each in ("enable_seqscan = off", "lc_monetary = 'C'", "search_path = shadow, public",
                     "default_transaction_isolation = 'serializable'", "row_security = off")
    ))  # fmt: skip
    assert hashes(other) == hashes(torture)
    build.drop(other)


def test_columns_in_another_order_hash_alike(empty: Login) -> None:
    """What a column is called counts, not where it stands or what was dropped before it."""
    run(empty, "CREATE SCHEMA one", "CREATE SCHEMA two",
        'CREATE TABLE one.t ("B" int, a text, "ä" date)',
        'CREATE TABLE two.t (gone int, a text, "ä" date, "B" int)',
        "ALTER TABLE two.t DROP gone",
        "INSERT INTO one.t VALUES (1, 'x', '2024-01-01'), (2, NULL, NULL)",
        "INSERT INTO two.t (a, \"B\", ä) VALUES ('x', 1, '2024-01-01'), (NULL, 2, NULL)",
    )  # fmt: skip
    found = hashes(empty)
    assert found["one.t"] == found["two.t"]


def test_a_table_of_1600_columns_is_hashed_by_all_of_them(empty: Login) -> None:
    """As wide as a table may be: values that change columns, or rows, are seen."""
    columns = ", ".join(f"c{i} int" for i in range(1600))
    run(
        empty,
        f"CREATE TABLE wide ({columns})",
        "INSERT INTO wide (c0, c1599) VALUES (1, 2), (3, 4)",
    )
    seen = {hashes(empty)["public.wide"]}
    for change in (
        "UPDATE wide SET c0 = c1599, c1599 = c0",
        "UPDATE wide SET c0 = 6 - c0",
        "UPDATE wide SET c700 = 0",
        "UPDATE wide SET c800 = 0",
        "UPDATE wide SET c700 = NULL",
    ):
        run(empty, change)
        seen.add(hashes(empty)["public.wide"])
    assert len(seen) == 6


@pytest.mark.parametrize("change", CHANGES)
def test_each_kind_of_difference_is_seen(changed: Changed, change: str) -> None:
    """One change of data changes the hash of its relation, and of no other."""
    name, statement = CHANGES[change]
    if change == "xml" and not build.has_xml(changed.login):
        pytest.skip("this server was built without libxml")
    if change == "a-stale-view":
        # The view over sums is refreshed from other rows than it was made from.
        changed.by("INSERT INTO torture.ranged VALUES (5000, '2030-01-01', 'z')",
                   "REFRESH MATERIALIZED VIEW torture.sums")  # fmt: skip
    assert changed.by(statement) == {f"torture.{name}"}


EXACT = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(2**70), 2**70),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=5),
)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.tuples(EXACT, EXACT), max_size=5), st.randoms(use_true_random=False), st.data())
def test_equal_bags_of_rows_alone_hash_alike(
    hashed: Any, rows: list[Any], random: Any, data: st.DataObject
) -> None:
    """Rows as text, shuffled, hash alike; one value changed, doubled or left out does not."""
    texts = [tuple(None if v is None else str(v) for v in row) for row in rows]
    shuffled = list(texts)
    random.shuffle(shuffled)
    others = []
    if texts:
        at = data.draw(st.integers(0, len(texts) - 1))
        other = data.draw(st.tuples(st.none() | st.text("ab(),\"\\ '", max_size=3), st.just("x")))
        changed = [*texts[:at], other, *texts[at + 1 :]]
        others = [[*texts, texts[at]], texts[:at] + texts[at + 1 :]]
        if sorted(map(repr, changed)) != sorted(map(repr, texts)):
            others.append(changed)
    first, second, *unlike = hashed([texts, shuffled, *others])
    assert first == second
    assert first not in unlike


@pytest.fixture(scope="module")
def hashed(server: embedded.Instance) -> Iterator[Any]:
    """Return a function that hashes bags of rows of two texts."""
    login = server.superuser.on(f"bags {secrets.token_hex(3)}")
    run(login.on("postgres"), f"CREATE DATABASE {ident(login.database)} TEMPLATE template0")
    connection = connect(login, deadline=10)
    for bag in range(5):
        connection.execute(f"CREATE TABLE bag_{bag} (a text, b text)".encode())

    def of(bags: list[Any]) -> list[tuple[int, str]]:
        for bag, rows in enumerate(bags):
            connection.execute(f"TRUNCATE bag_{bag}".encode())
            connection.cursor().executemany(
                f"INSERT INTO bag_{bag} VALUES (%s, %s)".encode(),  # noqa: S608
                rows,
            )
        found = hashes(login)
        return [found[f"public.bag_{bag}"] for bag in range(len(bags))]

    yield of
    connection.close()


def test_what_is_written_after_the_snapshot_is_not_hashed(worn: Login) -> None:
    """Every session reads in the exported snapshot."""
    with exported(worn, deadline=10) as snapshot:
        before = hashes(worn, snapshot=snapshot.name)
        run(worn, "INSERT INTO torture.many (amount, at) SELECT i, now()"
            " FROM generate_series(1, 10) AS i", "DELETE FROM torture.hashed")  # fmt: skip
        assert hashes(worn, snapshot=snapshot.name) == before
    after = hashes(worn)
    changed = {each for each in before if before[each] != after[each]}
    assert changed == {"torture.many", "torture.hashed_0", "torture.hashed_1"}


def test_rows_that_row_security_hides_are_an_error(empty: Login) -> None:
    """A login that a policy would filter for gets no hash of what is left."""
    role, password = f"filtered {secrets.token_hex(3)}", Secret.generate()
    run(empty, f"CREATE ROLE {ident(role)} LOGIN PASSWORD {literal(password.reveal())}",
        "CREATE TABLE hidden (a int)", "INSERT INTO hidden VALUES (1), (2)",
        "ALTER TABLE hidden ENABLE ROW LEVEL SECURITY",
        "CREATE POLICY few ON hidden USING (a = 1)",
        f"GRANT SELECT ON hidden TO {ident(role)}")  # fmt: skip
    login = empty.acting_as(role, password, database=empty.database)
    with pytest.raises(FactUnavailable, match=r"public\.hidden.*row-level security.*42501"):
        hashes(login)
    run(empty, "ALTER TABLE hidden DISABLE ROW LEVEL SECURITY",
        f"REVOKE ALL ON hidden FROM {ident(role)}")  # fmt: skip
    with pytest.raises(FactUnavailable, match="permission denied"):
        hashes(login)
    run(empty, "DROP TABLE hidden", f"DROP ROLE {ident(role)}")


def test_an_owner_without_further_rights_hashes_his_database(server: embedded.Instance) -> None:
    """Neither superuser nor pg_read_all_data is needed, for large objects and sequences too."""
    role, password = f"owner {secrets.token_hex(3)}", Secret.generate()
    admin = server.superuser.on(role)
    run(server.superuser, f"CREATE ROLE {ident(role)} LOGIN PASSWORD {literal(password.reveal())}",
        f"CREATE DATABASE {ident(role)} OWNER {ident(role)}")  # fmt: skip
    login = admin.acting_as(role, password, database=role)
    run(login, "CREATE SCHEMA mine", "CREATE TABLE mine.t (a serial, b text)",
        "INSERT INTO mine.t (b) VALUES ('x')", "SELECT lo_from_bytea(0, 'abc')")  # fmt: skip
    assert hashes(login) == hashes(admin)
    with connect(login, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        (sequence,) = content.sequences(cursor)
        (large,) = content.large_objects(cursor)
    assert (sequence.last_value, sequence.is_called) == (1, True)
    assert (large.bytes, large.owner) == (3, role)
    run(admin, "SELECT lo_create(0)", "CREATE SEQUENCE mine.theirs")
    with connect(login, deadline=10) as connection:
        with read_only(connection, timeout=9) as cursor, pytest.raises(FactUnavailable):
            content.large_objects(cursor)
        with (
            read_only(connection, timeout=9) as cursor,
            pytest.raises((FactUnavailable, BackupFailed)),
        ):
            content.sequences(cursor)
    build.drop(admin)
    run(server.superuser, f"DROP ROLE {ident(role)}")


def test_a_locked_table_ends_by_its_deadline(empty: Login) -> None:
    """A lock of another session is waited for as long as was allowed, and the table named."""
    run(empty, "CREATE TABLE locked (a int)", "INSERT INTO locked VALUES (1)")
    with connect(empty, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        found = content.listed(cursor)
    with connect(empty, deadline=10, autocommit=False) as holder:
        holder.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(FactUnavailable, match=r"public\.locked.*55P03|57014"):
            content.hash_all(empty, found, snapshot=None, jobs=1, timeout=0.3)
        with (
            connect(empty, deadline=10) as connection,
            read_only(connection, timeout=9) as cursor,
            pytest.raises(FactUnavailable, match="55P03"),
        ):
            content.listed(cursor, lock_timeout=0.2)


def test_it_ends_when_it_is_told_to_stop(empty: Login) -> None:
    """A statement under way is cancelled, and no session is left."""
    run(empty, "CREATE TABLE locked (a int)", "INSERT INTO locked VALUES (1)")
    with connect(empty, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        found = content.listed(cursor)
    with connect(empty, deadline=10, autocommit=False) as holder:
        holder.execute("LOCK TABLE locked IN ACCESS EXCLUSIVE MODE")
        waiting = (
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND wait_event_type = 'Lock'"
        )
        with pytest.raises(BackupFailed, match="told to stop"):
            content.hash_all(
                empty, found, snapshot=None, jobs=2, timeout=600,
                stop=lambda: run(empty, waiting) == [(1,)],
            )  # fmt: skip
        assert run(empty, waiting) == [(0,)]


def test_progress_reaches_its_end(torture: Login) -> None:
    """What is told grows to all relations and all bytes."""
    with connect(torture, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        found = content.listed(cursor)
    told: list[Progress] = []
    content.hash_all(torture, found, snapshot=None, jobs=2, timeout=60, told=told.append)
    last = max(told, key=lambda each: each.done)
    assert (last.done, last.bytes) == (len(found), last.total_bytes)


def test_sequences_stand_where_they_were_set(torture: Login) -> None:
    """Called or not, backwards, at its end: last_value and is_called as the sequence has them."""
    with connect(torture, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        found = {each.name: (each.last_value, each.is_called) for each in content.sequences(cursor)}
        held = "SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND relation = "
        cursor.execute(f"{held}'torture.called'::regclass".encode())
        assert cursor.fetchone() == (0,)
    assert found["untouched"] == (1, False)
    assert found["called"] == (6, True)
    assert found["set_uncalled"] == (42, False)
    assert found["at_end"] == (9223372036854775807, True)
    assert found["Kök-u \"s'q\\"] == (77, False)
    assert found["serials_a_seq"] == (2, True)


@pytest.mark.parametrize("size", [1, 3, 7])
def test_a_few_rows_at_a_time_are_all_rows(
    torture: Login, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Whatever is read of the catalogs is the same, however many rows are there at once."""

    def read() -> list[Any]:
        with connect(torture, deadline=10) as connection, connection.cursor() as cursor:
            importing(cursor, None, timeout=60)
            found = [
                list(content.listed(cursor)),
                content.sequences(cursor),
                content.large_objects(cursor),
                properties.properties(cursor),
                list(locks.files(cursor)),
                list(locks.shapes(cursor)),
                hazards.read(cursor).hazards,
            ]
            cursor.execute("ROLLBACK")
        return found

    before = read()
    assert all(map(len, before))
    monkeypatch.setattr(streamed, "AT_ONCE", size)
    monkeypatch.setattr(content, "LOCKS", size + 1)
    assert read() == before


@pytest.mark.parametrize("rows", [0, 1, 6, 7, 8, 14, 15])
def test_rows_come_to_their_end(empty: Login, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    """Where a fetch ends with the last row as well, and whatever is asked meanwhile."""
    monkeypatch.setattr(streamed, "AT_ONCE", 7)
    query = f"SELECT i, 2 * i FROM generate_series(1, {rows}) AS i"  # noqa: S608 - a number
    with connect(empty, deadline=10) as connection, read_only(connection, timeout=9) as cursor:
        found = []
        for row in streamed.streamed(cursor, query):
            cursor.execute("SELECT 0")
            found.append(row)
        cursor.execute("SELECT count(*) FROM pg_cursors")
        assert cursor.fetchone() == (0,)
    assert found == [(each, 2 * each) for each in range(1, rows + 1)]


def test_large_objects_are_read_whole(worn: Login) -> None:
    """Content, owner, rights and comment; beyond a piece's end, and where there are holes."""
    run(worn, "SELECT lo_from_bytea(7, decode(repeat('ab', 3 * 1024 * 1024 + 1), 'hex'))")
    before = _large(worn)
    assert before[1000001].bytes == 0
    assert before[1000002].owner == "torture owner"
    assert re.search(r"(^|, )=r/", before[1000002].acl)
    assert before[1000001].acl == ""
    assert before[1000003].comment == "large\n'object"
    assert (before[1000004].bytes, before[7].bytes) == (5001, 3 * 1024 * 1024 + 1)
    run(worn, "SELECT lo_put(7, 3 * 1024 * 1024, '\\x00')", "SELECT lo_put(1000004, 7, '\\x00')")
    after = _large(worn)
    assert after[7].content != before[7].content
    assert after[1000004] == before[1000004]
    run(worn, "SELECT lo_unlink(7)", "REVOKE ALL ON LARGE OBJECT 1000004 FROM CURRENT_USER")
    assert _large(worn)[1000004].acl == "{}"


def _large(login: Login) -> dict[int, Any]:
    with connect(login, deadline=10) as connection, read_only(connection, timeout=30) as cursor:
        return {each.oid: each for each in content.large_objects(cursor)}
