"""One snapshot for several sessions: the same rows, until its holder is gone."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import psycopg
import pytest

from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.snapshot import exported, imported, lock_room
from pytest_costmgmt.servers import embedded
from tests.server.backup_bed import BackupBed, until


@pytest.fixture(scope="module")
def bed(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackupBed]:
    """A database for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    try:
        yield BackupBed(instance.superuser, tmp_path_factory.mktemp("bed"))
    finally:
        instance.stop()


@pytest.fixture
def table(bed: BackupBed) -> str:
    """A table of one row."""
    name = f"t_{secrets.token_hex(3)}"
    bed.run(f"CREATE TABLE {name} AS SELECT 1 AS a")
    return name


def test_all_see_the_same_rows(bed: BackupBed, table: str) -> None:
    """Whoever imports the snapshot sees what was there when it was exported, and may not write."""
    with exported(bed.login, deadline=10) as snapshot:
        bed.run(f"INSERT INTO {table} VALUES (2)")  # noqa: S608 - ours
        with imported(bed.login, snapshot.name, timeout=10) as cursor:
            cursor.execute(f"SELECT count(*) FROM public.{table}".encode())  # noqa: S608 - ours
            assert cursor.fetchone() == (1,)
            with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
                cursor.execute(f"DELETE FROM public.{table}".encode())  # noqa: S608 - ours


def test_the_exporter_holds_no_lock(bed: BackupBed, table: str) -> None:
    """While the snapshot is held, others may lock, alter and drop."""
    with exported(bed.login, deadline=10):
        bed.run(f"SET lock_timeout = '1s'; ALTER TABLE {table} ADD b int; DROP TABLE {table}")


@pytest.mark.parametrize("keep_alive", [0.05, 600])
def test_a_lost_exporter_is_found_out(bed: BackupBed, keep_alive: float) -> None:
    """A holder that was ended is noticed by itself, or when it is asked, and ends the block."""
    with (
        pytest.raises(BackupFailed, match="session that holds the snapshot was ended"),
        exported(bed.login, deadline=10, keep_alive=keep_alive) as snapshot,
    ):
        bed.rows("SELECT pg_terminate_backend(%s)", snapshot.connection.info.backend_pid)
        if keep_alive > 1:
            snapshot.probe()
        until(lambda: bool(snapshot.lost))


def test_a_snapshot_that_is_gone_cannot_be_imported(bed: BackupBed) -> None:
    """After the block the snapshot's name means nothing."""
    with exported(bed.login, deadline=10) as snapshot:
        pass
    with (
        pytest.raises(psycopg.Error),
        imported(bed.login, snapshot.name, timeout=10),
    ):
        pass


def test_the_link_is_kept_alive(bed: BackupBed) -> None:
    """The holder speaks now and then, and reading beside that is in nobody's way."""
    with exported(bed.login, deadline=10, keep_alive=0.01) as snapshot:
        for _ in range(50):
            with snapshot.guard:
                snapshot.cursor.execute("SELECT pg_catalog.txid_current_snapshot()")
                assert snapshot.cursor.fetchone() is not None
        assert not snapshot.lost


def test_room_for_locks(bed: BackupBed) -> None:
    """What a dump locks is counted by relation; what is held elsewhere is not free."""
    with bed.session() as connection, connection.cursor() as cursor:
        before = lock_room(cursor)
        bed.run("; ".join(f"CREATE TABLE many_{each} ()" for each in range(40)))
        assert lock_room(cursor).needed == before.needed + 40
        with bed.session(autocommit=False) as other:
            other.execute(", ".join(["LOCK TABLE many_0", *(f"many_{n}" for n in range(1, 40))]))
            assert lock_room(cursor).free <= before.free - 40
