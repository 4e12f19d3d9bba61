"""The examples for other people's tests are run as their readers run them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
NEEDS = {"asyncpg": "asyncpg", "sqlalchemy": "sqlalchemy", "pytest-django": "pytest_django"}


@pytest.mark.parametrize(
    ("name", "given"),
    [
        *(
            pytest.param(name, given, id=" ".join([name, *given]))
            for name in ["plain", "psycopg-async", "asyncpg", "sqlalchemy", "pytest-django"]
            for given in [[], ["-n", "2"]]
        ),
        pytest.param("pytest-django", ["--create-db"], id="pytest-django --create-db"),
    ],
)
def test_an_example_passes(tmp_path: Path, name: str, given: list[str]) -> None:
    """Each example passes in its own folder, alone and with two workers, and leaves nothing."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if "-n" in given:
        pytest.importorskip("xdist")
    here = tmp_path / name
    shutil.copytree(EXAMPLES / name, here, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST_", "COSTMGMT_", "PG"))}
    temporary = tmp_path / "t"
    temporary.mkdir()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *given],
        cwd=here,
        env={**kept, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout
    assert not list(temporary.glob("costmgmt*"))
