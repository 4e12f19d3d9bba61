"""The hash of the same rows is the same on every version that may be dumped or restored into."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from pytest_costmgmt.backup import content
from pytest_costmgmt.backup.model import LargeObject, SequenceValue
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from tests import postgres_versions as versions
from tests.backup_torture import build

Rows = dict[str, tuple[object, ...]]
Contents = tuple[Rows, Sequence[SequenceValue], Sequence[LargeObject]]

NAME = "torture, of all versions"
CLIENTS = 14
"The oldest major version whose client programs are had."


class Versions:
    """A server of each version, started when it is asked for, with the torture database."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.logins: dict[int, Login] = {}
        self.contents: dict[int, Contents] = {}

    def login(self, major: int) -> Login:
        """Return the superuser's way into the torture database of a version."""
        if major not in self.logins:
            # A name that a restore into another server's database may have too.
            server = self.stack.enter_context(versions.server(major))
            login = server.superuser.on(NAME)
            with connect(server.superuser, deadline=10) as connection:
                connection.execute(f"CREATE DATABASE {ident(NAME)} TEMPLATE template0".encode())
            build.build(login)
            self.logins[major] = login
        return self.logins[major]

    def torture(self, major: int) -> Contents:
        """Return the contents of the torture database of a version."""
        if major not in self.contents:
            self.contents[major] = contents(self.login(major))
        return self.contents[major]


@pytest.fixture(scope="module")
def each() -> Iterator[Versions]:
    """Return servers of all versions."""
    with ExitStack() as stack:
        yield Versions(stack)


def contents(login: Login) -> Contents:
    """Hash everything in a database."""
    with connect(login, deadline=10) as connection, read_only(connection, timeout=60) as cursor:
        found = content.listed(cursor)
        sequences, large = content.sequences(cursor), content.large_objects(cursor)
    rows: dict[str, tuple[object, ...]] = {}
    for lines in (False, True):
        wanted = [
            msgspec.structs.replace(each, lines=lines and each.kind == "table") for each in found
        ]
        for one in content.hash_all(login, wanted, snapshot=None, jobs=2, timeout=60):
            name = f"{one.schema}.{one.name}"
            rows[name] = (*rows.get(name, ()), one.rows, one.content)
    return rows, sequences, large


@pytest.mark.parametrize(("older", "newer"), [*itertools.combinations(versions.MAJORS, 2)])
def test_the_same_rows_hash_alike_on_each_version(each: Versions, older: int, newer: int) -> None:
    """What both versions can hold was made by the same statements, and hashes alike."""
    (rows, sequences, large), (other, other_sequences, other_large) = (
        each.torture(older),
        each.torture(newer),
    )
    assert len(rows) > 50
    assert {name: other.get(name) for name in rows} == rows
    assert set(sequences) <= set(other_sequences)
    assert large == other_large


@pytest.mark.parametrize(("source", "target"), [(13, 15), (14, 14), (15, 16), (16, 18), (14, 18)])
def test_a_restored_copy_hashes_as_its_source(
    each: Versions, source: int, target: int, tmp_path: Path
) -> None:
    """Dumped and restored by PostgreSQL's own programs, every relation hashes as before."""
    archive = tmp_path / "archive"
    tools = versions.bindir(max(target, CLIENTS))
    program(tools / "pg_dump", "--format=custom", f"--file={archive}", login=each.login(source))
    copy = each.login(target).on(f"copy of {source}")
    with connect(each.login(target), deadline=10) as connection:
        connection.execute(f"CREATE DATABASE {ident(copy.database)} TEMPLATE template0".encode())
    program(tools / "pg_restore", "--exit-on-error", str(archive), login=copy)
    rows, sequences, large = contents(copy)
    expected, expected_sequences, expected_large = each.torture(source)
    assert rows == expected
    assert sequences == expected_sequences
    assert large == expected_large
    build.drop(copy)


def program(path: Path, *arguments: str, login: Login) -> None:
    """Run a client program on the login's database."""
    environ = {
        **os.environ,
        "PGHOST": login.where["host"],
        "PGPORT": login.where["port"],
        "PGUSER": login.role,
        "PGPASSWORD": login.password.reveal() if login.password else "",
        "PGDATABASE": login.database,
    }
    named = ["--dbname", f"dbname='{login.database}'"] if path.name == "pg_restore" else []
    done = subprocess.run(
        [path, *named, *arguments],
        env=environ,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
