"""Which rows differ where only the archive is left: they are loaded aside, for the time of a look.

A restore has no source any more. What the archive holds of a relation goes into a temporary table
of the session that compares, and is gone with it.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from pytest_costmgmt.backup import keys, schema_text
from pytest_costmgmt.backup.model import Relation
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement, run

if TYPE_CHECKING:
    from psycopg import Cursor

LARGEST = 1024**3
"Bytes of a relation beyond which its rows are not loaded a second time."

_NAME = rb'(?:"(?:[^"]|"")*"|[^"\s(])+'
_COPY = re.compile(
    rb"^COPY " + _NAME + rb' (?P<columns>(?:\((?:"(?:[^"]|"")*"|[^")])+\))?) FROM stdin;\n',
    re.MULTILINE,
)
_END = b"\\.\n"
_ASIDE = 'pg_temp."costmgmt archived"'


class Archive(NamedTuple):
    """A backup's archive, and the programs that read it."""

    folder: Path
    clients: Clients
    deadline: float
    stop: Stop = never


def differing_rows(
    archive: Archive, target: Login, relation: Relation
) -> tuple[tuple[str, ...], int]:
    """Return the keys of rows that differ from the archive's, and how many more rows do.

    As :func:`pytest_costmgmt.backup.keys.differing_rows`; nothing where the archive holds no rows
    that could be looked at. Raises FactUnavailable and BackupFailed.
    """
    # A view's rows are not in an archive.
    if relation.kind != "table" or relation.bytes > LARGEST:
        return (), 0
    with scratch() as folder, asking(f"the rows of {relation.schema}.{relation.name}"):
        text = folder / "rows.sql"
        wanted = [f"--schema={relation.schema}", f"--table={relation.name}", f"--file={text}"]
        archive.clients.run(
            "pg_restore", ["--data-only", *wanted, "--", str(archive.folder)], None,
            deadline=archive.deadline, stop=archive.stop,
        )  # fmt: skip
        with writing(target, archive.deadline) as cursor:
            if not load(cursor, relation, text):
                return (), 0
            return keys.rows_unlike_archived(cursor, relation, _ASIDE)


@contextlib.contextmanager
def writing(login: Login, timeout: float) -> Iterator[Cursor[Any]]:
    """Yield a cursor in a transaction that comes to nothing."""
    connection = connect(login, deadline=keys.CONNECT)
    milliseconds = max(1, int(timeout * 1000))
    try:
        with connection.cursor() as cursor:
            cursor.execute(
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE;"
                f" SET LOCAL statement_timeout = {milliseconds};"
                f" SET LOCAL lock_timeout = {milliseconds};"
                # As pg_restore has it in a database that has no settings of its own yet.
                " SET LOCAL search_path = ''; SET LOCAL xmloption = content;"
                " SET LOCAL DateStyle = ISO; SET LOCAL IntervalStyle = postgres;"
                " SET LOCAL array_nulls = on; SET LOCAL transform_null_equals = off".encode()
            )
            yield cursor
    finally:
        connection.close()


def load(cursor: Cursor[Any], relation: Relation, text: Path) -> bool:
    """Fill the table aside from pg_restore's text; False if that has no rows to copy."""
    with text.open("rb") as file:
        # Before the statement there are comments and settings alone.
        found = _COPY.search(file.read(schema_text.HEAD))
        if found is None:
            return False
        made = f"CREATE TEMPORARY TABLE {_ASIDE} (LIKE {{}}.{{}} INCLUDING GENERATED)"
        encoding = schema_text.encoding(text)
        statements = [
            Statement(made, (relation.schema, relation.name)),
            Statement("SET LOCAL client_encoding = {t}", text=encoding),
        ]
        run(cursor.connection, statements)
        file.seek(found.end())
        copying = b"COPY " + _ASIDE.encode() + b" " + found["columns"] + b" FROM STDIN"
        with cursor.copy(copying) as copy:
            for lines in _until_end(file, text.name):
                copy.write(lines)
        cursor.execute(b"SET LOCAL client_encoding TO DEFAULT")
    return True


def _until_end(file: IO[bytes], name: str) -> Iterator[bytes]:
    """Yield COPY's lines, many at a time, until the one that ends them."""
    while lines := file.readlines(schema_text.PIECE):
        if _END in lines:
            yield b"".join(lines[: lines.index(_END)])
            return
        yield b"".join(lines)
    raise schema_text.Incomplete(f"{name} ends in the middle of its rows")
