"""However a run ends, no process and no folder of its server is left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.servers import embedded, embedded_folders
from pytest_costmgmt.servers.supervisor import alive, start_of

REPOSITORY = Path(__file__).resolve().parents[2]
SCRIPT = Path(__file__).with_name("embedded_controller.py")
PATIENCE = 240.0

Start = Callable[..., "Controller"]


def _heed() -> None:
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)


class Controller:
    """A process of its own that has started a server."""

    def __init__(self, base: Path, run_id: str, *more: str, **environ: str) -> None:
        self.base = base
        path = os.pathsep.join([str(REPOSITORY), *filter(None, sys.path)])
        self.process = subprocess.Popen(
            [sys.executable, str(SCRIPT), run_id, str(base), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd="/",
            env={**os.environ, "PYTHONPATH": path, **environ},
            start_new_session=True,
            # Whoever started these tests may ignore what they send (nohup, a shell's &).
            preexec_fn=_heed,  # noqa: PLW1509 - nothing runs beside it yet
        )
        self.seen: dict[str, Any] = {}

    def ready(self) -> Controller:
        """Wait until its server answers."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the controller ended with {self.process.wait()}"
        self.seen = json.loads(line)
        self.starts = {p: start_of(p) for p in (self.postmaster, self.supervisor)}
        return self

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.seen["folder"])

    @property
    def postmaster(self) -> int:
        """The server's process."""
        return int(self.seen["postmaster"])

    @property
    def supervisor(self) -> int:
        """The supervisor's process."""
        return int(self.seen["supervisor"])

    def say(self, word: str) -> None:
        """Tell it a word."""
        assert self.process.stdin is not None
        self.process.stdin.write(word.encode() + b"\n")
        self.process.stdin.flush()

    def left(self) -> list[str]:
        """Return what is still there of its server."""
        processes = [f"process {p}" for p, start in self.starts.items() if alive(p, start)]
        return processes + [str(path) for path in self.base.iterdir()]

    def runs(self, pid: int) -> bool:
        """Say whether the process that it had told us of still runs."""
        return alive(pid, self.starts[pid])

    def end(self) -> None:
        """End it, whatever the test did."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue


def until(done: Callable[[], object], what: str) -> None:
    """Wait until ``done`` says yes."""
    end = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < end, what
        time.sleep(0.02)


@pytest.fixture
def base() -> Iterator[Path]:
    """Return an empty folder with a short path, which the server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def start(base: Path) -> Iterator[Start]:
    """Return a way to start controllers, which end with the test."""
    started: list[Controller] = []

    def begin(run_id: str = "end", *more: str, **environ: str) -> Controller:
        started.append(Controller(base, run_id, *more, **environ))
        return started[-1]

    yield begin
    for controller in started:
        controller.end()
    embedded_folders.sweep([base])


def _close(controller: Controller) -> None:
    assert controller.process.stdin is not None
    controller.process.stdin.close()


def _signal(number: int) -> Callable[[Controller], None]:
    return lambda controller: controller.process.send_signal(number)


def _group(number: int) -> Callable[[Controller], None]:
    # As a terminal's Ctrl-C does it.
    return lambda controller: os.killpg(controller.process.pid, number)


def _terminated_supervisor(controller: Controller) -> None:
    os.kill(controller.supervisor, signal.SIGTERM)


@pytest.mark.parametrize(
    "end",
    [
        pytest.param(lambda c: c.say("stop"), id="stop"),
        pytest.param(_close, id="without-stop"),
        pytest.param(lambda c: c.say("raise"), id="exception"),
        pytest.param(_signal(signal.SIGTERM), id="SIGTERM"),
        pytest.param(_signal(signal.SIGKILL), id="SIGKILL"),
        pytest.param(_group(signal.SIGINT), id="SIGINT-to-the-group"),
        pytest.param(_group(signal.SIGHUP), id="SIGHUP-to-the-group"),
        pytest.param(_group(signal.SIGKILL), id="SIGKILL-to-the-group"),
        pytest.param(_terminated_supervisor, id="SIGTERM-to-the-supervisor"),
    ],
)
def test_nothing_is_left(
    start: Start, end: Callable[[Controller], None], capfd: pytest.CaptureFixture[str]
) -> None:
    """Server and folder are gone after a normal end, an exception and every signal."""
    controller = start().ready()
    end(controller)
    until(lambda: not controller.left(), f"still there: {controller.left()}")
    capfd.readouterr()  # the traceback that was told


def test_ctrl_c_does_not_reach_the_server(start: Start) -> None:
    """Server and supervisor are in sessions of their own, so that a Ctrl-C is not theirs."""
    controller = start().ready()
    sessions = {os.getsid(p) for p in (controller.postmaster, controller.supervisor)}
    assert controller.process.pid not in sessions
    assert os.getsid(0) not in sessions


def test_a_killed_supervisor_takes_its_server_along(start: Start) -> None:
    """The server does not outlive its supervisor, and the next start removes the folder."""
    controller = start().ready()
    os.kill(controller.supervisor, signal.SIGKILL)
    until(lambda: not controller.runs(controller.postmaster), "the postmaster lives")
    assert controller.folder.exists()
    following = start("next").ready()
    assert not controller.folder.exists()
    assert following.folder.exists()


def test_stop_cleans_up_after_a_killed_supervisor(start: Start) -> None:
    """The controller's own stop removes what a killed supervisor could not."""
    controller = start().ready()
    os.kill(controller.supervisor, signal.SIGKILL)
    controller.say("stop")
    until(lambda: not controller.folder.exists(), "the folder is still there")


def test_all_killed_at_once(start: Start, base: Path) -> None:
    """When controller and supervisor are killed at once, a sweep finds all that is left."""
    controller = start().ready()
    os.kill(controller.supervisor, signal.SIGKILL)
    controller.process.kill()
    until(lambda: not controller.runs(controller.postmaster), "the postmaster lives")
    assert embedded_folders.sweep([base]) == [controller.folder]
    assert list(base.iterdir()) == []


def test_a_sweep_leaves_what_lives_and_what_is_not_ours(start: Start, base: Path) -> None:
    """A running server, a kept one, another program's folder and a new one stay."""
    controller = start().ready()
    for name in ("costmgmt-other", "costmgmt-server-new", "costmgmt-server-kept"):
        (base / name).mkdir()
    (base / "costmgmt-server-kept/kept").touch()
    os.utime(base / "costmgmt-server-kept", (0, 0))
    (base / "costmgmt-server-link").symlink_to(base / "costmgmt-other")
    os.utime(base / "costmgmt-other", (0, 0))
    (base / "costmgmt-server-old").mkdir()
    os.utime(base / "costmgmt-server-old", (0, 0))
    assert embedded_folders.sweep([base]) == [base / "costmgmt-server-old"]
    assert controller.runs(controller.postmaster)
    assert controller.folder.exists()


def test_a_server_that_watches_another_process(start: Start) -> None:
    """A worker may start it and end: it lives as long as the process that it was told of."""
    with subprocess.Popen(["/bin/sleep", "600"]) as watched:
        try:
            controller = start("watch", str(watched.pid)).ready()
            controller.say("exit")
            assert controller.process.wait() == 0
            assert controller.runs(controller.postmaster)
            assert controller.folder.exists()
        finally:
            watched.kill()
    until(lambda: not controller.left(), f"still there: {controller.left()}")


@pytest.mark.parametrize("keep", [False, True])
def test_a_server_that_is_stopped_from_outside(start: Start, keep: bool) -> None:
    """The controller can stop, or keep, the server that a worker started and left."""
    controller = start("outside", str(os.getpid())).ready()
    controller.say("exit")
    controller.process.wait()
    embedded.stop_from_outside(controller.folder, keep=keep)
    embedded.stop_from_outside(controller.folder, keep=keep)
    until(lambda: not controller.runs(controller.supervisor), "the supervisor lives")
    assert not controller.runs(controller.postmaster)
    assert (controller.folder / "data/PG_VERSION").exists() is keep


def test_cold_starts_at_once(start: Start, base: Path, tmp_path: Path) -> None:
    """Several first starts share one empty cache: each gets a server of its own."""
    cold = tmp_path / "cold"
    controllers = [start(f"cold{n}", TEST_CACHE=str(cold)) for n in range(3)]
    folders = {controller.ready().folder for controller in controllers}
    assert len(folders) == 3
    assert [path.name for path in cold.iterdir() if path.name.startswith(".")] == []
    for controller in controllers:
        controller.say("stop")
    until(lambda: list(base.iterdir()) == [], "folders are left")
