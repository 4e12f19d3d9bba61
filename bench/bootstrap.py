"""Measure what is done over a release against what it stands beside, on a cluster.

    python bench/bootstrap.py [--runs 3] [--megabytes 500] [--bulk] [bootstrap] [backup]

``bootstrap``: from an empty namespace to validated, without migrations' own time, against
``helm install --wait`` of the same chart and values. ``backup``: through the release, against the
same database of the same server over its Unix socket, and beside what Kubernetes itself takes for
these bytes: the same command over ``kubectl port-forward``. The database is bench/backup.py's; with
``--bulk`` it is one table of long texts, which cost the server next to nothing a byte. The cluster
is KUBECONFIG's, else a test bed made for it; the socket is reached on a test bed's node alone.
Prints a table in Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import backup as databases

from tests.chart.rendering import CHART
from tests.cluster.bootstraps import RELEASE, Bootstrap
from tests.cluster.testbed import bed as testbed
from tests.cluster.testbed.bed import Bed
from tests.cluster.testbed.sockets import Sockets

BOOTSTRAP_MORE = 8.0
BACKUP_TIMES = 1.5
FILL = """
CREATE TABLE bulk AS
SELECT g AS id, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 32) AS i)
  FROM generate_series(1, {thousands} * 1000) AS g
"""


class Row(NamedTuple):
    """What was measured against what, and the limit for the first."""

    what: str
    seconds: float
    against: str
    other: float
    limit: float

    @property
    def line(self) -> str:
        """A line of the table."""
        kept = "kept" if self.seconds <= self.limit else "**NOT kept**"
        return (
            f"| {self.what} | {self.seconds:.1f} s | {self.against} | {self.other:.1f} s |"
            f" {self.limit:.1f} s | {kept} |"
        )


@contextlib.contextmanager
def namespace(bed: Bed) -> Iterator[Bootstrap]:
    """Yield an empty namespace."""
    with bed.namespace("bench") as name, tempfile.TemporaryDirectory() as folder:
        yield Bootstrap(bed, name, bed.kubeconfig, Path(folder))


def timed_bootstrap(bed: Bed) -> float:
    """Return how long a bootstrap took, less the time that its migration Job took."""
    with namespace(bed) as place:
        began = time.perf_counter()
        ended = place.run()
        seconds = time.perf_counter() - began
        job = bed.list("job", place.namespace)[0]
        times = [job["status"][name] for name in ("startTime", "completionTime")]
        migrated = re.search(r"migrated in (\d+) s", ended.out)
        print(f"  bootstrap {seconds:.1f} s, of which the Job {times}, {migrated and migrated[0]}",
              flush=True)  # fmt: skip
        return seconds - _between(*times)


def _between(first: str, second: str) -> float:
    form = "%Y-%m-%dT%H:%M:%SZ"
    return time.mktime(time.strptime(second, form)) - time.mktime(time.strptime(first, form))


def timed_helm(bed: Bed) -> float:
    """Return how long Helm took for the same release."""
    with namespace(bed) as place:
        place.argv(values={})
        options = ("--values", str(place.folder / "values.yaml"), "--wait", "--timeout=5m")
        began = time.perf_counter()
        bed.helm("install", RELEASE, str(CHART), "-n", place.namespace, *options)
        seconds = time.perf_counter() - began
        print(f"  helm install --wait {seconds:.1f} s", flush=True)
        return seconds


def bootstrap(bed: Bed, given: argparse.Namespace) -> list[Row]:
    """Measure a bootstrap; each kind in turn."""
    pairs = [(timed_bootstrap(bed), timed_helm(bed)) for _ in range(given.runs)]
    ours, theirs = (statistics.median(each) for each in zip(*pairs, strict=True))
    what = "bootstrap, empty namespace to validated, without the Job"
    return [Row(what, ours, "helm install --wait", theirs, theirs + BOOTSTRAP_MORE)]


def backup(bed: Bed, given: argparse.Namespace) -> list[Row]:
    """Measure a backup through the release, and over the server's own socket."""
    if bed.node is None:
        raise SystemExit("backup: the server's socket is reached on a test bed's node alone")
    megabytes = given.megabytes
    with namespace(bed) as place:
        # The bed's volumes lie in memory, and count for the pod that writes on them.
        memory = f"{2 + -(-megabytes // 250)}Gi"
        place.deployed(values={"postgresql": {"resources": {"limits": {"memory": memory}}}})
        for statement in _rows(megabytes, bulk=given.bulk):
            bed.psql(place.namespace, statement)
        whom = "dbname=koku user=postgres"
        socket = f"host={_socket(bed, place.namespace)} {whom}"
        release = ("--namespace", place.namespace, "--kubeconfig", str(bed.kubeconfig))
        kubectl = bed.node.programs / "kubectl"
        with _forwarded(kubectl, bed, place.namespace) as port:
            ways = (release, (socket,), (f"host=127.0.0.1 port={port} sslmode=disable {whom}",))
            times = [[timed_backup(place, *way) for way in ways] for _ in range(given.runs)]
    ours, theirs, plain = (statistics.median(each) for each in zip(*times, strict=True))
    kind = "of long texts " if given.bulk else ""
    limit, what = theirs * BACKUP_TIMES, f"backup of {megabytes} MB {kind}through the release"
    return [
        Row(what, ours, "Unix socket", theirs, limit),
        Row(what, ours, "kubectl port-forward", plain, plain),
    ]


def _rows(megabytes: int, *, bulk: bool) -> Iterator[str]:
    """Yield the statements that fill the database."""
    if bulk:
        yield FILL.format(thousands=megabytes)
    else:
        yield from databases.statements(megabytes / 1000)
    yield "VACUUM ANALYZE"
    yield "CHECKPOINT"


@contextlib.contextmanager
def _forwarded(kubectl: Path, bed: Bed, space: str) -> Iterator[int]:
    """Yield a port here that kubectl forwards to the pod: the floor for whoever goes by its API."""
    with subprocess.Popen(
        [str(kubectl), "port-forward", "-n", space, "postgres-0", ":5432"],
        env=bed.environment(), stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            said = process.stdout.readline() if process.stdout else ""
            found = re.search(r"127\.0\.0\.1:(\d+)", said)
            if found is None:
                raise SystemExit("backup: kubectl forwarded no port")
            yield int(found[1])
        finally:
            process.terminate()


def _socket(bed: Bed, space: str) -> Path:
    """Return the folder of the pod's socket."""
    folder = Sockets().of(bed.get("pod", "postgres-0", space)["metadata"]["uid"])
    if folder is None:
        raise SystemExit("backup: no process of the pod was found")
    return folder


def timed_backup(place: Bootstrap, *target: str) -> float:
    """Return how long the whole command took."""
    out = place.folder / "backup"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pytest_costmgmt.cli", "backup", *target, "--out", str(out)],
        env=place.environment(), cwd=place.folder, capture_output=True, check=True,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    shutil.rmtree(out)
    print(f"  backup {' '.join(target)[:30]}... {seconds:.2f} s", flush=True)
    return seconds


MEASURES = {"bootstrap": bootstrap, "backup": backup}


def main() -> int:
    """Measure what is asked for; the status is 1 if a limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("measures", nargs="*", choices=[*MEASURES, []], help="default: all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--megabytes", type=int, default=500, help="the database's size")
    parser.add_argument("--bulk", action="store_true", help="one table of long texts")
    given = parser.parse_args()
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        found = testbed.given(Path(stack.enter_context(tempfile.TemporaryDirectory())))
        bed = found or stack.enter_context(testbed.made())
        for name in given.measures or MEASURES:
            rows += MEASURES[name](bed, given)
    print(f"\n{os.cpu_count()} processors, {given.runs} runs, medians\n")
    print("| what | measured | against | measured | at most | |\n|---|---|---|---|---|---|")
    for row in rows:
        print(row.line)
    return int(any(row.seconds > row.limit for row in rows))


if __name__ == "__main__":
    sys.exit(main())
