"""Watch over the embedded server: ``python -I -S supervisor.py``, standard library only.

One JSON line on stdin says what to watch; then words, a line each: ``start``, ``keep``, ``stop``.
It answers on stdout: ``up``, ``started PID``, ``failed WHY``, ``exited STATUS``, ``gone``.
The server ends, and its folders are removed, when it is told to stop, when the process that it
watches ends (however it ends), when stdin closes, or on SIGTERM. It holds the lock of the file
``owner`` in the run folder as long as it lives: who can take that lock may sweep the folder.
"""

# It starts while the server's data are written: no pathlib, no subprocess, and what only the end
# needs is imported there.
# ruff: noqa: PTH104, PTH108, PTH118, PTH123, PTH208, PLC0415

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FAST_SECONDS = 5.0
"SIGINT (fast shutdown) gets this long."
IMMEDIATE_SECONDS = 8.0
"SIGQUIT gets this long: the postmaster itself kills its children after 5 s."
POLL_SECONDS = 0.2
"How often the watched process is looked at where the kernel has no pidfd."
PR_SET_PDEATHSIG = 1
IPC_RMID = 0


def main() -> int:
    """Serve one server, from the first line of stdin to its end.

    The arguments are folders to remove where that line never comes: its writer was killed.
    """
    for harmless in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE):
        signal.signal(harmless, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    line = b""
    while not line.endswith(b"\n"):
        if not (more := os.read(0, 65536)):
            for folder in sys.argv[1:]:
                remove(folder)
            return 1
        line += more
    first, _, rest = line.partition(b"\n")
    config = json.loads(first)
    # The lock is ours alone: a server that outlived us must not look owned.
    os.set_inheritable(config["lock"], False)
    Watch(config).serve(rest)
    return 0


class Watch:
    """The server's life."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.folders: list[str] = config["folders"]
        self.keep = False
        self.pid = 0
        self.ended = False
        self.pending = b""
        self.wake, wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(wake_in, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._terminated)

    def _terminated(self, *_: object) -> None:
        self.ended = True

    def serve(self, rest: bytes) -> None:
        """Do as told until it is time to stop; then stop, and remove or keep the folders."""
        say("up")
        self._words(rest)
        poller = select.poll()
        poller.register(self.wake, select.POLLIN)
        poller.register(0, select.POLLIN)
        if (fifo := self._fifo()) >= 0:
            poller.register(fifo, select.POLLIN)
        if (watched := self._pidfd()) >= 0:
            poller.register(watched, select.POLLIN)
        while not self.ended:
            ready = poller.poll(None if watched >= 0 else POLL_SECONDS * 1000)
            for handle, _ in ready:
                if handle == watched:
                    self.ended = True
                elif handle == self.wake:
                    os.read(self.wake, 4096)
                    self._reap()
                elif not self._listen(handle):
                    poller.unregister(handle)
            if watched < 0 and not alive(self.config["watch_pid"], self.config["watch_start"]):
                self.ended = True
        self._stop()
        self._leave()
        say("gone")

    def _pidfd(self) -> int:
        try:
            handle = os.pidfd_open(self.config["watch_pid"])
        except (OSError, AttributeError):  # an old kernel, a sandbox, or it has ended
            return -1
        if not alive(self.config["watch_pid"], self.config["watch_start"]):
            self.ended = True  # the number is another process's by now
        return handle

    def _fifo(self) -> int:
        # Read and write: it never reports an end of file.
        try:
            return os.open(self.config["control"], os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return -1

    def _listen(self, handle: int) -> bool:
        """Hear what is said; return whether more may come."""
        try:
            said = os.read(handle, 4096)
        except BlockingIOError:
            return True
        self._words(said)
        if not said and self.config["end_with_stdin"]:
            self.ended = True
        return bool(said)

    def _words(self, said: bytes) -> None:
        *words, self.pending = (self.pending + said).split(b"\n")
        for word in words:
            if word == b"keep":
                self.keep = True
            elif word == b"stop":
                self.ended = True
            elif word == b"start" and not self.pid and not self.ended:
                self._start()

    def _start(self) -> None:
        read_end, write_end = os.pipe2(os.O_CLOEXEC)
        parent = os.getpid()
        prctl = _prctl()
        pid = os.fork()
        if pid == 0:
            try:
                self._become_postmaster(parent, prctl)
            except BaseException as error:  # noqa: BLE001 - the child must not return
                os.write(write_end, str(error).encode())
            os._exit(127)
        os.close(write_end)
        why = os.read(read_end, 4096)
        os.close(read_end)
        if why:
            os.waitpid(pid, 0)
            say("failed " + why.decode(errors="replace").replace("\n", " "))
            return
        self.pid = pid
        say(f"started {pid}")

    def _become_postmaster(self, parent: int, prctl: Any) -> None:
        config = self.config
        os.setsid()
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGCHLD,
                       signal.SIGTERM):  # fmt: skip
            signal.signal(number, signal.SIG_DFL)
        nothing = os.open(os.devnull, os.O_RDONLY)
        # Once the server has run, the folder is its user's: no link of that user's is followed.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW
        log = os.open(config["log"], flags, 0o600)
        if config["uid"] is not None:
            os.fchown(log, config["uid"], config["gid"])
            os.setgroups([])
            os.setresgid(config["gid"], config["gid"], config["gid"])
            os.setresuid(config["uid"], config["uid"], config["uid"])
        # After the change of user, which clears it. SIGQUIT: the postmaster takes its children
        # along, which SIGKILL would leave to find out by themselves.
        if prctl is not None:
            prctl(PR_SET_PDEATHSIG, signal.SIGQUIT, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(127)
        os.umask(0o077)
        os.chdir("/")
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.execve(config["argv"][0], config["argv"], config["env"])  # noqa: S606 - meant so

    def _reap(self) -> None:
        if not self.pid:
            return
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if done:
            self.pid = 0
            say(f"exited {os.waitstatus_to_exitcode(status)}")

    def _stop(self) -> None:
        patience = self.config.get("patience", (FAST_SECONDS, IMMEDIATE_SECONDS))
        for number, seconds in zip((signal.SIGINT, signal.SIGQUIT), patience, strict=True):
            if not self.pid:
                return
            os.kill(self.pid, number)
            self._wait(seconds)
        if self.pid:
            family = [self.pid, *children(self.pid)]
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._wait(IMMEDIATE_SECONDS)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        poller = select.poll()
        poller.register(self.wake, select.POLLIN)
        self._reap()
        while self.pid and (left := end - time.monotonic()) > 0:
            poller.poll(min(left, 1.0) * 1000)
            with contextlib.suppress(BlockingIOError):
                os.read(self.wake, 4096)
            self._reap()

    def _leave(self) -> None:
        home = self.folders[-1]
        forget_shared_memory(self.config["data"])
        if self.keep:
            with contextlib.suppress(OSError):
                os.unlink(self.config["control"])
            with contextlib.suppress(OSError):
                os.rename(os.path.join(home, "owner"), os.path.join(home, "kept"))
            return
        for folder in self.folders:
            remove(folder)


def say(word: str) -> None:
    """Tell the controller, if it still listens."""
    with contextlib.suppress(OSError):
        os.write(1, word.encode() + b"\n")


def alive(pid: int, start: str) -> bool:
    """Say whether the process ``pid`` still is the one that started at ``start``."""
    return start_of(pid) == start


def start_of(pid: int) -> str:
    """Return when a process started, in the kernel's ticks; nothing if there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return ""
    # A zombie has ended, whatever its parent does about it.
    return "" if fields[0] in {b"Z", b"X"} else fields[19].decode()


def children(parent: int) -> list[int]:
    """Return the processes whose parent is ``parent``."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError), open(f"/proc/{name}/stat", "rb") as file:
                if int(file.read().rpartition(b")")[2].split()[1]) == parent:
                    found.append(int(name))
    return found


def forget_shared_memory(data: str) -> None:
    """Remove the 56 bytes of System V memory that a killed postmaster leaves behind."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(os.path.join(data, "postmaster.pid"), encoding="ascii") as file:
            number = int(file.read().splitlines()[6].split()[1])
        import ctypes

        ctypes.CDLL(None).shmctl(number, IPC_RMID, None)


def remove(folder: str) -> None:
    """Remove a folder of ours, whatever is in it. What is still being written is tried again."""
    import shutil

    for _ in range(20):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.lexists(folder):
            return
        time.sleep(0.05)


def _prctl() -> Any:
    try:
        import ctypes

        return ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        return None


if __name__ == "__main__":
    sys.exit(main())
