"""Extensions that a dump creates: which the server has, and which the login may create."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup.deed import Deed, spelled
from pytest_costmgmt.backup.model import Extension, Manifest
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.command import Stop
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.postgres.statements import Statement, rows

if TYPE_CHECKING:
    from psycopg import Connection

ALWAYS = frozenset({"plpgsql"})
"What template0 has already."

READING_TOC = 600.0

_AVAILABLE = """
SELECT v.name, pg_catalog.bool_or(NOT v.superuser OR v.trusted
           OR pg_catalog.current_setting('is_superuser') = 'on')
  FROM pg_catalog.pg_available_extension_versions AS v
 WHERE v.name = ANY (%(names)s) GROUP BY 1
"""


def available(connection: Connection[Any], manifest: Manifest) -> dict[str, bool]:
    """Return the backup's extensions that the server has, and whether the login may create it."""
    names = [each.name for each in manifest.extensions]
    with asking("reading which extensions there are"), read_only(connection, timeout=60) as cursor:
        return {name: bool(may) for name, may in rows(cursor, _AVAILABLE, names=names)}


def missing(manifest: Manifest, have: Iterable[str]) -> list[str]:
    """Return the refusals for extensions whose files the server lacks."""
    known = {*have, *ALWAYS}
    return [
        f"extension {each.name} {each.version} is not on the server: install it there"
        " (contrib's are in the package postgresql-contrib)"
        for each in manifest.extensions
        if each.name not in known
    ]


def forbidden(manifest: Manifest, have: dict[str, bool]) -> tuple[Extension, ...]:
    """Return the extensions that somebody else must create."""
    return tuple(
        each
        for each in manifest.extensions
        if each.name not in ALWAYS and not have.get(each.name, False)
    )


def deed(extension: Extension, database: str) -> Deed:
    """Return what a superuser must run in the restored database."""
    create = "CREATE EXTENSION IF NOT EXISTS {} SCHEMA {}"
    return Deed(
        what=f"extension {extension.name}",
        statements=(Statement(create, (extension.name, extension.schema)),),
        database=database,
        ends=tuple(
            each
            for what in ("extension ", "EXTENSION ", "COMMENT EXTENSION ")
            for each in spelled(what, extension.name)
        ),
    )


@contextmanager
def listing(
    clients: Clients, archive: Path, without: Iterable[Extension], *, stop: Stop
) -> Iterator[Path]:
    """Yield the archive's list of entries without these extensions and their comments."""
    with scratch() as folder:
        whole, kept = folder / "whole", folder / "kept"
        clients.run(
            "pg_restore",
            ["--list", f"--file={whole}", str(archive)],
            None,
            deadline=READING_TOC,
            stop=stop,
        )
        unwanted = [_entry(extension.name) for extension in without]
        with whole.open("rb") as lines, kept.open("wb") as file:
            for line in lines:
                if not any(pattern.match(line) for pattern in unwanted):
                    file.write(line)
        yield kept


def _entry(name: str) -> re.Pattern[bytes]:
    r"""Return the pattern of an extension's lines in a list.

    >>> bool(_entry("uuid-ossp").match(b'3400; 0 0 COMMENT - EXTENSION "uuid-ossp" \n'))
    True
    >>> bool(_entry("a").match(b"2; 3079 16385 EXTENSION - ab \n"))
    False
    """
    # pg_dump writes a line's end in a name as a space.
    plain = re.sub(r"[\r\n]", " ", name)
    names = "|".join(re.escape(each) for each in (plain, ident(plain)))
    kinds = rf"(?:EXTENSION - |COMMENT - EXTENSION )(?:{names})"
    return re.compile(rf"[0-9]+; [0-9]+ [0-9]+ {kinds} ?[^ ]*\n".encode())
