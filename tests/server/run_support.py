"""Whole runs in processes of their own: what they said, what they wrote, what they left."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_costmgmt.servers.supervisor import alive, start_of

PATIENCE = 240.0
"Seconds that any run may take, on a busy machine too: only a failure waits for them."

# What the run of these tests itself may have set; hiding the system's programs is the machine's.
_INHERITED = ("PYTEST_", "COSTMGMT_", "PG")
_KEPT = "COSTMGMT_HIDE_SYSTEM_POSTGRES"

MARK = "RUN_OF_THESE_TESTS"
"The variable by which the processes of one run are known, also those that it left behind."

COMMANDS = {
    "pytest": ("-m", "pytest"),
    "check": ("-m", "pytest_costmgmt.cli", "check"),
    "bootstrap": ("-m", "pytest_costmgmt.cli", "bootstrap"),
}

OF_A_RELEASE = ("CM-REL-", "CM-SEC-", "CM-PER-", "CM-UPG-")


@dataclass(frozen=True)
class Ran:
    """What a run came to."""

    status: int
    out: str
    err: str
    folder: Path

    @property
    def said(self) -> str:
        """Both streams."""
        return self.out + self.err

    @property
    def last(self) -> str:
        """The last line on stdout."""
        lines = [line for line in self.out.splitlines() if line.strip()]
        return lines[-1] if lines else ""

    @property
    def report(self) -> dict[str, Any]:
        """report.json."""
        whole: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return whole

    @property
    def outcomes(self) -> dict[str, str]:
        """Each check's outcome."""
        return {check["id"]: check["outcome"] for check in self.report["checks"]}

    def summary(self, check: str) -> str:
        """What one check says of itself."""
        return str(next(c["summary"] for c in self.report["checks"] if c["id"] == check))

    def sound(self, status: int, verdict: str, *passwords: str) -> Ran:
        """Assert what every run owes, however it ended; return it."""
        assert self.status == status, self.said
        assert self.last.startswith(f"costmgmt verdict: {verdict}"), self.said
        assert self.report["verdict"] == verdict
        for word in ("Traceback", "INTERNALERROR"):
            assert word not in self.said
        written = [path for path in self.folder.rglob("*") if path.is_file()]
        assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
        for password in passwords:
            for text in (self.said, *(path.read_text() for path in written)):
                assert password not in text
        return self

    def unreachable(self, *passwords: str) -> str:
        """Assert one error that blocks all else; return its words."""
        self.sound(8, "inconclusive", *passwords)
        outcomes = self.outcomes
        assert outcomes.pop("CM-CON-001") == "error"
        # What only a release in a namespace has is known not to be there.
        assert {each for id_, each in outcomes.items() if id_.startswith(OF_A_RELEASE)} <= {
            "not-supported"
        }
        assert {each for id_, each in outcomes.items() if not id_.startswith(OF_A_RELEASE)} == {
            "blocked"
        }
        return self.summary("CM-CON-001")


class Running:
    """A run that is going on."""

    def __init__(self, place: Place, command: list[str], environ: Mapping[str, str]) -> None:
        self.place, self.mark = place, secrets.token_hex(8)
        self.report = place.folder / f"report-{self.mark}"
        self.out, self.err = (place.folder / f"{name}-{self.mark}" for name in ("out", "err"))
        self.seen: dict[int, str] = {}
        self.strangers: set[int] = set()
        self.folders: set[Path] = set()
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [word.replace("{report}", str(self.report)) for word in command],
                cwd=place.here,
                env={**environ, MARK: self.mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                # A shell's background job ignores SIGINT, and we may be one.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )

    @property
    def said(self) -> str:
        """Both streams, so far."""
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def until(self, done: Callable[[], Any], what: Callable[[], Any]) -> None:
        """Wait until ``done`` says something."""
        end = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < end, f"{what()}: {self.said}"
            time.sleep(0.02)

    def until_nothing_left(self) -> None:
        """Wait until all of it is gone: what the kernel tells of our end is told a moment later."""
        self.until(lambda: not self.left(), self.left)

    def until_said(self, text: str) -> None:
        """Wait until it has said ``text``."""
        self.until(lambda: text in self.said or self._over(), lambda: f"never said {text!r}")
        assert text in self.said, self.said

    def until_there(self, path: Path) -> None:
        """Wait until there is such a file."""
        self.until(lambda: path.exists() or self._over(), lambda: f"never made {path.name}")
        assert path.exists(), self.said

    def until_server(self) -> None:
        """Wait until it has a supervisor, whose server is about to start."""
        self.until(lambda: self.note().folders or self._over(), lambda: "never had a server")
        assert self.folders, self.said

    def _over(self) -> bool:
        return self.process.poll() is not None

    def note(self) -> Running:
        """Remember its processes, their children and its server's folder.

        Asked many times: who was seen to be a stranger is not looked at again.
        """
        pids = set(_pids())
        self.strangers &= pids
        fresh = {pid: _parent(pid) for pid in pids - self.strangers - self.seen.keys()}
        ours = _marked(self.mark, fresh)
        # A child of ours may have been given an environment without the mark.
        for known in (*self.seen, *ours):
            ours |= _descendants(known, fresh)
        self.strangers |= fresh.keys() - ours
        for pid in ours:
            if start := start_of(pid):
                self.seen[pid] = start
                self.folders |= _run_folders(pid)
        return self

    def command(self, pid: int) -> bytes:
        """Return the command line of one of its processes."""
        return _read(pid, "cmdline")

    def below(self, pid: int) -> list[int]:
        """Return the processes that descend from ``pid``."""
        return [*_descendants(pid, {each: _parent(each) for each in _pids()})]

    def workers(self) -> list[int]:
        """Return the processes of xdist's workers."""
        found = _marked(self.mark, _pids())
        return [pid for pid in found if b"exec(eval(sys.stdin" in self.command(pid)]

    def left(self) -> list[str]:
        """Return what is still there of it: processes, run folders, files in TMPDIR."""
        alike = [pid for pid, start in self.note().seen.items() if alive(pid, start)]
        names = [f"process {pid}: {_read(pid, 'cmdline')!r}" for pid in alike]
        names += [str(path) for path in self.folders if path.exists()]
        return names + self.place.litter()

    def end_and_nothing_left(self, number: int) -> Ran:
        """Send it a signal; assert that nothing of it is left, and return what it came to."""
        self.note().process.send_signal(number)
        ran = self.finished()
        self.until_nothing_left()
        return ran

    def finished(self) -> Ran:
        """Wait for its end; return what it came to."""
        try:
            status = self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end: {self.said}") from None
        return Ran(status, self.out.read_text(), self.err.read_text(), self.report)

    def remove(self) -> None:
        """End what the test did not."""
        for pid in _marked(self.mark, _pids()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()


class Place:
    """Folders of one test's runs: where they work, write their reports, keep what is temporary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.here, self.temporary = folder / "here", folder / "tmp"
        for made in (self.here, self.temporary):
            made.mkdir()
            made.chmod(0o755)
        self.runs: list[Running] = []

    def start(
        self,
        *arguments: str,
        command: str = "pytest",
        environ: Mapping[str, str] | None = None,
        report: str = "{report}",
    ) -> Running:
        """Start a run; the arguments are spelled as pytest's, whatever the command."""
        if command != "pytest":
            arguments = tuple(
                a.replace("--costmgmt-", "--", 1) for a in arguments if a != "--costmgmt"
            )
        prefix = "--costmgmt-" if command == "pytest" else "--"
        words = [sys.executable, *COMMANDS[command], *arguments, f"{prefix}report={report}"]
        self.runs.append(Running(self, words, {**self.environ(), **(environ or {})}))
        return self.runs[-1]

    def environ(self) -> dict[str, str]:
        """Return the environment of its runs."""
        clean = {
            name: value
            for name, value in os.environ.items()
            if name == _KEPT or not name.startswith(_INHERITED)
        }
        return clean | {"TMPDIR": str(self.temporary), "PYTHONUNBUFFERED": "1"}

    def run(
        self, *arguments: str, command: str = "pytest", environ: Mapping[str, str] | None = None
    ) -> Ran:
        """Run to the end."""
        return self.start(*arguments, command=command, environ=environ).finished()

    def both(self, *arguments: str, environ: Mapping[str, str] | None = None) -> list[Ran]:
        """Run ``pytest --costmgmt...`` and ``costmgmt check`` side by side."""
        runs = [self.start(*arguments, command=c, environ=environ) for c in ("pytest", "check")]
        return [run.finished() for run in runs]

    def litter(self) -> list[str]:
        """Return what is in TMPDIR, but for the folder that pytest itself keeps there."""
        found = [str(path) for path in self.temporary.iterdir()]
        return [path for path in found if "/pytest-of-" not in path]

    def script(self, name: str, text: str, mode: int = 0o755) -> Path:
        """Write a file into the working folder."""
        path = self.here / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def secret(self, name: str, password: str) -> Path:
        """Write a password file."""
        path = self.folder / name
        path.write_text(password)
        path.chmod(0o600)
        return path


@contextmanager
def place() -> Iterator[Place]:
    """Make a place with a short path that the server's user can enter; remove it with its runs."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir="/tmp"))
    folder.chmod(0o755)
    made = Place(folder)
    try:
        yield made
    finally:
        for run in made.runs:
            run.remove()
        for run in made.runs:
            for path in run.folders:
                shutil.rmtree(path, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - polled


def _marked(mark: str, pids: Iterable[int]) -> set[int]:
    wanted = f"{MARK}={mark}".encode()
    found = [pid for pid in pids if wanted in _read(pid, "environ").split(b"\0")]
    return {pid for pid in found if start_of(pid)}


def _parent(pid: int) -> int:
    words = _read(pid, "stat").rpartition(b")")[2].split()
    return int(words[1]) if len(words) > 1 else 0


def _descendants(pid: int, parents: Mapping[int, int]) -> set[int]:
    found = [pid]
    for each in found:
        found += [child for child, parent in parents.items() if parent == each]
    return {*found[1:]}


def _run_folders(pid: int) -> set[Path]:
    """Return the run folders whose lock a process holds: a supervisor's."""
    found = set()
    with suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                held = handle.readlink()
                if held.name == "owner" and held.parent.name.startswith("costmgmt-server-"):
                    found.add(held.parent)
    return found
