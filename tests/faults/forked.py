"""Runs of the suite, each in a process of its own that has its modules already.

To start Python and to load them is more than half of what a short run costs. One process loads
them, then waits for wishes, one a line, and forks for each. What a run is given (arguments, working
folder, environment, standard streams) is its own; only its ``/proc/PID/cmdline`` is not.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

MODULES = (
    "pytest_costmgmt.cli",
    "pytest_costmgmt.engine.entry",
    "pytest_costmgmt.engine.gather",
    "pytest_costmgmt.engine.report.allure",
    "pytest_costmgmt.engine.report.html",
    "pytest_costmgmt.servers.external",
    "jinja2",
    "psycopg",
    "pytest",
)
"What a run loads anyway. Not the plugin itself, nor the checks: pytest wants to load these."

ANSWER = struct.Struct("q")
"A run's process id when it begins, its exit status when it has ended."


class Runs:
    """Starts runs; :meth:`close` ends the process that they come from."""

    def __init__(self) -> None:
        self._source: subprocess.Popen[bytes] | None = None

    def run(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], cwd: Path, deadline: float
    ) -> tuple[int, str]:
        """Run ``costmgmt`` with these arguments; return its exit status and what it said.

        Raises TimeoutError when it is at work after ``deadline`` seconds; it is killed then.
        """
        said = cwd / "said"
        wish = {
            "arguments": list(arguments),
            "environ": dict(environ),
            "cwd": str(cwd),
            "said": str(said),
        }
        source = self._started()
        assert source.stdin is not None
        source.stdin.write(f"{json.dumps(wish)}\n".encode())
        pid = self._answer(source, deadline)
        try:
            status = self._answer(source, deadline)
        except TimeoutError:
            os.kill(pid, signal.SIGKILL)
            self._answer(source, deadline)
            raise
        return status, said.read_text()

    def close(self) -> None:
        """End the process that runs come from."""
        if self._source is not None:
            self._source.communicate(timeout=60)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._source is None:
            self._source = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd="/",
            )  # fmt: skip
        return self._source

    @staticmethod
    def _answer(source: subprocess.Popen[bytes], deadline: float) -> int:
        assert source.stdout is not None
        if not select.select([source.stdout], [], [], deadline)[0]:
            raise TimeoutError(f"no answer after {deadline} s")
        (number,) = ANSWER.unpack(source.stdout.read(ANSWER.size))
        return int(number)


def serve() -> None:
    """Fork for each wish that comes; return in the processes that are to fulfil it."""
    import gc  # noqa: PLC0415 - of the process that is started
    import importlib  # noqa: PLC0415

    del sys.path[0]  # this folder
    for name in MODULES:
        importlib.import_module(name)
    from _pytest.config import default_plugins  # noqa: PLC0415

    for name in default_plugins:
        importlib.import_module(f"_pytest.{name}")
    _compile_the_page()
    gc.collect()
    gc.freeze()
    answers = os.dup(1)
    while line := sys.stdin.readline():
        if not (pid := os.fork()):
            os.close(answers)
            _become(json.loads(line))
            return
        os.write(answers, ANSWER.pack(pid))
        _, status = os.waitpid(pid, 0)
        os.write(answers, ANSWER.pack(os.waitstatus_to_exitcode(status)))
    raise SystemExit


def _compile_the_page() -> None:
    import msgspec  # noqa: PLC0415 - of the process that is started

    from pytest_costmgmt.engine.report import folder, html  # noqa: PLC0415

    html.render(msgspec.to_builtins(folder.unfinished("only to have the template")))


def _become(wish: dict[str, Any]) -> None:
    """Have what the wish gives a run."""
    said = os.open(wish["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, stream in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(descriptor, stream)
    os.close(nothing)
    os.close(said)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - the other one has read ahead
    os.chdir(wish["cwd"])
    os.environ.clear()
    os.environ.update(wish["environ"])
    sys.path.insert(0, wish["cwd"])  # as python -m has it
    sys.argv[:] = ["costmgmt", *wish["arguments"]]


if __name__ == "__main__":
    try:
        serve()
    except KeyboardInterrupt:
        sys.exit(130)
    from pytest_costmgmt.cli import main

    main()
