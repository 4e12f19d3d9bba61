"""Very many values in small memory: what is kept, sorted and compared is all of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_costmgmt.backup import packed
from pytest_costmgmt.backup.archive_files import Found
from pytest_costmgmt.backup.compare import _paired, _properties
from pytest_costmgmt.backup.content import as_hashed
from pytest_costmgmt.backup.listing import Listed, Listing, by_name
from pytest_costmgmt.backup.model import Property, Relation
from pytest_costmgmt.backup.packed import Numbered, Packed, Texts, in_order, itself, ordered
from pytest_costmgmt.backup.schema_text import sequence_values

MANY = 20_000

WORDS = st.sampled_from(["a", "b", "b.c", "ö", 'x"y', "", "\U0001f600"])
PROPERTIES = st.lists(
    st.builds(Property, of=WORDS, name=WORDS, value=WORDS), max_size=40
)  # fmt: skip
RELATIONS = st.lists(
    st.builds(
        Relation,
        schema=WORDS,
        name=WORDS,
        kind=st.sampled_from(["table", "materialized view"]),
        rows=st.integers(0, 2),
        content=st.sampled_from(["0", "1"]),
        by=st.sampled_from(["server", "lines"]),
        populated=st.booleans(),
    ),
    max_size=40,
    unique_by=by_name,
)


@pytest.fixture(autouse=True, scope="module")
def _small_pieces() -> Iterator[None]:
    """Have even few values be many."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(packed, "BLOCK", 3)
        patched.setattr(packed, "RUN", 4)
        yield


@given(PROPERTIES)
def test_what_is_packed_is_what_was_given(given_: list[Property]) -> None:
    """In its order, to its end, by number and by slice."""
    held = Packed(Property, iter(given_))
    assert held == given_ == list(held)
    assert len(held) == len(given_)
    assert [held[at] for at in range(-len(given_), len(given_))] == given_ * 2
    for part in (slice(1, None), slice(None, -1), slice(5, 2), slice(None, None, -2)):
        assert held[part] == tuple(given_[part])
    assert (held == given_[:-1]) is (not given_)
    with pytest.raises(IndexError):
        held[len(given_)]


@given(PROPERTIES)
def test_what_is_sorted_has_everything(given_: list[Property]) -> None:
    """As Python sorts it, whatever of it is in memory at once; nothing is done without need."""
    assert in_order(Property, iter(given_), itself) == sorted(given_)
    key = lambda each: each.of  # noqa: E731
    assert in_order(Property, iter(given_), key) == sorted(given_, key=key)
    assert ordered(given_, itself) == sorted(given_)
    there = sorted(given_)
    assert ordered(there, itself) is there


@given(RELATIONS, RELATIONS)
def test_both_sides_are_compared_as_if_they_were_there_at_once(
    one: list[Relation], other: list[Relation]
) -> None:
    """Each that differs, or is on one side only, by its name; and no other."""
    was, now = ({by_name(each): each for each in side} for side in (one, other))
    expected = [
        (key, was.get(key), now.get(key))
        for key in sorted({*was, *now})
        if was.get(key) != now.get(key)
    ]
    assert list(_paired(Packed(Relation, one), Packed(Relation, other), by_name)) == expected
    assert list(_paired(one, other, by_name)) == expected
    assert list(_paired(one, list(reversed(one)), by_name)) == []


@given(RELATIONS)
def test_what_is_there_twice_is_a_difference(given_: list[Relation]) -> None:
    """The second of a name has no like on the other side, on whichever it is."""
    more = [*given_, *given_[:1]]
    assert len(list(_paired(more, given_, by_name))) == len(given_[:1])
    assert len(list(_paired(given_, more, by_name))) == len(given_[:1])


@given(PROPERTIES, PROPERTIES)
def test_properties_differ_as_sets_of_values(one: list[Property], other: list[Property]) -> None:
    """Of an object's property all values are told together."""
    sides: list[dict[tuple[str, str], list[str]]] = []
    for side in (one, other):
        values: dict[tuple[str, str], list[str]] = {}
        for each in side:
            values.setdefault((each.of, each.name), []).append(each.value)
        sides.append({key: sorted(found) for key, found in values.items()})
    was, now = sides
    # Joined by commas: a value may be empty, and then it is as good as none.
    joined = ({key: ", ".join(found) for key, found in side.items()} for side in (was, now))
    before, after = joined
    expected = [key for key in sorted({*was, *now}) if before.get(key) != after.get(key)]
    assert [(each.of, each.name) for each in _properties(one, other)] == expected


@given(RELATIONS, RELATIONS)
def test_each_is_hashed_as_it_was_before(now: list[Relation], before: list[Relation]) -> None:
    """As lines if it was, else by the server; whatever is new, by the server, too."""
    listed = [
        Listed(
            oid=4_000_000_000 + at,
            schema=each.schema,
            name=each.name,
            kind=each.kind,
            bytes=each.rows << 40,
            locks=at,
            populated=each.populated,
            empty=each.rows == 0,
            lines=each.by == "lines",
        )
        for at, each in enumerate(now)
    ]
    held = Listing(listed)
    inside = [msgspec.structs.replace(each, place=0) for each in held]
    assert inside == sorted(listed, key=by_name)
    assert [each.place for each in held] == list(range(len(listed)))
    lines = {by_name(each) for each in before if each.by == "lines"}
    for each in as_hashed(listed, before):
        assert each.lines == (by_name(each) in lines)
    todo = [each for each in held if each.populated and not each.empty]
    todo.sort(key=lambda each: (each.lines, -each.bytes, each.oid))
    assert [held[at] for at in held.to_hash()] == todo


SETVALS = [
    "SELECT pg_catalog.setval('a.b', 7, true);\n",
    "--\n-- Name: x; Type: SEQUENCE SET\n--\n\n",
    'SELECT pg_catalog.setval(\'"A.b"."c\'\'d""e"\', -1, false);\n',
    "SELECT pg_catalog.setval(E'\"x\\\\y\n--\n-- Name: \".z', 9223372036854775807, true);\n",
    "SELECT pg_catalog.setval(' of no sequence\n",
    "SELECT pg_catalog.set_config('search_path', '', false);\n",
]


@given(st.lists(st.sampled_from(SETVALS), max_size=9), st.integers(1, 40))
def test_sequences_are_found_in_whatever_pieces(parts: list[str], size: int) -> None:
    """A statement that a piece's end cuts is found whole."""
    text = "".join(parts)
    found = sequence_values(text[at : at + size] for at in range(0, len(text), size))
    assert len(found) == sum(part.endswith((", true);\n", "-1, false);\n")) for part in parts)
    assert found == sequence_values([text])


def test_files_are_read_the_largest_first() -> None:
    """Then in the order of their paths; what is no file comes with no size."""
    found = Found()
    for path, size in (("a", 1), ("b", 9), ("c", 0), ("d\udcff", 9), ("e", None)):
        found.add(path, size)
    assert [found.paths[at] for at in found.largest_first()] == ["e", "b", "d\udcff", "a", "c"]
    assert [found.size(at) for at in range(5)] == [1, 9, 0, 9, None]
    assert found.total() == 19
    assert Texts(found.paths)[1:3] == ["b", "c"]


def test_numbers_by_oid_must_come_in_order() -> None:
    """Whoever could not find one later would take it for gone."""
    with pytest.raises(ValueError, match="2 after 7"):
        Numbered([(7, 1), (2, 1)])
    with pytest.raises(ValueError, match="7 after 7"):
        Numbered([(7, 1), (7, 1)])


def test_many_relations_to_hash_take_small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than half of what only their names would take as Python's texts."""
    monkeypatch.setattr(packed, "BLOCK", 256)
    monkeypatch.setattr(packed, "RUN", 8 * 1024)
    tracemalloc.start()
    try:
        held = Listing(
            Listed(
                oid=at,
                schema=f"acct{at // 264:07}",
                name=f"reporting_line_item_{at % 264:03}_summary",
                kind="table",
                bytes=8192 + at,
            )
            for at in range(MANY)
        )
        kept, peak = (each / MANY for each in tracemalloc.get_traced_memory())
        tracemalloc.reset_peak()
        order = held.to_hash()
        working = tracemalloc.get_traced_memory()[1] / MANY
    finally:
        tracemalloc.stop()
    assert len(order) == MANY
    assert kept < 90
    assert peak < 150
    assert working < 200
