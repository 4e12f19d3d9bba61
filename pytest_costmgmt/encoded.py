"""What a text says when it is decoded: hexadecimal, base64, base32, folded quoted-printable.

Knows no password: :mod:`pytest_costmgmt.secret` looks for them in what is said, and asks where
in the text that stood. What stands around an encoded stretch shifts it, so it is read at each
alignment. A text in which nothing is encoded pays for a few searches through it, however long it
is: what decodes to no plain text (a hash, a path, an identifier) is dropped at once.

Not read: what is compressed or encrypted, UTF-32, base85, numbers in decimal (``[112, 97]``), dumps
of characters (``od -c``) or of swapped words (``hexdump`` without ``-C``), base64 in lines of less
than 13 signs or with its own signs escaped (``%2B``), and the half of a stretch that an
abbreviation left.
"""

from __future__ import annotations

import binascii
import re
import string
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from math import gcd
from typing import NamedTuple

# Of characters that a password has at least (8): what is shorter needs no reading.
_TEXT, _WIDE = b"t" * 8, b"t0" * 7 + b"t"
# As many signs as those take in base32, the tersest of what is only read here.
_RUN = b"a" * 13
# A date with its time is seven.
_PAIRS = [(b"hh" + b" " * apart) * 7 + b"hh" for apart in range(7)]
# xxd's groups, JSON's \u0070, and what a debugger shows.
_GROUPS = [b"hhhh hhhh hhhh", b"hhhh  hhhh  hhhh", b"hhhhhhhh hhhhhhhh"]

Where = Callable[[int, int], tuple[int, int]]


class Reading(NamedTuple):
    """What a stretch of a text says, and where in the text a part of that stands."""

    said: str
    where: Where


def _classes(default: bytes, **classes: str) -> bytes:
    """Return the table that tells of which class a byte is."""
    table = bytearray(default * 256)
    for name, members in classes.items():
        for member in members.encode():
            table[member] = ord(name[-1])
    return bytes(table)


_BASE64 = string.ascii_letters + string.digits + "+/-_"
_IS_BASE64 = _classes(b".", a=_BASE64)
_IS_UPPER32 = _classes(b".", a=string.ascii_uppercase + "234567")
_IS_LOWER32 = _classes(b".", a=string.ascii_lowercase + "234567")
_IS_HEX = bytearray(_classes(b".", h=string.hexdigits))
for _apart in b" \t\r\n:;,.-_\\%=&#{}()[]'\"/xXuU":
    _IS_HEX[_apart] = ord(" ")
_IS_TEXT = _classes(b".", t=string.printable[:95] + "\t\r\n", _0="\0")

_NO_HEX = bytes(set(range(256)) - set(string.hexdigits.encode()))
_NO_BASE64 = bytes(set(range(256)) - set(_BASE64.encode()))
# In Python's own digits, of which int() makes a number in one go.
_DIGITS32 = bytearray(b"0" * 256)
for _digit, _sign in enumerate(string.ascii_uppercase + "234567"):
    for _either in (_sign, _sign.lower()):
        _DIGITS32[ord(_either)] = ord(string.printable[_digit])
_STANDARD64 = bytes.maketrans(b"-_.", b"+/A")

# Lines of base64 may be indented, told by pytest, or stand in a literal.
_WRAPPED = re.compile(
    rb"[\w+/-]+(?:(?:[ \t]*\r?\n(?:E[ \t])?[ \t]*|(?:\\+r)?\\+n)[\w+/-]+)*", re.ASCII
)
_TEXTS = ((_TEXT, re.compile(rb"t+"), 1), (_WIDE, re.compile(rb"(?:t0)*t"), 2))
_FOLD = re.compile(r"=\r?\n")
# An offset, then bytes: a colon is followed by groups with one space between them (xxd: what the
# bytes say may look like more of them), no colon by bytes in two halves (hexdump -C, od -t x1).
_DUMPED = re.compile(
    rb"(?:^|(?<=\s))(?:0x)?[0-9A-Fa-f]{4,16}"
    rb"(?::\s+((?:[0-9A-Fa-f]{2})+(?: (?:[0-9A-Fa-f]{2})+)*)"
    rb"|\s+([0-9A-Fa-f]{2}(?: {1,2}[0-9A-Fa-f]{2})*))(?![^\s|>])"
)
# Lines of quoted-printable have 76 characters; a password may have lines of its own.
_AROUND = 400
_LONGEST_PREFIX, _LONGEST_DUMPED = 100, 400


class _Stretch(NamedTuple):
    """A stretch of one encoding: the parts of the text that hold its signs, one after another."""

    parts: tuple[tuple[int, int], ...]
    signs: bytes
    whole_lines: bool = False
    "Beside the signs stands what they say."


class _Sheet:
    """All stretches of one encoding in a text, each padded, to be decoded together."""

    def __init__(self, raw: bytes, stretches: list[_Stretch], *, bits: int, strange: bytes) -> None:
        self.raw, self.stretches, self.bits, self.strange = raw, stretches, bits, strange
        self.starts: list[int] = []
        padded = []
        at = 0
        for stretch in stretches:
            self.starts.append(at)
            # The next one begins with a group of its own, behind what cannot be text.
            padded.append(stretch.signs.ljust((len(stretch.signs) // 8 + 2) * 8, b"."))
            at += len(padded[-1])
        self.signs = b"".join(padded)
        self.places: dict[int, list[int]] = {}

    def decoded(self) -> Iterator[tuple[int, bytes]]:
        """Yield by how many bits a reading is shifted, and what it says."""
        if self.bits == 6:  # noqa: PLR2004 - base64
            first = binascii.a2b_base64(self.signs.translate(_STANDARD64))
            number = int.from_bytes(first, "big")
        elif self.bits == 5:  # noqa: PLR2004 - base32
            number = int(self.signs.translate(_DIGITS32), 32)
        else:
            number = int(self.signs.replace(b".", b"0"), 16)
        for shift in range(0, 8, gcd(self.bits, 8)):
            yield shift, (number >> shift).to_bytes(len(self.signs) * self.bits // 8, "big")

    def where(self, first: int, last: int) -> tuple[int, int]:
        """Return where in the text these bits stand."""
        begin, end = max(first, 0) // self.bits, -(-last // self.bits)
        index = bisect_right(self.starts, begin) - 1
        stretch = self.stretches[index]
        places = self._places(index)
        begin -= self.starts[index]
        end = min(end - self.starts[index], len(places))
        till = places[end - 1] + 1
        if stretch.whole_lines:
            till = _line_end(self.raw, till)
        return places[begin], till

    def _places(self, index: int) -> list[int]:
        if index not in self.places:
            self.places[index] = [
                place
                for part in self.stretches[index].parts
                for place in range(*part)
                if self.raw[place] not in self.strange
            ]
        return self.places[index]


def readings(text: str, rare: Mapping[bytes, str]) -> list[Reading]:
    """Return the plain text that stretches of ``text`` say, and those of ``rare`` that they hold.

    >>> encoded = "pw 63:6f:72:72:65:63:74:20:68:6f:72:73:65."
    >>> [(each.said, each.where(8, 13)) for each in readings(encoded, {})]
    [('correct horse', (27, 41))]
    """
    # As many bytes as there are characters.
    raw = text.encode("ascii", "replace")
    found = list(_unfolded(text))
    blobs = [(sheet, *blob) for sheet in _sheets(raw) for blob in sheet.decoded()]
    for blob in blobs:
        found += _texts(*blob)
    everything = b"".join(data for _, _, data in blobs) if rare else b""
    for needle in rare:
        if needle in everything:
            for blob in blobs:
                found += _rare(*blob, needle, rare[needle])
    return found


def _texts(sheet: _Sheet, shift: int, data: bytes) -> Iterator[Reading]:
    classes = data.translate(_IS_TEXT)
    for needle, run, width in _TEXTS:
        for first, last in _runs(classes, needle, run):
            said = data[first:last:width].decode("ascii")
            yield Reading(said, _bits(sheet, first * 8 - shift, width * 8))


def _bits(sheet: _Sheet, start: int, each: int) -> Where:
    return lambda first, last: sheet.where(start + first * each, start + (last - 1) * each + 8)


def _rare(sheet: _Sheet, shift: int, data: bytes, needle: bytes, said: str) -> Iterator[Reading]:
    at = data.find(needle)
    while at >= 0:
        first, last = at * 8 - shift, (at + len(needle)) * 8 - shift
        place = sheet.where(first, last)
        yield Reading(said, lambda _first, _last, place=place: place)  # type: ignore[misc]
        at = data.find(needle, at + len(needle))


def _runs(classes: bytes, needle: bytes, run: re.Pattern[bytes]) -> Iterator[tuple[int, int]]:
    """Yield where runs stand that begin with ``needle``."""
    # Not by the pattern alone: a search for fixed bytes is many times as fast.
    at = classes.find(needle)
    while at >= 0 and (found := run.match(classes, at)):
        yield found.span()
        at = classes.find(needle, found.end())


def _sheets(raw: bytes) -> Iterator[_Sheet]:
    # A dump in a literal or in JSON has lines too. The places stay.
    pairs = raw.replace(b"0x", b"  ").replace(b"\\n", b"\n ")
    if found := list(_hexadecimal(pairs)):
        yield _Sheet(pairs, found, bits=4, strange=_NO_HEX)
    if not (found := list(_base64(raw))):
        return
    yield _Sheet(raw, found, bits=6, strange=_NO_BASE64)
    shapes = (_IS_UPPER32, _IS_LOWER32)
    narrow = [each for each in found if any(_RUN in each.signs.translate(t) for t in shapes)]
    if narrow:
        yield _Sheet(raw, narrow, bits=5, strange=_NO_BASE64)


def _base64(raw: bytes) -> Iterator[_Stretch]:
    classes = raw.translate(_IS_BASE64)
    at = classes.find(_RUN)
    while at >= 0 and (found := _WRAPPED.match(raw, at)):
        yield _Stretch((found.span(),), found[0].translate(None, _NO_BASE64))
        at = classes.find(_RUN, found.end())


def _hexadecimal(raw: bytes) -> Iterator[_Stretch]:
    classes = raw.translate(_IS_HEX)
    for needle in (*_PAIRS, *_GROUPS):
        at = classes.find(needle)
        while at >= 0:
            first, last = classes.rfind(b".", 0, at) + 1, classes.find(b".", at)
            last = len(raw) if last < 0 else last
            yield _Stretch(((first, last),), raw[first:last].translate(None, _NO_HEX))
            at = classes.find(needle, last)
    yield from _dumps(raw, classes)


def _dumps(raw: bytes, classes: bytes) -> Iterator[_Stretch]:
    """Yield what dumps with offsets hold, whose lines are interrupted by what they say."""
    for needle in (_PAIRS[1], *_GROUPS[::2]):
        at = classes.find(needle)
        while at >= 0:
            parts = []
            end = classes.find(b".", at)
            while line := _dumped(raw, at):
                part, end = line
                parts.append(part)
                at = end + 1
            if parts:
                signs = b"".join(raw[slice(*part)] for part in parts)
                yield _Stretch(tuple(parts), signs.translate(None, _NO_HEX), whole_lines=True)
            at = classes.find(needle, end) if end >= 0 else -1


def _dumped(raw: bytes, at: int) -> tuple[tuple[int, int], int] | None:
    """Return where the bytes of a dump's line stand, and where the line ends."""
    if at >= len(raw):
        return None
    begin = max(at - _LONGEST_PREFIX, 0)
    begin = max(begin, raw.rfind(b"\n", begin, at) + 1)
    end = _line_end(raw, at)
    found = _DUMPED.search(raw, begin, end)
    return (found.span(found.lastindex or 1), end) if found else None


def _line_end(raw: bytes, at: int) -> int:
    # A line of a dump is short: a text without lines must not be searched to its end each time.
    end = raw.find(b"\n", at, at + _LONGEST_DUMPED)
    return min(at + _LONGEST_DUMPED, len(raw)) if end < 0 else end


def _unfolded(text: str) -> Iterator[Reading]:
    """Yield what stands around the breaks of quoted-printable, without these."""
    if "=\n" not in text and "=\r\n" not in text:
        return
    parts: list[tuple[int, int]] = []
    end = 0
    for fold in _FOLD.finditer(text):
        if parts and fold.start() - parts[-1][0] > 2 * _AROUND:
            end = parts[-1][0] + _AROUND
            yield _whole(text, [*parts[:-1], (parts[-1][0], end)])
            parts = []
        first = parts.pop()[0] if parts else max(end, fold.start() - _AROUND)
        parts += [(first, fold.start()), (fold.end(), len(text))]
    if parts:
        yield _whole(text, [*parts[:-1], (parts[-1][0], parts[-1][0] + _AROUND)])


def _whole(text: str, parts: list[tuple[int, int]]) -> Reading:
    return Reading("".join(text[slice(*part)] for part in parts), _kept(parts))


def _kept(parts: list[tuple[int, int]]) -> Where:
    def where(first: int, last: int) -> tuple[int, int]:
        return place(first), place(last - 1) + 1

    def place(at: int) -> int:
        for first, last in parts:
            if at < last - first:
                return first + at
            at -= last - first
        return parts[-1][1]

    return where
