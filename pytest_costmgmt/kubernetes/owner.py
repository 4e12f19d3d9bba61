"""Which process made an object, so that a later run on this machine knows that it has ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path


def owner() -> str:
    """Return who we are: this boot, this namespace of processes, this process and its start."""
    return f"{_machine()} {os.getpid()} {_started(os.getpid())}"


def abandoned(mark: str) -> bool:
    """Say whether the process that left this mark is known to have ended.

    >>> abandoned(owner()), abandoned(""), abandoned("another-machine 1 2")
    (False, False, False)
    """
    machine, _, process = mark.partition(" ")
    pid, _, started = process.partition(" ")
    if machine != _machine() or machine == "unknown" or not pid.isdigit() or not started:
        return False
    return _started(int(pid)) != started


def _machine() -> str:
    told = _read("/proc/sys/kernel/random/boot_id")
    with contextlib.suppress(OSError):
        told += f" {Path('/proc/self/ns/pid').stat().st_ino}"
    return hashlib.sha256(told.encode()).hexdigest()[:16] if told.strip() else "unknown"


def _started(pid: int) -> str:
    fields = _read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in {"Z", "X"} else ""  # noqa: PLR2004


def _read(path: str) -> str:
    with contextlib.suppress(OSError):
        return Path(path).read_text(encoding="utf-8").strip()
    return ""
