"""The pattern of a text whose characters may be escaped: as in URIs, JSON, Python, HTML, mail."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator


def any_escapes(value: str) -> str:
    """Return the pattern of a value in which any character may be escaped in any known way.

    No two ways through it match the same text, or it would take for ever: each kind of character
    is a run of its own, backslashes between two characters belong to one of them, and a gap
    takes nothing that the value itself may hold.
    """
    parts = []
    after_backslash = False
    for kind, run in itertools.groupby(value, kind_of):
        characters = list(run)
        if kind == "plain":
            parts.append(re.escape("".join(characters)))
        elif kind == "\\":
            parts.append(rf"(?:\\|%5[Cc]|u005[Cc]|x5[Cc]|&#92;){{{len(characters)},}}")
        elif kind == "gap":
            # pprint breaks a long text at a space, into two literals.
            broken = "" if "\n" in value else r"(?:['\"]\n(?:E\s)?\s*['\"])?"
            parts.append(f"(?:{'|'.join(_gap(characters, value))})+{broken}")
        else:
            # The backslashes before the first were taken by their own run.
            first = "|".join(_one(characters[0], "" if after_backslash else r"\\"))
            usual = "|".join(_one(characters[0], r"\\"))
            parts.append(f"(?:{first})(?:{usual}){{{len(characters) - 1}}}")
        after_backslash = kind == "\\"
    return "".join(parts)


_ASCII = 127


def kind_of(character: str) -> str:
    """Return of which kind a character is: a run of one kind is escaped alike."""
    if character.isascii() and character.isalnum():
        return "plain"
    return "gap" if character.isspace() or character == "+" else character


def _gap(characters: list[str], value: str) -> Iterator[str]:
    """Yield patterns of spaces: they may be folded, lines wrapped, a form says + for a space."""
    yield r"[\s+]"
    other = sorted({each for each in characters if not each.isascii()})
    if "%" not in value:
        yield r"%(?:25)*(?:20|2[Bb]|0[9A-Da-d]|1[C-Fc-f])"
        yield from (_percent(each) for each in other)
    if "=" not in value:
        yield "=(?:20|2[Bb]|0[9A-Da-d]|1[C-Fc-f])"
        yield from (_printable(each) for each in other)
    if "\\" not in value:
        yield r"\\+(?:[nrtvf]|0(?:1[1-5]|40)|(?:u00|x)(?:0[9A-Da-d]|1[C-Fc-f]|20|2[Bb]|85|[Aa]0))"
        yield from (rf"\\+u(?i:{ord(each):04x})" for each in other)


def _one(character: str, slash: str) -> Iterator[str]:
    yield (slash and f"{slash}*") + re.escape(character)
    yield from _escapes(character, slash and f"{slash}+")


def _percent(character: str) -> str:
    raw = character.encode(errors="surrogatepass")
    # Escaped again, as a parameter of another URI is, each % becomes %25.
    return "".join(f"%(?:25)*(?i:{byte:02x})" for byte in raw)


def _printable(character: str) -> str:
    """Return the pattern of a character in quoted-printable."""
    raw = character.encode(errors="surrogatepass")
    return "".join(f"=(?i:{byte:02x})" for byte in raw)


def _escapes(character: str, lead: str) -> Iterator[str]:
    """Yield patterns of one character in URIs, JSON, Python, HTML and XML."""
    number = ord(character)
    raw = character.encode(errors="surrogatepass")
    yield _percent(character)
    yield _printable(character)
    yield rf"{lead}U(?i:{number:08x})"
    if number <= 0xFFFF:  # noqa: PLR2004 - four hexadecimal digits
        yield rf"{lead}u(?i:{number:04x})"
    else:
        high, low = divmod(number - 0x10000, 0x400)
        yield rf"{lead}u(?i:{0xD800 + high:04x})\\+u(?i:{0xDC00 + low:04x})"
    if character == "\b":
        yield f"{lead}b"
    if number <= 0xFF:  # noqa: PLR2004 - two hexadecimal digits
        yield rf"{lead}x(?i:{number:02x})"
        yield rf"#x(?i:{number:02x})"  # pytest's JUnit
    yield lead + r"\\+".join(f"{byte:03o}" for byte in raw)
    if number > _ASCII:
        yield lead + r"\\+".join(rf"x(?i:{byte:02x})" for byte in raw)
    yield rf"&#0*{number};"
    yield rf"&#[xX]0*(?i:{number:x});"
    if (named := html.escape(character)) != character and not named.startswith("&#"):
        yield re.escape(named)
