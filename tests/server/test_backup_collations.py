"""A collation that the target's machine has not is told before anything is loaded, with its fix."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.servers import embedded
from tests.server.restore_bed import RestoreBed
from tests.server.restore_source import Source

IMPORTED = """
SELECT collname::text FROM pg_collation WHERE oid >= 12000 AND oid < 16384
   AND collencoding IN (-1, 6) AND collname NOT IN ('default', 'C', 'POSIX') ORDER BY 1 LIMIT 1
"""


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> RestoreBed:
    """An owner and names of this test's own."""
    return RestoreBed(server.superuser)


def imported(bed: RestoreBed) -> str:
    """Return a collation that initdb made of this machine's locales."""
    if not (found := bed.rows(IMPORTED)):
        pytest.skip("this server's machine has no locale but C")
    return str(found[0][0])


def test_what_something_uses_is_noted_and_was_there(bed: RestoreBed, tmp_path: Path) -> None:
    """A column's own collation is in the manifest, and a server that has it restores."""
    name = imported(bed)
    source = Source(bed, tmp_path).owned(f"CREATE TABLE sorted (a text COLLATE {ident(name)})")
    source.backed_up()
    assert source.manifest.collations == (name,)
    assert source.restored().proof.equal


def test_what_nothing_uses_is_not_noted(bed: RestoreBed, tmp_path: Path) -> None:
    """The database's default is none, nor are C and one of the database's own."""
    source = Source(bed, tmp_path).owned(
        "CREATE COLLATION public.mine (LOCALE = 'C')",
        'CREATE TABLE sorted (a text, b text COLLATE "C", c text COLLATE public.mine)',
    )
    assert source.backed_up().manifest.collations == ()


def test_what_is_missing_is_told_and_nothing_is_left(bed: RestoreBed, tmp_path: Path) -> None:
    """Each by name, before anything is loaded, with what an administrator must run."""
    source = Source(bed, tmp_path).backed_up()
    source.altered(collations=("C", "made_UP.utf8", "ö 'other"))
    with pytest.raises(BackupFailed, match=r"made_UP\.utf8, ö 'other\n") as raised:
        source.restored()
    assert "pg_import_system_collations" in raised.value.hint
    assert bed.look(bed.name) is None
    assert not bed.rows("SELECT FROM pg_database WHERE datname ~ %s", f"{bed.tag}.new")
