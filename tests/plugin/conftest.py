"""Runs pytest as a person does: in a process of its own, in an empty folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """What a run of pytest came to."""

    status: int
    out: str
    report: dict[str, Any] | None

    @property
    def last(self) -> str:
        """The last line that was printed."""
        lines = [line for line in self.out.splitlines() if line.strip()]
        return lines[-1] if lines else ""


Run = Callable[..., Ran]

# What the run of these tests itself may have set.
INHERITED = ("PYTEST_", "COSTMGMT_", "PG", "TOX_")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``pytest ARGUMENTS`` in an empty folder of its own; ``files`` are put there first."""
    folder = tmp_path / "here"
    folder.mkdir()

    def runs(
        *arguments: str,
        files: dict[str, str] | None = None,
        environ: dict[str, str] | None = None,
        report: bool = True,
    ) -> Ran:
        for name, text in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        place = tmp_path / "report"
        clean = {k: v for k, v in os.environ.items() if not k.startswith(INHERITED)}
        given = [f"--costmgmt-report={place}"] if report else []
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *arguments, *given],
            cwd=folder, env={**clean, **(environ or {})}, capture_output=True, text=True,
            timeout=600, check=False,
        )  # fmt: skip
        written = place / "report.json"
        told = json.loads(written.read_text()) if written.exists() else None
        return Ran(done.returncode, done.stdout + done.stderr, told)

    return runs
