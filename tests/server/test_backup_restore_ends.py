"""A restore that is interrupted, or loses its server or its programs, leaves nothing behind."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import psycopg
import pytest

from pytest_costmgmt.backup import site
from pytest_costmgmt.backup.leftover import claimed
from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.servers import embedded
from tests.server.restore_bed import RestoreBed
from tests.server.restore_source import Source

# Who is killed is noticed by the server while it works for them.
CONF = ("autovacuum = off", "client_connection_check_interval = 200ms")
PATIENCE = 60.0

# Roles are seen from every database: also from one that a restore is just filling.
GATE = """CREATE FUNCTION public.fine(int) RETURNS bool LANGUAGE plpgsql AS $$ BEGIN
  WHILE pg_catalog.current_database() <> {source} AND NOT EXISTS (
    SELECT FROM pg_catalog.pg_roles WHERE rolname = {opened}) LOOP
      PERFORM pg_catalog.pg_sleep(0.05);
  END LOOP; RETURN true; END $$"""


@pytest.fixture
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this test: some of them kill it."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=CONF)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> RestoreBed:
    """An owner and names of this test's own."""
    return RestoreBed(server.superuser)


@pytest.fixture
def source(bed: RestoreBed, tmp_path: Path) -> Source:
    """A backup whose restore waits in the middle, until it is let through."""
    made = Source(bed, tmp_path)
    return made.owned(
        GATE.format(source=literal(made.name), opened=literal(opened(bed))),
        "CREATE TABLE public.slow (i int CHECK (public.fine(i)))",
        "INSERT INTO public.slow VALUES (1)",
    )


def opened(bed: RestoreBed) -> str:
    """Return the role whose existence lets restores through."""
    return f"go {bed.tag}"


class Command:
    """A ``costmgmt`` process that restores, or verifies, as the bed's owner."""

    def __init__(self, source: Source, folder: Path, *words: str) -> None:
        where = source.bed.owner.where
        target = f"host={where['host']} port={where['port']} dbname=postgres"
        user = source.bed.role.replace("\\", "\\\\").replace("'", "\\'")
        self.log = folder / f"said {secrets.token_hex(3)}"
        password = folder / "password"
        password.write_text(source.bed.password.reveal())
        password.chmod(0o600)
        argv = [
            sys.executable, "-m", "pytest_costmgmt.cli", words[0], str(source.out),
            f"{target} user='{user}'", f"--password-file={password}",
            f"--bindir={source.clients.bindir}", *words[1:],
        ]  # fmt: skip
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                argv, cwd=folder, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                start_new_session=True, env=dict(_quiet(os.environ)),
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )  # fmt: skip

    @property
    def said(self) -> str:
        """What it said so far."""
        return self.log.read_text(errors="replace")

    def status(self) -> int:
        """Wait for its end."""
        return self.process.wait(PATIENCE)


def _quiet(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in environ.items():
        if not name.startswith(("PG", "COSTMGMT_")):
            yield name, value


@pytest.fixture
def start(source: Source, tmp_path: Path) -> Iterator[Callable[..., Command]]:
    """Start commands that are ended with the test."""
    started: list[Command] = []

    def begin(*words: str) -> Command:
        started.append(Command(source, tmp_path, *words))
        return started[-1]

    yield begin
    for each in started:
        each.process.kill()
        each.process.wait()


def until(said: Callable[[], object], command: Command) -> None:
    """Wait until something is so, while the command runs."""
    end = time.monotonic() + PATIENCE
    while not said():
        assert time.monotonic() < end, command.said
        assert command.process.poll() is None, command.said
        time.sleep(0.02)


def wait_for(said: Callable[[], object]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + PATIENCE
    while not said():
        assert time.monotonic() < end
        time.sleep(0.02)


def copying(bed: RestoreBed) -> list[int]:
    """Return the server's processes that are filling the slow table."""
    query = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'COPY%%slow%%' AND state = 'active'"
    return [row[0] for row in bed.rows(query)]


def programs_of(command: Command) -> list[int]:
    """Return the processes below a command."""
    parents = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - processes come and go
        if name.isdigit():
            try:
                stat = Path(f"/proc/{name}/stat").read_text(errors="replace")
            except OSError:
                continue
            parents[int(name)] = int(stat.rpartition(")")[2].split()[1])
    found = [command.process.pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return found[1:]


WORDS: dict[str, Callable[[RestoreBed], tuple[str, ...]]] = {
    "restore": lambda bed: ("restore", f"--database={bed.name}"),
    "replace": lambda bed: (
        "restore", f"--database={bed.name}", "--replace", "--accept-lost-writes",
        "--accept-disk-risk",
    ),
    "verify": lambda _: ("verify", "--accept-disk-risk"),
}  # fmt: skip


def left(bed: RestoreBed) -> list[str]:
    """Return the databases that were not there before."""
    known = {"postgres", "template0", "template1", f"{bed.name}.source", bed.name}
    return [name for (name,) in bed.rows("SELECT datname FROM pg_database") if name not in known]


@pytest.mark.parametrize(
    ("what", "number"),
    [("restore", signal.SIGINT), ("replace", signal.SIGTERM), ("verify", signal.SIGINT)],
)
def test_a_signal_ends_it_and_leaves_nothing(
    bed: RestoreBed,
    source: Source,
    start: Callable[..., Command],
    what: str,
    number: signal.Signals,
) -> None:
    """pg_restore is ended, the half-made database removed, the old one as it was."""
    source.backed_up()
    if what == "replace":
        bed.create(bed.name, "in use")
    command = start(*WORDS[what](bed))
    until(lambda: copying(bed), command)
    below = programs_of(command)
    assert below
    command.process.send_signal(number)
    assert command.status() == 128 + number, command.said
    assert "interrupted" in command.said
    assert "Traceback" not in command.said
    assert left(bed) == []
    assert not [pid for pid in below if Path(f"/proc/{pid}/cwd").exists()]
    assert bed.mark(bed.name) == ("in use" if what == "replace" else None)


@pytest.mark.parametrize("victim", ["program", "session", "server"])
def test_what_dies_under_it_ends_it(
    bed: RestoreBed, source: Source, start: Callable[..., Command], victim: str
) -> None:
    """A killed pg_restore, session or server fails the restore; nothing is left of it."""
    source.backed_up()
    bed.run("CHECKPOINT")
    command = start("restore", f"--database={bed.name}")
    until(lambda: copying(bed), command)
    if victim == "program":
        for pid in programs_of(command):
            os.kill(pid, signal.SIGKILL)
    elif victim == "session":
        bed.rows("SELECT pg_terminate_backend(%s)", copying(bed)[0])
    else:
        os.kill(copying(bed)[0], signal.SIGKILL)
    assert command.status() == 8, command.said
    assert "Traceback" not in command.said
    until_answers(bed)
    assert left(bed) == []
    assert bed.mark(bed.name) is None


def until_answers(bed: RestoreBed) -> None:
    """Wait until the server is recovered."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            connect(bed.superuser.on("postgres"), deadline=10).close()
        except psycopg.OperationalError:  # pragma: no cover - only on a slow machine
            assert time.monotonic() < end
        else:
            return


def test_an_idle_session_of_ours_that_is_ended_does_not_matter(
    bed: RestoreBed, source: Source, start: Callable[..., Command]
) -> None:
    """While pg_restore works, no session of ours waits for it: firewalls end those."""
    source.backed_up()
    command = start("restore", f"--database={bed.name}")
    until(lambda: copying(bed), command)
    ours = bed.rows(
        "SELECT application_name FROM pg_stat_activity WHERE usename = %s AND state = 'idle'"
        " AND datname = 'postgres'",
        bed.role,
    )
    assert ours == []
    # One holds a lock, in a transaction that sees nothing: that one may be ended, too.
    ended = bed.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
        " AND state = 'idle in transaction' AND datname = 'postgres'",
        bed.role,
    )
    assert ended == [(True,)]
    bed.run(f"CREATE ROLE {ident(opened(bed))}")
    assert command.status() == 0, command.said
    assert bed.mark(bed.name) == "backed up"


def test_the_lock_of_a_database_keeps_no_snapshot(bed: RestoreBed) -> None:
    """It is held for hours: vacuum goes on, also where the role's transactions are strict."""
    bed.run(f"ALTER ROLE {ident(bed.role)} SET default_transaction_isolation = 'serializable'")
    query = "SELECT state, backend_xid, backend_xmin FROM pg_stat_activity WHERE usename = %s"
    with claimed(bed.owner, bed.name):
        assert bed.rows(query, bed.role) == [("idle in transaction", None, None)]


SEEMING = ("{name}.new-unmarked", "{name}.new-", "{name}x.new-1a2b", "costmgmt_verify_1a2b")


@pytest.mark.parametrize("what", ["restore", "verify"])
def test_a_later_run_sweeps_what_a_killed_one_left(
    bed: RestoreBed, source: Source, start: Callable[..., Command], what: str
) -> None:
    """A killed run's database is told and removed; a live run's and all others are left alone."""
    source.backed_up()
    alive, killed = start(*WORDS[what](bed)), start(*WORDS[what](bed))
    until(lambda: len(copying(bed)) == 2, killed)
    both = set(left(bed))
    killed.process.kill()
    killed.process.wait()
    wait_for(lambda: len(copying(bed)) == 1)
    seeming = {name.format(name=bed.name) for name in SEEMING}
    for name in seeming:
        bed.run(f"CREATE DATABASE {ident(name)} OWNER {ident(bed.role)} TEMPLATE template0")
    later = start(*WORDS[what](bed))
    until(lambda: len(copying(bed)) == 2, later)
    assert "is left alone: it is being made" in later.said
    assert "which a run left that was killed, is removed" in later.said
    assert "does not say that it is half made" in later.said
    now = set(left(bed))
    assert seeming < now
    assert len(both & now) == 1
    assert len(now - seeming) == 2
    assert alive.process.poll() is None


def test_the_command_tells_what_it_did(
    bed: RestoreBed, source: Source, start: Callable[..., Command], tmp_path: Path
) -> None:
    """Verify, restore, refuse, replace: their statuses, the old name, fix.sql, no password."""
    source.owned("DROP TABLE public.slow")
    bed.run("CREATE EXTENSION pg_stat_statements SCHEMA public", on=source.name)
    source.backed_up(by=bed.superuser)
    said = []

    def ran(*words: str) -> int:
        command = start(*words)
        status = command.status()
        said.append(command.said)
        return status

    words = WORDS["restore"](bed)
    assert ran(*WORDS["verify"](bed)) == 8, said
    assert "Not proven by this login" in said[-1]
    assert ran(*words) == 1, said
    assert "proven equal but for" in said[-1]
    assert "CREATE EXTENSION" in (tmp_path / "fix.sql").read_text()
    assert ran(*words) == 4, said
    assert "--replace" in said[-1]
    assert ran(*WORDS["replace"](bed), "--fix=mine.sql") == 1, said
    assert "DROP DATABASE" in said[-1]
    assert (tmp_path / "mine.sql").exists()
    bed.run("DROP EXTENSION pg_stat_statements", on=source.name)
    shutil.rmtree(source.out)
    source.backed_up()
    assert ran(*WORDS["replace"](bed), "--drop-old") == 0, said
    assert ran(*WORDS["verify"](bed)) == 0, said
    assert "The scratch database is removed." in said[-1]
    assert bed.password.reveal() not in "".join(said)


def test_a_server_that_stays_away_is_told_with_what_is_left(
    bed: RestoreBed,
    server: embedded.Instance,
    source: Source,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the server does not come back, the half-made database is named, and how to remove it."""
    source.backed_up()
    monkeypatch.setattr(site, "AWAY", 1.0)

    def told(progress: Progress) -> None:
        if progress.stage == "restoring":
            server.stop()

    with pytest.raises(BackupFailed, match="half made") as caught:
        source.restored(told=told)
    assert "DROP DATABASE" in caught.value.hint
    assert f"{bed.tag}.new-" in caught.value.hint
