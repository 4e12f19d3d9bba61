"""A Secret never shows, and redaction finds it in every form that we write."""

from __future__ import annotations

import base64
import html
import json
import pickle
import re
import shlex
import time
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_costmgmt import secret as room
from pytest_costmgmt.secret import MASK, Secret, publish, redact

passwords = st.text(
    alphabet=st.characters(codec="utf-8", exclude_characters="\0")
    | st.sampled_from("'\"/@:%\\$& é+\nab0"),
    min_size=1,
    max_size=200,
)


def octal(text: str) -> str:
    """Return text as C and shells write what they do not print."""
    return "".join(f"\\{byte:03o}" for byte in text.encode())


ESCAPES: dict[str, Callable[[str], str]] = {
    "raw": str,
    "url": lambda v: quote(v, safe=""),
    "path": quote,
    "form": quote_plus,
    "sql": lambda v: v.replace("'", "''"),
    "conninfo": lambda v: v.replace("\\", "\\\\").replace("'", "\\'"),
    "pgpass": lambda v: v.replace("\\", "\\\\").replace(":", "\\:"),
    "json": lambda v: json.dumps(v)[1:-1],
    "json-of-json": lambda v: json.dumps(json.dumps(v)[1:-1])[1:-1],
    "json-utf8": lambda v: json.dumps(v, ensure_ascii=False)[1:-1],
    "repr": lambda v: repr(v)[1:-1],
    "repr-in-repr": lambda v: repr([repr(v)])[3:-3],
    "repr-beside-quotes": lambda v: repr(f"'\"{v}")[3:-1],
    "bytes": lambda v: repr(v.encode())[2:-1],
    "ascii": lambda v: ascii(v)[1:-1],
    "html": html.escape,
    "html-of-url": lambda v: html.escape(quote(v)),
    "xml-of-json": lambda v: html.escape(json.dumps(v)[1:-1], quote=False),
    "shell": shlex.quote,
    "base64": lambda v: base64.b64encode(v.encode()).decode(),
    "base64-of-login": lambda v: base64.b64encode(f"koku:{v}@db".encode()).decode(),
    "base64-of-dsn": lambda v: base64.b64encode(f"pw={v} x".encode()).decode(),
    "base64url": lambda v: base64.urlsafe_b64encode(v.encode()).decode(),
    "test-id": lambda v: v.encode("unicode_escape").decode(),
    "one-line": lambda v: " ".join(v.split()),
    "hexadecimal": lambda v: v.encode().hex(),
    "hexadecimal-capitals": lambda v: v.encode().hex().upper(),
    "url-in-url": lambda v: quote(quote(v, safe=""), safe=""),
    "octal": lambda v: "".join(c if c.isalnum() and c.isascii() else octal(c) for c in v),
    "another-encoding": lambda v: v.encode().decode("latin-1"),
    "base64-of-url": lambda v: base64.b64encode(f"k:{quote(v, safe='')}@d".encode()).decode(),
    "base64-of-json": lambda v: base64.b64encode(json.dumps([v]).encode()).decode(),
    "base64-wrapped": lambda v: "\n  ".join(
        re.findall(".{1,20}", base64.b64encode(f"koku:{v}@db".encode()).decode())
    ),
}


@pytest.fixture(autouse=True)
def _own_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_known", set())
    monkeypatch.setattr(room, "_public", set())


def only(value: str) -> None:
    """Have ``value`` be the one secret that is known."""
    room._known.clear()  # noqa: SLF001 - examples must not help each other
    Secret(value)


@given(passwords)
def test_a_secret_masks_itself(value: str) -> None:
    """repr, str and format show the mask."""
    secret = Secret(value)
    assert {str(secret), f"{secret}", f"{secret!s}"} == {MASK}
    assert repr(secret) == f"Secret({MASK})"


def test_a_secret_is_not_serialisable() -> None:
    """Neither pickle nor JSON takes one."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret("correct horse"))
    with pytest.raises(TypeError):
        json.dumps(Secret("correct horse"))
    with pytest.raises(TypeError):
        msgspec.json.encode(Secret("correct horse"))


@settings(deadline=None)
@given(passwords.filter(lambda value: len(value.strip()) >= 8))
def test_every_form_of_a_secret_is_redacted(value: str) -> None:
    """However it is quoted, encoded or escaped, it leaves no trace, and the rest stays."""
    only(value)
    for name, escape in ESCAPES.items():
        form = escape(value)
        text = redact(f"server said <{form}> at 10:00")
        assert MASK in text, name
        assert form not in text, name
        # base64 of a login shows the characters around the password.
        assert len(text) < 60, name
        assert text.startswith("server said <"), name
        assert text.endswith("> at 10:00"), name


@settings(deadline=None)
@given(
    passwords.filter(lambda value: len(value.strip()) >= 8),
    st.lists(st.sampled_from(sorted(ESCAPES)), min_size=1, max_size=3),
)
def test_the_quick_look_overlooks_nothing(value: str, escapes: list[str]) -> None:
    """Where a password's dear pattern would match, it is asked, whatever escapes are mixed."""
    size = -(-len(value) // len(escapes))
    parts = [value[at : at + size] for at in range(0, len(value), size)]
    mixed = "".join(ESCAPES[name](part) for name, part in zip(escapes, parts, strict=False))
    for text in (mixed, f"pw='{mixed}'", ESCAPES[escapes[0]](value)):
        if room._spellings(value).search(text):  # noqa: SLF001 - it is what is saved
            assert room._may_show(value, text, "".join(text.split()))  # noqa: SLF001


def test_a_thousand_secrets_make_no_pattern_for_an_ordinary_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A line that holds none of them costs a look at each, not a pattern of each."""
    for _ in range(1000):
        Secret.generate()
    monkeypatch.setattr(room, "_spellings", lambda _: pytest.fail("a pattern was made"))
    said = "pg_dump: dumping contents of table 'public.line' (3 rows, 10 ms)"
    assert redact(said) == said


@settings(deadline=None)
# Without full stops: beside the ellipsis nobody can tell which of the dots are the password's.
@given(
    passwords.filter(lambda value: len(value.strip()) >= 8 and "." not in value),
    st.integers(8, 240),
)
def test_an_abbreviation_leaves_no_half(value: str, width: int) -> None:
    """The halves around an ellipsis, of 8 characters or more, are masked too."""
    only(value)
    text = f"password = {value!r}"
    cut = f"{text[: width // 2]}...{text[-(width // 2) :]}"
    said = redact(cut)
    inner = repr(value)[1:-1]
    for size in range(8, len(inner)):
        assert f"{inner[:size]}..." not in said
        assert f"...{inner[-size:]}" not in said


@pytest.mark.parametrize("kind", ["\\'", "\\\n", "'%", " +", "&amp;", "%25", "\\u0027", "é\\"])
def test_what_almost_is_a_secret_takes_no_time(kind: str) -> None:
    """Text that resembles a password of 200 odd characters is read in one pass."""
    only(kind * (200 // len(kind)) + "!")
    began = time.process_time()
    for escape in ESCAPES.values():
        redact(escape(kind * 150))
        redact(escape(escape(kind * 150)))
    # It is this or hours.
    assert time.process_time() - began < 20


def test_a_text_that_was_shown_before_its_password_was_known_is_redacted_after() -> None:
    """What was harmless once is looked at anew when another password is known."""
    text = "the word is sesame-open-9"
    assert redact(text) == redact(text) == text
    Secret("sesame-open-9")
    assert redact(text) == redact(text) == f"the word is {MASK}"


def test_a_password_that_comes_while_a_text_is_looked_at_is_not_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A look that began before the password was known says nothing of what comes after."""
    text = "the word is sesame-shut-9"

    def look(shown: str) -> str:
        Secret("sesame-shut-9")
        return shown

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(room, "_redacted", look)
        assert redact(text) == text
    assert redact(text) == f"the word is {MASK}"


def test_public_names_stay_readable() -> None:
    """A password that equals a known name does not blank the report."""
    only("costmanagement")
    publish({"costmanagement"})
    assert redact("database costmanagement") == "database costmanagement"


def test_short_values_are_left_alone() -> None:
    """A short value would blank every word that holds it; a check finds such passwords."""
    only("hive")
    assert redact("role hive") == "role hive"


def test_a_scram_verifier_is_redacted() -> None:
    """A verifier that the server said is masked, whoever's it is."""
    assert "abcd" not in redact("SCRAM-SHA-256$4096:abcd==$efgh=:ijkl=")


def test_generated_passwords_are_long_safe_in_a_uri_and_never_twice_the_same() -> None:
    """What we generate, koku can paste into a URI."""
    made = {Secret.generate().reveal() for _ in range(50)}
    assert len(made) == 50
    assert all(len(value) == 32 and value.isalnum() and value.isascii() for value in made)
