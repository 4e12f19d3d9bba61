"""A schema as pg_dump writes it, entry by entry: of an archive, of a server, and where they differ.

Both sides come from the same programs. The order of entries is pg_dump's affair and means nothing;
what an entry says means everything. Texts are read in pieces: a thousand tenants make a gigabyte.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

from pytest_costmgmt.backup.listing import by_name
from pytest_costmgmt.backup.model import SequenceValue
from pytest_costmgmt.backup.packed import in_order
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.login import Login

PIECE = 1024 * 1024
HEAD = 64 * 1024
"In which a text's first entry begins, or its last ends."
PREAMBLE = "preamble"
BUCKETS = 4096

HEAD_OF_ENTRY = b"\n--\n-- Name: "
_HEADER = re.compile(
    rb"(?P<name>.*); Type: (?P<type>[A-Z ]+); Schema: (?P<schema>.*?); Owner: (?P<owner>.*?)"
    rb"(?:; Tablespace: (?P<space>.*))?"
)
_HEADERS = re.compile(
    rb"\n--\n-- Name: [^\n]*; Type: ([A-Z ]+); Schema: [^\n]*; Owner: [^\n]*(?=\n--\n)"
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
# An archive's schema refreshes its materialized views, a server's does not: that is their content.
_DATA = ("MATERIALIZED VIEW DATA ", "TABLE DATA ", "SEQUENCE SET ", "BLOBS ", "STATISTICS DATA ")
_DATA_TYPES = [each.strip().encode() for each in _DATA]
_ABOUT = ("ACL ", "DEFAULT ACL ", "COMMENT ", "SECURITY LABEL ")
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


# PostgreSQL 15.20 notes a version on each column, which is the server's own; a pg_dump of an older
# minor release, which does not know it, prints it as if somebody had set it.
_ATTVER_ALONE = re.compile(
    rb"^ALTER (?:FOREIGN )?TABLE [^\n]* ALTER COLUMN [^\n]* SET \(pg_attver=\d+\);\n*", re.MULTILINE
)
_ATTVER = re.compile(
    rb"^(ALTER (?:FOREIGN )?TABLE [^\n]* ALTER COLUMN [^\n]* SET \([^\n]*?)"
    rb"(?:, pg_attver=\d+(?=[,)])|(?<=\()pg_attver=\d+, )",
    re.MULTILINE,
)


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


def count(path: Path) -> int:
    """Return how many entries a text has; raises Incomplete if its end is missing."""
    found, last = 1, b""
    for last in whole(_pieces(path)):
        types = Counter(_HEADERS.findall(last))
        found += types.total() - sum(types[each] for each in _DATA_TYPES)
    _must_end(last, path.name)
    return found


def whole(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield a text in pieces of which each but the first begins with an entry's header."""
    rest = b"\n"
    for piece in pieces:
        rest += piece
        if (cut := rest.rfind(HEAD_OF_ENTRY)) > 0:
            yield rest[:cut]
            rest = rest[cut:]
    yield rest


def is_data(chunk: bytes) -> bool:
    """Say whether what follows a header's beginning is of an entry that is data, not schema."""
    named = _HEADER.fullmatch(chunk.partition(b"\n--\n")[0])
    return named is not None and _key(named).startswith(_DATA)


def same(expected: Path, found: Path) -> bool:
    """Say whether two texts are the same, byte for byte, but for what pg_dump says of itself.

    Cheaper by far than to read either; if they are not, :func:`unmatched` says what it is.
    """
    with expected.open("rb") as one, found.open("rb") as other:
        found_ends = [ends(file) for file in (one, other)]
        (first, start, end), (second, begin, stop) = found_ends
        if first != second or end - start != stop - begin or not start < end:
            return False
        one.seek(start)
        other.seek(begin)
        left = end - start
        while left > 0:
            size = min(PIECE, left)
            if one.read(size) != other.read(size):
                return False
            left -= size
    return True


def ends(file: IO[bytes]) -> tuple[bytes, int, int]:
    """Return what a text says before its first entry, and where its entries begin and end."""
    head = file.read(HEAD)
    start = head.find(HEAD_OF_ENTRY)
    size = file.seek(0, os.SEEK_END)
    at = max(0, size - HEAD)
    file.seek(at)
    closing = _CLOSING.search(file.read())
    if start < 0 or closing is None:  # whoever reads it all says what it lacks
        return b"", 0, 0
    return _entry(PREAMBLE, head[:start], b"").body, start, at + closing.start()


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


def unmatched(
    expected: Path, found: Path, entries: int | None = None
) -> tuple[int, list[Unmatched]]:
    """Return how many entries were expected, and those in which two texts differ, by key.

    ``entries`` is the :func:`count` of what is expected, if somebody has it.
    """
    if same(expected, found):
        return count(expected) if entries is None else entries, []
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


def of_archive(
    clients: Clients, archive: Path, into: Path, *, deadline: float, stop: Stop = never
) -> None:
    """Write an archive's schema to a file; no server is asked."""
    given = ["--schema-only", f"--file={into}", str(archive)]
    clients.run("pg_restore", given, None, deadline=deadline, stop=stop)


def of_server(
    clients: Clients,
    login: Login,
    into: Path,
    *,
    snapshot: str | None = None,
    encoding: str = "",
    part: Sequence[str] = (),
    deadline: float,
    stop: Stop = never,
) -> None:
    """Write the schema of the login's database to a file, as the archive's own program would.

    ``part`` are the arguments that choose some of it.
    """
    given = ["--schema-only", f"--file={into}", *part]
    given += [f"--snapshot={snapshot}"] if snapshot else []
    given += [f"--encoding={encoding}"] if encoding else []
    clients.run("pg_dump", given, login, deadline=deadline, stop=stop)


_BEGIN = "SELECT pg_catalog.setval("
_SETVAL = re.compile(
    r"SELECT pg_catalog\.setval\((E?'(?:[^']|'')*'), (-?\d+), (true|false)\);", re.DOTALL
)
_QUALIFIED = re.compile(r'("(?:[^"]|"")*"|[^".]+)\.("(?:[^"]|"")*"|[^".]+)', re.DOTALL)


def archive_sequences(
    clients: Clients, archive: Path, *, deadline: float, stop: Stop = never
) -> Sequence[SequenceValue]:
    """Return where the archive itself will set each sequence."""
    with scratch() as folder:
        listed, wanted, text = (folder / each for each in ("list", "wanted", "sql"))
        given = ["--list", f"--file={listed}", str(archive)]
        clients.run("pg_restore", given, None, deadline=deadline, stop=stop)
        with listed.open("rb") as lines, wanted.open("wb") as kept:
            kept.writelines(line for line in lines if b" SEQUENCE SET " in line)
        if not wanted.stat().st_size:
            return ()
        given = [f"--use-list={wanted}", f"--file={text}", str(archive)]
        clients.run("pg_restore", given, None, deadline=deadline, stop=stop)
        return sequence_values(_read(text))


def _read(path: Path) -> Iterator[str]:
    """Yield a text in the encoding that it says; a name that is not in it shows its bytes."""
    said = encoding(path).replace("WIN", "cp")
    try:
        known = codecs.lookup(said).name
    except LookupError:  # SQL_ASCII, or one that Python has not
        known = "utf-8"
    with path.open(encoding=known, errors="backslashreplace", newline="") as file:
        while piece := file.read(PIECE):
            yield piece


def sequence_values(pieces: Iterable[str]) -> Sequence[SequenceValue]:
    r"""Return what the setval statements of a text say, whatever pieces it comes in.

    >>> said = "SELECT pg_catalog.setval('a.\"B''\"\"c\"', -7, false);"
    >>> (found,) = sequence_values([said[:30], said[30:]])
    >>> print(found.schema, found.name, found.last_value, found.is_called)
    a B'"c -7 False
    """
    return in_order(SequenceValue, _sequence_values(pieces), by_name)


def _statements(pieces: Iterable[str]) -> Iterator[re.Match[str]]:
    """Yield the setval statements; one that is not whole yet waits for the next piece."""
    rest = ""
    for piece in pieces:
        rest += piece
        end = 0
        for found in _SETVAL.finditer(rest):
            yield found
            end = found.end()
        # A statement that has begun is kept from its beginning on.
        begun = rest.find(_BEGIN, end)
        rest = rest[begun if begun >= 0 else max(end, len(rest) - len(_BEGIN)) :]


def _sequence_values(pieces: Iterable[str]) -> Iterator[SequenceValue]:
    for found in _statements(pieces):
        literal, value, called = found.groups()
        # pg_dump writes E'' only where it doubles the backslashes.
        name = literal[literal.index("'") + 1 : -1].replace("''", "'")
        name = name.replace("\\\\", "\\") if literal.startswith("E") else name
        matched = _QUALIFIED.fullmatch(name)
        if matched is None:
            raise BackupFailed(f"the archive sets a sequence whose name is not understood: {name}")
        schema, sequence = (_unquoted(part) for part in matched.groups())
        yield SequenceValue(
            schema=schema, name=sequence, last_value=int(value), is_called=called == "true"
        )


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def _chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Yield what stands before the first header, then after each, whatever pieces it came in."""
    rest = b"\n"
    for piece in pieces:
        *whole, rest = (rest + piece).split(HEAD_OF_ENTRY)
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
            body += HEAD_OF_ENTRY + chunk
            continue
        if not key.startswith(_DATA):
            yield _entry(key, body, owner)
        key, owner, body = _key(named), named["owner"], text
    _must_end(body, what)
    if not key.startswith(_DATA):
        yield _entry(key, _CLOSING.sub(b"", body), owner)


def _must_end(body: bytes, what: str) -> None:
    if not _CLOSING.search(body):
        raise Incomplete(f"{what}: a schema's text does not end as pg_dump ends it: it was cut off")


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
    if b"pg_attver=" in body:
        body = _ATTVER.sub(rb"\1", _ATTVER_ALONE.sub(b"", body)).strip(b"\n")
    # Whose the object is says its own entry.
    whose = b"" if key.startswith(_ABOUT) else b"\n-- Owner: " + owner
    return Entry(key, body + whose)


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
