"""Measure a fresh database for each test: ours against pytest-postgresql's, of the same template.

    python bench/databases.py [--tests 200] [--runs 5]

Makes a virtual environment of its own for it (in a temporary folder, or --venv DIR, which is used
again). For the first two rows pytest-postgresql is given a running server with our configuration,
so that its figures hold no server's start; ours hold one. For the last each makes its own, as its
users have it: run by an ordinary user (root becomes one: use a Python that all may start), since
initdb refuses root. Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
INHERITED = ("PYTEST_", "COSTMGMT_", "PG")

TESTS = """
import pytest
@pytest.mark.parametrize("number", range({tests}))
def test_writes({fixture}, number):
    connection = {fixture}
    connection.execute("CREATE TABLE line (id int PRIMARY KEY)")
    connection.execute("INSERT INTO line VALUES (1)")
    connection.commit()
"""
# What each test waits for its database, from setup to teardown; the first starts servers.
TIMES = """
import json, os
SPENT = {}
def pytest_runtest_logreport(report):
    if report.when != "call":
        SPENT[report.nodeid] = SPENT.get(report.nodeid, 0.0) + report.duration
def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        with open(os.environ["BENCH_TIMES"], "w") as file:
            json.dump(list(SPENT.values()), file)
"""
_EXTENSIONS = """
import psycopg
from pytest_postgresql import factories
def extensions(**login):
    login.pop("autocommit", None)
    with psycopg.connect(**login) as connection:
        for name in ("uuid-ossp", "pg_trgm", "pg_stat_statements"):
            connection.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}"')
"""
THEIRS = f"""{_EXTENSIONS}
postgresql_noproc = factories.postgresql_noproc(load=[extensions])
postgresql = factories.postgresql("postgresql_noproc")
"""
THEIR_OWN = f"""{_EXTENSIONS}
preload = "-c shared_preload_libraries=pg_stat_statements"
postgresql_own = factories.postgresql_proc(load=[extensions], postgres_options=preload)
postgresql = factories.postgresql("postgresql_own")
"""
NOBODY = 65534
SERVER = """
import json, os, sys
from pytest_costmgmt.postgres.login import pack
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve
programs = embedded.embedded_programs(resolve({}, os.environ, lambda _: None))
instance = embedded.start(run_id="bench", programs=programs)
print(json.dumps({"label": programs.label, **pack(instance.superuser)}), flush=True)
sys.stdin.read()
instance.stop()
"""


def environment(**more: str) -> dict[str, str]:
    """Return this environment without what would change a run."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(INHERITED)}
    return {**kept, **more}


def interpreter(folder: Path) -> Path:
    """Return a Python with this project and pytest-postgresql, newest."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        wanted = [f"{ROOT}[embedded,parallel]", "pytest-postgresql"]
        subprocess.run([str(python), "-m", "pip", "install", "-q", *wanted], check=True)
    return python


@contextmanager
def server(python: Path) -> Iterator[dict[str, object]]:
    """Run a server for pytest-postgresql; yield the superuser's login to it."""
    with subprocess.Popen(
        [str(python), "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=environment(),
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - both are pipes
        assert process.stdin is not None  # noqa: S101
        yield json.loads(process.stdout.readline())
        process.stdin.close()


class Side:
    """One of the two that are compared."""

    def __init__(self, folder: Path, python: Path, fixture: str, conftest: str, tests: int) -> None:
        folder.mkdir()
        self.folder, self.python = folder, python
        self.before: list[str] = []
        self.environ: dict[str, str] = {}
        self.arguments = ["-p", "no:cacheprovider", "-q"]
        (folder / "pytest.ini").write_text("[pytest]\n")
        (folder / "conftest.py").write_text(conftest + TIMES)
        (folder / "test_it.py").write_text(TESTS.format(tests=tests, fixture=fixture))

    def as_ordinary_user(self) -> None:
        """Run as somebody who may run initdb, from now on."""
        self.environ["HOME"] = str(self.folder)
        self.arguments.append(f"--basetemp={self.folder / 'tmp'}")
        if os.getuid() == 0:
            self.before = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)

    def run(self, *more: str) -> tuple[float, list[float]]:
        """Return the process's seconds, and each test's for its database but the first's."""
        times, began = self.folder / "times.json", time.perf_counter()
        done = subprocess.run(
            [*self.before, str(self.python), "-m", "pytest", *self.arguments, *more],
            cwd=self.folder, env=environment(**self.environ, BENCH_TIMES=str(times)),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        return seconds, json.loads(times.read_text())[1:]


def compare(python: Path, tests: int, runs: int) -> None:
    """Run both in turns and print the table."""
    with tempfile.TemporaryDirectory() as temporary, server(python) as login:
        here = Path(temporary)
        ours = Side(here / "ours", python, "costmgmt_connection", "", tests)
        ours.arguments += ["-p", "no:postgresql"]
        theirs = Side(here / "theirs", python, "postgresql", THEIRS, tests)
        where = dict(login["where"])  # type: ignore[call-overload]
        theirs.arguments += [
            f"--postgresql-host={where['host']}",
            f"--postgresql-port={where['port']}",
            f"--postgresql-user={login['role']}",
        ]
        theirs.environ["PGPASSWORD"] = str(login["password"])
        single: dict[str, list[float]] = {"ours": [], "theirs": []}
        whole: dict[str, list[float]] = {"ours": [], "theirs": []}
        sides = [("ours", ours), ("theirs", theirs)]
        for _ in range(runs):
            # Next to each other, each first in turn: a busy machine slows both of a pair.
            for name, side in sides:
                single[name].append(statistics.median(side.run()[1]))
            for name, side in sides:
                whole[name].append(side.run("-n", "2")[0])
            sides.reverse()
        each = with_servers(here, python, tests, runs)
    print(f"{login['label']}, Python {platform.python_version()}, {os.cpu_count()} cores,")
    print(f"{tests} tests, {runs} pairs, medians; the ratio is the median of the pairs'.\n")
    print("| what | ours | pytest-postgresql | ratio (from, to) | at most |")
    print("|---|---|---|---|---|")
    for what, unit, factor, limit, found in (
        ("fresh database for a test", "ms", 1000, 0.4, single),
        (f"{tests} tests, -n 2; theirs without a server's start", "s", 1, 0.5, whole),
        (f"{tests} tests, -n 2, each with a server of its own", "s", 1, 0.5, each),
    ):
        mine, other = (statistics.median(found[name]) * factor for name in ("ours", "theirs"))
        ratios = sorted(a / b for a, b in zip(found["ours"], found["theirs"], strict=True))
        ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f}, {ratios[-1]:.2f})"
        print(f"| {what} | {mine:.1f} {unit} | {other:.1f} {unit} | {ratio} | {limit} |")


def with_servers(here: Path, python: Path, tests: int, runs: int) -> dict[str, list[float]]:
    """Return both sides' seconds with two workers, from nothing: each starts its servers."""
    here.chmod(0o755)
    sides = {
        "ours": Side(here / "from-nothing", python, "costmgmt_connection", "", tests),
        "theirs": Side(here / "their-own", python, "postgresql", THEIR_OWN, tests),
    }
    sides["ours"].arguments += ["-p", "no:postgresql"]
    if programs := sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")):
        sides["theirs"].arguments.append(f"--postgresql-exec={programs[-1]}")
    found: dict[str, list[float]] = {name: [] for name in sides}
    order = list(sides.items())
    for _, side in order:
        side.as_ordinary_user()
        side.run("-n", "2")  # what is cached between runs
    for _ in range(runs):
        for name, side in order:
            found[name].append(side.run("-n", "2")[0])
        order.reverse()
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tests", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--venv", type=Path)
    given = parser.parse_args()
    if given.venv is not None:
        compare(interpreter(given.venv.absolute()), given.tests, given.runs)
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        compare(interpreter(Path(folder) / "venv"), given.tests, given.runs)


if __name__ == "__main__":
    main()
