"""What a killed run left in a temporary folder, the next one removes."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt import folders
from pytest_costmgmt.kubernetes.relay import Route
from pytest_costmgmt.kubernetes.socket_door import NAME, unix_door
from pytest_costmgmt.kubernetes.streams import Wire


class Nowhere(Route):
    """A way that nobody goes."""

    label = "nowhere"
    trusted = True

    def open(self) -> Wire:
        """Lead nowhere."""
        raise NotImplementedError


HOLD = """
import sys, time
from pytest_costmgmt.folders import scratch
with scratch("backup", sys.argv[1]) as folder:
    (folder / "list").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


DOOR = """
import time
from pytest_costmgmt.kubernetes.socket_door import unix_door
with unix_door(None) as door:
    print(door.where["host"], flush=True)
    time.sleep(600)
"""


def test_a_folder_is_gone_at_its_end(tmp_path: Path) -> None:
    """Nobody else may look into it, and an error removes it as well."""
    with (
        pytest.raises(ZeroDivisionError),
        folders.scratch("backup", str(tmp_path)) as folder,
    ):
        (folder / "list").write_text("x")
        assert folder.stat().st_mode & 0o777 == 0o700
        raise ZeroDivisionError
    assert not list(tmp_path.iterdir())


def test_what_was_killed_is_swept_and_what_lives_is_not(tmp_path: Path) -> None:
    """A live run's folder is never touched, nor is anything that only looks like one."""
    others = {"costmgmt-backup-x", f"costmgmt-backup-{os.geteuid()}-", "costmgmt-1a2b"}
    for name in others:
        (tmp_path / name).mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            left = Path(process.stdout.readline().strip())
            with folders.scratch("backup", str(tmp_path)):
                assert (left / "list").exists()
        finally:
            process.kill()
    assert left.exists()
    with folders.scratch("backup", str(tmp_path)):
        assert not left.exists()
    assert {each.name for each in tmp_path.iterdir()} == others


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where temporary files are, with a path as short as a socket needs it."""
    with tempfile.TemporaryDirectory(prefix="costmgmt-test-", dir="/tmp") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        monkeypatch.setattr("tempfile.tempdir", None)
        yield Path(folder)


def test_a_killed_runs_door_is_removed_by_the_next(temporary: Path) -> None:
    """A socket that leads nowhere does not stay beside those of later runs."""
    with subprocess.Popen(
        [sys.executable, "-c", DOOR], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        process.kill()
    assert (left / NAME).is_socket()
    assert left.parent == temporary
    with unix_door(Nowhere()) as door:
        assert not left.exists()
        assert Path(door.where["host"]).parent == temporary
    assert not list(temporary.iterdir())


def test_a_sockets_path_is_never_too_long(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where temporary files lie deep, the folder is made in /tmp, and goes as well."""
    deep = temporary / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    with unix_door(Nowhere()) as door:
        home = Path(door.where["host"])
        assert home.parent == Path("/tmp")  # noqa: S108
        assert home.stat().st_mode & 0o777 == 0o700
    assert not home.exists()
