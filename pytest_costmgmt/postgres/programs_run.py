"""Run PostgreSQL's programs as a user that they accept: initdb and postgres refuse root."""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.errors import ProvisionFailed

SHELL = "/bin/sh"

# What another library or the operator's own clients need must not steer our server.
_FOREIGN = ("PG", "LC_", "LANG", "TZ", "POSTGRES")


class ServerUser(msgspec.Struct, frozen=True):
    """Who runs the server: ourselves, or for root an unprivileged user that already exists.

    ``switch`` says whether that takes a change of user, ``known`` whether the machine has a name
    for it, which initdb insists on.
    """

    name: str
    uid: int
    gid: int
    switch: bool
    known: bool = True

    def popen(self) -> dict[str, Any]:
        """Return what ``subprocess`` needs to become this user."""
        if not self.switch:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def enters(self, folder: Path) -> bool:
        """Say, by trying, whether this user can enter ``folder``."""
        if not self.switch:
            return os.access(folder, os.R_OK | os.X_OK)
        script = 'cd -- "$1" 2>/dev/null'
        return run([SHELL, "-c", script, "sh", str(folder)], user=self).returncode == 0

    def own(self, *paths: Path) -> None:
        """Give ``paths``, which are ours, to this user."""
        if self.switch:
            for path in paths:
                os.chown(path, self.uid, self.gid, follow_symlinks=False)


def server_user() -> ServerUser:
    """Return who runs the server. For root: user postgres if there is one, else nobody."""
    uid = os.geteuid()
    if uid != 0:
        try:
            return ServerUser(pwd.getpwuid(uid).pw_name, uid, os.getegid(), switch=False)
        except KeyError:  # an arbitrary uid, as in OpenShift
            return ServerUser(str(uid), uid, os.getegid(), switch=False, known=False)
    for name in ("postgres", "nobody"):
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return ServerUser(name, entry.pw_uid, entry.pw_gid, switch=True)
    return ServerUser("65534", 65534, 65534, switch=True, known=False)


def clean_environment() -> dict[str, str]:
    """Return this process's environment without what would steer a server or its messages."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    kept.pop("NOTIFY_SOCKET", None)
    wanted = {"PATH", "LD_LIBRARY_PATH", "TMPDIR"}
    if "NSS_WRAPPER_PASSWD" in kept:  # the name of an arbitrary uid, as containers give it
        wanted |= {"LD_PRELOAD", "NSS_WRAPPER_PASSWD", "NSS_WRAPPER_GROUP"}
    return {name: value for name, value in kept.items() if name in wanted} | {"LC_ALL": "C"}


def run(
    argv: Sequence[str], *, user: ServerUser, stdin: str = "", deadline: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run ``argv`` as ``user`` from the root folder, both streams in ``stdout``.

    Raises OSError as ``subprocess`` does, and ProvisionFailed when the deadline passes or when
    root may not become that user here.
    """
    try:
        return subprocess.run(  # noqa: S603 - our own programs, an argument list
            list(argv),
            check=False,
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            errors="replace",
            timeout=deadline,
            cwd="/",
            env=clean_environment(),
            umask=0o077,
            **user.popen(),
        )
    except subprocess.TimeoutExpired as error:
        said = error.output or b""
        last = said.decode(errors="replace") if isinstance(said, bytes) else said
        raise ProvisionFailed(
            f"{Path(argv[0]).name} did not end within {deadline:.0f} s; it said last:"
            f" {tail(last) or 'nothing'}"
        ) from None
    except subprocess.SubprocessError as error:
        raise ProvisionFailed(f"{Path(argv[0]).name} could not be started: {error}") from None


def may_switch(user: ServerUser) -> str:
    """Return why this process cannot become ``user``, or nothing."""
    try:
        run([SHELL, "-c", ":"], user=user)
    except (OSError, ProvisionFailed) as error:
        return str(error)
    return ""


def tail(text: str, lines: int = 6) -> str:
    """Return the last lines of a program's output that are not empty."""
    said = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(said[-lines:])
