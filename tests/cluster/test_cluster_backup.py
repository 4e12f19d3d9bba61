"""`costmgmt backup|restore --namespace`: by the doors, nothing in the pod, whole or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.bootstraps import Bootstrap, Ended, prepared
from tests.cluster.testbed.bed import Bed

MADE = "60000"
# About 60 MB.
ROWS = """
CREATE TABLE bulk AS
SELECT g AS id, (SELECT string_agg(md5((g * 1000 + i)::text), '') FROM generate_series(1, 32) AS i)
  FROM generate_series(1, 60000) AS g
"""


@pytest.fixture(scope="module")
def release(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrap]:
    """A release with rows that take a while to be read."""
    with prepared(bed, tmp_path_factory.mktemp("backup")) as found:
        found.deployed()
        bed.psql(found.namespace, ROWS)
        yield found


def command(release: Bootstrap, *arguments: str) -> list[str]:
    """Return the command line of costmgmt over the release."""
    return [
        sys.executable, "-m", "pytest_costmgmt.cli", *arguments, "--namespace", release.namespace
    ]  # fmt: skip


def run(release: Bootstrap, *arguments: str) -> Ended:
    """Run costmgmt over the release."""
    done = subprocess.run(
        command(release, *arguments),
        env=release.environment(), cwd=release.folder, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    return Ended(done.returncode, done.stdout, done.stderr)


def test_a_backup_comes_back(release: Bootstrap, bed: Bed) -> None:
    """What is restored under another name is proven equal; nothing is left in the pod."""
    backed = run(release, "backup", "--out", "whole")
    assert backed.status == 0, backed.said
    restored = run(release, "restore", "whole", "--database", "again")
    assert restored.status == 0, restored.said
    assert "proven equal" in restored.out
    assert bed.psql(release.namespace, "SELECT count(*) FROM bulk", "again") == MADE
    # Beyond its volume, the container has nothing new of that size.
    inside = ("exec", "-n", release.namespace, "postgres-0", "-c", "postgresql", "--")
    found = "find / -xdev -type f -size +512k -newer /var/lib/pgsql/passwd 2>/dev/null; true"
    assert bed.kubectl(*inside, "bash", "-c", found) == ""


def until_dumping(release: Bootstrap, process: subprocess.Popen[str]) -> int:
    """Stop a pg_dump in the middle of a table's rows; return its process id."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[0]
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = entry.read_bytes().split(b"\0")
                name = Path(words[0].decode()).name
                here = str(release.folder).encode() in b" ".join(words)
                if name == "pg_dump" and here and rows_of(release) > 0:
                    os.kill(int(entry.parent.name), signal.SIGSTOP)
                    return int(entry.parent.name)
    raise AssertionError("no pg_dump was seen")


def rows_of(release: Bootstrap) -> int:
    """Return how many bytes of rows are written by now."""
    found = release.folder.glob(".broken*/**/*.dat*")
    return sum(one.stat().st_size for one in found)


def test_a_pod_that_goes_fails_the_backup(release: Bootstrap, bed: Bed) -> None:
    """A dropped connection is an error: no folder is left that looks like a backup."""
    with subprocess.Popen(
        command(release, "backup", "--out", str(release.folder / "broken"), "--jobs", "1"),
        env=release.environment(), cwd=release.folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        dumping = until_dumping(release, process)
        try:
            now = ("--grace-period=0", "--force")
            bed.kubectl("delete", "pod", "postgres-0", "-n", release.namespace, *now)
        finally:
            os.kill(dumping, signal.SIGCONT)
        said, _ = process.communicate(timeout=120)
    assert process.returncode == 8, said
    assert "Traceback" not in said
    assert not (release.folder / "broken").exists()
    assert list(release.folder.glob(".broken*")) == []
    bed.until_ready(release.namespace)
