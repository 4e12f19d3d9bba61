"""Small file systems of a test's own: in a mount namespace, as root or in a user namespace."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache

import pytest

SMALL_MEMORY = "mount -t tmpfs -o mode=1777,size=8m none /dev/shm"


def within(mounts: str, command: Sequence[str]) -> list[str]:
    """Return the command that runs ``command`` where the shell's ``mounts`` were made.

    Skips the test, and says so, where nobody but the machine's administrator may mount.
    """
    if why := _missing():
        pytest.skip(f"no mounts of one's own here: {why}")
    return _argv(mounts, command)


def _argv(mounts: str, command: Sequence[str]) -> list[str]:
    words = f"{mounts} || exit 77\nexec "
    if os.geteuid() == 0:
        return ["unshare", "-m", "sh", "-c", f'{words} "$@"', "sh", *command]
    # Root only as long as it takes to mount: who runs the server is as ever.
    back = f"unshare -U --map-user={os.geteuid()} --map-group={os.getegid()} -- "
    return ["unshare", "-Urm", "sh", "-c", f'{words} {back} "$@"', "sh", *command]


@cache
def _missing() -> str:
    if shutil.which("unshare") is None:
        return "there is no unshare"
    done = subprocess.run(
        _argv(SMALL_MEMORY, ["id", "-u"]), check=False, capture_output=True, text=True
    )
    if done.returncode or done.stdout.strip() != str(os.geteuid()):
        return (done.stdout + done.stderr).strip() or f"status {done.returncode}"
    return ""
