"""Names and texts in the SQL that we show."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_costmgmt.judge.sqltext import ident, literal, qualified


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("koku", '"koku"', id="plain"),
        pytest.param("Kök-u db", '"Kök-u db"', id="needs-quoting"),
        pytest.param("user", '"user"', id="reserved"),
        pytest.param('a"b', '"a""b"', id="quote"),
        pytest.param("a\\b", '"a\\b"', id="backslash"),
        pytest.param("a'; DROP TABLE x; --", '"a\'; DROP TABLE x; --"', id="injection"),
    ],
)
def test_a_name_is_always_quoted(name: str, expected: str) -> None:
    """A quote inside is doubled, everything else stands for itself."""
    assert ident(name) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("koku", "'koku'", id="plain"),
        pytest.param("", "''", id="empty"),
        pytest.param("it's", "'it''s'", id="quote"),
        pytest.param("a\\'b", "E'a\\\\''b'", id="backslash-and-quote"),
        pytest.param("two\nlines", "'two\nlines'", id="lines"),
    ],
)
def test_a_text_means_itself_whatever_standard_conforming_strings_is(
    text: str, expected: str
) -> None:
    """A backslash makes it an E'' text, in which it is doubled."""
    assert literal(text) == expected


def test_a_schema_is_quoted_on_its_own() -> None:
    """The dot between schema and name is the only one that counts."""
    assert qualified("acct.1", "t") == '"acct.1"."t"'


@pytest.mark.parametrize("quote", [ident, literal])
def test_nul_is_refused(quote: Callable[[str], str]) -> None:
    """PostgreSQL stores no NUL: such a name would end there."""
    with pytest.raises(ValueError, match="NUL"):
        quote("a\0b")
