"""Folders in which a backup is made beside its name, or what is thrown away after use."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from pytest_costmgmt import folders
from pytest_costmgmt.backup.progress import Progress, Told
from pytest_costmgmt.folders import SUFFIX

STAGE = "left over"


def folder_of(out: Path, run_id: str) -> Path:
    """Return where a run makes the backup that becomes ``out``.

    >>> str(folder_of(Path("of/koku"), "1a2b"))
    'of/.koku.1a2b.partial'
    """
    return out.parent / f".{out.name}.{run_id}{SUFFIX}"


def sweep(out: Path, told: Told) -> None:
    """Remove what killed runs left that were to become ``out``, and tell it.

    Only folders of ours, whose lock nobody holds: a live run's is never touched.
    """
    pattern = rf"\.{re.escape(out.name)}\.([^.]+){re.escape(SUFFIX)}"
    folders.sweep(out.parent, pattern, lambda about: told(Progress(stage=STAGE, about=about)))


def scratch(within: str | None = None) -> contextlib.AbstractContextManager[Path]:
    """Return a block's folder that is gone at its end, or when the next one is made."""
    return folders.scratch("backup", within)
