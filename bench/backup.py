"""Measure backup, restore and proof against the documented way, on one server in one run.

    python bench/backup.py [--postgres 15 | --bindir DIR] [--gigabytes 1.5] [--tenants 50]
                           [--runs 2] [--plain 100]

The documented way is `pg_dump > file`, then `psql < file` into a new database: it proves nothing.
Starts a server of its own (fsync off, as both sides have it) and needs about five times the size in
memory or disk. Prints tables in Markdown. --plain measures, instead of the tenants' proof, the
memory for so many tenants of tables with a column and a row each, of which there may be more.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import pack
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve

CLI = (sys.executable, "-m", "pytest_costmgmt.cli")

# About a gigabyte; {n} scales it. Modelled on koku: twelve tenants, a schema each, with line
# items by the month, narrow ones and daily summaries with labels and numerics, found by date,
# prefix, label and part of a name; jsonb documents, and texts that are stored out of line. Amounts
# and words repeat as they do in accounts: random digits would say nothing about a compressor.
TENANTS = 12
SETUP = "CREATE EXTENSION IF NOT EXISTS pg_trgm"
DATA = """
SET synchronous_commit = off;
CREATE SCHEMA {tenant};
SET search_path = {tenant}, public;
CREATE TABLE cluster (id int PRIMARY KEY, name text NOT NULL, alias text);
INSERT INTO cluster SELECT g, 'cluster ' || md5(g::text), md5(g::text) || '.example.org'
  FROM generate_series(1, ({n} * 20000)::int) g;
ALTER TABLE cluster ADD UNIQUE (alias);
CREATE TABLE line (id bigint NOT NULL, cluster int NOT NULL, day date NOT NULL,
  hours numeric(12, 4), cost numeric(33, 15)) PARTITION BY RANGE (day);
{months_of_line};
INSERT INTO line SELECT g, 1 + (g * 7919) % ({n} * 20000)::int, DATE '2025-01-01' + (g % 365)::int,
  (g % 2400) / 100.0, (g % 2400) / (1 + g % 97)::numeric
  FROM generate_series(1, ({n} * 1750000)::bigint) g;
ALTER TABLE line ADD PRIMARY KEY (day, id), ADD FOREIGN KEY (cluster) REFERENCES cluster;
CREATE INDEX ON line (cluster, day);
CREATE TABLE summary (uuid uuid NOT NULL, day date NOT NULL, cluster int NOT NULL,
  namespace text, node text, labels jsonb, cpu_hours numeric(33, 15), cpu_request numeric(33, 15),
  memory_hours numeric(33, 15), memory_request numeric(33, 15), cost numeric(33, 15),
  markup numeric(33, 15)) PARTITION BY RANGE (day);
{months_of_summary};
INSERT INTO summary SELECT md5(g::text)::uuid, DATE '2025-01-01' + (g % 365)::int,
  1 + g % ({n} * 20000)::int, 'namespace-' || g % 700, 'node-' || md5((g % 900)::text),
  jsonb_build_object('app', 'a' || g % 100, 'tier', 't' || g % 7, 'owner', md5((g % 50)::text)),
  (g % 2400) / (1 + g % 97)::numeric, g % 25, (g % 9600) / (1 + g % 31)::numeric, g % 97,
  (g % 2400) / (1 + g % 97)::numeric * 0.0137, 0
  FROM generate_series(1, ({n} * 700000)::int) g;
ALTER TABLE summary ADD PRIMARY KEY (day, uuid), ADD FOREIGN KEY (cluster) REFERENCES cluster;
CREATE INDEX ON summary (cluster);
CREATE INDEX ON summary (namespace text_pattern_ops);
CREATE INDEX ON summary USING gin (labels);
CREATE INDEX ON summary USING gin (upper(namespace) gin_trgm_ops);
CREATE INDEX ON summary USING gin (upper(node) gin_trgm_ops);
CREATE TABLE document (id int NOT NULL, cluster int, body jsonb);
INSERT INTO document SELECT g, 1 + g % ({n} * 20000)::int, jsonb_build_object(
  'id', md5(g::text), 'labels', jsonb_build_object('app', 'a' || g % 100, 'tier', 't' || g % 7),
  'cost', g * 1.37, 'tags', jsonb_build_array(g % 13, 'node-' || g % 900, 'namespace-' || g % 71))
  FROM generate_series(1, ({n} * 600000)::int) g;
ALTER TABLE document ADD PRIMARY KEY (id), ADD FOREIGN KEY (cluster) REFERENCES cluster;
CREATE INDEX ON document USING gin ((body -> 'labels'));
CREATE TABLE report (id int NOT NULL, text text);
INSERT INTO report SELECT g, (SELECT string_agg(format(
  'pod-%s in namespace-%s on node-%s: %s core hours, %s GiB hours', md5(((g + i) % 5000)::text),
  (g * i) % 71, (g + i * 31) % 900, (g * i) % 9973 / 100.0, (g * 7 + i) % 4999 / 10.0), E'\\n')
  FROM generate_series(1, 110) i) FROM generate_series(1, ({n} * 23000)::int) g;
ALTER TABLE report ADD PRIMARY KEY (id)
"""
MONTH = (
    "CREATE TABLE {table}_{month:02} PARTITION OF {table}"
    " FOR VALUES FROM ('2025-{month:02}-01') TO ('{year}-{following:02}-01')"
)
TENANT_TABLES = 264
# As many indexes and foreign keys as a tenant of koku has: about 1,500 and 428.
TENANT = """
CREATE TABLE {table} (id int PRIMARY KEY, name text NOT NULL, cost numeric, parent int,
  cluster int, at timestamptz DEFAULT now());
INSERT INTO {table} SELECT g, 'row ' || g, g * 1.5, 1, 1 FROM generate_series(1, 3) g;
ALTER TABLE {table} ADD FOREIGN KEY (parent) REFERENCES {first};
CREATE INDEX ON {table} (name);
CREATE INDEX ON {table} (parent);
CREATE INDEX ON {table} (at, cost)
"""
MORE = (
    "CREATE INDEX ON {table} (cluster)",
    "CREATE INDEX ON {table} (upper(name) text_pattern_ops)",
    "ALTER TABLE {table} ADD FOREIGN KEY (cluster) REFERENCES {first}",
)
# Whoever proves has connected before.
PROOF = """
import json, sys, time
import psycopg
from pathlib import Path
from pytest_costmgmt.backup import manifest, proof
from pytest_costmgmt.postgres.clients import choose
from pytest_costmgmt.postgres.login import unpack
given = json.load(sys.stdin)
folder = Path(given["folder"])
told = manifest.read(folder)
clients = choose(told.server_number, bindir=Path(given["bindir"]), cache=folder, environ={})
began = time.perf_counter()
seen = proof.prove(told, folder / "archive", unpack(given["login"]), clients=clients, jobs=2)
assert seen.equal, seen.differences
seconds = time.perf_counter() - began
told = Path("/proc/self/status").read_text().splitlines()
peak = next(int(line.split()[1]) for line in told if line.startswith("VmHWM"))
print(json.dumps({"seconds": seconds, "peak": peak, "compared": seen.compared}))
"""


class Bench:
    """One server, and what is run on it."""

    def __init__(self, instance: embedded.Instance, bindir: Path, folder: Path) -> None:
        self.superuser, self.bindir, self.folder = instance.superuser, bindir, folder
        packed = pack(instance.superuser)
        assert packed is not None  # noqa: S101 - a login was given
        self.environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PG", "COSTMGMT_"))},
            "PGPASSWORD": str(packed["password"]),
        }

    def dsn(self, database: str) -> str:
        """Return a conninfo without a password."""
        where = " ".join(f"{k}={v}" for k, v in self.superuser.where.items())
        return f"{where} user={self.superuser.role} dbname={database}"

    def sql(self, *statements: str, on: str = "postgres") -> list[tuple[object, ...]]:
        """Run statements; return the last one's rows."""
        with connect(self.superuser.on(on), deadline=30) as connection:
            for statement in statements:
                cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def run(self, *command: str | Path, output: Path | None = None) -> tuple[float, int]:
        """Run a command to its end; return its seconds and its own peak memory in KiB."""
        began, peak = time.perf_counter(), 0
        with (output or Path(os.devnull)).open("wb") as stream, tempfile.TemporaryFile() as said:
            process = subprocess.Popen(
                [str(part) for part in command], env=self.environ, stdout=stream, stderr=said,
                cwd=self.folder,
            )  # fmt: skip
            watcher = threading.Thread(target=process.wait)
            watcher.start()
            while watcher.is_alive():
                peak = max(peak, _peak(process.pid))
                watcher.join(0.02)
            if process.returncode:
                said.seek(0)
                raise SystemExit(f"{command}: {said.read().decode()[-2000:]}")
        return time.perf_counter() - began, peak

    def documented(self) -> tuple[float, int]:
        """Dump and restore as documented; return seconds and the dump's bytes."""
        plain = self.folder / "plain.sql"
        self.sql("CHECKPOINT")
        seconds, _ = self.run(self.bindir / "pg_dump", self.dsn("koku"), output=plain)
        self.sql("CREATE DATABASE plain")
        piped = 'cat "$1" | "$0" "$2"'
        restore = ("sh", "-c", piped, self.bindir / "psql", plain, self.dsn("plain"))
        seconds += self.run(*restore)[0]
        size = plain.stat().st_size
        plain.unlink()
        self.sql("DROP DATABASE plain WITH (FORCE)")
        return seconds, size

    def ours(self) -> tuple[float, int, int, Path]:
        """Back up, restore and prove; return seconds, the archive's bytes, peak KiB, the folder."""
        out = self.folder / "backup"
        shutil.rmtree(out, ignore_errors=True)
        self.sql("CHECKPOINT")
        bindir = ("--bindir", self.bindir)
        dumping, first = self.run(*CLI, "backup", self.dsn("koku"), "--out", out, *bindir)
        restoring, second = self.run(
            *CLI, "restore", out, self.dsn("postgres"), "--database", "ours", *bindir
        )
        self.sql("DROP DATABASE ours WITH (FORCE)")
        size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        print(f"  backup {dumping:.1f} s, restore and proof {restoring:.1f} s", file=sys.stderr)
        return dumping + restoring, size, max(first, second), out


def _peak(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(x.split()[1]) for x in status.splitlines() if x.startswith("VmHWM")), 0)


@contextmanager
def server(version: str, bindir: str, *, locks: int = 1024) -> Iterator[Bench]:
    """Run a server of this version, or of these programs; yield the bench on it.

    ``locks`` is how many for each of its 100 connections: a dump takes one for each table.
    """
    given = {name: x for name, x in (("postgres", version), ("bindir", bindir)) if x}
    programs = embedded.embedded_programs(resolve(given, os.environ, lambda _: None))
    conf = (f"max_locks_per_transaction = {locks}",)
    instance = embedded.start(run_id="bench", programs=programs, conf=conf)
    print(f"{programs.label}, Python {platform.python_version()}, {os.cpu_count()} cores\n")
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir="/var/tmp") as folder:
            yield Bench(instance, programs.bindir, Path(folder))
    finally:
        instance.stop()


def statements(gigabytes: float) -> Iterator[str]:
    """Yield what fills a database to about this size, a text for each tenant."""
    months = {
        f"months_of_{table}": ";\n".join(
            MONTH.format(
                table=table, month=month, following=month % 12 + 1, year=2025 + month // 12
            )
            for month in range(1, 13)
        )
        for table in ("line", "summary")
    }
    yield SETUP
    for number in range(TENANTS):
        yield DATA.format(n=gigabytes / TENANTS, tenant=f"acct{number:05}", **months)


def fill(bench: Bench, gigabytes: float) -> None:
    """Make a database of about this size."""
    bench.sql("CREATE DATABASE koku")
    for text in statements(gigabytes):
        bench.sql(*text.split(";\n"), on="koku")
    bench.sql("VACUUM ANALYZE", on="koku")


def large(bench: Bench, gigabytes: float, runs: int) -> None:
    """Measure a large database."""
    fill(bench, gigabytes)
    size = bench.sql("SELECT pg_database_size('koku')")[0][0]
    print(f"  {size / 1e9:.2f} GB are made", file=sys.stderr)  # type: ignore[operator]
    theirs, mine, peaks, reads, sums = [], [], [], [], []
    for _ in range(runs):
        seconds, plain = bench.documented()
        print(f"  plain dump and psql {seconds:.1f} s", file=sys.stderr)
        theirs.append(seconds)
        seconds, archive, peak, folder = bench.ours()
        mine.append(seconds)
        peaks.append(peak)
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        sums.append(bench.run("sha256sum", *files)[0])
        reads.append(bench.run(*CLI, "verify", folder)[0])
    print(f"a database of {size / 1e9:.2f} GB, medians of {runs} runs in turns\n")  # type: ignore[operator]
    print("| what | ours | compared with | ratio |\n|---|---|---|---|")
    _row("backup + restore + whole proof", "s", mine, "plain dump + psql", theirs)
    print(
        f"| archive | {archive / 1e6:.0f} MB | plain dump {plain / 1e6:.0f} MB"
        f" | {archive / plain:.2f} |"
    )
    print(f"| peak memory of our own process | {max(peaks) / 1024:.0f} MB | | |")
    _row("verify without a server", "s", reads, "sha256sum", sums)
    bench.sql("DROP DATABASE koku WITH (FORCE)")


def _row(what: str, unit: str, mine: list[float], other: str, theirs: list[float]) -> None:
    ours, its = statistics.median(mine), statistics.median(theirs)
    print(f"| {what} | {ours:.2f} {unit} | {other} {its:.2f} {unit} | {ours / its:.2f} |")


def tenant(schema: str) -> Iterator[str]:
    """Yield what makes a tenant of many small tables."""
    yield f"CREATE SCHEMA {schema}"
    for number in range(TENANT_TABLES):
        # Of five tables, four have the one more and three the other.
        texts = [TENANT, *MORE[: (1, 2, 2, 3, 3)[number % 5]]]
        yield "; ".join(
            text.format(table=f"{schema}.t{number}", first=f"{schema}.t0") for text in texts
        )


def plain(bench: Bench, tenants: int) -> None:
    """Measure the memory that very many tables take which have nothing in them."""
    bench.sql("CREATE DATABASE koku")
    for number in range(tenants):
        schema = f"acct{number:07}"
        names = [f"{schema}.reporting_line_item_{each}_summary" for each in range(TENANT_TABLES)]
        made = [f"CREATE TABLE {name} AS SELECT {number} AS a" for name in names]
        bench.sql(f"CREATE SCHEMA {schema}; {'; '.join(made)}", on="koku")
    bench.sql("VACUUM ANALYZE", on="koku")
    print(f"\n{tenants * TENANT_TABLES} tables of one column and row\n")
    print("| peak memory of our own process | MB | s |\n|---|---|---|", flush=True)
    out, bindir = bench.folder / "plain", ("--bindir", bench.bindir)
    for what, command in (
        ("backup", ("backup", bench.dsn("koku"), "--out", out)),
        ("verify", ("verify", out)),
        ("restore", ("restore", out, bench.dsn("postgres"), "--database", "ours")),
    ):
        seconds, peak = bench.run(*CLI, *command, *bindir)
        print(f"| {what} | {peak / 1024:.0f} | {seconds:.0f} |", flush=True)


def many(bench: Bench, tenants: int, runs: int) -> None:
    """Measure the proof of many small tables, against pg_dump -s alone, in turns."""
    bench.sql("CREATE DATABASE koku")
    for number in range(tenants):
        bench.sql(*tenant(f"acct{number:07}"), on="koku")
    bench.sql("VACUUM ANALYZE", on="koku")
    out = bench.folder / "many"
    bindir = ("--bindir", bench.bindir)
    peak = bench.run(*CLI, "backup", bench.dsn("koku"), "--out", out, *bindir)[1]
    verified = bench.run(*CLI, "verify", out, *bindir)[1]
    told = {"folder": str(out), "bindir": str(bench.bindir),
            "login": pack(bench.superuser.on("koku"))}  # fmt: skip
    theirs, mine = [], []
    for _ in range(runs):
        theirs.append(bench.run(bench.bindir / "pg_dump", "-s", bench.dsn("koku"))[0])
        done = subprocess.run(
            [sys.executable, "-c", PROOF], input=json.dumps(told), env=bench.environ,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(done.stderr)
        seen = json.loads(done.stdout)
        mine.append(seen["seconds"])
        print(f"  pg_dump -s {theirs[-1]:.2f} s, proof {mine[-1]:.2f} s", file=sys.stderr)
    print(f"\n{tenants} tenants x {TENANT_TABLES} small tables: {seen['compared']}\n")
    print("| what | ours | compared with | ratio |\n|---|---|---|---|")
    _row("proof", "s", mine, "pg_dump -s", theirs)
    print(f"| peak memory of our own process, backup | {peak / 1024:.0f} MB | | |")
    print(f"| the same, verify | {verified / 1024:.0f} MB | | |")
    print(f"| the same, proof | {seen['peak'] / 1024:.0f} MB | | |")
    again = ("restore", out, bench.dsn("postgres"), "--database", "ours", *bindir)
    print(f"| the same, restore | {bench.run(*CLI, *again)[1] / 1024:.0f} MB | | |")
    proof, schema_only = (statistics.median(each) * 1000 / tenants for each in (mine, theirs))
    print(f"\nFor 1,000 tenants, extrapolated: proof {proof:.0f} s, pg_dump -s {schema_only:.0f} s")


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres", default="")
    parser.add_argument("--bindir", default="", help="python -m tests.postgres_versions names some")
    parser.add_argument("--gigabytes", type=float, default=1.5)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--plain", type=int, default=0)
    given = parser.parse_args()
    locks = max(1024, 6 * given.plain)  # twice as many as there are tables, and some
    with server(given.postgres, given.bindir, locks=locks) as bench:
        if given.gigabytes:
            large(bench, given.gigabytes, given.runs)
        if given.plain:
            plain(bench, given.plain)
        elif given.tenants:
            many(bench, given.tenants, given.runs)


if __name__ == "__main__":
    main()
