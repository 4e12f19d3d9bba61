"""What the schema's text says of a server's own bookkeeping is no difference."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_costmgmt.backup import schema_text
from pytest_costmgmt.backup.schema_text import entries

BEFORE = """--
-- PostgreSQL database dump
--

SET row_security = off;

--
-- Name: t; Type: TABLE; Schema: public; Owner: koku
--

CREATE TABLE public.t (
    a integer
);
"""
AFTER = "\n\n--\n-- PostgreSQL database dump complete\n--\n\n"
SET = "ALTER TABLE ONLY public.t ALTER COLUMN a SET ({});\n"


def said(options: str) -> str:
    """Return the table's entry, with options of a column."""
    set_ = SET.format(options) if options else ""
    return entries(BEFORE + set_ + AFTER)["TABLE public.t"]


@pytest.mark.parametrize(
    ("options", "alike"),
    [
        pytest.param("pg_attver=31694000", "", id="alone"),
        pytest.param("n_distinct=5, pg_attver=31694000", "n_distinct=5", id="last"),
        pytest.param("pg_attver=31694000, n_distinct=5", "n_distinct=5", id="first"),
    ],
)
def test_a_columns_version_is_the_servers_own(options: str, alike: str) -> None:
    """An older pg_dump prints PostgreSQL 15.20's pg_attver; it differs in every copy."""
    assert said(options) == said(alike)


def test_what_somebody_set_is_compared() -> None:
    """Another option, and another value, are differences as before."""
    assert len({said(""), said("n_distinct=5"), said("n_distinct=6, pg_attver=1")}) == 3


def test_texts_that_are_the_same_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But for what pg_dump says of itself; one byte more or other, and each entry is looked at."""
    names = ("one", "other", "longer", "changed", "cut")
    one, other, longer, changed, cut = (tmp_path / name for name in names)
    text = "\\restrict abc\n" + BEFORE + AFTER + "\\unrestrict abc\n\n"
    one.write_text(text)
    other.write_text(text.replace("abc", "wxyz"))
    longer.write_text(text.replace(");", ");\n-- more", 1))
    changed.write_text(text.replace("a integer", "b integer"))
    cut.write_text(text[: text.index("a integer")])
    with monkeypatch.context() as patched:
        patched.setattr(schema_text, "summary", lambda path: pytest.fail(f"{path} was read"))
        assert schema_text.unmatched(one, other) == (2, [])
    assert [each.key for each in schema_text.unmatched(one, changed)[1]] == ["TABLE public.t"]
    assert [each.key for each in schema_text.unmatched(one, longer)[1]] == ["TABLE public.t"]
    for pair in ((one, cut), (cut, one), (cut, cut)):
        with pytest.raises(schema_text.Incomplete):
            schema_text.unmatched(*pair)


def test_a_preamble_that_sets_something_unusual_is_another(tmp_path: Path) -> None:
    """Texts that differ only there are not the same."""
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text(BEFORE + AFTER)
    other.write_text("SELECT do_something();\n" + BEFORE + AFTER)
    assert not schema_text.same(one, other)
    assert [each.key for each in schema_text.unmatched(one, other)[1]] == ["preamble"]


def test_entries_are_counted_as_they_are_compared(tmp_path: Path) -> None:
    """What looks like a header in a function's body, and data, are no entries."""
    fake = "\n--\n-- Name: no header\n--\n-- Name: u; Type: TABLE DATA; Schema: s; Owner: o\n--\n\n"
    (tmp_path / "one").write_text(BEFORE + fake + AFTER)
    assert schema_text.count(tmp_path / "one") == schema_text.summary(tmp_path / "one").entries == 2
