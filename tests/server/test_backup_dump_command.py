"""`costmgmt backup` as a process: signals, a full disk, and what it says by its status."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pytest_costmgmt.backup import archive
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.programs_serve import write_passfile
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.servers import embedded
from tests.server.backup_bed import BackupBed, Gate, until
from tests.server.mounts import within

HERE = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """A server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance, tmp_path: Path) -> Iterator[BackupBed]:
    """A database with one table of this test's own."""
    bed = BackupBed(server.superuser, tmp_path)
    bed.run("CREATE TABLE t AS SELECT g, md5(g::text) FROM generate_series(1, 1000) AS g")
    yield bed
    bed.drop()


@pytest.fixture
def gate(bed: BackupBed, tmp_path: Path) -> Gate:
    """A pg_dump that waits between the snapshot and its own locks."""
    return Gate(bed.clients, tmp_path)


RUN = """
import sys
from click.testing import CliRunner
from pytest_costmgmt import cli
sys.exit(cli.main(sys.argv[1:]))
"""


def command(bed: BackupBed, *more: str) -> tuple[list[str], dict[str, str]]:
    """Return `costmgmt backup` of the bed's database, and its environment."""
    passfile = bed.folder / "gate" / "pgpass"
    passfile.parent.mkdir(exist_ok=True)
    write_passfile(passfile, [bed.login])
    where = bed.login.where
    target = psycopg.conninfo.make_conninfo(
        "", host=where["host"], port=where["port"], user=bed.login.role, dbname=bed.login.database
    )
    argv = [sys.executable, "-c", RUN, "backup", target, f"--out={bed.out}", *more]
    # Whoever starts the tests may have ignored signals for them.
    return argv, {**os.environ, "PGPASSFILE": str(passfile), "PYTHONPATH": str(HERE)}


def default_signals() -> None:
    """Have signals count also where whoever started the tests ignores them."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else
                      signal.SIG_DFL)  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("when", ["waiting", "dumping"])
def test_signals_leave_nothing(bed: BackupBed, gate: Gate, number: int, when: str) -> None:
    """A signal ends the command and pg_dump, and neither files nor sessions are left of it."""
    argv, environ = command(bed, f"--bindir={gate.folder}")
    with bed.session(autocommit=False) as other:
        run = subprocess.Popen(
            argv, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            preexec_fn=default_signals,  # noqa: PLW1509 - no threads here
        )  # fmt: skip
        until(gate.reached)
        if when == "dumping":
            other.execute("LOCK TABLE t")
            gate.open()
            until(bed.waiting)
        run.send_signal(number)
        said, _ = run.communicate(timeout=60)
    assert run.returncode == 128 + number, said
    assert "costmgmt: interrupted" in said
    assert "Traceback" not in said
    assert bed.left() == []
    until(lambda: bed.sessions() == 0)


def test_a_killed_command_leaves_nothing_that_looks_like_a_backup(
    bed: BackupBed, gate: Gate
) -> None:
    """After SIGKILL pg_dump is gone too, and what is left is hidden, private and no backup."""
    argv, environ = command(bed, f"--bindir={gate.folder}")
    run = subprocess.Popen(argv, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(gate.reached)
    run.kill()
    run.wait()
    until(lambda: bed.sessions() == 0)
    assert not bed.out.exists()
    (left,) = bed.left()
    assert left.startswith(".backup.")
    assert left.endswith(".partial")
    assert (bed.folder / left).stat().st_mode & 0o777 == 0o700
    with pytest.raises(ValueError, match="not a backup"):
        archive.verify(bed.folder / left)


def test_a_later_backup_sweeps_what_killed_ones_left(bed: BackupBed, gate: Gate) -> None:
    """It is told and removed, but a live run's folder is not, nor what only looks like one."""
    gated, environ = command(bed, f"--bindir={gate.folder}")
    killed, alive = (
        subprocess.Popen(gated, env=environ, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(2)
    )
    try:
        until(lambda: len(bed.left()) == 2 and bed.sessions() >= 4)
        before = set(bed.left())
        killed.kill()
        killed.wait()
        others = {".backup.1a2b.partial.gz", ".backup.x.1a2b.partial", ".other.1a2b.partial"}
        for name in others:
            (bed.folder / name).mkdir()
        (bed.folder / ".backup.link.partial").symlink_to(bed.folder / ".other.1a2b.partial")
        argv, environ = command(bed)
        done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environ)
        assert done.returncode == 0, done.stderr
        assert "which a run left that was killed, is removed" in done.stderr
        assert "is left alone: a run that lives is using it" in done.stderr
        left = set(bed.left()) - {"backup", ".backup.link.partial"}
        assert others < left
        (still,) = left - others
        assert still in before
        assert alive.poll() is None
    finally:
        alive.kill()
        alive.wait()


@pytest.mark.parametrize("size", ["128k", "3m"])
def test_a_full_disk(bed: BackupBed, size: str) -> None:
    """A disk that is full while writing ends it with the reason, status 8, and nothing is left."""
    bed.run("INSERT INTO t SELECT g, repeat(md5(g::text), 40) FROM generate_series(2000, 9000) g")
    (bed.folder / "gate" / "disk").mkdir(parents=True)
    disk = str(bed.folder / "gate" / "disk")
    argv, environ = command(bed)
    argv[argv.index(f"--out={bed.out}")] = f"--out={disk}/backup"
    script = 'df -h "$0" >&2; "$@"; status=$?; ls -A "$0" | sed "s/^/left: /"; exit $status'
    done = subprocess.run(
        within(f"mount -t tmpfs -o size={size} none {disk}", ["sh", "-c", script, disk, *argv]),
        check=False, capture_output=True, text=True, env=environ,
    )  # fmt: skip
    assert done.returncode == 8, done.stdout + done.stderr
    assert "No space left on device" in done.stderr
    assert "left:" not in done.stdout


def test_a_folder_that_cannot_be_written(bed: BackupBed) -> None:
    """A backup into nowhere is told as what it is: the operator's slip."""
    argv, environ = command(bed)
    argv[argv.index(f"--out={bed.out}")] = f"--out={bed.folder}/none/backup"
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environ)
    assert done.returncode == 4
    assert "No such file or directory" in done.stderr


def test_the_command_tells_what_the_backup_holds(bed: BackupBed) -> None:
    """Status 0 comes with a backup that is whole, and says what it holds."""
    bed.run(f"CREATE UNLOGGED TABLE {ident('u u')} AS SELECT 1")
    argv, environ = command(bed)
    done = subprocess.run(argv, check=False, capture_output=True, text=True, env=environ)
    assert done.returncode == 0, done.stderr
    assert "2 relations, 1001 rows" in done.stdout
    assert "hazard: unlogged table" in done.stdout
    assert len(archive.verify(bed.out).relations) == 2
