"""Backups of a database that does not hold still: changes, locks, timeouts, deaths.

Either there is a whole backup, or nothing of one.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup import archive, dump
from pytest_costmgmt.backup.locks import LockHeld, NoLockRoom
from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.errors import BackupFailed, CostMgmtError
from pytest_costmgmt.postgres.clients import ClientFailed
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import literal
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.server.backup_bed import BackupBed, Gate, meanwhile, until


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """A server for this module."""
    conf = ("max_prepared_transactions = 4",)
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=conf)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance, tmp_path: Path) -> Iterator[BackupBed]:
    """A database with one table of this test's own."""
    bed = BackupBed(server.superuser, tmp_path)
    bed.run("CREATE TABLE t (a int PRIMARY KEY, b text)")
    bed.run("INSERT INTO t SELECT g, md5(g::text) FROM generate_series(1, 1000) AS g")
    yield bed
    bed.drop()


@pytest.fixture
def gate(bed: BackupBed, tmp_path: Path) -> Gate:
    """A pg_dump that waits between the snapshot and its own locks."""
    return Gate(bed.clients, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE t",
        "ALTER TABLE t ALTER a TYPE bigint",
        "VACUUM FULL t",
        "CLUSTER t USING t_pkey",
    ],
)
def test_a_rewrite_before_the_locks_begins_anew(bed: BackupBed, gate: Gate, change: str) -> None:
    """What empties or rewrites a table between snapshot and locks is noticed, and dumped anew."""

    def act() -> None:
        bed.run(change)
        gate.open()

    meanwhile((gate.reached, act))
    made = bed.backup(clients=gate.clients)
    assert len(bed.anew) == 1
    assert "public.t was truncated, rewritten or dropped" in bed.anew[0]
    assert [each.rows for each in made.relations] == [0 if change == "TRUNCATE t" else 1000]
    assert archive.verify(bed.out, clients=bed.clients) == made


@pytest.mark.parametrize(
    ("change", "left"),
    [
        pytest.param("DROP TABLE t", [], id="dropped"),
        pytest.param("DROP TABLE t; CREATE TABLE t (a int)", [0], id="made-again"),
        pytest.param("ALTER TABLE t DROP COLUMN b", [1000], id="column-dropped"),
        pytest.param("ALTER TABLE t RENAME TO u", [1000], id="renamed"),
    ],
)
def test_other_changes_before_the_locks(
    bed: BackupBed, gate: Gate, change: str, left: list[int]
) -> None:
    """Where pg_dump stumbles over a change, it is begun anew."""

    def act() -> None:
        bed.run(change)
        gate.open()

    meanwhile((gate.reached, act))
    made = bed.backup(clients=gate.clients)
    assert len(bed.anew) == 1
    assert "public.t was" in bed.anew[0]
    assert [each.rows for each in made.relations] == left
    assert archive.verify(bed.out, clients=bed.clients) == made


def test_a_refreshed_materialized_view_begins_anew(bed: BackupBed, gate: Gate) -> None:
    """A refresh empties what the snapshot sees of a materialized view: it is hashed anew."""
    bed.run("CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t")

    def act() -> None:
        bed.run("REFRESH MATERIALIZED VIEW m")
        gate.open()

    meanwhile((gate.reached, act))
    made = bed.backup(clients=gate.clients)
    assert "public.m" in bed.anew[0]
    assert {each.name: each.rows for each in made.relations} == {"t": 1000, "m": 1}


def test_new_tables_and_temporary_ones_change_nothing(bed: BackupBed, gate: Gate) -> None:
    """What others create meanwhile, here or for themselves alone, is none of the snapshot's."""

    def act() -> None:
        bed.run(
            "CREATE TABLE later AS SELECT 1",
            "CREATE TEMPORARY TABLE x AS SELECT 1; TRUNCATE x; ANALYZE; CREATE INDEX ON t (b)",
        )
        gate.open()

    meanwhile((gate.reached, act))
    made = bed.backup(clients=gate.clients)
    assert bed.anew == []
    assert [each.name for each in made.relations] == ["t"]


def test_a_database_that_never_holds_still_is_given_up(bed: BackupBed, gate: Gate) -> None:
    """A table that is rewritten each time ends the backup, named, after a few attempts."""

    def act() -> None:
        bed.run("VACUUM FULL t")
        gate.open()

    def shut(news: Progress) -> None:
        bed.told.append(news)
        if news.stage == "beginning anew":
            gate.shut()

    meanwhile(*[(gate.reached_anew, act)] * dump.ATTEMPTS)
    with pytest.raises(BackupFailed, match=rf"each of {dump.ATTEMPTS} times; last: public.t was"):
        bed.backup(clients=gate.clients, told=shut)
    assert bed.left() == []


def test_a_truncate_that_waits_for_the_dump(bed: BackupBed) -> None:
    """Somebody in the queue for a lock of ours makes no backup of an empty table."""
    bed.run("INSERT INTO t SELECT g, repeat(md5(g::text), 99) FROM generate_series(2000, 9000) g")
    threads: list[threading.Thread] = []

    def truncate(news: Progress) -> None:
        bed.told.append(news)
        if not threads:
            threads.append(threading.Thread(target=bed.run, args=("TRUNCATE t",)))
            threads[0].start()

    made = bed.backup(told=truncate)
    threads[0].join()
    data = max((bed.out / "archive").glob("*.dat"), key=lambda path: path.stat().st_size)
    assert [each.rows for each in made.relations] in ([8001], [0])
    assert (data.stat().st_size > 100_000) == (made.relations[0].rows > 0) or (
        data.name == "toc.dat"
    )
    assert archive.verify(bed.out, clients=bed.clients) == made


def test_a_lock_of_others_ends_by_its_deadline_and_names_the_holder(bed: BackupBed) -> None:
    """Who holds the lock is told: process, role, application, state; nothing is left."""
    with bed.session(autocommit=False) as other:
        other.execute("SET application_name = 'nightly vacuum'; LOCK TABLE t")
        pid = other.info.backend_pid
        with pytest.raises(LockHeld) as caught:
            bed.backup(lock_timeout=1)
    assert "public.t" in str(caught.value)
    assert f"process {pid}" in str(caught.value)
    assert "application 'nightly vacuum', idle in transaction" in str(caught.value)
    assert bed.left() == []
    until(lambda: bed.sessions() == 0)


def test_a_lock_taken_after_the_snapshot(bed: BackupBed, gate: Gate) -> None:
    """A lock that only pg_dump meets is told the same way."""
    with bed.session(autocommit=False) as other:

        def act() -> None:
            other.execute("LOCK TABLE t")
            gate.open()

        meanwhile((gate.reached, act))
        with pytest.raises(LockHeld, match=f"public.t.*process {other.info.backend_pid}"):
            bed.backup(clients=gate.clients, lock_timeout=1)
    assert bed.left() == []


def test_a_prepared_transaction_holds_the_lock(bed: BackupBed) -> None:
    """A transaction that nobody is in is named by what it was prepared as."""
    name = f"it's {secrets.token_hex(3)}"
    bed.run(f"BEGIN; LOCK TABLE t; PREPARE TRANSACTION {literal(name)}")
    try:
        with pytest.raises(LockHeld, match="prepared transaction"):
            bed.backup(lock_timeout=1)
    finally:
        bed.run(f"ROLLBACK PREPARED {literal(name)}")


def test_a_lock_that_is_given_up_in_time(bed: BackupBed) -> None:
    """A lock that ends before the deadline is waited for."""
    with bed.session(autocommit=False) as other:
        other.execute("LOCK TABLE t")
        meanwhile((bed.waiting, other.rollback))
        made = bed.backup()
    assert [each.rows for each in made.relations] == [1000]


def test_timeouts_of_the_role_do_not_end_it(bed: BackupBed, gate: Gate) -> None:
    """Statement, lock and idle timeouts that a role has for its own good do not hold here."""
    role, password = f"hasty_{secrets.token_hex(3)}", Secret.generate()
    bed.run(f"CREATE ROLE {role} LOGIN SUPERUSER PASSWORD {literal(password.reveal())}")
    limits = ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"]
    if bed.rows("SELECT 1 FROM pg_settings WHERE name = 'transaction_timeout'"):
        limits.append("transaction_timeout")
    bed.run(*(f"ALTER ROLE {role} SET {limit} = '100ms'" for limit in limits))
    login = bed.login.acting_as(role, password, database=bed.login.database)
    meanwhile((gate.reached, lambda: bed.run("SELECT pg_sleep(0.5)")), (lambda: True, gate.open))
    try:
        made = bed.backup(login=login, clients=gate.clients)
    finally:
        bed.run(f"DROP ROLE {role}")
    assert [each.rows for each in made.relations] == [1000]


def test_the_deadline(bed: BackupBed, gate: Gate) -> None:
    """A backup that takes too long ends, and leaves neither files nor sessions."""
    with pytest.raises(BackupFailed, match=r"deadline|did not end within"):
        bed.backup(clients=gate.clients, deadline=2)
    assert bed.left() == []
    until(lambda: bed.sessions() == 0)


def test_told_to_stop(bed: BackupBed, gate: Gate) -> None:
    """Who may not interrupt it may tell it to stop."""
    with pytest.raises(BackupFailed, match="told to stop"):
        bed.backup(clients=gate.clients, stop=gate.reached)
    assert bed.left() == []
    until(lambda: bed.sessions() == 0)


# The first of those that read is the one whose snapshot the others took.
EXPORTER = """pid = (SELECT s.pid FROM pg_stat_activity AS s WHERE s.datname = current_database()
  AND starts_with(s.application_name, 'pytest-costmgmt read ') ORDER BY s.backend_start LIMIT 1)"""


def ended(bed: BackupBed, which: str) -> None:
    """End sessions of this database as an administrator would."""
    bed.rows(
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {which}"  # noqa: S608 - ours
        " AND pid <> pg_backend_pid() AND datname = current_database()"
    )


@pytest.mark.parametrize(
    ("which", "told"),
    [
        pytest.param(EXPORTER, "session that holds the snapshot was ended", id="the-exporter"),
        pytest.param("true", "terminating connection|was ended|server closed", id="every-one"),
    ],
)
def test_sessions_that_are_ended(bed: BackupBed, gate: Gate, which: str, told: str) -> None:
    """Without the session that holds the snapshot there is no backup."""

    def act() -> None:
        ended(bed, which)
        gate.open()

    meanwhile((gate.reached, act))
    with pytest.raises(BackupFailed, match=told):
        bed.backup(clients=gate.clients)
    assert bed.left() == []


def test_pg_dump_that_is_killed(bed: BackupBed, gate: Gate) -> None:
    """A pg_dump that dies leaves no backup, and it is told how it died."""

    def kill() -> None:
        done = subprocess.run(["pgrep", "-f", str(gate.folder)], check=False, capture_output=True)
        for pid in done.stdout.split():
            if b"python" not in Path(f"/proc/{int(pid)}/cmdline").read_bytes():
                os.kill(int(pid), signal.SIGKILL)

    meanwhile((gate.reached, kill))
    with pytest.raises(ClientFailed, match="signal 9"):
        bed.backup(clients=gate.clients)
    assert bed.left() == []


def test_a_server_that_is_killed(programs: Programs, tmp_path: Path) -> None:
    """A server that dies under the dump ends it, with the reason, and nothing is left."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    try:
        bed = BackupBed(instance.superuser, tmp_path)
        gate = Gate(bed.clients, tmp_path)
        pid = int((instance.data / "postmaster.pid").read_text().split()[0])

        def kill() -> None:
            bed.run("SELECT 1")
            os.kill(pid, signal.SIGQUIT)
            gate.open()

        meanwhile((gate.reached, kill))
        with pytest.raises(CostMgmtError, match=r"terminating|closed|refused|No such file"):
            bed.backup(clients=gate.clients)
        assert bed.left() == []
    finally:
        instance.stop()


def test_a_server_without_room_for_locks(programs: Programs, tmp_path: Path) -> None:
    """A dump that would use up the lock table of every database is refused before it starts."""
    conf = ("max_locks_per_transaction = 10", "max_connections = 10", "max_wal_senders = 0",
            "max_worker_processes = 1", "autovacuum_max_workers = 1")  # fmt: skip
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=conf)
    try:
        bed = BackupBed(instance.superuser, tmp_path)
        for first in range(0, 120, 4):
            bed.run("; ".join(f"CREATE TABLE t{n} ()" for n in range(first, first + 4)))
        with pytest.raises(NoLockRoom, match=r"hold 120 locks at once, more than half") as caught:
            bed.backup()
        assert caught.value.room.needed == 120
        assert bed.left() == []
        bed.run("; ".join(f"DROP TABLE t{n}" for n in range(60)))
        bed.run("; ".join(f"DROP TABLE t{n}" for n in range(60, 100)))
        assert len(bed.backup().relations) == 20
    finally:
        instance.stop()
