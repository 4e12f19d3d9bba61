"""However a run ends that used the fixtures, nothing of it stays, but what was to be kept."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.servers.embedded import stop_from_outside
from tests.plugin.conftest import Run

KEEP = """
def test_passes(costmgmt_connection):
    pass
def test_fails(costmgmt_connection):
    costmgmt_connection.execute("CREATE TABLE evidence ()")
    costmgmt_connection.commit()
    assert costmgmt_connection.closed
"""
HANGS = """
import os, time
from pathlib import Path
import pytest
@pytest.mark.parametrize("number", range(2))
def test_hangs(costmgmt_database, costmgmt_server, number):
    Path(f"up-{number}").write_text(costmgmt_server.application.where["host"])
    time.sleep(600)
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_failed_test_keeps_its_database(run: Run, workers: str) -> None:
    """on-failure keeps the failed test's database and the server, and says how to reach them."""
    if workers != "0":
        pytest.importorskip("xdist")
    ran = run(
        *(["-n", workers] if workers != "0" else []),
        "--costmgmt-keep=on-failure",
        files={"test_user.py": KEEP},
        report=False,
    )
    assert ran.status == 1
    found = re.search(r"remove it: rm -r -- (.+)", ran.out)
    assert found, ran.out
    folders = [Path(word) for word in shlex.split(found[1])]
    try:
        assert all(folder.exists() for folder in folders)
        assert len(re.findall(r"name='costmgmt_\w+'.* is kept", ran.out)) == 1
    finally:
        for folder in folders:
            subprocess.run(["rm", "-r", "--", str(folder)], check=False)


def test_without_a_failure_nothing_is_kept(run: Run) -> None:
    """on-failure keeps nothing of a run that passed."""
    only = KEEP.partition("def test_fails")[0]
    ran = run("--costmgmt-keep=on-failure", files={"test_user.py": only}, report=False)
    assert ran.status == 0
    assert "remove it" not in ran.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_nothing_is_left_after_a_signal(tmp_path: Path, workers: str, number: int) -> None:
    """SIGINT, SIGTERM or SIGKILL to pytest, with and without workers: no server, no folder."""
    if workers != "0":
        pytest.importorskip("xdist")
    temporary = tmp_path / "t"
    temporary.mkdir()
    (tmp_path / "test_user.py").write_text(HANGS)
    more = ["-n", workers] if workers != "0" else []
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COSTMGMT_", "PG"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *more, "test_user.py"],
        cwd=tmp_path,
        env={**kept, "TMPDIR": str(temporary)},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,  # noqa: PLW1509
    )
    try:
        started = _until(lambda: sorted(tmp_path.glob("up-*"))[: 1 + (workers != "0")])
        server = Path(_until(started[0].read_text))
        assert server.exists()
        process.send_signal(number)
        _until(lambda: not server.exists())
        _until(lambda: not list(temporary.glob("costmgmt*")))
    finally:
        if server.exists():
            stop_from_outside(server)
        process.kill()
        process.wait()


def _until(what: Callable[[], Any]) -> Any:
    """Return what is true at last."""
    end = time.monotonic() + 240
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.02)
    return found
