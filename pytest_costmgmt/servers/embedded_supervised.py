"""The controller's side of the supervisor: start it, tell it, wait for it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pytest_costmgmt.errors import ProvisionFailed
from pytest_costmgmt.servers import supervisor
from pytest_costmgmt.servers.embedded_folders import RunFolder, bury

STOP_SECONDS = 30.0
"More than the supervisor gives the server (fast, immediate, kill), and the removal."


class Supervised:
    """A supervisor process; :meth:`stop` ends it, its server and its folders."""

    def __init__(self, folder: RunFolder, config: dict[str, Any], watch_pid: int | None) -> None:
        self._folder = folder
        self._maker = os.getpid()
        self._heard = b""
        self._last = "nothing"
        self._stopped = False
        watched = self._maker if watch_pid is None else watch_pid
        config = {
            **config,
            "folders": folder.folders,
            "control": str(folder.path / "control"),
            "lock": folder.lock,
            "watch_pid": watched,
            "watch_start": supervisor.start_of(watched),
            "end_with_stdin": watch_pid is None or watch_pid == self._maker,
        }
        self._process = self._spawned()
        self.tell(json.dumps(config))

    @property
    def pid(self) -> int:
        """The supervisor's process."""
        return self._process.pid

    def _spawned(self) -> subprocess.Popen[bytes]:
        folder = self._folder
        try:
            with (folder.path / "supervisor.log").open("ab") as errors:
                return subprocess.Popen(  # noqa: S603 - this interpreter, our own script
                    [sys.executable, "-I", "-S", supervisor.__file__, *folder.own],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    cwd="/",
                    pass_fds=(folder.lock,),
                    start_new_session=True,
                    bufsize=0,
                )
        except OSError as error:
            bury(folder.path, folder.socket_dir)
            raise ProvisionFailed(
                f"The embedded server's supervisor could not be started with {sys.executable}:"
                f" {error.strerror or error}.",
                hint="Run with an interpreter that this user may execute.",
            ) from None
        finally:
            # From here on the lock is the supervisor's.
            os.close(folder.lock)

    def tell(self, word: str) -> None:
        """Say a line to the supervisor; a dead one does not hear it."""
        stdin = self._process.stdin
        with contextlib.suppress(OSError, ValueError):
            if stdin is not None:
                stdin.write(word.encode() + b"\n")

    def hear(self, seconds: float) -> str | None:
        """Return the next line that the supervisor says within ``seconds``.

        None if it says nothing, and ``"gone"`` if it has ended.
        """
        stdout = self._process.stdout
        if stdout is None or stdout.closed:
            return "gone"
        end = time.monotonic() + seconds
        while b"\n" not in self._heard:
            left = end - time.monotonic()
            if not select.select([stdout], [], [], max(left, 0))[0]:
                return None
            if not (more := os.read(stdout.fileno(), 4096)):
                return "gone"
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        self._last = line.decode(errors="replace")
        return self._last

    def ended(self, seconds: float) -> str:
        """Wait up to ``seconds``; return what became of the postmaster if it has ended."""
        said = self.hear(seconds)
        if said is None or said == "up" or said.startswith("started"):
            return ""
        if said.startswith("exited"):
            return f"it exited with status {said.split()[1]}"
        if said.startswith("failed"):
            return f"it could not be started: {said.partition(' ')[2]}"
        return "its supervisor ended"

    def stop(self, *, keep: bool = False) -> None:
        """End the server; remove its folders, or with ``keep`` leave them. Again: nothing.

        Raises ProvisionFailed if that is not done within 30 s, with what was seen last.
        """
        if self._stopped or os.getpid() != self._maker:
            return
        self._stopped = True
        if keep:
            self.tell("keep")
        self.tell("stop")
        deadline = time.monotonic() + STOP_SECONDS
        while (said := self.hear(max(0.0, deadline - time.monotonic()))) != "gone":
            if said is None:
                raise ProvisionFailed(
                    f"The embedded server did not stop within {STOP_SECONDS:.0f} s; its supervisor"
                    f" (process {self._process.pid}) said last: {self._last}.",
                    hint=f"Look at {self._folder.path}/log; end that process to end the server.",
                )
        self._close()
        if not keep and self._folder.path.exists():
            # The supervisor was killed: its server went with it, the folder did not.
            bury(self._folder.path, self._folder.socket_dir)

    def detach(self) -> None:
        """Leave the server to its supervisor, which watches another process than this one."""
        self._stopped = True
        # Popen would warn of a process that is still running.
        self._process.returncode = 0
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def _close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)


def stop_from_outside(folder: Path, *, keep: bool = False) -> None:
    """Stop the server of a run folder that another process started. Gone already: nothing.

    Raises ProvisionFailed if its supervisor does not end within 30 s.
    """
    owner = folder / "owner"
    with contextlib.suppress(OSError):
        flags = os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
        control = os.open(folder / "control", flags)
        try:
            os.write(control, b"keep\nstop\n" if keep else b"stop\n")
        finally:
            os.close(control)
    deadline = time.monotonic() + STOP_SECONDS
    while owner.exists():
        with contextlib.suppress(OSError), owner.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Nobody holds it: the supervisor was killed.
            facts = json.loads(file.read() or b"{}")
            bury(folder, Path(facts.get("sockets", folder)))
            return
        if time.monotonic() > deadline:
            raise ProvisionFailed(
                f"The embedded server in {folder} did not stop within {STOP_SECONDS:.0f} s.",
                hint=f"Look at {folder}/log.",
            )
        time.sleep(0.01)
