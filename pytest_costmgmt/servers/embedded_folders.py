"""The embedded server's folders: the cache, the run's own, and what a killed run left."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import ProvisionFailed, UsageProblem
from pytest_costmgmt.postgres.programs_run import ServerUser, server_user
from pytest_costmgmt.postgres.programs_serve import PORT
from pytest_costmgmt.servers import supervisor

NAME = "pytest-costmgmt"
PREFIX = "costmgmt-server-"
SOCKET_PREFIX = "costmgmt-socket-"
SYSTEM_CACHE = Path("/var/cache")
MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
LONGEST_SOCKET = 107
"Bytes of a Unix socket's path on Linux."

ROOMY = 1 << 30
"Free bytes that a memory file system must have beyond the data to be chosen."
ENOUGH = 128 << 20
"Free bytes that a disk must have beyond the data: WAL and the application's tables."
UNOWNED_SECONDS = 600.0
"A folder without an owner is being born, or its owner was killed: older than this, the latter."


class RunFolder(msgspec.Struct, frozen=True, kw_only=True):
    """A run's folder, 0700, with its socket's folder and the descriptor of its lock."""

    path: Path
    socket_dir: Path
    lock: int
    also: tuple[Path, ...] = ()

    @property
    def folders(self) -> list[str]:
        """All that is to be removed, the run folder last: it tells of the others."""
        return list(dict.fromkeys([*map(str, self.also), *self.own]))

    @property
    def own(self) -> list[str]:
        """What was made for this server alone."""
        return list(dict.fromkeys(map(str, [self.socket_dir, self.path])))


def cache_folder(given: Path | None, environ: Mapping[str, str]) -> Path:
    """Return the folder for cached server files: the given one, the user's, or a safe other.

    Raises UsageProblem if the given one cannot be used, ProvisionFailed if none can.
    """
    user = server_user()
    if given is not None:
        folder = given.expanduser().absolute()
        if why := _unusable(folder, None):
            raise UsageProblem(f"--costmgmt-cache={given} cannot be used: {why}.")
        return folder
    seen = []
    for folder in _cache_candidates(environ):
        if not (why := _unusable(folder, user)):
            return folder
        seen.append(f"  {folder}: {why}")
    raise ProvisionFailed(
        "No folder for cached server files can be used:\n" + "\n".join(seen),
        hint="Give one: --costmgmt-cache=DIR.",
    )


def _cache_candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if (xdg := environ.get("XDG_CACHE_HOME", "")).startswith("/"):
        yield Path(xdg) / NAME
    if (home := environ.get("HOME", "")).startswith("/"):
        yield Path(home) / ".cache" / NAME
    if os.geteuid() == 0:
        yield SYSTEM_CACHE / NAME
    for base in temporary(environ):
        yield base / f"{NAME}-{os.geteuid()}"


def _unusable(folder: Path, user: ServerUser | None) -> str:
    """Return why ``folder`` cannot be the cache, or nothing. Creates it if need be."""
    try:
        if not folder.is_dir():
            # Of a user's own only what is below a HOME that exists.
            folder.parent.mkdir(parents=user is None, exist_ok=True)
            folder.mkdir(exist_ok=True)
            # The server's user must enter it, whatever our umask is; the files are 0600.
            folder.chmod(0o755)
        seen = folder.lstat()
        if user is not None and (seen.st_uid != os.geteuid() or seen.st_mode & 0o022):
            return "it is another user's, or others may write to it"
        if user is not None and not stat.S_ISDIR(seen.st_mode):
            return "it is a link"
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        return error.strerror or str(error)
    if user is not None and user.switch and not user.enters(folder):
        return f"user {user.name}, who runs the server, cannot enter it"
    return ""


def temporary(environ: Mapping[str, str]) -> list[Path]:
    """Return the folders for temporary files, the operator's first."""
    named = [environ.get(name, "") for name in ("TMPDIR", "TEMP", "TMP")]
    bases = [*named, "/tmp", "/var/tmp"]  # noqa: S108 - folders of our own are made in them
    return list(dict.fromkeys(Path(base) for base in bases if base.startswith("/")))


def run_bases(environ: Mapping[str, str]) -> list[Path]:
    """Return where a run folder may be: memory first, then the folders for temporary files."""
    return [MEMORY, *temporary(environ)]


def too_small(base: Path, size: int, *, memory: Path = MEMORY) -> str:
    """Return why ``size`` bytes of data and what is added to them do not fit, or nothing."""
    try:
        seen = os.statvfs(base)
    except OSError as error:
        return error.strerror or str(error)
    if seen.f_flag & os.ST_RDONLY:
        return "it is read-only"
    free, needed = seen.f_bavail * seen.f_frsize, size + ENOUGH
    if base == memory:
        free, needed = min(free, memory_left()), size + ROOMY
    if free < needed:
        return f"{free >> 20} MB free, {needed >> 20} MB needed"
    return ""


def memory_left() -> int:
    """Return how many bytes of memory this process may still use, by system and by cgroup."""
    left = [1 << 62]
    with contextlib.suppress(OSError, AttributeError, ValueError):
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        left.append(int(re.search(r"MemAvailable:\s+(\d+) kB", text)[1]) * 1024)  # type: ignore[index]
    for limit, used in _cgroup_files():
        with contextlib.suppress(OSError, ValueError):
            left.append(int(limit.read_text()) - int(used.read_text()))
    return min(left)


def _cgroup_files() -> Iterator[tuple[Path, Path]]:
    top = Path("/sys/fs/cgroup")
    yield top / "memory/memory.limit_in_bytes", top / "memory/memory.usage_in_bytes"
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            if line.startswith("0::/"):
                here = top / line[4:]
                for folder in (here, *here.parents):
                    if folder.is_relative_to(top):
                        yield folder / "memory.max", folder / "memory.current"


def make(base: Path, run_id: str, user: ServerUser, *, shorter: Sequence[Path]) -> RunFolder:
    """Make a run folder in ``base``, locked by us. Raises OSError, or ProvisionFailed.

    The socket's folder is elsewhere, in the first of ``shorter``, if its path would be too long.
    """
    path = base / f"{PREFIX}{run_id}-{secrets.token_hex(4)}"
    path.mkdir(mode=0o700)
    lock, socket_dir = -1, path
    try:
        socket_dir = _socket_dir(path, user, shorter)
        lock = _locked_owner(path, {"sockets": str(socket_dir)})
        os.mkfifo(path / "control", 0o600)
        user.own(path)
    except BaseException:
        if lock >= 0:
            os.close(lock)
        for folder in (socket_dir, path):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    return RunFolder(path=path, socket_dir=socket_dir, lock=lock)


def _locked_owner(path: Path, facts: dict[str, str]) -> int:
    # Locked before it has its name: no sweep sees it unlocked.
    beside = path / ".owner"
    lock = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    os.write(lock, json.dumps(facts).encode())
    beside.rename(path / "owner")
    return lock


def _fits(folder: Path) -> bool:
    path = str(folder / f".s.PGSQL.{PORT}")
    # Both PostgreSQL and libpq take a comma for the end of one folder.
    return len(os.fsencode(path)) <= LONGEST_SOCKET and "," not in path


def _socket_dir(path: Path, user: ServerUser, shorter: Sequence[Path]) -> Path:
    if _fits(path):
        return path
    for base in shorter:
        folder = base / f"{SOCKET_PREFIX}{secrets.token_hex(4)}"
        if _fits(folder):
            with contextlib.suppress(OSError):
                folder.mkdir(mode=0o700)
                user.own(folder)
                if user.enters(folder):
                    return folder
                folder.rmdir()
    raise ProvisionFailed(
        f"The server's socket would be {path}/.s.PGSQL.{PORT}: a socket's path has at most"
        f" {LONGEST_SOCKET} bytes and no comma, and none of {', '.join(map(str, shorter))} can"
        " take it.",
        hint="Set TMPDIR to a folder with a shorter path.",
    )


def sweep(bases: Sequence[Path]) -> list[Path]:
    """Remove the folders of ours whose supervisor was killed; return them."""
    ours = {os.geteuid(), server_user().uid}
    swept = []
    for base in bases:
        with contextlib.suppress(OSError), os.scandir(base) as entries:
            for entry in entries:
                if entry.name.startswith(PREFIX):
                    with contextlib.suppress(OSError):
                        if _swept(Path(entry.path), entry.stat(follow_symlinks=False), ours):
                            swept.append(Path(entry.path))
    return swept


def _swept(folder: Path, seen: os.stat_result, ours: set[int]) -> bool:
    if not stat.S_ISDIR(seen.st_mode) or seen.st_uid not in ours or (folder / "kept").exists():
        return False
    try:
        owner = os.open(folder / "owner", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        if time.time() - seen.st_mtime < UNOWNED_SECONDS:
            return False
        supervisor.remove(str(folder))
        return True
    try:
        if os.fstat(owner).st_uid != os.geteuid():
            return False
        fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)
        facts = json.loads(os.read(owner, 65536) or b"{}")
        bury(folder, Path(facts.get("sockets", folder)))
    except (BlockingIOError, ValueError):
        return False
    finally:
        os.close(owner)
    return True


def bury(folder: Path, socket_dir: Path) -> None:
    """End what still runs in ``folder``, whose supervisor is dead, and remove it."""
    data = folder / "data"
    if pid := _postmaster(data):
        for number, steps in ((signal.SIGQUIT, 60), (signal.SIGKILL, 60)):
            family = [pid, *supervisor.children(pid)] if number == signal.SIGKILL else [pid]
            for each in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(each, number)
            for _ in range(steps):
                if not _postmaster(data):
                    break
                time.sleep(0.1)
    supervisor.forget_shared_memory(str(data))
    if socket_dir.name.startswith(SOCKET_PREFIX):
        supervisor.remove(str(socket_dir))
    supervisor.remove(str(folder))


def _postmaster(data: Path) -> int:
    """Return the process that serves ``data``, if it still does: its number may be reused."""
    try:
        with (data / "postmaster.pid").open(encoding="ascii") as file:
            pid = int(file.readline())
        serves = Path(f"/proc/{pid}/cwd").readlink() == data.resolve()
    except (OSError, ValueError):
        return 0
    return pid if serves else 0
