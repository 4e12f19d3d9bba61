"""Measure how long after a signal something of ours is left, and of what.

    python bench/signals.py [--runs 3]

Starts ``pytest --costmgmt`` (with ``-n 0`` and ``-n 2``), sends it SIGINT, SIGTERM or SIGKILL in
each phase, and asks until its processes, sockets, run folders, temporary files and both kinds of
shared memory are gone. Runs in a checkout, with the Python that has pytest-costmgmt[embedded,
parallel]; prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import platform
import re
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.server.run_support import Place, Running, place

LIMIT = 2.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
PHASES: dict[str, Callable[[Running], None]] = {
    "the server starts": lambda run: run.until_server(),
    "roles and databases": lambda run: run.until_said(" started in "),
    "migrations": lambda run: run.until_said(" initialized in "),
    "tenants": lambda run: run.until_said(" migrations applied in "),
    "checks": lambda run: run.until_said("session starts"),
}


class SharedMemory:
    """The shared memory of a run's processes: System V's segments and POSIX's files."""

    def __init__(self) -> None:
        self.files: set[Path] = set()
        self.creators: set[int] = set()

    def note(self, run: Running) -> None:
        """Remember what the run's processes use."""
        for pid in run.note().seen:
            self.creators.add(pid)
            try:
                maps = Path(f"/proc/{pid}/maps").read_text()
            except OSError:
                continue
            self.files |= {Path(each) for each in re.findall(r"/dev/shm/PostgreSQL\S+", maps)}

    def left(self) -> Iterator[str]:
        """Yield what is still there."""
        yield from (str(path) for path in self.files if path.exists())
        lines = Path("/proc/sysvipc/shm").read_text().splitlines()
        words = lines[0].split()
        for line in lines[1:]:
            segment = dict(zip(words, line.split(), strict=True))
            if int(segment["cpid"]) in self.creators:
                yield f"System V segment {segment['shmid']}"


def seconds(where: Place, workers: str, phase: str, number: signal.Signals) -> float:
    """Return how long after the signal nothing of the run was left."""
    run = where.start("--costmgmt", workers)
    PHASES[phase](run)
    memory = SharedMemory()
    memory.note(run)
    began = time.perf_counter()
    run.process.send_signal(number)
    while (run.process.poll() is None) or run.left() or [*memory.left()]:
        if time.perf_counter() - began > 10 * LIMIT:
            sys.exit(f"{number.name} in {phase}, {workers}: left {run.left()} {[*memory.left()]}")
        time.sleep(0.005)
    return time.perf_counter() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    print(f"{platform.machine()}, Python {platform.python_version()}; {runs} runs of each\n")
    print("| from | phases | median | longest | in | at most |")
    print("|---|---|---|---|---|---|")
    for number in SIGNALS:
        taken: list[tuple[float, str]] = []
        for workers in ("-n0", "-n2"):
            for phase in PHASES:
                for _ in range(runs):
                    with place() as where:
                        took = seconds(where, workers, phase, number)
                    taken.append((took, f"{phase}, {workers}"))
        longest, worst = max(taken)
        median = statistics.median(took for took, _ in taken)
        print(
            f"| {number.name} | {len(PHASES)} | {median:.2f} s | {longest:.2f} s | {worst} "
            f"| {LIMIT:.0f} s |",
            flush=True,
        )


if __name__ == "__main__":
    main()
