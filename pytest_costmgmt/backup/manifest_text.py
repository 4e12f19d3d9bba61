"""A manifest's JSON, written and read piece by piece: it names each table of a thousand tenants.

Its long lists are never there as a whole, neither as text nor as objects. What is read is any JSON
of the right shape, in whatever order and layout.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pytest_costmgmt.backup.archive_files import by_path
from pytest_costmgmt.backup.listing import by_name
from pytest_costmgmt.backup.model import (
    File,
    LargeObject,
    Manifest,
    Property,
    Relation,
    SequenceValue,
)
from pytest_costmgmt.backup.packed import Packed, itself, ordered, twice
from pytest_costmgmt.errors import ArchiveFault


class Long(NamedTuple):
    """A list that may be long: of what, by what it is ordered, whether one may be in it twice."""

    kind: type[msgspec.Struct]
    key: Callable[[Any], Any]
    repeats: bool = False


LONG: dict[str, Long] = {
    "relations": Long(Relation, by_name),
    "sequences": Long(SequenceValue, by_name),
    "large_objects": Long(LargeObject, lambda each: each.oid),
    "properties": Long(Property, itself, repeats=True),
    "files": Long(File, by_path),
}


class Malformed(Exception):
    """A text is no manifest; says why and where."""


class Version(msgspec.Struct, frozen=True, rename={"api_version": "apiVersion"}):
    """What a manifest says that it is."""

    api_version: str = "of no version"
    kind: str = "of no kind"


def encoded(manifest: Manifest) -> Iterator[bytes]:
    """Yield a manifest as JSON: its keys in order, a line for each value of a long list."""
    encode = msgspec.json.Encoder(order="sorted").encode
    fields = {each.encode_name: each.name for each in msgspec.structs.fields(Manifest)}
    between = b"{"
    for key, name in sorted(fields.items()):
        yield between + b"\n " + encode(key) + b": "
        between = b","
        value = getattr(manifest, name)
        if key in LONG:
            yield from _lines(map(encode, value))
        else:
            # In a JSON text a line's end is never inside a string.
            yield msgspec.json.format(encode(value), indent=1).replace(b"\n", b"\n ")
    yield b"\n}\n"


def _lines(values: Iterable[bytes]) -> Iterator[bytes]:
    between, end = b"[\n  ", b"[]"
    for value in values:
        yield between + value
        between, end = b",\n  ", b"\n ]"
    yield end


def decoded(pieces: Iterable[str], must_be: Callable[[Version], None]) -> Manifest:
    """Return the manifest that a text is, its long lists in order.

    ``must_be`` is given its version before anything else of it is believed, and may raise. Raises
    Malformed, or UnicodeError where the pieces do.
    """
    text = _Text(iter(pieces))
    short: dict[str, str] = {}
    long: dict[str, _List] = {}
    wrong: list[Malformed] = []
    try:
        for key in _keys(text):
            if key in short:
                raise Malformed(f"Object has the key `{key}` twice - at `$`")
            if key not in LONG or text.peek() != "[":
                short[key] = text.value()
                continue
            short[key] = "[]"
            try:
                long[key] = _List(text, key)
            except msgspec.ValidationError as error:
                # Perhaps of another version, which is said in a key that is still to come.
                wrong.append(Malformed(_placed(error, key)))
                _skip(text)
    except ArchiveFault:  # it could not be read: ours are builtins, too
        raise
    except msgspec.DecodeError as error:
        raise Malformed(str(error)) from None
    except (ValueError, OverflowError) as error:
        raise Malformed(f"JSON is malformed: {error}") from None
    except RecursionError:
        raise Malformed("JSON is malformed: it is nested too deeply") from None
    head = "{" + ",".join(f"{json.dumps(key)}:{value}" for key, value in short.items()) + "}"
    must_be(_typed(head, Version))
    if wrong:
        raise wrong[0]
    manifest: Manifest = _typed(head, Manifest)
    return msgspec.structs.replace(manifest, **{key: each.once() for key, each in long.items()})


def _typed(text: str, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def _placed(error: Exception, key: str) -> str:
    """Return what is wrong with a value of a list, as if all had been read at once."""
    said = str(error)
    there = f"`$.{key}[...]"
    return said.replace("`$", there) if "`$" in said else f"{said} - at {there}`"


class _List:
    """A long list as it was read, and whether each value comes after the one before it."""

    def __init__(self, text: _Text, key: str) -> None:
        self.name, self.of = key, LONG[key]
        self.ascending = True
        self.values: Sequence[Any] = Packed(self.of.kind, self._watched(text))

    def _watched(self, text: _Text) -> Iterator[Any]:
        last = None
        for value in _values(text, self.of.kind):
            key = self.of.key(value)
            if last is not None and not last < key:
                self.ascending = False
            last = key
            yield value

    def once(self) -> Sequence[Any]:
        """Return the values in order. Raises Malformed if one is there twice."""
        if self.ascending:
            return self.values
        found = ordered(self.values, self.of.key)
        if not self.of.repeats:
            for each in twice(found, self.of.key):
                said = ".".join(each) if isinstance(each, tuple) else each
                raise Malformed(f"{said} is there twice - at `$.{self.name}`")
        return found


def _skip(text: _Text) -> None:
    """Read on to the end of a list in which one value was read."""
    while text.take(",", "]") == ",":
        text.value()


def _values(text: _Text, kind: type[msgspec.Struct]) -> Iterator[Any]:
    """Yield a list's values, many decoded at once where that is possible."""
    one = msgspec.json.Decoder(kind).decode
    many = msgspec.json.Decoder(list[kind]).decode  # type: ignore[valid-type]
    text.take("[")
    if text.peek() == "]":
        text.take("]")
        return
    while True:
        some = text.some()
        try:
            # If this is a list, then it was cut between two values: inside of one it would not end.
            found = many(f"[{some}]") if some else []
        except msgspec.DecodeError:
            text.no_more_of(some)
            found = []
        if found:
            text.skip(some)
            yield from found
        else:
            yield one(text.value())
        if text.take(",", "]") == "]":
            return


def _keys(text: _Text) -> Iterator[str]:
    """Yield an object's keys; whoever takes one reads its value."""
    if text.peek() not in {"{", ""}:
        raise Malformed("Expected `object`")
    text.take("{")
    if text.peek() == "}":
        text.take("}")
    else:
        while True:
            if text.peek() != '"':
                raise ValueError(f"a key was expected ({text.place})")
            key: str = json.loads(text.value())
            text.take(":")
            yield key
            if text.take(",", "}") == "}":
                break
    if text.peek():
        raise ValueError(f"trailing characters ({text.place})")


_SPACE = re.compile(r"[ \t\n\r]*")
_CUT = re.compile(r"[-+.0-9eE]*\Z")


class _Text:
    """A JSON text that comes in pieces, of which a value or a few are there at a time."""

    def __init__(self, pieces: Iterator[str]) -> None:
        self._pieces, self._text, self._at, self._gone = pieces, "", 0, 0
        self._one_by_one = 0
        "The place up to which many values at once are of no use."
        self._whole = json.JSONDecoder().raw_decode

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return f"character {self._gone + self._at}"

    def peek(self) -> str:
        """Return the next character that is no space, or nothing at the end."""
        while True:
            self._at = _SPACE.match(self._text, self._at).end()  # type: ignore[union-attr]
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                return ""

    def take(self, *expected: str) -> str:
        """Return the next character, which is one of those. Raises ValueError."""
        if (found := self.peek()) not in expected:
            said = " or ".join(map(repr, expected))
            what = repr(found) if found else "the end"
            raise ValueError(f"{said} was expected, not {what} ({self.place})")
        self._at += 1
        return found

    def some(self) -> str:
        """Return what may be the text of many objects, without the comma after it, or nothing."""
        self.peek()
        if self._gone + self._at < self._one_by_one:
            return ""
        return self._text[self._at : self._text.rfind("},", self._at) + 1]

    def no_more_of(self, some: str) -> None:
        """Take note that this was not the text of many values."""
        self._one_by_one = self._gone + self._at + len(some)

    def skip(self, some: str) -> None:
        """Go on after what :meth:`some` returned."""
        self._at += len(some)

    def value(self) -> str:
        """Return the text of the next value. Raises ValueError if it is none."""
        self.peek()
        while True:
            try:
                _, end = self._whole(self._text, self._at)
            except ValueError:
                if not self._double():
                    raise ValueError(f"no value, or no whole one ({self.place})") from None
                continue
            # A number may go on in the next piece: what is here of 1.5 may be 1, and a point.
            if not _CUT.match(self._text, end) or not self._more():
                break
        found = self._text[self._at : end]
        self._at = end
        return found

    def _double(self) -> bool:
        """Get as much again, so that a long value is not tried for each of its pieces."""
        wanted = 2 * (len(self._text) - self._at)
        got = self._more()
        while got and len(self._text) < wanted:
            if not self._more():
                break
        return got

    def _more(self) -> bool:
        """Get the next piece; what was read goes. Return False, and change nothing, at the end."""
        piece = next(self._pieces, "")
        if piece:
            self._gone += self._at
            self._text, self._at = self._text[self._at :] + piece, 0
        return bool(piece)
