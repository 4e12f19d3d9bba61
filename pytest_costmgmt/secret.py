"""Passwords by type (they never print) and, as a second line, redaction by value.

Law 3 of the house: a password is never in argv, a log, a traceback, a report, an assertion's
introspection or ``--showlocals``. Only the rooms ``postgres`` and ``kubernetes`` call
:meth:`Secret.reveal`, straight into the call that needs it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import html
import itertools
import json
import re
import secrets as _random
import shlex
import string
from collections.abc import Iterable, Iterator
from functools import cache, lru_cache
from typing import NoReturn
from urllib.parse import quote, quote_plus

from pytest_costmgmt.encoded import readings
from pytest_costmgmt.escaped import any_escapes, kind_of

MASK = "********"

# Shorter values, and names that the report must be able to say, are not replaced by value: the
# report would become unreadable. A check finds such passwords.
SHORTEST_REDACTED = 8

_known: set[str] = set()
_public: set[str] = set()

# Texts that were looked through and show nothing: pytest's reports repeat the same words at each
# check and phase. Another set with each password, so that whoever is looking meanwhile notes in the
# old one what he saw.
_harmless: set[str] = set()
_MOST_HARMLESS, _LONGEST_HARMLESS = 4096, 256


class Secret:
    """A value that never shows: masked in repr, str and format, and not serialisable.

    ``by_value`` has :func:`redact` replace it too, wherever else it comes from.

    >>> Secret("hunter2-hunter2")
    Secret(********)
    >>> f"{Secret('hunter2-hunter2')}"
    '********'
    >>> Secret("a-long-password") == Secret("a-long-password")
    True
    """

    __slots__ = ("__value",)

    def __init__(self, value: str, *, by_value: bool = True) -> None:
        self.__value = value
        if by_value:
            register(value)

    @classmethod
    def generate(cls) -> Secret:
        """Return a new password of 32 letters and digits, about 190 bits, safe in a URI."""
        alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
        # secrets, never random: pytest-randomly reseeds random alike everywhere.
        return cls("".join(_random.choice(alphabet) for _ in range(32)))

    def reveal(self) -> str:
        """Return the value. Only for ``postgres`` and ``kubernetes``, straight into a call."""
        return self.__value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash(self.__value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialisable")


def register(value: str) -> None:
    """Have :func:`redact` replace ``value`` from now on, in every form that we know."""
    global _harmless  # noqa: PLW0603 - what is known is the process's
    if len(value) >= SHORTEST_REDACTED and value not in _known:
        _known.add(value)
        _harmless = set()


def publish(names: Iterable[str]) -> None:
    """Say that these roles', databases' and hosts' names are public: they are never redacted."""
    _public.update(names)


@cache
def forms(value: str) -> frozenset[str]:
    """Return the spellings in which a password could leave: raw, quoted, encoded, escaped."""
    raw = value.encode(errors="surrogateescape")
    doubled = value.replace("\\", "\\\\")
    found = {
        value,
        quote(raw, safe=""),
        quote(raw),
        quote_plus(raw),
        quote(quote(raw, safe=""), safe=""),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        _octal(raw, keep=string.ascii_letters + string.digits),
        _octal(raw, keep=string.printable[:95]),
        raw.hex(),
        raw.hex().upper(),
        binascii.b2a_qp(raw).replace(b"=\n", b"").decode("latin-1"),
        binascii.b2a_qp(raw, quotetabs=True).replace(b"=\n", b"").decode("latin-1"),
        raw.decode("latin-1"),  # read in another encoding than it was written in
        value.replace("'", "''"),
        doubled.replace("'", "\\'"),
        doubled.replace("'", "''"),
        doubled.replace(":", "\\:"),
        *_quoted(value),
        repr(raw)[2:-1],
        shlex.quote(value),
        value.encode("unicode_escape", errors="backslashreplace").decode(),
        *_encoded(value),
    }
    found.update([nested for form in (*found,) for nested in _quoted(form)])
    # A report that breaks lines still must not show the longest line of a password.
    found.update(_lines(value))
    return frozenset(form for form in found if len(form) >= SHORTEST_REDACTED)


def _lines(value: str) -> set[str]:
    return {line.strip() for line in (value, *value.splitlines())} - {value}


def _octal(raw: bytes, keep: str) -> str:
    """Return bytes as C and shells write them: bash -x, git."""
    return "".join(chr(byte) if chr(byte) in keep else f"\\{byte:03o}" for byte in raw)


def _quoted(value: str) -> Iterator[str]:
    yield json.dumps(value)[1:-1]
    yield json.dumps(value, ensure_ascii=False)[1:-1]
    yield repr(value)[1:-1]
    yield repr(value + "'\"")[1:-4]
    yield ascii(value)[1:-1]
    yield html.escape(value)
    yield html.escape(value, quote=False)


def _encoded(value: str) -> Iterator[str]:
    """Yield the pieces of base64 that show it: a Kubernetes Secret may hold a whole URL or JSON."""
    raw = value.encode(errors="surrogateescape")
    for each in dict.fromkeys(
        [raw, quote(raw, safe="").encode(), json.dumps(value)[1:-1].encode()]
    ):
        yield from _inside_base64(each)


def _inside_base64(raw: bytes) -> Iterator[str]:
    """Yield what base64 of a longer text, such as ``role:password``, shows of ``raw`` alone."""
    for before in range(3):
        encoded = base64.b64encode(bytes(before) + raw)
        first, end = -(-before * 8 // 6), (before + len(raw)) * 8 // 6
        if end - first >= SHORTEST_REDACTED:
            yield encoded[first:end].decode()
            yield encoded[first:end].replace(b"+", b"-").replace(b"/", b"_").decode()


def redact(text: str) -> str:
    """Return ``text`` with every known password, in every known form, masked.

    Also the halves that an abbreviation by ``...`` leaves (pytest's ``--showlocals``).
    """
    harmless = _harmless
    if text in harmless:
        return text
    redacted = _redacted(text)
    if redacted == text and len(text) <= _LONGEST_HARMLESS and len(harmless) < _MOST_HARMLESS:
        harmless.add(text)
    return redacted


def _redacted(text: str) -> str:
    if "SCRAM-SHA-256$" in text:
        text = _VERIFIER.sub(f"SCRAM-SHA-256${MASK}", text)
    if len(text) < SHORTEST_REDACTED:
        return text
    values = sorted(_known - _public, key=len, reverse=True)
    # First what is encoded: a part that is masked can no more be decoded.
    text = _without(text, _encoded_in(text, values, _DEEPEST)) if values else text
    unwrapped = "".join(text.split())
    for value in values:
        if _may_show(value, text, unwrapped):
            text = _spellings(value).sub(_masked, text)
        if "..." in text:
            text = _without_halves(text, value)
    return text


_VERIFIER = re.compile(r"SCRAM-SHA-256\$[0-9]+:[^\s'\"]+")


# Of an encoding within an encoding, each of which holds any known form.
_DEEPEST = 3


def _encoded_in(text: str, values: list[str], depth: int) -> Iterator[tuple[int, int]]:
    """Yield where in ``text`` stands what is one of ``values`` when it is decoded."""
    strange = [value for value in values if not (value.isascii() and value.isprintable())]
    rare = {each: value for value in strange for each in _strange(value)}
    found = readings(text, rare)
    if not found:
        return
    joined = "\n".join(each.said for each in found)
    unwrapped = "".join(joined.split())
    patterns = [_spellings(each) for each in values if _may_show(each, joined, unwrapped)]
    for reading in found:
        matches = [match for each in patterns for match in each.finditer(reading.said)]
        places = [match.span() for match in matches if match[0] not in _public]
        if depth > 1 and len(reading.said) > SHORTEST_REDACTED:
            places += _encoded_in(reading.said, values, depth - 1)
        yield from (reading.where(*place) for place in places)


@cache
def _strange(value: str) -> tuple[bytes, ...]:
    """Return as bytes, in UTF-8 and UTF-16, a password that is no plain text when decoded."""
    found = [form for form in forms(value) if not (form.isascii() and form.isprintable())]
    whole = [form for form in found if form not in _lines(value)]
    least = [each for each in found if not any(one in each for one in whole if one != each)]
    wide = [value.encode(each, errors="surrogatepass") for each in ("utf-16-le", "utf-16-be")]
    return (
        *(each.encode(errors="surrogateescape") for each in least),
        # A zero at an end is indistinct from what stands beside it.
        *(each.strip(b"\0") for each in wide),
    )


def _without(text: str, places: Iterable[tuple[int, int]]) -> str:
    """Return ``text`` with a mask in place of each of these parts, which may overlap."""
    parts = []
    end = 0
    for first, last in sorted(places):
        if first >= end:
            parts += [text[end:first], MASK]
        end = max(end, last)
    return "".join([*parts, text[end:]])


def _masked(found: re.Match[str]) -> str:
    return found[0] if found[0] in _public else MASK


def _may_show(value: str, text: str, unwrapped: str) -> bool:
    """Say whether the pattern of ``value`` can match at all: it is dear to make.

    A password that is spelled in mixed escapes has its runs of letters and digits as they are.
    """
    runs, others, pieces = _signs(value)
    if runs is not None and all(run in text for run in runs):
        return True
    return any(form in text for form in others) or any(each in unwrapped for each in pieces)


@cache
def _signs(value: str) -> tuple[tuple[str, ...] | None, list[str], list[str]]:
    """Return the runs, and the forms and pieces of base64 that show no other sign of it."""
    bare = value.strip()
    kinds = itertools.groupby(bare, kind_of)
    runs = tuple("".join(run) for kind, run in kinds if kind == "plain")
    mixed = len(bare) >= SHORTEST_REDACTED
    pieces = _least(_encoded(value))
    others = [
        form
        for form in forms(value)
        if not (mixed and all(run in form for run in runs))
        and not any(each in form for each in pieces)
    ]
    return (runs if mixed else None), _least(others), pieces


def _least(forms: Iterable[str]) -> list[str]:
    """Return those of ``forms`` that hold no other one: where none of these is, none is."""
    least: list[str] = []
    for form in sorted(set(forms), key=len):
        if not any(each in form for each in least):
            least.append(form)
    return least


@lru_cache(maxsize=256)
def _spellings(value: str) -> re.Pattern[str]:
    """Return the pattern of every spelling: each known form, and any mixture of escapes."""
    known = sorted(map(re.escape, forms(value)), key=len, reverse=True)
    # base64 is wrapped at 64 or 76 characters, and what is wrapped may be indented.
    known += [r"(?:\s+)?".join(map(re.escape, each)) for each in _encoded(value)]
    # What stands around the words of a password may be stripped, and tells nothing.
    bare = value.strip()
    mixed = [any_escapes(bare)] if len(bare) >= SHORTEST_REDACTED else []
    return re.compile("|".join([*known, *mixed]))


def _without_halves(text: str, value: str) -> str:
    """Mask what stands before and after ``...`` if it begins or ends a form of ``value``."""
    pieces = text.split("...")
    for form in sorted(forms(value), key=len, reverse=True):
        first, last = form[:SHORTEST_REDACTED], form[-SHORTEST_REDACTED:]
        for index in range(len(pieces) - 1):
            before, after = pieces[index], pieces[index + 1]
            if (at := before.rfind(first)) >= 0 and form.startswith(before[at:]):
                pieces[index] = before[:at] + MASK
            if (at := after.find(last)) >= 0 and form.endswith(after[: at + len(last)]):
                pieces[index + 1] = MASK + after[at + len(last) :]
    return "...".join(pieces)
