"""Schema texts by entries, allowed differences, and how a difference is told."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_costmgmt.backup import schema_text
from pytest_costmgmt.backup.allowed import DEFAULT, NOTHING, RULES, sorted_out
from pytest_costmgmt.backup.compare import difference
from pytest_costmgmt.backup.schema_text import Incomplete, entries, sequence_values, unmatched

START = "--\n-- PostgreSQL database dump\n--\n\n\\restrict {key}\n\nSET row_security = off;\n\n"
END = "--\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict {key}\n\n"


def entry(name: str, body: str, *, kind: str = "TABLE", owner: str = "koku") -> str:
    """Return an entry as pg_dump writes it."""
    return f"--\n-- Name: {name}; Type: {kind}; Schema: public; Owner: {owner}\n--\n\n{body}\n\n\n"


def text(*parts: str, key: str = "aB3") -> str:
    """Return a whole text."""
    return START.replace("{key}", key) + "".join(parts) + END.replace("{key}", key)


A, B = entry("a", "CREATE TABLE public.a (x int);"), entry("b", "CREATE TABLE public.b ();")
SPACE = "SET default_tablespace = fast;\n\nSET default_table_access_method = heap;\n\n"
GRANTS = ["GRANT SELECT ON TABLE public.a TO x;", "REVOKE ALL ON TABLE public.a FROM koku;"]
AS_OTHER = "SET SESSION AUTHORIZATION {};\nGRANT SELECT ON TABLE public.a TO y;\n"
AS_OTHER += "RESET SESSION AUTHORIZATION;"
FAKE = "--\n-- Name: no header"


def differing(tmp_path: Path, one: str, other: str) -> list[str]:
    """Return the keys in which two texts differ."""
    paths = tmp_path / "one", tmp_path / "other"
    for path, said in zip(paths, (one, other), strict=True):
        path.write_text(said)
    return [each.key for each in unmatched(*paths)[1]]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param(text(A, B), text(B, A), id="order"),
        pytest.param(text(A, key="one"), text(A, key="two"), id="restrict-key"),
        pytest.param(text(SPACE, A, SPACE, B), text(A, B), id="what-stands-between"),
        pytest.param(
            text(entry("TABLE a", "\n".join(GRANTS), kind="ACL")),
            text(entry("TABLE a", "\n".join(reversed(GRANTS)), kind="ACL")),
            id="order-of-grants",
        ),
        pytest.param(
            text(A, entry("v", "REFRESH;", kind="MATERIALIZED VIEW DATA")), text(A), id="data"
        ),
    ],
)
def test_noise_is_no_difference(tmp_path: Path, one: str, other: str) -> None:
    """What means nothing is not compared."""
    assert differing(tmp_path, one, other) == []


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        pytest.param(text(A, B), text(A), "TABLE public.b", id="missing"),
        pytest.param(text(A), text(A, A), "TABLE public.a", id="twice"),
        pytest.param(text(A), text(A.replace("int", "int8")), "TABLE public.a", id="body"),
        pytest.param(text(A), text(A.replace("koku", "hive")), "TABLE public.a", id="owner"),
        pytest.param(
            text(A, entry("f", f"AS $$\n{FAKE}\n--\n$$;", kind="FUNCTION")),
            text(A, entry("f", f"AS $$\n{FAKE}\n-- x\n$$;", kind="FUNCTION")),
            "FUNCTION public.f",
            id="looks-like-a-header",
        ),
        pytest.param(
            text(entry("TABLE a", AS_OTHER.format("p"), kind="ACL")),
            text(entry("TABLE a", AS_OTHER.format("q"), kind="ACL")),
            "ACL public.TABLE a",
            id="who-granted",
        ),
        pytest.param(
            text(A), text("ALTER DATABASE x SET y = z;\n\n", A), "preamble", id="unknown-preamble"
        ),
    ],
)
def test_what_differs_is_named(tmp_path: Path, one: str, other: str, key: str) -> None:
    """A difference is found whatever it looks like, in either direction."""
    assert differing(tmp_path, one, other) == [key]
    assert differing(tmp_path, other, one) == [key]


@given(st.lists(st.sampled_from([A, B, SPACE, f"{FAKE}\n--\n", "\n"])), st.integers(1, 60))
def test_pieces_do_not_matter(parts: list[str], size: int) -> None:
    """A text says the same in whatever pieces it is read."""
    whole = text(*parts).encode()
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    read = schema_text._split  # noqa: SLF001 - files come in pieces of megabytes
    assert list(read(iter(pieces), "it")) == list(read(iter([whole]), "it"))


@given(st.integers(0, len(text(A, B)) - len("\n\\unrestrict aB3\n\n") - 1))
def test_a_text_that_was_cut_off_is_an_error(kept: int) -> None:
    """No part of a text is taken for the whole."""
    with pytest.raises(Incomplete):
        entries(text(A, B)[:kept])


def test_values_of_sequences() -> None:
    """Names of sequences come back as they are, whatever quotes they need."""
    said = """SELECT pg_catalog.setval('a.b', 7, true);
SELECT pg_catalog.setval('"A.b"."c''d""e"', -1, false);
SELECT pg_catalog.setval(E'"x\\\\y".z', 9223372036854775807, true);
"""
    found = [(s.schema, s.name, s.last_value, s.is_called) for s in sequence_values([said])]
    assert found == [
        ("A.b", "c'd\"e", -1, False),
        ("a", "b", 7, True),
        ("x\\y", "z", 9223372036854775807, True),
    ]


SAME, NEWER = (15_00_18, 15_00_18), (13_00_23, 18_00_06)


@pytest.mark.parametrize(
    ("of", "name", "expected", "found", "versions", "rule"),
    [
        ("extension pg_trgm", "version", "1.5", "1.6", NEWER, "extension-version"),
        ("extension pg_trgm", "version", "1.5", "1.6", SAME, None),
        ("extension pg_trgm", "schema", "public", "x", NEWER, None),
        ("schema public", "owner", "postgres", "pg_database_owner", NEWER, "public-owner"),
        ("schema public", "owner", "postgres", "pg_database_owner", SAME, None),
        ("schema public", "ACL", "a=U/a", DEFAULT, NEWER, None),
        ("index a.b", "valid", "no", DEFAULT, SAME, "invalid-index"),
        ("index a.b", "valid", DEFAULT, "no", SAME, None),
        ("partitioned index a.b", "valid", "no", DEFAULT, SAME, None),
        ("table a.b", "ACL", "x=arw/y", "x=arwm/y", NEWER, "maintain"),
        ("table a.b", "ACL", "x=arw/y", "x=arwdm/y", NEWER, None),
        ("table a.b", "ACL", "x=arw/y", "x=arwm/y", SAME, None),
        ("VIEW a.v", "definition", "SELECT t.a", "SELECT a", NEWER, "view-qualification"),
        ("VIEW a.v", "definition", "SELECT t.a", "SELECT b", NEWER, None),
        ("VIEW a.v", "definition", "SELECT t.a", "SELECT a", SAME, None),
        ("subscription s", "enabled", "yes", DEFAULT, SAME, "subscription-enabled"),
        ("subscription s", "enabled", DEFAULT, "yes", SAME, None),
        ("table a.b", "content", "1", "2", NEWER, None),
        ("table a.b", "existence", "there", NOTHING, NEWER, None),
    ],
)
def test_allowed_differences(  # noqa: PLR0917 - a table
    of: str, name: str, expected: str, found: str, versions: tuple[int, int], rule: str | None
) -> None:
    """A rule allows what its versions do by themselves, and nothing that only looks like it."""
    left, allowed = sorted_out([difference(of, name, expected, found)], *versions)
    assert [each.rule for each in allowed] == ([rule] if rule else [])
    assert len(left) == (0 if rule else 1)


def test_every_rule_says_why() -> None:
    """A rule has a name of its own and a reason, which is a sentence."""
    assert len({rule.id for rule in RULES}) == len(RULES)
    assert all(rule.reason.endswith(".") and len(rule.reason) > 40 for rule in RULES)
