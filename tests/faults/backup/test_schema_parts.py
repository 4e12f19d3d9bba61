"""Two halves of a schema say what the whole does, whatever was done to it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup import schema_parts, schema_text
from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE, Proof
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from tests.faults.backup import mutations_rights, mutations_schema
from tests.faults.backup.bed import Bed, execute, mutate
from tests.faults.backup.mutation import Mutation
from tests.faults.backup.test_mutations import told, version

# One of each kind of object. What pg_dump -s does not tell is compared otherwise.
KINDS = {
    each.of.partition(" ")[0]: each
    for each in reversed((*mutations_schema.MUTATIONS, *mutations_rights.MUTATIONS))
    if not re.search("publication|language", each.id + each.of) and "{database}" not in each.sql
}
MUTATIONS = [each for each in KINDS.values() if not each.of.startswith(("role ", "membership "))]

# What needs both halves: who publishes a table of the other, and a language by a function there.
ALONE = """
DO $$ DECLARE name pg_catalog.text; BEGIN
  FOR name IN SELECT pubname FROM pg_publication LOOP
    EXECUTE format('DROP PUBLICATION %I', name);
  END LOOP;
END $$;
DROP LANGUAGE torture_language CASCADE
"""


def dumped(clients: Clients, login: Login, folder: Path, part: Sequence[str] = ()) -> Path:
    """Return the text of a schema, or of a part of it."""
    text = folder / f"{len(list(folder.iterdir()))}.sql"
    schema_text.of_server(clients, login, text, part=part, deadline=60)
    return text


def halves_of(login: Login) -> Sequence[str]:
    """Return what the first of two programs would be given of a database, however small."""
    with connect(login, deadline=10) as connection, connection.cursor() as cursor:
        return schema_parts.halves(cursor, least=1)


def are_the_whole(clients: Clients, login: Login, folder: Path, schema: str) -> bool:
    """Say whether a schema and all the rest are told by two programs as by one."""
    whole = dumped(clients, login, folder)
    halves = [dumped(clients, login, folder, part) for part in schema_parts.arguments([schema])]
    entries = schema_text.count(whole)
    said = schema_parts.digest(whole, entries)
    assert said is not None
    together = schema_parts.together(whole, entries, halves)
    assert schema_parts.as_remembered(said, halves) is together
    return together


@pytest.mark.parametrize("schema", ["torture", "shadow"])
def test_two_halves_are_the_whole(restored: Bed, tmp_path: Path, schema: str) -> None:
    """Every kind of object is told by one half: nothing is in neither, nothing in both."""
    with restored.copy() as copy:
        mutate(copy, ALONE)
        assert are_the_whole(restored.clients, copy, tmp_path, schema)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.id)
def test_two_halves_of_a_mutation_are(restored: Bed, tmp_path: Path, mutation: Mutation) -> None:
    """Whatever an object became, one half tells it."""
    if mutation.since > version(restored.superuser):
        pytest.skip(f"PostgreSQL {mutation.since} and later: tests/versions tries it there")
    with restored.copy() as copy:
        mutate(copy, ALONE)
        mutate(copy, mutation.sql)
        assert are_the_whole(restored.clients, copy, tmp_path, "torture")


NEED_BOTH = [
    pytest.param("CREATE PUBLICATION p FOR TABLE one.a", id="a table is published"),
    pytest.param("CREATE PUBLICATION p FOR TABLES IN SCHEMA one", id="a schema is published"),
    pytest.param("CREATE TABLE other.child () INHERITS (one.a)", id="a child stands elsewhere"),
    pytest.param(
        "CREATE STATISTICS other.apart ON id, n FROM one.a",
        id="statistics stand elsewhere",
    ),
]


@pytest.fixture
def two(superuser: Login) -> Iterator[Login]:
    """Return the way into a database of two schemas."""
    name = f"two_{secrets.token_hex(4)}"
    execute(superuser, f"CREATE DATABASE {name}")
    tables = "{0}.a (id int, n int)", "{0}.b (a int)"
    for schema in ("one", "other"):
        execute(superuser.on(name), f"CREATE SCHEMA {schema}")
        for table in tables:
            execute(superuser.on(name), f"CREATE TABLE {table.format(schema)}")
    yield superuser.on(name)
    execute(superuser, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("statement", NEED_BOTH)
def test_what_needs_both_is_never_halved(two: Login, statement: str) -> None:
    """One program dumps it all where an object is told by what stands in two schemas."""
    assert halves_of(two) == ("one",)
    execute(two, statement)
    assert halves_of(two) == ()


def test_a_small_schema_is_not_halved(two: Login) -> None:
    """A second program would read all catalogs for a few relations."""
    with connect(two, deadline=10) as connection, connection.cursor() as cursor:
        assert schema_parts.halves(cursor) == ()


@pytest.fixture
def halved(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Have every proof try halves; return what came of each."""
    found: list[bool] = []
    together = schema_parts.together

    def noted(expected: Path, entries: int, parts: Sequence[Path]) -> bool:
        found.append(together(expected, entries, parts))
        return found[-1]

    monkeypatch.setattr(schema_parts, "halves", lambda _: ("shadow",))
    monkeypatch.setattr(schema_parts, "together", noted)
    return found


def proof(restored: Bed, *mutations: str) -> Proof:
    """Return the proof of a copy to which something was done."""
    with restored.copy() as copy:
        for statement in mutations:
            mutate(copy, statement)
        return restored.proof(copy)


def test_halves_that_are_not_what_is_expected_are_no_verdict(
    restored: Bed, halved: list[bool]
) -> None:
    """The whole says what differs, or that nothing does."""
    unharmed = proof(restored)
    assert unharmed.equal, told(unharmed)
    differing = proof(restored, "ALTER TABLE torture.one ADD CONSTRAINT more CHECK (true)")
    assert [each.of for each in differing.differences if "one" in each.of], told(differing)
    # What is published is in neither half here.
    assert halved == [False, False]
    assert unharmed.compared == differing.compared


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE one.a ADD CHECK (n > 0)",
        "CREATE VIEW other.v AS SELECT 1",
        "DROP TABLE other.b",
    ],
)
def test_halves_that_are_what_is_expected_are_enough(
    *,
    restored: Bed,
    two: Login,
    tmp_path: Path,
    halved: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    """Nothing more is dumped then; a change in either half is told."""
    monkeypatch.setattr(schema_parts, "halves", lambda _: ("one",))
    clients = restored.clients
    manifest = backup(two, tmp_path / "made", clients=clients, run_id=secrets.token_hex(4))
    archive = tmp_path / "made" / ARCHIVE
    assert prove(manifest, archive, two, clients=clients, jobs=2).equal
    execute(two, change)
    assert not prove(manifest, archive, two, clients=clients, jobs=2).equal
    assert halved == [True, False]


@pytest.mark.parametrize("entries", [0, 1], ids=["as it is", "another release's"])
def test_a_remembered_schema_is_enough(
    *,
    restored: Bed,
    two: Login,
    tmp_path: Path,
    halved: list[bool],
    monkeypatch: pytest.MonkeyPatch,
    entries: int,
) -> None:
    """The archive's text is asked for only where a target is not what was remembered of it."""
    monkeypatch.setattr(schema_parts, "halves", lambda _: ("one",))
    monkeypatch.setattr(schema_parts, "many", lambda _: True)
    clients = restored.clients
    written = backup(two, tmp_path / "made", clients=clients, run_id=secrets.token_hex(4))
    archive = tmp_path / "made" / ARCHIVE
    manifest = manifests.read(tmp_path / "made")
    said = manifest.schema_digest
    assert said is not None
    assert said == written.schema_digest
    said = msgspec.structs.replace(said, entries=said.entries + entries)
    manifest = msgspec.structs.replace(manifest, schema_digest=said)
    unharmed = prove(manifest, archive, two, clients=clients, jobs=2)
    assert unharmed.equal
    assert unharmed.compared["schema entries"] == said.entries - entries
    assert halved == [True] * entries
    execute(two, "ALTER TABLE one.a ADD CHECK (n > 0)")
    differing = prove(manifest, archive, two, clients=clients, jobs=2)
    assert [each.of for each in differing.differences if "one.a" in each.of]
    assert halved == [True] * entries + [False]


def test_there_are_enough_mutations_of_the_schema() -> None:
    """Of every kind of object some are tried."""
    assert len(MUTATIONS) >= 15
