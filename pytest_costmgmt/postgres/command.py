"""Run a program of others: its output live and kept, a deadline, and nothing left of it.

It gets a session of its own, so that a terminal's Ctrl-C reaches us first and we end it in order;
on Linux it is ended if we are killed.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, BinaryIO

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.secret import redact
from pytest_costmgmt.tied import tied

TAIL_LINES = 200
LONGEST_LINE = 64 * 1024
LOG_LIMIT = 32 * 1024 * 1024
POLL = 0.05
MANAGE = "The management command"

Line = Callable[[str], None]
Stop = Callable[[], bool]


def never() -> bool:
    """Say that nobody wants it to stop."""
    return False


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a command ended.

    ``status`` is its exit status, negative for a signal, None at the deadline. ``tail`` are the
    last lines of both its streams, without passwords.
    """

    status: int | None
    seconds: float
    tail: tuple[str, ...]


def check(argv: Sequence[str], *, what: str = MANAGE) -> None:
    """Raise UsageProblem if ``argv``, which is ``what``, cannot be started at all."""
    if not argv:
        raise UsageProblem(f'{what} is empty: give e.g. "python manage.py".')
    from shutil import which  # noqa: PLC0415 - not in a run that migrates nothing

    if which(argv[0]) is None:
        there = os.path.lexists(argv[0])  # never raises, also where a folder may not be entered
        raise UsageProblem(
            f"{what} {argv[0]!r} "
            + ("is not executable." if there else "does not exist, neither as a path nor in PATH.")
        )


def run(
    argv: Sequence[str],
    environment: Callable[[], Mapping[str, str]],
    *,
    deadline: float,
    heard: Line,
    log: Path | None = None,
    stop: Stop = never,
    what: str = MANAGE,
    umask: int = -1,
) -> Ended:
    """Run ``argv`` and return how it ended; ``heard`` is called with what it said, piece by piece.

    ``environment`` is asked at the start only: it holds passwords. Whatever ends the wait, also an
    interrupt, ends the command and its children; so does ``stop``, which is how the main thread,
    which alone is interrupted, ends another's. Raises UsageProblem if it cannot be started.
    """
    check(argv, what=what)
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        output = _Output(heard, stack.enter_context(_opened(log)))
        process = _start(argv, environment, what, umask)
        assert process.stdout is not None  # noqa: S101 - a pipe
        stream = stack.enter_context(process.stdout)
        try:
            finished = _follow(process, stream, output, until=started + deadline, stop=stop)
        except BaseException:
            end(process)
            raise
        finally:
            output.close()
        end(process)
        status = process.returncode if finished else None
    return Ended(status=status, seconds=time.monotonic() - started, tail=tuple(output.tail))


def _opened(log: Path | None) -> contextlib.AbstractContextManager[BinaryIO | None]:
    if log is None:
        return contextlib.nullcontext()
    return os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "wb")


def _start(
    argv: Sequence[str], environment: Callable[[], Mapping[str, str]], what: str, umask: int
) -> subprocess.Popen[bytes]:
    __tracebackhide__ = True
    try:
        return subprocess.Popen(  # noqa: S603 - the operator's own command, or PostgreSQL's
            tied(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=environment(),
            start_new_session=True,
            umask=umask,
        )
    except OSError as error:
        raise UsageProblem(f"{what} {argv[0]!r} cannot be started: {error.strerror}.") from None


def _follow(
    process: subprocess.Popen[bytes],
    stream: IO[bytes],
    output: _Output,
    *,
    until: float,
    stop: Stop,
) -> bool:
    """Read until the command has ended; return False at the deadline, or if it is to stop."""
    os.set_blocking(stream.fileno(), False)
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while True:
            over = _over(process)
            # What it said is read after it was seen to be over, so nothing is missed; a child that
            # it left may hold the pipe open, so the pipe's end is not waited for.
            heard = bool(selector.get_map()) and bool(selector.select(0 if over else POLL))
            if heard and not _read(stream.fileno(), output):
                selector.unregister(stream)
            elif over and not heard:
                return True
            elif not selector.get_map():
                time.sleep(POLL)
            if time.monotonic() > until or stop():
                return over


def _over(process: subprocess.Popen[bytes]) -> bool:
    """Say whether it has ended, without reaping it: its number stays its group's."""
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:  # somebody else's handler reaped it
        return True


def _read(descriptor: int, output: _Output) -> bool:
    try:
        data = os.read(descriptor, LONGEST_LINE)
    except BlockingIOError:
        return True
    output.add(data)
    return bool(data)


def end(process: subprocess.Popen[bytes], *, patience: float = 5.0) -> None:
    """End the command's whole group: INT, then TERM, then KILL; return when it is reaped.

    Another interrupt meanwhile means KILL at once.
    """
    try:
        for number, wait in ((signal.SIGINT, patience), (signal.SIGTERM, patience / 2)):
            if _over(process):
                break
            _signal(process, number)
            _until_over(process, time.monotonic() + wait)
    finally:
        # Also when its leader is over: it may have left children.
        _signal(process, signal.SIGKILL)
        process.wait()


def _until_over(process: subprocess.Popen[bytes], until: float) -> None:
    while not _over(process) and time.monotonic() < until:
        time.sleep(POLL / 5)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # It is not reaped yet, so that the number cannot be another's; EPERM: it became another user.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)


class _Output:
    """What the command said: passed on piece by piece, kept line by line, without passwords."""

    def __init__(self, heard: Line, log: BinaryIO | None) -> None:
        self.heard, self.log, self.room = heard, log, LOG_LIMIT
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self.rest = b""

    def add(self, data: bytes) -> None:
        """Take what was read; it may end inside a line, or be no text at all."""
        *lines, self.rest = (self.rest + data).split(b"\n")
        if len(self.rest) > LONGEST_LINE:
            lines, self.rest = [*lines, self.rest], b""
        for line in lines:
            self._line(line)
        if self.rest:
            self.heard(_text(self.rest))

    def close(self) -> None:
        """Take what is left as the last line."""
        if self.rest:
            self._line(self.rest)
        self.rest = b""

    def _line(self, line: bytes) -> None:
        text = redact(_text(line)).rstrip()
        self.tail.append(text)
        if self.log is not None and self.room > 0:
            written = text.encode(errors="backslashreplace") + b"\n"
            self.room -= len(written)
            self.log.write(written)
            self.log.flush()
        self.heard(text)


def _text(data: bytes) -> str:
    """Return bytes as text that is safe in a terminal and a report, whatever they are."""
    text = data.decode("utf-8", errors="backslashreplace")
    if text.isprintable():  # nearly all are, and one by one characters take long
        return text
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)
