"""Measure what the main job costs, each figure beside what it is compared with, in one run.

    python bench/main_job.py [--runs 7]

Needs a virtual environment with pytest-costmgmt[embedded] and pytest-postgresql, whose Python an
ordinary user can start (pytest-postgresql does not run as root); prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

NOBODY = 65534
# Both sides as they were installed: with their bytecode.
ENVIRON = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}

THEIRS = """
import time
def test_first_connection(request):
    began = time.perf_counter()
    connection = request.getfixturevalue("postgresql")
    assert connection.execute("SELECT 1").fetchone() == (1,)
    print(f"FIRST {time.perf_counter() - began:.4f}")
"""
OURS = """
import os, time
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve
def test_first_connection(request):
    began = time.perf_counter()
    programs = embedded.embedded_programs(resolve({}, os.environ, lambda _: None))
    instance = embedded.start(run_id="bench", programs=programs)
    with connect(instance.superuser, deadline=10) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    print(f"FIRST {time.perf_counter() - began:.4f}")
    instance.stop()
"""
BARE = """
import psycopg
def test_query():
    with psycopg.connect({dsn!r}) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
"""
PREPARE = """
import os, sys, time
from pathlib import Path
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.postgres.login import pack
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve
import json
programs = embedded.embedded_programs(resolve({}, os.environ, lambda _: None))
instance = embedded.start(run_id="bench", programs=programs)
done = initialize(instance.superuser, requirements=load("koku-hive"), ours=True).require()
print(json.dumps(pack(done.application)), flush=True)
sys.stdin.read()
instance.stop()
"""


def ordinary() -> list[str]:
    """Return what makes a command run as an ordinary user."""
    if os.getuid() != 0:
        return []
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]


def run(command: list[str], folder: Path, **environ: str) -> tuple[float, str]:
    """Run a command; return its seconds and what it printed. Raises SystemExit if it failed."""
    began = time.perf_counter()
    done = subprocess.run(
        [*ordinary(), *command],
        cwd=folder, capture_output=True, text=True, check=False,
        env={**ENVIRON, "HOME": str(folder), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **environ},
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return seconds, done.stdout


def paired(
    runs: int, ours: Callable[[], float], theirs: Callable[[], float]
) -> tuple[float, float, float]:
    """Return both medians and the median of the ratios, measured in turn after one warm-up."""
    ours(), theirs()
    pairs = [(ours(), theirs()) for _ in range(runs)]
    return (
        statistics.median(a for a, _ in pairs),
        statistics.median(b for _, b in pairs),
        statistics.median(a / b for a, b in pairs),
    )


def pytest_of(*arguments: str) -> list[str]:
    """Return the command of a pytest without plugins but those that are named."""
    return [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *arguments]


def printed(folder: Path, *arguments: str) -> float:
    """Return the seconds that the one test measured itself."""
    _, out = run(pytest_of(*arguments), folder)
    found = re.search(r"FIRST ([0-9.]+)", out)
    if found is None:
        sys.exit(f"no figure in:\n{out}")
    return float(found.group(1))


def first_connection(folder: Path, runs: int) -> tuple[float, float, float]:
    """Compare the time to the first connection; both on tmpfs, ours with initdb cached."""
    (folder / "test_ours.py").write_text(OURS)
    (folder / "test_theirs.py").write_text(THEIRS)
    base = f"--basetemp={folder / 'tmp'}"
    plugin = ["-p", "pytest_postgresql.plugin", base]
    if bindir := sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")):
        plugin.append(f"--postgresql-exec={bindir[-1]}")
    return paired(
        runs,
        lambda: printed(folder, "test_ours.py", base),
        lambda: printed(folder, "test_theirs.py", *plugin),
    )


@contextmanager
def prepared(folder: Path) -> Iterator[dict[str, str]]:
    """Start an initialized server and return its application's login."""
    import json  # noqa: PLC0415

    server = subprocess.Popen(
        [*ordinary(), sys.executable, "-c", PREPARE],
        cwd=folder, env={**os.environ, "HOME": str(folder)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert server.stdin is not None  # noqa: S101
    assert server.stdout is not None  # noqa: S101
    try:
        login = json.loads(server.stdout.readline())
        yield {
            "dsn": f"host={login['where']['host']} port={login['where']['port']}"
            f" user={login['role']} dbname={login['database']}",
            "password": login["password"],
        }
    finally:
        server.stdin.close()
        server.wait(30)


def preflight(folder: Path, runs: int) -> tuple[float, float, float]:
    """Compare a whole preflight process with a bare pytest of one query."""
    with prepared(folder) as login:
        (folder / "test_bare.py").write_text(BARE.format(dsn=login["dsn"]))
        bare = pytest_of("test_bare.py")
        ours = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "costmgmt",
                f"--costmgmt-dsn={login['dsn']}"]  # fmt: skip
        password = {"PGPASSWORD": login["password"]}
        return paired(
            runs,
            lambda: run(ours, folder, **password)[0],
            lambda: run(bare, folder, **password)[0],
        )


def main_job(folder: Path, runs: int) -> tuple[float, float, float]:
    """Return the whole main job, the application's own commands in it, and the rest.

    Its own are migrate, create_tenants, and the two further runs of migrate that CM-INI-001 makes
    (whose call is counted whole: the SQL steps of ours beside them take about 0.2 s).
    """
    command = [sys.executable, "-m", "pytest", "--costmgmt", "-p", "costmgmt", "--durations=3"]
    whole, own, rest = [], [], []
    for number in range(runs + 1):
        seconds, out = run(command, folder)
        told = re.findall(r"(?:applied|tenants made) in ([0-9.]+) s", out)
        told += re.findall(r"([0-9.]+)s call +costmgmt/initialization", out)
        if number:
            whole.append(seconds)
            own.append(sum(map(float, told)))
            rest.append(whole[-1] - own[-1])
    return statistics.median(whole), statistics.median(own), statistics.median(rest)


def row(*cells: str) -> None:
    """Print a row of a Markdown table."""
    print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=7)
    runs = parser.parse_args().runs
    base = "/dev/shm" if Path("/dev/shm").is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="costmgmt-bench-", dir=base))
    folder.chmod(0o777)
    try:
        print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
        row("what", "ours", "compared with", "ratio", "at most")
        row(*["---"] * 5)
        a, b, ratio = first_connection(folder, runs)
        theirs = f"pytest-postgresql {b:.3f} s"
        row("first connection", f"{a:.3f} s", theirs, f"{ratio:.2f}", "0.40")
        a, b, ratio = preflight(folder, runs)
        row("preflight, whole process", f"{a:.3f} s", f"bare {b:.3f} s", f"{ratio:.2f}", "1.50")
        a, b, rest = main_job(folder, runs)
        row("main job", f"{a:.2f} s", f"the application's {b:.2f} s", f"rest {rest:.2f} s", "4 s")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
