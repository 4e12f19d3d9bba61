"""A schema of very many relations, dumped by two programs at once.

One takes some of the schemas, the other all the rest. Together they must say what is expected,
entry by entry; where they do not, or where an object may need both, one program dumps the whole.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pytest_costmgmt.backup import schema_text
from pytest_costmgmt.backup.model import SchemaDigest
from pytest_costmgmt.postgres.asking import asking

if TYPE_CHECKING:
    from psycopg import Cursor

LEAST = 2000
"Relations that are worth a second program: each of them reads the catalogs for itself."
MOST = 5000
"Schemas that are named to a program."
FAIR = 0.3
"What part of the relations the smaller half has at least."

# Names that are themselves as a pattern, in whatever encoding.
_PLAIN = re.compile(r"[a-z][a-z0-9_]*")

_SCHEMAS = """
SELECT n.nspname, pg_catalog.count(*)
FROM pg_catalog.pg_class AS c
JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND NOT pg_catalog.starts_with(n.nspname, 'pg_')
GROUP BY n.nspname
ORDER BY 2 DESC, 1
"""

# Given some schemas, pg_dump leaves out what belongs to none, and with that who publishes what of
# theirs. Of a table it tells by its parents what it does not say itself.
_NEED_BOTH = """
SELECT EXISTS (SELECT FROM pg_catalog.pg_publication_rel)
    OR EXISTS (SELECT FROM pg_catalog.pg_inherits AS i
                 JOIN pg_catalog.pg_class AS c ON c.oid = i.inhrelid
                 JOIN pg_catalog.pg_class AS p ON p.oid = i.inhparent
                WHERE c.relnamespace <> p.relnamespace)
    OR EXISTS (SELECT FROM pg_catalog.pg_statistic_ext AS s
                 JOIN pg_catalog.pg_class AS c ON c.oid = s.stxrelid
                WHERE c.relnamespace <> s.stxnamespace)
"""
_PUBLISHED_SCHEMAS = "SELECT EXISTS (SELECT FROM pg_catalog.pg_publication_namespace)"
_HAS_PUBLISHED_SCHEMAS = 15_00_00

# Whichever table comes next is told its place by it.
_SET = b"\nSET default_"
_BEFORE = re.compile(
    rb"(?:\nSET default_(?:tablespace|table_access_method|with_oids) = [^\n]*;\n)+\Z"
)


def many(relations: Sequence[object]) -> bool:
    """Say whether so many relations are worth two programs."""
    return len(relations) >= LEAST


def halves(cursor: Cursor[Any], *, least: int = LEAST) -> tuple[str, ...]:
    """Return the schemas for the first of two programs; none if one is to dump it all.

    >>> first_half([("public", 50), ("a", 40), ("B", 40), ("b", 30), ("c", 30)])
    ('a', 'b')
    >>> first_half([("public", 90), ("a", 10)])
    ()
    """
    with asking("what the schemas have in common"):
        cursor.execute(_SCHEMAS.encode())
        found = [(str(name), int(count)) for name, count in cursor]
        if sum(count for _, count in found) < least:
            return ()
        queries = [_NEED_BOTH]
        if cursor.connection.info.server_version >= _HAS_PUBLISHED_SCHEMAS:
            queries.append(_PUBLISHED_SCHEMAS)
        for query in queries:
            cursor.execute(query.encode())
            if cursor.fetchone() != (False,):
                return ()
    return first_half(found)


def first_half(schemas: Sequence[tuple[str, int]]) -> tuple[str, ...]:
    """Take of the schemas, the largest first, until they have half of all relations."""
    total = sum(count for _, count in schemas)
    taken: list[str] = []
    size = 0
    for name, count in schemas:
        # pg_dump treats public otherwise than the rest.
        if name != "public" and _PLAIN.fullmatch(name) and 2 * (size + count) <= total:
            taken.append(name)
            size += count
    return tuple(taken) if size >= FAIR * total and len(taken) <= MOST else ()


def arguments(schemas: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what tells each of the two programs its part."""
    return [f"--schema={name}" for name in schemas], [
        f"--exclude-schema={name}" for name in schemas
    ]


class _Said(NamedTuple):
    """What a text says: its preamble, and of its entries number and sum of hashes."""

    preamble: bytes
    entries: int
    content: str

    def is_all_of(self, parts: Sequence[_Said]) -> bool:
        """Say whether the parts have together what this one has."""
        return (
            self.entries > 0
            and all(each.preamble == self.preamble for each in parts)
            and self.entries == sum(each.entries for each in parts)
            and self.content == _content(int(each.content, 16) for each in parts)
        )


def _content(hashes: Iterable[int]) -> str:
    return f"{sum(hashes) % (1 << 128):032x}"


def together(expected: Path, entries: int, parts: Sequence[Path]) -> bool:
    """Say whether texts have together the entries of the one that is expected, letter by letter.

    ``entries`` is :func:`schema_text.count` of it: where a body holds what looks like an entry's
    header, nothing is said.
    """
    wanted = _said(expected)
    return wanted.entries == entries - 1 and wanted.is_all_of([_said(part) for part in parts])


def digest(text: Path, entries: int) -> SchemaDigest | None:
    """Return what is to be remembered of a text for :func:`as_remembered`.

    ``entries`` is as for :func:`together`; None where nothing can be said.
    """
    said = _said(text)
    if said.preamble or said.entries != entries - 1 or not said.entries:
        return None
    return SchemaDigest(entries=entries, content=said.content, encoding=schema_text.encoding(text))


def as_remembered(expected: SchemaDigest, parts: Sequence[Path]) -> bool:
    """Say whether texts have together the entries of one of which there is only the digest."""
    wanted = _Said(b"", expected.entries - 1, expected.content)
    return wanted.is_all_of([_said(part) for part in parts])


def _said(path: Path) -> _Said:
    with path.open("rb") as file:
        preamble, start, end = schema_text.ends(file)
    entries, hashes = 0, 0
    for text in schema_text.whole(_between(path, start, end)):
        chunks = text.split(schema_text.HEAD_OF_ENTRY)[1:]
        # Few are either, and that is seen in no time.
        if _SET in text:
            chunks = [_BEFORE.sub(b"", each) if _SET in each else each for each in chunks]
        if b" DATA; " in text:
            chunks = [each for each in chunks if not schema_text.is_data(each)]
        entries += len(chunks)
        hashes += sum(map(_hash, chunks))
    return _Said(preamble, entries, _content([hashes]))


def _hash(chunk: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(chunk, digest_size=16).digest(), "big")


def _between(path: Path, start: int, end: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while piece := file.read(min(schema_text.PIECE, end - file.tell())):
            yield piece
