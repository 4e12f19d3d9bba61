"""The supervisor by itself, with a process that is no PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.servers import supervisor

# A kernel, or a sandbox, that has no pidfd.
WITHOUT_PIDFD = (
    "import os, runpy, sys\n"
    "if hasattr(os, 'pidfd_open'): del os.pidfd_open\n"
    "runpy.run_path(sys.argv[1], run_name='__main__')\n"
)
SLEEP = ["/bin/sleep", "600"]
# It hears nothing but SIGKILL.
DEAF = ["/bin/sh", "-c", "trap '' INT QUIT TERM; while :; do /bin/sleep 600; done"]


class Supervisor:
    """A supervisor process and what it says."""

    def __init__(self, folder: Path, argv: list[str], watched: int, *code: str) -> None:
        home = folder / "home"
        home.mkdir()
        os.mkfifo(home / "control")
        with (home / "owner").open("w") as lock:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", *code, supervisor.__file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                pass_fds=(lock.fileno(),),
                start_new_session=True,
            )
            config: dict[str, Any] = {
                "argv": argv, "env": {}, "data": str(home / "data"), "log": str(home / "log"),
                "uid": None, "gid": 0, "folders": [str(home)], "control": str(home / "control"),
                "lock": lock.fileno(), "watch_pid": watched,
                "watch_start": supervisor.start_of(watched), "end_with_stdin": False,
                "patience": (0.3, 0.3) if argv == DEAF else (30, 30),
            }  # fmt: skip
        self.home = home
        self.say(json.dumps(config))

    def say(self, words: str) -> None:
        """Tell it."""
        assert self.process.stdin is not None
        self.process.stdin.write(words.encode() + b"\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        """Return its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()


@pytest.fixture
def watched() -> Iterator[subprocess.Popen[bytes]]:
    """Return a process to watch."""
    with subprocess.Popen(SLEEP) as process:
        yield process
        process.kill()


@pytest.fixture
def supervised(
    tmp_path: Path, watched: subprocess.Popen[bytes], request: pytest.FixtureRequest
) -> Iterator[Supervisor]:
    """Return a supervisor of the process that the test's parameter names."""
    argv, *code = getattr(request, "param", (SLEEP,))
    each = Supervisor(tmp_path, argv, watched.pid, *code)
    yield each
    with contextlib.suppress(BrokenPipeError, ValueError):
        each.say("stop")
    each.process.wait()
    for stream in (each.process.stdin, each.process.stdout):
        with contextlib.suppress(BrokenPipeError):
            if stream is not None:
                stream.close()


def started(each: Supervisor) -> int:
    """Start the process; return it."""
    assert each.hear() == "up"
    each.say("start")
    word, pid = each.hear().split()
    assert word == "started"
    return int(pid)


@pytest.mark.parametrize(
    "supervised",
    [
        pytest.param((SLEEP,), id="pidfd"),
        pytest.param((SLEEP, "-c", WITHOUT_PIDFD), id="no-pidfd"),
    ],
    indirect=True,
)
def test_it_ends_with_the_process_that_it_watches(
    supervised: Supervisor, watched: subprocess.Popen[bytes]
) -> None:
    """A watched process that is killed ends all, with a pidfd and without; a zombie is dead."""
    pid = started(supervised)
    watched.kill()
    assert supervised.hear().startswith("exited")
    assert supervised.hear() == "gone"
    assert not supervised.home.exists()
    assert supervisor.start_of(pid) == ""


def test_it_reports_an_end(supervised: Supervisor) -> None:
    """When the server ends by itself that is said at once, and the folder stays for its log."""
    os.kill(started(supervised), signal.SIGKILL)
    assert supervised.hear() == "exited -9"
    assert supervised.home.exists()


@pytest.mark.parametrize("supervised", [(["/nowhere/postgres"],)], indirect=True)
def test_it_reports_what_cannot_be_started(supervised: Supervisor) -> None:
    """A program that cannot be executed is an answer, not a wait."""
    assert supervised.hear() == "up"
    supervised.say("start")
    assert supervised.hear().startswith("failed")


def test_words_may_come_together(supervised: Supervisor) -> None:
    """Words in one write are all heard, in order."""
    supervised.say("start\nkeep\nstop")
    said = [supervised.hear() for _ in range(4)]
    assert [line.split()[0] for line in said] == ["up", "started", "exited", "gone"]
    assert (supervised.home / "kept").exists()
    assert not (supervised.home / "owner").exists()


def test_signals_of_a_terminal_are_not_its_own(supervised: Supervisor) -> None:
    """SIGINT and SIGHUP do nothing to it."""
    pid = started(supervised)
    for number in (signal.SIGINT, signal.SIGHUP):
        supervised.process.send_signal(number)
    supervised.say("start")  # a second one: nothing
    assert supervisor.start_of(pid) != ""
    supervised.say("stop")
    assert supervised.hear() == "exited -2"


def test_stdin_may_close_where_another_process_is_watched(supervised: Supervisor) -> None:
    """Who is told to watch another process than its parent does not end with stdin."""
    pid = started(supervised)
    assert supervised.process.stdin is not None
    supervised.process.stdin.close()
    control = os.open(supervised.home / "control", os.O_WRONLY)
    assert supervisor.start_of(pid) != ""
    os.write(control, b"stop\n")
    os.close(control)
    assert supervised.hear() == "exited -2"
    assert supervised.hear() == "gone"


@pytest.mark.parametrize("supervised", [(DEAF,)], indirect=True)
def test_what_hears_no_signal_is_killed(supervised: Supervisor) -> None:
    """A server that neither SIGINT nor SIGQUIT ends is killed, with its children."""
    pid = started(supervised)
    while not (family := supervisor.children(pid)):
        pass
    supervised.say("stop")
    assert supervised.hear() == "exited -9"
    assert supervised.hear() == "gone"
    while any(supervisor.start_of(child) for child in family):
        pass


def test_a_maker_that_is_killed_before_it_says_anything_leaves_no_folder(tmp_path: Path) -> None:
    """Between the folder's birth and the first line nobody else knows of it."""
    folders = [tmp_path / "socket", tmp_path / "home"]
    for folder in folders:
        folder.mkdir()
        (folder / "file").touch()
    done = subprocess.run(
        [sys.executable, "-I", "-S", supervisor.__file__, *map(str, folders)],
        input=b'{"a line that is cut', stdout=subprocess.PIPE, timeout=600, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, b"")
    assert list(tmp_path.iterdir()) == []
