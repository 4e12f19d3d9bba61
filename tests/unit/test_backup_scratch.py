"""What a killed backup, restore or proof left in a temporary folder, the next one removes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_costmgmt.backup import partial

HOLD = """
import sys, time
from pytest_costmgmt.backup.partial import scratch
with scratch(sys.argv[1]) as folder:
    (folder / "list").write_text("x")
    print(folder, flush=True)
    time.sleep(600)
"""


def test_a_folder_is_gone_at_its_end(tmp_path: Path) -> None:
    """Nobody else may look into it, and an error removes it as well."""
    with (
        pytest.raises(ZeroDivisionError),
        partial.scratch(str(tmp_path)) as folder,
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
            with partial.scratch(str(tmp_path)):
                assert (left / "list").exists()
        finally:
            process.kill()
    assert left.exists()
    with partial.scratch(str(tmp_path)):
        assert not left.exists()
    assert {each.name for each in tmp_path.iterdir()} == others
