"""Whole runs of the embedded server where places cannot be as they should."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.run_support import Place, place

ROOT = os.geteuid() == 0


@pytest.fixture
def where() -> Iterator[Place]:
    """A place for a test's runs."""
    with place() as made:
        yield made


def nothing(where: Place) -> str:
    """Return the option for an application that migrates nothing: places are judged here."""
    script = where.script("manage.py", "")
    return f"--costmgmt-manage={sys.executable} {script}"


@pytest.mark.parametrize("empty", [True, False])
def test_a_bindir_without_programs(where: Place, *, empty: bool) -> None:
    """A wrong --costmgmt-bindir is one error, which names it; no other programs are taken."""
    folder = where.here / "bin"
    if empty:
        folder.mkdir()
    ran = where.run("--costmgmt", nothing(where), f"--costmgmt-bindir={folder}")
    assert str(folder) in ran.said
    assert "cannot serve" in ran.unreachable()


def test_a_version_that_is_nowhere(where: Place) -> None:
    """A version that no place has is told with every place that was probed."""
    ran = where.run("--costmgmt", nothing(where), "--costmgmt-postgres=9")
    said = ran.unreachable()
    assert "/usr/lib/postgresql" in said


def test_an_unwritable_home(where: Place) -> None:
    """Without a HOME the cache goes elsewhere, and the run is as ever."""
    ran = where.run("--costmgmt", nothing(where), environ={"HOME": "/proc", "XDG_CACHE_HOME": ""})
    assert ran.outcomes["CM-CON-002"] == "passed", ran.said


def test_a_cache_that_cannot_be_written(where: Place) -> None:
    """A cache folder that was asked for and cannot be used is exit 4: no other is taken."""
    ran = where.run("--costmgmt", nothing(where), "--costmgmt-cache=/proc/cache")
    ran.sound(4, "inconclusive")
    assert "/proc/cache" in ran.said


def test_a_read_only_working_folder(where: Place) -> None:
    """Nothing of ours is written into the working folder."""
    option = nothing(where)
    where.here = Path("/proc/self")
    ran = where.run("--costmgmt", option, "-p", "no:cacheprovider")
    assert ran.outcomes["CM-CON-002"] == "passed", ran.said


MOUNTED = """
mount -t tmpfs -o mode=1777,size=8m none /dev/shm || exit 77
exec "$@"
"""


@pytest.mark.skipif(not ROOT or shutil.which("unshare") is None, reason="mounts a small /dev/shm")
def test_a_small_shared_memory(where: Place) -> None:
    """A container's small /dev/shm is passed over for TMPDIR, however deep that is."""
    deep = where.temporary / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for folder in (deep.parent, deep):
        folder.chmod(0o755)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", MOUNTED, "sh", sys.executable, "-m", "pytest", "--costmgmt",
         nothing(where), f"--costmgmt-report={where.folder / 'small'}", "--costmgmt-keep=always"],
        check=False, capture_output=True, text=True, cwd=where.here,
        env={**os.environ, "TMPDIR": str(deep)}, timeout=90,
    )  # fmt: skip
    for kept in deep.glob("costmgmt-server-*"):
        for path in re.findall(r"remove it: rm -r -- (.*)", done.stdout)[0].split():
            shutil.rmtree(path, ignore_errors=True)  # the socket's is gone with /dev/shm
        assert not kept.exists()
    if done.returncode == 77:
        pytest.skip("no mounts here")
    assert f"are kept in {deep}/costmgmt-server-" in done.stdout, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
