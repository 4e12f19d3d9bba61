"""What the schema's text says of a server's own bookkeeping is no difference."""

from __future__ import annotations

import pytest

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
