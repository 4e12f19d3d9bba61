"""The swap: the restored database gets the name, or all is as it was and admits."""

from __future__ import annotations

import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest

from pytest_costmgmt.backup import occupied, scratch, swap
from pytest_costmgmt.backup.swap import NotSwapped, Plan
from pytest_costmgmt.errors import BackupFailed, ConnectFailed
from pytest_costmgmt.postgres import statements
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.servers import embedded
from tests.server.restore_bed import RestoreBed

CONF = ("wal_level = logical", "max_prepared_transactions = 4", "autovacuum = off")
AS_BEFORE = {"name": "old", "new": "new", "kept": None}
SWAPPED = {"name": "new", "new": None, "kept": "old"}


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=CONF)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> Iterator[RestoreBed]:
    """An owner and names of this test's own."""
    made = RestoreBed(server.superuser)
    yield made
    made.close()


def quiet(_: str) -> None:
    """Hear what the swap says."""


def done(bed: RestoreBed, plan: Plan, **given: Any) -> swap.Swapped:
    """Swap as the owner, who is no superuser."""
    return swap.swap(bed.owner, plan, told=quiet, **given)


def refused(bed: RestoreBed, plan: Plan, **given: Any) -> str:
    """Swap, which is refused; return the words."""
    with pytest.raises(NotSwapped) as caught:
        done(bed, plan, **given)
    return str(caught.value)


def test_the_owner_swaps_and_both_admit(bed: RestoreBed) -> None:
    """An owner with CREATEDB gives the name to the new one; the old one is kept and can be read."""
    plan = bed.plan()
    assert done(bed, plan).ended == 0
    assert bed.marks() == SWAPPED
    found = bed.look(bed.name)
    assert found is not None
    assert found.oid == plan.oid


def test_a_name_that_nobody_has_is_given(bed: RestoreBed) -> None:
    """Without an old database the new one is renamed, with its connection limit."""
    bed.create(bed.new, "new")
    new = bed.look(bed.new)
    assert new is not None
    done(bed, Plan(new=bed.new, oid=new.oid, name=bed.name, limit=7))
    assert bed.marks() == {"name": "new", "new": None, "kept": None}
    assert bed.rows("SELECT datconnlimit FROM pg_database WHERE datname = %s", bed.name) == [(7,)]


def test_the_old_one_is_closed_if_it_is_to_be_dropped(bed: RestoreBed) -> None:
    """With the rename the old database is closed, so that its drop meets nobody."""
    done(bed, bed.plan(close_old=True))
    with pytest.raises(ConnectFailed):
        bed.mark(bed.kept)
    assert bed.mark(bed.name) == "new"


def test_sessions_of_others_are_named_and_left_alone(bed: RestoreBed) -> None:
    """Without --disconnect a session in the old database stops the swap, and goes on."""
    plan = bed.plan()
    with closing(connect(bed.owner.on(bed.name), deadline=10, application_name="the app")) as app:
        assert "the app" in refused(bed, plan)
        assert app.execute("SELECT mark FROM public.mark").fetchone() == ("old",)
    assert bed.marks() == AS_BEFORE


def test_sessions_are_ended_on_the_word(bed: RestoreBed) -> None:
    """With --disconnect the sessions are ended, and the next connection is to the new one."""
    plan = bed.plan(disconnect=True)
    apps = [connect(bed.owner.on(bed.name), deadline=10) for _ in range(3)]
    assert done(bed, plan).ended >= 3
    for app in apps:
        with pytest.raises(psycopg.OperationalError):
            app.execute("SELECT 1")
        app.close()
    assert bed.marks() == SWAPPED


def test_an_application_that_comes_back_at_once_does_not_stop_it(bed: RestoreBed) -> None:
    """Reconnecting pools lose their sessions until the name is the new one's; none is refused it.

    What they read is never half of either.
    """
    plan = bed.plan(disconnect=True)
    over = threading.Event()
    read: list[str] = []

    def application() -> None:
        while not over.is_set():
            try:
                with closing(connect(bed.owner.on(bed.name), deadline=10)) as app:
                    for _ in range(50):
                        found = app.execute("SELECT mark FROM public.mark").fetchone()
                        assert found is not None
                        read.append(found[0])
            except (psycopg.OperationalError, ConnectFailed):
                continue

    pool = [threading.Thread(target=application) for _ in range(3)]
    for each in pool:
        each.start()
    try:
        until(lambda: "old" in read)
        done(bed, plan)
        until(lambda: "new" in read)
    finally:
        over.set()
        for each in pool:
            each.join()
    assert set(read) == {"old", "new"}
    assert bed.marks() == SWAPPED


def until(said: Callable[[], object], *, patience: float = 30) -> None:
    """Wait until something is so."""
    end = time.monotonic() + patience
    while not said():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_session_of_a_stranger_cannot_be_ended(bed: RestoreBed) -> None:
    """A superuser's session stops an owner's swap, also with --disconnect, and is told."""
    plan = bed.plan(disconnect=True)
    with closing(connect(bed.superuser.on(bed.name), deadline=10)) as stranger:
        assert "may not end sessions" in refused(bed, plan)
        assert stranger.execute("SELECT 1").fetchone() == (1,)
    assert bed.marks() == AS_BEFORE


def test_a_restored_database_may_have_no_guests(bed: RestoreBed) -> None:
    """Somebody in the new database, where nobody has a say, is sent away."""
    plan = bed.plan()
    with closing(connect(bed.owner.on(bed.new), deadline=10)):
        assert done(bed, plan).ended == 1
    assert bed.marks() == SWAPPED


@pytest.mark.parametrize("what", ["prepared", "slot", "subscription"])
def test_what_hangs_on_the_old_one_stops_it(bed: RestoreBed, what: str) -> None:
    """Prepared transactions, replication slots and subscriptions are named, whoever asks."""
    plan = bed.plan()
    name = f"{what} {bed.tag}"
    subscribe = (
        f"CREATE SUBSCRIPTION {ident(name)} CONNECTION 'dbname=none' PUBLICATION p"
        " WITH (connect = false, slot_name = 'theirs')"
    )
    done_to_it = {
        "prepared": ["BEGIN", "SELECT 1", f"PREPARE TRANSACTION {literal(name)}"],
        "slot": [f"SELECT pg_create_logical_replication_slot('s_{bed.tag}', 'pgoutput')"],
        "subscription": [subscribe],
    }
    bed.run(*done_to_it[what], on=bed.name)
    said = refused(bed, plan)
    assert (f"s_{bed.tag}" if what == "slot" else name) in said
    assert bed.marks() == AS_BEFORE
    if what == "subscription":
        scratch.remove(bed.superuser.on("postgres"), bed.name)


@pytest.mark.parametrize(
    ("take", "words"),
    [
        pytest.param("ALTER ROLE {role} NOCREATEDB", "permission denied", id="createdb"),
        pytest.param("ALTER DATABASE {name} OWNER TO postgres", "owner", id="ownership"),
        pytest.param("ALTER DATABASE {new} OWNER TO postgres", "owner", id="new-ones-ownership"),
        pytest.param("DROP DATABASE {new}", "does not exist", id="new-one-gone"),
        pytest.param("CREATE DATABASE {kept}", "exists", id="kept-name-taken"),
    ],
)
def test_a_right_that_is_gone_at_the_swap_leaves_all_as_it_was(
    bed: RestoreBed, take: str, words: str
) -> None:
    """Whichever statement is refused, the old database has its name and admits."""
    plan = bed.plan()
    names = {"role": bed.role, "name": bed.name, "new": bed.new, "kept": bed.kept}
    superuser = bed.superuser.role
    bed.run(
        take.replace("postgres", ident(superuser)).format(**{k: ident(v) for k, v in names.items()})
    )
    assert words in refused(bed, plan)
    bed.run(f"GRANT CONNECT ON DATABASE {ident(bed.name)} TO PUBLIC")
    assert bed.mark(bed.name) == "old"


def test_another_database_under_the_name_is_not_replaced(bed: RestoreBed) -> None:
    """If the name changed hands while the restore ran, it is left to whom it belongs now."""
    plan = bed.plan()
    bed.run(f"ALTER DATABASE {ident(bed.name)} RENAME TO {ident(bed.name + 'x')}")
    bed.create(bed.name, "another")
    assert "is not the one" in refused(bed, plan)
    assert bed.mark(bed.name) == "another"


STEPS = ["_look", "_first", "_rest", "_same"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("victim", ["ours", "all"])
def test_a_killed_session_leaves_all_as_it_was(
    bed: RestoreBed, monkeypatch: pytest.MonkeyPatch, step: str, victim: str
) -> None:
    """Before each step our sessions are ended by an administrator: nothing is changed."""
    plan = bed.plan()
    before(monkeypatch, step, lambda attempt: kill(bed, attempt if victim == "ours" else None))
    assert "was not replaced" in refused(bed, plan)
    assert bed.marks() == AS_BEFORE


def before(monkeypatch: pytest.MonkeyPatch, step: str, act: Callable[[swap.Attempt], None]) -> None:
    """Have something happen right before a step of the swap."""
    real = getattr(swap.Attempt, step)

    def first(self: swap.Attempt, *given: Any) -> Any:
        act(self)
        return real(self, *given)

    monkeypatch.setattr(swap.Attempt, step, first)


def kill(bed: RestoreBed, attempt: swap.Attempt | None) -> None:
    """End the session that renames, or all of the owner's; wait until they are gone."""
    query = "FROM pg_stat_activity WHERE usename = %s AND %s IN (pid, 0)"
    pid = attempt.backend[0] if attempt is not None and attempt.backend else 0
    bed.rows(f"SELECT pg_terminate_backend(pid) {query}", bed.role, pid)
    until(lambda: not bed.rows(f"SELECT 1 {query}", bed.role, pid))


def test_a_commit_whose_answer_is_lost_is_found_out(
    bed: RestoreBed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the session breaks after the commit, the swap is known to have happened."""
    plan = bed.plan()
    real = statements.run

    def run(connection: Any, wanted: Any) -> None:
        real(connection, wanted)
        if [each.sql for each in wanted] == ["COMMIT"]:
            raise statements.StatementFailed("COMMIT", "the connection was lost", sqlstate=None)

    monkeypatch.setattr(swap, "run", run)
    done(bed, plan)
    assert bed.marks() == SWAPPED


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupt_leaves_all_as_it_was(
    bed: RestoreBed, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Ctrl-C before any step: the server gives the transaction up before we go."""
    plan = bed.plan()
    before(monkeypatch, step, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        done(bed, plan)
    assert bed.marks() == AS_BEFORE


def test_an_interrupt_while_it_waits_for_a_session(bed: RestoreBed) -> None:
    """Ctrl-C while a stubborn guest is waited for: new connections are let in again at once."""
    plan = bed.plan()
    with closing(connect(bed.superuser.on(bed.new), deadline=10)):
        timer = threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            done(bed, plan)
    assert bed.marks() == AS_BEFORE


@pytest.mark.parametrize("committed", [False, True])
def test_a_killed_server_has_done_all_or_nothing(
    programs: Programs, monkeypatch: pytest.MonkeyPatch, committed: bool
) -> None:
    """A server that crashes at the swap comes back with the one or the other, and admits."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=CONF)
    try:
        bed = RestoreBed(instance.superuser)
        plan = bed.plan()
        # The tests' server commits without waiting for its log: what was made stands first.
        bed.run("CHECKPOINT")
        crash = crasher(bed)
        if committed:
            real = statements.run

            def run(connection: Any, wanted: Any) -> None:
                real(connection, wanted)
                if [each.sql for each in wanted] == ["COMMIT"]:
                    crash()
                    real(connection, wanted)

            monkeypatch.setattr(swap, "run", run)
            done(bed, plan)
            assert bed.marks() == SWAPPED
        else:
            before(monkeypatch, "_rest", lambda _: crash())
            assert "was not replaced" in refused(bed, plan)
            assert bed.marks() == AS_BEFORE
    finally:
        instance.stop()


def crasher(bed: RestoreBed) -> Callable[[], None]:
    """Return what kills a process of the server, so that all of it starts again from its log."""
    superuser = bed.superuser.on("postgres")

    def crash() -> None:
        with (
            closing(connect(superuser, deadline=10)) as witness,
            closing(connect(superuser, deadline=10)) as killed,
        ):
            os.kill(killed.info.backend_pid, signal.SIGKILL)
            # The witness is ended by the server, which by then knows what happened.
            with pytest.raises(psycopg.OperationalError):
                witness.execute("SELECT pg_sleep(60)")

    return crash


def test_a_server_that_stays_away_is_told(bed: RestoreBed, monkeypatch: pytest.MonkeyPatch) -> None:
    """If nobody can be asked whether it happened, that is said, with how to find out."""
    plan = bed.plan()

    def gone(*_: object, **__: object) -> Any:
        raise ConnectFailed("nothing listens there", sqlstate=None)

    def away(_: swap.Attempt) -> None:
        kill(bed, None)
        monkeypatch.setattr(swap, "connect", gone)
        monkeypatch.setattr(swap, "reconnect", gone)

    before(monkeypatch, "_rest", away)
    with pytest.raises(BackupFailed, match=f"oid {plan.oid}") as caught:
        done(bed, plan)
    assert not isinstance(caught.value, NotSwapped)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param("ALTER ROLE {role} NOCREATEDB", "lacks CREATEDB", id="createdb"),
        pytest.param("ALTER DATABASE {name} OWNER TO {super}", "belongs to role", id="owner"),
    ],
)
def test_obstacles_are_seen_before_it_begins(bed: RestoreBed, change: str, words: str) -> None:
    """What the login may not do is known from the catalogs, with the statement that ends it."""
    bed.create(bed.name, "old")
    bed.run(
        change.format(role=ident(bed.role), name=ident(bed.name), super=ident(bed.superuser.role))
    )
    with closing(connect(bed.owner, deadline=10)) as connection:
        found, login = occupied.existing(connection, bed.name), occupied.powers(connection)
    assert found is not None
    said = occupied.obstacles(found, login, disconnect=False)
    assert [words in each for each in said] == [True]


def test_names_that_are_too_long_still_carry_the_run(server: embedded.Instance) -> None:
    """A derived name fits into 63 bytes, whole characters, with the run's id at its end."""
    name = scratch.derived("ü" * 31 + "x", "new", "0123abcd")
    assert len(name.encode()) <= 63
    assert name.endswith(".new-0123abcd")
    with closing(connect(server.superuser.on("postgres"), deadline=10)) as connection:
        found = connection.execute("SELECT %s::name::text", [name]).fetchone()
    assert found == (name,)


def test_a_database_with_a_restored_subscription_is_removed(bed: RestoreBed) -> None:
    """Removal frees the subscription without touching the slot on its publisher."""
    bed.create(bed.new, "new")
    slot = f"theirs_{bed.tag}"
    bed.create(bed.name, "publisher")
    bed.run(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')", on=bed.name)
    where = bed.superuser.where
    conninfo = f"host={where['host']} port={where['port']} user=nobody dbname=postgres"
    bed.run(
        f'CREATE SUBSCRIPTION "s\'" CONNECTION {literal(conninfo)} PUBLICATION p'
        f" WITH (connect = false, slot_name = '{slot}')",
        on=bed.new,
    )
    scratch.remove(bed.superuser.on("postgres"), bed.new)
    assert bed.new not in bed.databases()
    assert bed.rows("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", slot) == [(1,)]
