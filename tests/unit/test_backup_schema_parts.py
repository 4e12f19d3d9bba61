"""Two halves of a schema are together what is expected, or they are not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_costmgmt.backup import schema_parts, schema_text

PREAMBLE = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\nSET row_security = off;\n\n"
CLOSING = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n"
SPACE = "SET default_tablespace = '';\n\n"
METHOD = "SET default_table_access_method = heap;\n\n"


def entry(name: str, says: str = "CREATE TABLE x ();", kind: str = "TABLE") -> str:
    """Return an entry as pg_dump prints it."""
    return f"--\n-- Name: {name}; Type: {kind}; Schema: s; Owner: koku\n--\n\n{says}\n\n\n"


def together(folder: Path, expected: list[str], *parts: list[str]) -> bool:
    """Say whether parts of a schema are together what is expected."""
    files = []
    for number, said in enumerate((expected, *parts)):
        files.append(folder / str(number))
        files[-1].write_text(PREAMBLE + "".join(said) + CLOSING)
    return sum_up(files[0], files[1:])


def sum_up(expected: Path, parts: list[Path]) -> bool:
    """Say whether the texts in some files are together what is expected, or was remembered."""
    entries = schema_text.summary(expected).entries
    found = schema_parts.together(expected, entries, parts)
    remembered = schema_parts.digest(expected, entries)
    assert remembered is None or schema_parts.as_remembered(remembered, parts) is found
    assert remembered is not None or not found
    return found


A, B, C = (entry(name) for name in "abc")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([A, C], [B], id="in another order"),
        pytest.param([C], [B, A], id="backwards"),
        pytest.param([A, SPACE, METHOD, C], [SPACE, B], id="with what each table needs"),
        pytest.param([A, C, entry("v", "REFRESH", "MATERIALIZED VIEW DATA")], [B], id="with data"),
    ],
)
def test_they_are(tmp_path: Path, one: list[str], other: list[str]) -> None:
    """The order of entries, what stands between them, and data mean nothing."""
    assert together(tmp_path, [A, SPACE, METHOD, B, C], one, other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param([A], [B], id="one is missing"),
        pytest.param([A, C], [B, C], id="one is twice"),
        pytest.param([A, C], [B, entry("d")], id="one is more"),
        pytest.param([A, C], [C], id="one is another's"),
        pytest.param([A, C], [entry("b", "CREATE TABLE y ();")], id="one says something else"),
        pytest.param([A, C], [entry("b", f"x\n\n{SPACE.strip()}")], id="it sets a tablespace"),
        pytest.param([A, C], [], id="a half is empty"),
        pytest.param([A, C], ["SELECT do_something();\n", B], id="another preamble"),
    ],
)
def test_they_are_not(tmp_path: Path, one: list[str], other: list[str]) -> None:
    """One entry less, more or other, and another preamble, are told."""
    assert not together(tmp_path, [A, B, C], one, other)


def test_nothing_is_not_nothing(tmp_path: Path) -> None:
    """Of texts without an entry nothing is said."""
    assert not together(tmp_path, [], [], [])


def test_what_is_remembered_of_a_text(tmp_path: Path) -> None:
    """Nothing is, where a body holds what looks like a header, or the preamble is unusual."""
    whole, odd = tmp_path / "whole", tmp_path / "odd"
    whole.write_text(PREAMBLE + A + B + CLOSING)
    odd.write_text(PREAMBLE + "SELECT do_something();\n" + A + B + CLOSING)
    entries = schema_text.count(whole)
    assert entries == schema_text.count(odd) == 3
    said = schema_parts.digest(whole, entries)
    assert said is not None
    assert said.entries == entries
    assert schema_parts.as_remembered(said, [whole])
    assert not schema_parts.as_remembered(said, [odd])
    assert schema_parts.digest(whole, entries - 1) is None
    assert schema_parts.digest(odd, entries) is None


def test_a_text_that_was_cut_off(tmp_path: Path) -> None:
    """A half without its end is none, and neither is what is expected."""
    assert together(tmp_path, [A, B], [A], [B])
    for name in ("0", "1", "2"):
        path = tmp_path / name
        whole = path.read_text()
        path.write_text(whole[: whole.index("-- PostgreSQL database dump complete")])
        assert not schema_parts.together(tmp_path / "0", 3, [tmp_path / "1", tmp_path / "2"])
        path.write_text(whole)


WORDS = st.text("ab-\n; Name:\\", max_size=30)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    said=st.lists(st.tuples(WORDS, st.booleans(), st.booleans()), min_size=1, max_size=12),
    piece=st.integers(1, 200),
)
def test_whatever_pieces_a_text_is_read_in(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    said: list[tuple[str, bool, bool]],
    piece: int,
) -> None:
    """Entries that hold what looks like a header, cut anywhere, are what they are."""
    found: tuple[list[str], list[str]] = ([], [])
    for number, (words, first, spaced) in enumerate(said):
        part = found[0] if first else found[1]
        part += [SPACE] * spaced + [entry(f"e{number}", f"CREATE {words};")]
    if not all(found):
        found[1].append(A)
        found[0].append(B)
    expected = [each for part in found for each in part]
    with monkeypatch.context() as patched:
        patched.setattr(schema_text, "PIECE", piece)
        assert together(tmp_path, expected, *found)
        assert not together(tmp_path, [*expected, C], *found)


@pytest.mark.parametrize(
    ("schemas", "first"),
    [
        pytest.param([("a", 50), ("b", 50)], ("a",), id="halves"),
        pytest.param([("b", 40), ("a", 30), ("c", 20), ("d", 10)], ("b", "d"), id="fair ones"),
        pytest.param([("public", 60), ("a", 40)], ("a",), id="public is never named"),
        pytest.param([("A b", 50), ("t*", 30), ("c", 20)], (), id="only names that are patterns"),
        pytest.param([("a", 99), ("b", 1)], (), id="not where one has nearly all"),
        pytest.param([], (), id="nothing"),
    ],
)
def test_which_schemas_are_the_first_half(
    schemas: list[tuple[str, int]], first: tuple[str, ...]
) -> None:
    """The largest, up to a half of all relations, if that is worth it."""
    assert schema_parts.first_half(schemas) == first
