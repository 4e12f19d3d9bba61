"""Runs that are interrupted in each phase: nothing of them is left, and nothing looks green."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Iterator

import pytest

from pytest_costmgmt.resources import resource
from tests.server.run_support import Place, Ran, Running, place

# The application's command: it does nothing, or what the example does, and hangs at one call of
# one kind, with a child.
MANAGE = """
import os, pathlib, subprocess, sys, time
kind, count, place = sys.argv[1], int(sys.argv[2]), pathlib.Path(sys.argv[3])
asked = "migrate" if sys.argv[4] == "migrate" else "other"
if asked == {"again": "migrate"}.get(kind, kind):
    place.mkdir(exist_ok=True)
    (place / str(os.getpid())).touch()
    if len(list(place.iterdir())) == count:
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        (place.parent / "reached").touch()
        time.sleep(600)
if kind == "again":
    os.execv(sys.executable, [sys.executable, EXAMPLE, *sys.argv[4:]])
"""

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


@pytest.fixture
def where() -> Iterator[Place]:
    """A place for a test's runs."""
    with place() as made:
        yield made


def hanging(where: Place, kind: str, count: int) -> str:
    """Return the option for a command that hangs at its ``count``-th call of ``kind``."""
    example = str(resource("examples/django-project") / "manage.py")
    script = where.script("manage.py", MANAGE.replace("EXAMPLE", repr(example)))
    words = [sys.executable, str(script), kind, str(count), str(where.here / "calls")]
    return f"--costmgmt-manage={shlex.join(words)}"


def starting(where: Place, *more: str) -> Running:
    """Start a run and stop where its server is about to start."""
    run = where.start("--costmgmt", hanging(where, "none", 0), *more)
    run.until_server()
    return run


def initializing(where: Place, *more: str) -> Running:
    """Start a run and stop where its server answers."""
    run = where.start("--costmgmt", hanging(where, "none", 0), *more)
    run.until_said(" started in ")
    return run


def hung(where: Place, kind: str, count: int, *more: str) -> Running:
    """Start a run and stop where the application's command hangs."""
    run = where.start("--costmgmt", hanging(where, kind, count), *more)
    run.until_there(where.here / "reached")
    return run


def migrating(where: Place, *more: str) -> Running:
    """Stop in the migrations."""
    return hung(where, "migrate", 1, *more)


def reading(where: Place, *more: str) -> Running:
    """Stop while facts are read."""
    return hung(where, "other", 1, *more)


def checking(where: Place, *more: str) -> Running:
    """Stop in a check, which migrates again."""
    return hung(where, "again", 2, *more)


PHASES = {
    "server-starting": starting,
    "initialize": initializing,
    "migrate": migrating,
    "facts": reading,
    "checks": checking,
}


def nothing_green(ran: Ran) -> None:
    """Whatever was left unsaid, the report says inconclusive."""
    assert ran.status != 0, ran.said
    assert ran.report["verdict"] == "inconclusive"
    assert (ran.folder / "report.json").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c(where: Place, phase: str) -> None:
    """SIGINT ends a run in every phase with pytest's own status 2, a verdict and nothing left."""
    run = PHASES[phase](where)
    ran = run.end_and_nothing_left(INT)
    nothing_green(ran)
    ran.sound(2, "inconclusive")
    assert "KeyboardInterrupt" in str(ran.report["reasons"])


# In the checks: test_with_workers, which takes longer.
@pytest.mark.parametrize("number", [TERM, KILL])
@pytest.mark.parametrize("phase", [phase for phase in PHASES if phase != "checks"])
def test_killed(where: Place, phase: str, number: int) -> None:
    """SIGTERM and SIGKILL, of which a run says nothing more, leave nothing in every phase."""
    run = PHASES[phase](where)
    ran = run.end_and_nothing_left(number)
    nothing_green(ran)
    assert ran.status == -number


def test_ctrl_c_in_the_tenants(where: Place) -> None:
    """The example's second command is ended too."""
    run = where.start("--costmgmt")
    run.until_said(" migrations applied in ")
    run.end_and_nothing_left(INT).sound(2, "inconclusive")


@pytest.mark.parametrize("number", [INT, TERM, KILL])
def test_with_workers(where: Place, number: int) -> None:
    """With xdist a check that hangs in a worker ends with the controller, as does the worker."""
    pytest.importorskip("xdist")
    run = checking(where, "-n2")
    assert run.workers()
    ran = run.end_and_nothing_left(number)
    nothing_green(ran)
    if number == INT:
        ran.sound(2, "inconclusive")


def test_a_killed_worker(where: Place) -> None:
    """A worker that is killed in a check leaves neither its command nor a pass behind."""
    pytest.importorskip("xdist")
    run = checking(where, "-n2").note()
    stuck = {pid for pid in run.seen if b"time.sleep(600)" in run.command(pid)}
    for pid in run.workers():
        if stuck & set(run.below(pid)):
            os.kill(pid, KILL)
    ran = run.finished()
    run.until_nothing_left()
    ran.sound(8, "inconclusive")
    assert "a worker crashed" in str(ran.report["reasons"])
