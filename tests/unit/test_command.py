"""Programs of others: output, deadline, signals; and that nothing is left of them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres import command
from pytest_costmgmt.secret import Secret

PATH = os.environ.get("PATH", "/usr/bin:/bin")


def python(code: str) -> list[str]:
    """Return a command that runs ``code``."""
    return [sys.executable, "-c", code]


def run(argv: list[str], *, deadline: float = 30, log: Path | None = None) -> command.Ended:
    """Run a command in a small environment."""
    return command.run(
        argv, lambda: {"PATH": PATH}, deadline=deadline, heard=lambda _: None, log=log
    )


def alive(pid: int) -> bool:
    """Say whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int) -> bool:
    """Wait until a process is gone."""
    return until(lambda: not alive(pid))


def until(true: Callable[[], bool]) -> bool:
    """Wait up to a minute until something is true."""
    end = time.monotonic() + 60
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def test_both_streams_are_kept_and_passed_on_live() -> None:
    """What it says on either stream is heard while it runs, and its status is returned."""
    heard: list[str] = []
    code = "import sys; print('one', flush=True); print('two', file=sys.stderr); sys.exit(3)"
    ended = command.run(python(code), dict, deadline=30, heard=heard.append)
    assert (ended.status, ended.tail) == (3, ("one", "two"))
    assert "one" in heard


def test_a_line_is_heard_before_it_ends() -> None:
    """Progress without a newline is heard at once, as Django's `Applying x...` needs it."""
    heard: list[str] = []
    code = "import sys, time; sys.stdout.write('half'); sys.stdout.flush(); time.sleep(60)"
    with pytest.raises(_Stop):
        command.run(python(code), dict, deadline=60, heard=_stopping_at("half", heard))
    assert heard[-1] == "half"


class _Stop(Exception):
    """What a test raises out of a callback."""


def _stopping_at(word: str, heard: list[str]) -> Callable[[str], None]:
    def hear(text: str) -> None:
        heard.append(text)
        if text == word:
            raise _Stop

    return hear


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        pytest.param(["/no/such/command", "x"], "does not exist", id="missing"),
        pytest.param(["no-such-command-anywhere"], "does not exist", id="not-in-path"),
        pytest.param([], "is empty", id="empty"),
        pytest.param([__file__], "is not executable", id="no-program"),
    ],
)
def test_a_command_that_cannot_be_started(argv: list[str], told: str) -> None:
    """What cannot be started is the operator's slip, told before anything runs."""
    with pytest.raises(UsageProblem, match=told):
        run(argv)


def test_a_script_without_an_interpreter_is_an_error(tmp_path: Path) -> None:
    """An executable file that is no program ends with a status, and does not hang."""
    script = tmp_path / "manage"
    script.write_bytes(b"\x7fELF nonsense")
    script.chmod(0o755)
    assert run([str(script)]).status not in {0, None}


def test_binary_output_is_kept_readable(tmp_path: Path) -> None:
    """Bytes that are no text neither break the reader nor reach a terminal raw."""
    code = "import os; os.write(1, bytes(range(256)) * 3); os.write(2, b'\\x1b[2J')"
    ended = run(python(code), log=tmp_path / "log")
    assert ended.status == 0
    assert all(c.isprintable() or c == "\t" for line in ended.tail for c in line)
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_endless_output_without_a_newline_ends_at_the_deadline(tmp_path: Path) -> None:
    """A flood of bytes neither fills the memory nor outruns the deadline."""
    flood = ["/bin/sh", "-c", "exec tr '\\0' x </dev/zero"]
    ended = run(flood, deadline=1, log=tmp_path / "log")
    assert ended.status is None
    assert len(ended.tail) <= command.TAIL_LINES
    assert (tmp_path / "log").stat().st_size <= command.LOG_LIMIT + 2 * command.LONGEST_LINE


def test_a_password_in_its_output_is_masked(tmp_path: Path) -> None:
    """What the command prints of our passwords stays out of the tail and the log."""
    secret = Secret("a-password-that-it-prints")
    ended = run(python("print('pw', 'a-password-' + 'that-it-prints')"), log=tmp_path / "log")
    assert secret
    assert ended.tail == ("pw ********",)
    assert (tmp_path / "log").read_text() == "pw ********\n"


def test_a_hanging_command_ends_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the deadline a command that ignores INT and TERM is gone, and its child with it."""
    monkeypatch.setattr(command.end, "__kwdefaults__", {"patience": 0.5})
    pids = tmp_path / "pids"
    # A shell, which has said all of it before the deadline on a busy machine too.
    code = f"trap '' INT TERM; sleep 600 & echo $$ $! >'{pids}'; echo hanging; sleep 600"
    ended = run(["/bin/sh", "-c", code], deadline=2)
    assert (ended.status, ended.tail) == (None, ("hanging",))
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_child_that_holds_the_pipe_is_not_waited_for(tmp_path: Path) -> None:
    """A command that ends and leaves a child behind has ended; the child is ended too."""
    pid = tmp_path / "pid"
    code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid))"
    )
    assert run(python(code), deadline=60).status == 0
    assert gone(int(pid.read_text()))


def test_a_command_that_is_killed(tmp_path: Path) -> None:
    """A signal's death is told by its number."""
    del tmp_path
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    assert run(python(code)).status == -signal.SIGKILL


# A shell's & leaves SIGINT ignored, which is inherited: set it anew.
HOST = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from pathlib import Path
from pytest_costmgmt.postgres import command
code = (
    "import os, time, sys\\n"
    "print('pid', os.getpid(), flush=True)\\n"
    "try: time.sleep(600)\\n"
    "except KeyboardInterrupt: print('cleaned up', flush=True)"
)
try:
    command.run([sys.executable, "-c", code], dict, deadline=600,
                heard=lambda line: print(line, flush=True))
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def host() -> Callable[[], tuple[subprocess.Popen[str], int]]:
    """Start a process that runs a long command; return it and the command's pid."""

    def start() -> tuple[subprocess.Popen[str], int]:
        process = subprocess.Popen([sys.executable, "-c", HOST], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return process, int(process.stdout.readline().split()[1])

    return start


def test_an_interrupt_ends_the_command_in_order(
    host: Callable[[], tuple[subprocess.Popen[str], int]],
) -> None:
    """SIGINT to us reaches the command, which may clean up; then it is gone."""
    process, pid = host()
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=240)
    assert said.split()[-1] == "interrupted"
    assert process.returncode == 0
    assert gone(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal")
def test_our_death_ends_the_command(
    host: Callable[[], tuple[subprocess.Popen[str], int]],
) -> None:
    """SIGKILL to us takes the command with it."""
    process, pid = host()
    process.kill()
    process.communicate(timeout=240)
    assert gone(pid)


def test_two_threads_run_commands_beside_each_other() -> None:
    """Commands in threads end on their own: a thread's end does not kill another's command."""
    results: list[command.Ended] = []
    code = "import time; time.sleep(0.3); print('ok')"
    threads = [threading.Thread(target=lambda: results.append(run(python(code)))) for _ in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(ended.status, ended.tail) for ended in results] == [(0, ("ok",))] * 2
