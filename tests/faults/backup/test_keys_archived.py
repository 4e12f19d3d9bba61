"""Which rows differ is told by the archive alone as it is by the database that was dumped."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_costmgmt.backup import keys_archived, schema_text
from pytest_costmgmt.backup.model import Relation
from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.postgres.connect import connect
from tests.faults.backup import mutations_rows
from tests.faults.backup.bed import Bed, execute, mutate
from tests.faults.backup.mutation import Mutation

# One or two of a kind: that every table is loaded as it was is another test's.
IDS = {
    "row-deleted", "row-added-to-none", "key-changed", "row-for-row", "all-rows-gone",
    "toasted-one-letter", "partition", "quoted-names", "unlogged-table",
    "row-without-columns-added", "row-without-columns-deleted", "column-called-like-an-alias",
    "type-array-null-in-letters",
}  # fmt: skip
OF_ROWS = [each for each in mutations_rows.MUTATIONS if each.id in IDS]


def archive_of(restored: Bed) -> keys_archived.Archive:
    """Return the archive of what was dumped."""
    return keys_archived.Archive(restored.given.archive, restored.clients, 60)


@pytest.mark.parametrize("mutation", OF_ROWS, ids=lambda each: each.id)
def test_the_archive_tells_the_same_rows(restored: Bed, mutation: Mutation) -> None:
    """Keys and numbers of a mutation's rows are the same without the source."""
    with restored.copy() as copy:
        mutate(copy, mutation.sql)
        by_source, by_archive = (
            restored.proof(copy, **{way: True}).differences for way in ("keys", "aside")
        )
    assert any(each.keys or each.more_keys for each in by_source)
    assert by_archive == by_source


def test_unharmed_rows_are_never_told(restored: Bed) -> None:
    """Of each table of every kind and type, what is loaded aside is what was restored."""
    archive, looked = archive_of(restored), 0
    with restored.copy() as copy:
        for relation in restored.manifest.relations:
            found = keys_archived.differing_rows(archive, copy, relation)
            assert found == ((), 0), relation
            looked += relation.kind == "table" and relation.rows > 0
    assert looked > 40


def test_nothing_is_left_of_the_look(restored: Bed) -> None:
    """The table aside is gone, and the transaction was rolled back."""
    archive, relation = archive_of(restored), _relation(restored, "many")
    with restored.copy() as copy:
        execute(copy, "DELETE FROM torture.many WHERE id = 13")
        found = keys_archived.differing_rows(archive, copy, relation)
        assert found == (("(id)=(13) missing",), 0)
        with connect(copy, deadline=10) as connection:
            left = connection.execute(
                "SELECT count(*) FROM pg_catalog.pg_class WHERE relname LIKE 'costmgmt%'"
            ).fetchone()
    assert left == (0,)


def test_a_relation_that_is_too_large_is_not_loaded_again(
    restored: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its rows are not looked for: the disk was proven for one copy."""
    relation = _relation(restored, "many")
    monkeypatch.setattr(keys_archived, "LARGEST", relation.bytes - 1)
    with restored.copy() as copy:
        execute(copy, "DELETE FROM torture.many WHERE id = 13")
        assert keys_archived.differing_rows(archive_of(restored), copy, relation) == ((), 0)


def test_what_cannot_be_loaded_hides_no_difference(restored: Bed) -> None:
    """A target without a column of the archive's: told without its rows, and nothing is raised."""
    relation = _relation(restored, "many")
    with restored.copy() as copy:
        mutate(copy, "ALTER TABLE torture.many RENAME note TO gone")
        with pytest.raises(FactUnavailable, match=r"torture\.many"):
            keys_archived.differing_rows(archive_of(restored), copy, relation)
        proof = restored.proof(copy, aside=True)
    assert any("torture.many" in each.of for each in proof.differences)


def test_half_a_text_is_no_rows(restored: Bed, tmp_path: Path) -> None:
    """A text without the line that ends COPY's rows is refused, not compared."""
    text = tmp_path / "rows.sql"
    text.write_bytes(b"SET client_encoding = 'UTF8';\n\nCOPY torture.many (id) FROM stdin;\n1\n2\n")
    relation = _relation(restored, "many")
    with (
        restored.copy() as copy,
        keys_archived.writing(copy, 10) as cursor,
        pytest.raises(schema_text.Incomplete, match="middle of its rows"),
    ):
        keys_archived.load(cursor, relation, text)


def _relation(restored: Bed, name: str) -> Relation:
    return next(
        each
        for each in restored.manifest.relations
        if (each.schema, each.name) == ("torture", name)
    )
