"""A Secret never shows, and redaction finds it in every form that we write."""

from __future__ import annotations

import base64
import html
import json
import pickle
import quopri
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


def dump(raw: bytes, *, group: int, colon: str, before: int) -> str:
    """Return bytes as xxd and ``hexdump -C`` show them, from some way into a file on."""
    raw = bytes(range(161, 161 + before)) + raw
    lines = []
    for at in range(0, len(raw), 16):
        line = raw[at : at + 16]
        groups = " ".join(line[i : i + group].hex() for i in range(0, len(line), group))
        said = "".join(chr(c) if 32 <= c < 127 else "." for c in line)
        lines.append(f"{at:08x}{colon} {groups:<47}  |{said}|")
    return "\n".join(lines)


def pairs(before: str, between: str, capitals: bool = False) -> Callable[[str], str]:
    """Return how a text's bytes are spelled in hexadecimal, apart."""
    kind = "X" if capitals else "x"
    return lambda v: between.join(f"{before}{byte:02{kind}}" for byte in v.encode())


def base64_of(raw: bytes) -> str:
    """Return base64 in text."""
    return base64.b64encode(raw).decode()


# What is decoded to be found: each holds more than the password, at some alignment.
CODES: dict[str, Callable[[str], str]] = {
    "base64-of-base64": lambda v: base64_of(base64.b64encode(v.encode())),
    "base64-of-base64-of-login": lambda v: base64_of(b"a" + base64.b64encode(f"k:{v}@".encode())),
    "base64-of-base64-of-dsn": lambda v: base64_of(b"ab" + base64.b64encode(f"=b{v} x".encode())),
    "base64-thrice": lambda v: base64_of(base64.b64encode(base64.b64encode(f"b:{v}".encode()))),
    "base64-of-wrapped": lambda v: base64_of(base64.encodebytes(f"{'x' * 50}{v}".encode())),
    "base64-of-utf-16": lambda v: base64_of(v.encode("utf-16")),
    "base64-of-utf-16-of-login": lambda v: base64_of(f"k:{v}@".encode("utf-16-le")),
    "base64-of-utf-16-be": lambda v: base64_of(b"a" + f"k:{v}@d".encode("utf-16-be")),
    "base64-of-base64-of-utf-16": lambda v: base64_of(base64.b64encode(v.encode("utf-16-le"))),
    "base64-of-hexadecimal": lambda v: base64_of(v.encode().hex().encode()),
    "base64url-of-base64url": lambda v: base64.urlsafe_b64encode(
        b"k" + base64.urlsafe_b64encode(f"?{v}>".encode())
    ).decode(),
    "base32": lambda v: base64.b32encode(v.encode()).decode(),
    "base32-small": lambda v: base64.b32encode(v.encode()).decode().rstrip("=").lower(),
    **{
        f"base32-{before}": lambda v, before=before: base64.b32encode(  # type: ignore[misc]
            f"{'k:pw'[:before]}{v}@db".encode()
        ).decode()
        for before in range(1, 5)
    },
    "base32-of-base64": lambda v: base64.b32encode(base64.b64encode(v.encode())).decode(),
    "hexadecimal-of-utf-16": lambda v: v.encode("utf-16-le").hex(),
    "hexadecimal-of-base64": lambda v: base64.b64encode(v.encode()).hex(),
    "bytea-of-json": lambda v: f"\\x{json.dumps([v]).encode().hex()}",
    "colons": pairs("", ":"),
    "colons-capitals": pairs("", ":", capitals=True),
    "spaces": pairs("", " "),
    "dashes": pairs("", "-"),
    "escapes": pairs("\\x", ""),
    "escapes-in-json": pairs("\\\\x", ""),
    "array": pairs("0x", ", "),
    "all-percent": pairs("%", ""),
    "all-entities": pairs("&#x", ";"),
    "all-printable": pairs("=", "", capitals=True),
    "all-unicode": lambda v: "".join(
        f"\\u{unit:04x}" for unit in memoryview(v.encode("utf-16-le")).cast("H")
    ),
    "groups": lambda v: v.encode().hex(" ", 2),
    "quoted-printable": lambda v: quopri.encodestring(v.encode(), quotetabs=True).decode(),
    "quoted-printable-broken": lambda v: quopri.encodestring(f"{'=' * 23}{v}".encode()).decode(),
}

DUMPS: dict[str, Callable[[str, int], str]] = {
    "hexdump": lambda v, before: dump(v.encode(), group=1, colon="", before=before),
    "xxd": lambda v, before: dump(v.encode(), group=2, colon=":", before=before),
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
@given(passwords.filter(lambda value: len(value.strip()) >= 8))
def test_every_code_of_a_secret_is_redacted(value: str) -> None:
    """However often it is encoded, whatever stands before it in the same code, only it goes."""
    only(value)
    for name, encode in CODES.items():
        form = encode(value)
        text = redact(f"server said <{form}> at 10:00")
        assert MASK in text, name
        assert text.startswith("server said <"), name
        assert text.endswith("> at 10:00"), name
        assert len(text) < 200, name
        assert form not in text, name


@settings(deadline=None)
@given(
    passwords.filter(lambda value: len(value.strip()) >= 8),
    st.sampled_from(sorted(DUMPS)), st.integers(0, 40),
)  # fmt: skip
def test_a_dump_shows_no_part_of_a_secret(value: str, kind: str, before: int) -> None:
    """Neither the bytes nor what they say beside them, over however many lines."""
    only(value)
    shown = DUMPS[kind](value, before)
    said = redact(f"first\n{shown}\nlast")
    assert MASK in said
    assert said.startswith("first\n00000000")
    assert said.endswith("\nlast")
    raw = value.encode()
    shown = "".join(re.findall(r"(?m)^[0-9a-f]{8}:? (.*?)(?:  \||$)", said)).replace(" ", "")
    assert not any(raw[at : at + 4].hex() in shown for at in range(len(raw) - 3))


def test_a_dump_loses_only_the_lines_of_the_secret() -> None:
    """What stands before and behind it is still to be read, in a literal too."""
    only("correct-horse")
    shown = dump(b"host=db port=5432 password=correct-horse dbname=koku role=koku", group=2,
                 colon=":", before=0)  # fmt: skip
    for text, line in ((shown, "\n"), (repr(shown)[1:-1], "\\n")):
        first, its, last = redact(text).split(line)
        assert first.endswith("|host=db port=543|")
        assert its == f"00000010: 3220 7061 7373 776f 7264 3d{MASK}"
        assert last.endswith("|koku role=koku|")


EVIDENCE = """
2026-01-01 10:00:00.123 12 34 UTC [4711] LOG:  checkpoint complete: wrote 10 20 30 40 50 60 70 of
pg_dump: dumping contents of table "public.reporting_ocpusagelineitem_daily_summary_2026_01"
/usr/lib/python3.11/site-packages/pytest_costmgmt/kubernetes/secret_objects.py:112: KeyError
image quay.io/koku@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
run 550e8400-e29b-41d4-a716-446655440000 commit f1590d8a76a084f7d46a0b29de841a07eafd9ce3f67
mac 52:54:00:12:34:56, fingerprint AB:CD:EF:01:23:45:67:89:AB:CD:EF:01:23:45:67:89:AB:CD:EF:01
kept Y29udHJvbGxlcjoga29rdSwgcmVwbGljYXM6IDMsIHJlYWR5OiB0cnVl, GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ
00000000: 636f 6e74 726f 6c6c 6572 3a20 6b6f 6b75  controller: koku
WAL 000000010000000A000000FF, xmin = 4294967295, array [112, 97, 115, 115], ratio ==
a caf=C3=A9 that is quoted-printable and =
broken, and the value of correct, horse and battery
"""


def test_ordinary_evidence_stays_readable() -> None:
    """Hashes, ids, paths, dates and other people's codes are no password, many as there may be."""
    for _ in range(50):
        Secret.generate()
    for value in (
        "correct horse battery",
        "pässwörter",
        "2026-01-0",
        "00:11:22:33",
        "密码密码密码密码",
    ):
        Secret(value)
    assert redact(EVIDENCE) == EVIDENCE.replace("2026-01-0", MASK)


@settings(deadline=None)
@given(st.text(max_size=100), st.binary(max_size=100))
def test_what_others_encode_stays_readable(text: str, raw: bytes) -> None:
    """A code that holds no secret is left as it is."""
    only("correct horse battery staple ä")
    said = "\n".join(encode(text) for encode in (*ESCAPES.values(), *CODES.values()))
    said += base64_of(raw) + raw.hex() + dump(raw, group=1, colon="", before=3)
    assert redact(said) == said


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("70 " * 200_000, id="pairs"),
        pytest.param('{"a": ["70 61 73 73 77 6f 72 64"]}' * 20_000, id="pairs-in-one-line"),
        pytest.param("00000000  70 61 73 73 77 6f 72 64  |password|; " * 12_000, id="dumps"),
        pytest.param("A" * 600_000, id="one-sign"),
        pytest.param("AAAAAAAAAAAAAAAA\n" * 35_000, id="lines"),
        pytest.param("AAAAAAAAAAAAAAAA" + "\\" * 600_000, id="backslashes"),
        pytest.param("=\n" * 300_000, id="breaks"),
        pytest.param(base64_of(base64_of(b"a log of no secrets\n" * 17_000).encode()), id="twice"),
    ],
)
def test_a_long_text_of_codes_is_read_in_one_pass(text: str) -> None:
    """Half a megabyte that is encoded from end to end takes seconds at most."""
    for value in ("correct horse battery", "pässwörter"):
        Secret(value)
    began = time.process_time()
    assert redact(text) == text
    assert time.process_time() - began < 5


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
