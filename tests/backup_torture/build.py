"""The torture database: every kind of object, type and name that a backup must carry.

The statements are data, `NN_topic.sql` beside this file. A line `--; since 15` begins statements
that need that major version, `--; if EXPRESSION` such as need an SQL expression to be true
(not so where the server was built without what it is about),
`--; always` ends either.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login

HERE = Path(__file__).parent
NAME = "Tört-u \"d'b\\"
"A database that needs quoting, in every way that there is."
ROLES = ("torture owner", "Tört-u \"r'w\\", "--torture", "torture\nreader")
"The roles that own it, or have a say in it. They are the server's, and stay."
MANY = 2000
"Rows of the table torture.many, unless more are asked for."


def create(superuser: Login, *, rows: int = MANY, hazards: bool = False) -> Login:
    """Create a torture database of a new, awkward name; return the superuser's way into it."""
    name = f"{NAME} {secrets.token_hex(3)}"
    with connect(superuser.on("postgres"), deadline=10) as connection:
        connection.execute(f"CREATE DATABASE {quoted(name)} TEMPLATE template0".encode())
    login = superuser.on(name)
    build(login, rows=rows, hazards=hazards)
    return login


def drop(login: Login) -> None:
    """Remove the database that ``login`` is for."""
    with connect(login.on("postgres"), deadline=10) as connection:
        connection.execute(f"DROP DATABASE {quoted(login.database)} WITH (FORCE)".encode())


def build(login: Login, *, rows: int = MANY, hazards: bool = False) -> None:
    """Fill the empty database of ``login``, a superuser's.

    ``hazards`` adds what no logical backup carries as it is: an invalid index, a stale
    materialized view, a disabled subscription.
    """
    with connect(login, deadline=10) as connection:
        for path in sorted(HERE.glob("*.sql")):
            if hazards or "hazards" not in path.name:
                _run(connection, path, rows)


def quoted(name: str) -> str:
    """Return ``name`` as an identifier."""
    doubled = name.replace('"', '""')
    return f'"{doubled}"'


def _run(connection: Any, path: Path, rows: int) -> None:
    major = connection.info.server_version // 10000
    for condition, statements in _parts(path.read_text(encoding="utf-8")):
        word, _, rest = condition.partition(" ")
        if word == "since" and major < int(rest):
            continue
        if word == "if" and not _so(connection, rest):
            continue
        text = statements.replace("{rows}", str(rows))
        text = text.replace("{database}", quoted(connection.info.dbname))
        try:
            connection.execute(text.encode())
        except Exception as error:
            raise RuntimeError(f"{path.name}, {condition or 'always'}: {error}") from error


def _so(connection: Any, expression: str) -> bool:
    """Say whether an expression is true; of what the server was built without, nothing is."""
    try:
        return bool(connection.execute(f"SELECT {expression}".encode()).fetchone()[0])
    except psycopg.errors.FeatureNotSupported:
        return False


def has_xml(login: Login) -> bool:
    """Say whether the server was built with libxml: some wheels' is not."""
    with connect(login, deadline=10) as connection:
        return _so(connection, "'<a/>'::pg_catalog.xml IS NOT NULL")


def _parts(text: str) -> Iterator[tuple[str, str]]:
    """Yield each condition with its statements."""
    condition, gathered = "always", ""
    for line in text.splitlines(keepends=True):
        if line.startswith("--; "):
            yield condition, gathered
            condition, gathered = line[4:].strip(), ""
        else:
            gathered += line
    yield condition, gathered
