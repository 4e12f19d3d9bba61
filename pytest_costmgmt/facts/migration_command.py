"""Ask the application: its management command as a process of its own, with a deadline."""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.secret import redact
from pytest_costmgmt.tied import tied

_GRACE = 2.0
"Seconds between asking a process group to end and ending it."

_TAIL_LINES, _TAIL_WIDTH = 12, 200
_TAIL_BYTES = 16_384
_MOST_BYTES = 32 * 1024 * 1024
"An answer is some kilobytes; more than this is no answer."

_HINT = (
    "--costmgmt-manage takes the command as you type it in your shell, for example"
    ' --costmgmt-manage="python manage.py"; relative paths start at the working folder.'
)


class Output(msgspec.Struct, frozen=True):
    """What a command that ended well wrote."""

    stdout: str
    stderr: str


def shown(manage: Sequence[str]) -> str:
    """Return the management command as it is typed."""
    return redact(shlex.join(manage))


def run(
    manage: Sequence[str], *arguments: str, environment: Mapping[str, str], deadline: float
) -> Output:
    """Run the command and return what it wrote, or raise FactUnavailable that names the cause.

    ``environment`` is all that it gets. After ``deadline`` seconds, or if we are interrupted, the
    command and all that it started are ended.
    """
    if not manage:
        raise FactUnavailable("no management command was given.", hint=_HINT)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        with _started((*manage, *arguments), environment, out, err) as process:
            try:
                status = process.wait(deadline)
            except subprocess.TimeoutExpired:
                raise FactUnavailable(
                    f"`{shown(manage)}` did not answer within {deadline:.0f} s and was ended;"
                    f" {_last(out, err)}"
                ) from None
        if status < 0:
            raise FactUnavailable(
                f"`{shown(manage)}` was ended by {_signal(-status)}; {_last(out, err)}",
                hint="SIGKILL from nobody is often the kernel's, for want of memory.",
            )
        if status > 0:
            raise FactUnavailable(
                f"`{shown(manage)}` ended with exit status {status}; {_last(out, err)}"
            )
        return Output(stdout=_text(out), stderr=_text(err))


@contextlib.contextmanager
def _started(
    command: Sequence[str], environment: Mapping[str, str], out: IO[bytes], err: IO[bytes]
) -> Iterator[subprocess.Popen[bytes]]:
    try:
        _there(command[0], environment)
        # Files, not pipes: a grandchild that keeps a pipe open would keep us waiting.
        process = subprocess.Popen(  # noqa: S603 - the operator's own command, as a list
            tied(command),
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise FactUnavailable(
            f"the management command {command[0]!r} could not be started: {redact(why)}.",
            hint=_HINT,
        ) from None
    try:
        yield process
    finally:
        _end(process)


def _there(program: str, environment: Mapping[str, str]) -> None:
    """Raise OSError for a program that cannot be started: what starts it is another."""
    from shutil import which  # noqa: PLC0415 - seldom needed

    if which(program, path=environment.get("PATH")) is None:
        number = errno.EACCES if Path(program).exists() else errno.ENOENT
        raise OSError(number, os.strerror(number))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process that has not ended by itself, with all of its group."""
    if process.poll() is not None:
        return
    for number in (signal.SIGTERM, signal.SIGKILL):
        # The second also reaches those of the group that the first did not end.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read(_MOST_BYTES).decode("utf-8", "replace")


def _last(out: IO[bytes], err: IO[bytes]) -> str:
    """Say what a command wrote last, on its error stream if it wrote anything there."""
    for file in (err, out):
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        if said := tail(file.read().decode("utf-8", "replace")):
            return f"it wrote last:\n{said}"
    return "it wrote nothing."


def tail(text: str) -> str:
    r"""Return the last lines of a text for a person: indented, redacted, nothing unprintable.

    >>> tail("one\n\n\x1b[1mtwo\x00\n")
    '  one\n  \\x1b[1mtwo\\x00'
    """
    lines = [line.rstrip() for line in redact(text).split("\n") if line.strip()]
    return "\n".join(f"  {_printable(line)[:_TAIL_WIDTH]}" for line in lines[-_TAIL_LINES:])


def _printable(line: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in line.expandtabs(4))
