"""A schema as pg_dump writes it, entry by entry: of an archive, of a server, and where they differ.

Both sides come from the same programs. The order of entries is pg_dump's affair and means nothing;
what an entry says means everything. Texts are read in pieces: a thousand tenants make a gigabyte.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_costmgmt.errors import BackupFailed

PIECE = 8 * 1024 * 1024
PREAMBLE = "preamble"
BUCKETS = 4096

_HEAD = b"\n--\n-- Name: "
_HEADER = re.compile(
    rb"(?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*?); Owner: (?P<owner>.*?)"
    rb"(?:; Tablespace: (?P<space>.*))?"
)
_CLOSING = re.compile(
    rb"\n--\n-- PostgreSQL database dump complete\n--\n+(?:\\unrestrict [^\n]*\n+)?\Z"
)
# What stands between two entries belongs to neither: it depends on the order. Tablespaces and
# access methods are properties.
_BETWEEN = re.compile(rb"SET default_(?:tablespace|table_access_method|with_oids) = [^\n]*;")
# In the preamble only what pg_dump is known to write is passed over.
_USUAL = re.compile(
    rb"--[^\n]*|\\restrict \w+|SET \w+ = [^\n]*;|"
    rb"SELECT pg_catalog\.set_config\('search_path', '', false\);"
)
_ENCODING = re.compile(rb"^SET client_encoding = '([^'\n]+)';$", re.MULTILINE)
_STATEMENT = re.compile(
    rb"\n(?=(?:GRANT|REVOKE|ALTER DEFAULT PRIVILEGES|SET SESSION AUTHORIZATION) )"
)
_RESET = b"\nRESET SESSION AUTHORIZATION;"


class Entry(NamedTuple):
    """One entry: ``key`` names it ("TABLE public.t"), ``body`` is what it says, whose it is."""

    key: str
    body: bytes

    @property
    def bucket(self) -> int:
        """Where its digest is summed up."""
        return zlib.crc32(self.key.encode()) % BUCKETS

    @property
    def digest(self) -> bytes:
        """A digest of both."""
        hashed = hashlib.blake2b(self.key.encode(), digest_size=16)
        hashed.update(b"\0" + self.body)
        return hashed.digest()


class Unmatched(NamedTuple):
    """An entry that is on one side only, or says something else there."""

    key: str
    expected: str | None
    found: str | None


class Incomplete(BackupFailed):
    """A schema's text ends before its end: nothing may be concluded from it."""


def entries(text: str) -> dict[str, str]:
    r"""Return what each entry says; of one key there may be several, which are joined.

    >>> text = "--\n-- PostgreSQL database dump\n--\n\nSET row_security = off;\n\n"
    >>> text += "--\n-- Name: t; Type: TABLE; Schema: public; Owner: koku\n--\n\n"
    >>> text += "CREATE TABLE public.t (\n);\n\n\n"
    >>> text += "--\n-- PostgreSQL database dump complete\n--\n\n"
    >>> entries(text)
    {'preamble': '', 'TABLE public.t': 'CREATE TABLE public.t (\n);\n-- Owner: koku'}
    """
    found: dict[str, list[bytes]] = {}
    for entry in _split(iter([text.encode()]), "the text"):
        found.setdefault(entry.key, []).append(entry.body)
    return {key: _text(b"\n".join(sorted(bodies))) for key, bodies in found.items()}


def scan(path: Path) -> Iterator[Entry]:
    """Yield the entries of a text in a file; raises Incomplete if its end is missing."""
    return _split(_pieces(path), path.name)


def encoding(path: Path) -> str:
    """Return the encoding that a text says it is in, "" if it says none."""
    with path.open("rb") as file:
        said = _ENCODING.search(file.read(4096))
    return said.group(1).decode("ascii", "replace") if said else ""


class Summary(NamedTuple):
    """How many entries, and one number for each bucket of keys: the same in whatever order."""

    entries: int
    sums: tuple[int, ...]


def summary(path: Path) -> Summary:
    """Return a text's summary, in small memory whatever its size."""
    count, sums = 0, [0] * BUCKETS
    for entry in scan(path):
        count += 1
        sums[entry.bucket] += int.from_bytes(entry.digest, "big")
    return Summary(count, tuple(sums))


def unmatched(expected: Path, found: Path) -> tuple[int, list[Unmatched]]:
    """Return how many entries were expected, and those in which two texts differ, by key."""
    was, now = summary(expected), summary(found)
    suspect = {i for i in range(BUCKETS) if was.sums[i] != now.sums[i]}
    if not suspect:
        return was.entries, []
    left: dict[str, tuple[Counter[bytes], Counter[bytes]]] = {}
    for path, side in ((expected, 0), (found, 1)):
        for entry in scan(path):
            if entry.bucket in suspect:
                left.setdefault(entry.key, (Counter(), Counter()))[side][entry.body] += 1
    return was.entries, [
        Unmatched(key, _said(before - after), _said(after - before))
        for key, (before, after) in sorted(left.items())
        if before != after
    ]


def _said(bodies: Counter[bytes]) -> str | None:
    return _text(b"\n".join(sorted(bodies.elements()))) if bodies else None


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what stands before the first header, then after each, whatever pieces it came in."""
    rest = b"\n"
    for piece in pieces:
        *whole, rest = (rest + piece).split(_HEAD)
        yield from whole
    yield rest


def _split(pieces: Iterator[bytes], what: str) -> Iterator[Entry]:
    """Cut at pg_dump's headers; a line in a function's body that looks like one is no header."""
    chunks = _chunks(pieces)
    key, owner, body = PREAMBLE, b"", next(chunks)
    for chunk in chunks:
        header, end, text = chunk.partition(b"\n--\n")
        named = _HEADER.fullmatch(header) if end else None
        if named is None:
            body += _HEAD + chunk
            continue
        yield _entry(key, body, owner)
        key, owner, body = _key(named), named["owner"], text
    if not _CLOSING.search(body):
        raise Incomplete(f"{what}: a schema's text does not end as pg_dump ends it: it was cut off")
    yield _entry(key, _CLOSING.sub(b"", body), owner)


def _key(named: re.Match[bytes]) -> str:
    kind, schema, name = (_text(named[part]) for part in ("type", "schema", "name"))
    return f"{kind} {name}" if schema == "-" else f"{kind} {schema}.{name}"


def _entry(key: str, body: bytes, owner: bytes) -> Entry:
    if key == PREAMBLE:
        unusual = [line for line in body.split(b"\n") if line and not _USUAL.fullmatch(line)]
        return Entry(key, b"\n".join(unusual))
    body = body.strip(b"\n")
    while _BETWEEN.fullmatch(last := body[body.rfind(b"\n") + 1 :]):
        body = body[: -len(last)].rstrip(b"\n")
    if key.startswith(("ACL ", "DEFAULT ACL ")):
        body = b"\n".join(sorted(_grants(body)))
    return Entry(key, body + b"\n-- Owner: " + owner)


def _grants(body: bytes) -> Iterator[bytes]:
    """Yield each grant, with whose it is: in which order they were made does not matter."""
    giver = b""
    for statement in _STATEMENT.split(body):
        if statement.startswith(b"SET SESSION AUTHORIZATION "):
            giver = statement + b"\n"
            continue
        yield giver + statement.removesuffix(_RESET)
        if statement.endswith(_RESET):
            giver = b""


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")
