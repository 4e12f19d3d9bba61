"""A stopped, initialized data folder for each set of programs: made once, then cached as a pack.

While it is made, the programs are asked what they can load: what they lack is found by trying.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import ProgramsNotFound, ProvisionFailed
from pytest_costmgmt.postgres import programs_pack as packs
from pytest_costmgmt.postgres.programs_run import ServerUser, run, tail
from pytest_costmgmt.resources import resource
from pytest_costmgmt.secret import Secret

SUPERUSER = "postgres"
EXTENSIONS = ("uuid-ossp", "pg_trgm", "pg_stat_statements")
STANDIN = "uuid-ossp"
STANDIN_MAJOR = 18

_FLAGS = ("--encoding=UTF8", "--auth=scram-sha-256", "--no-sync")
_LOCALES = ("C.UTF-8", "C")
# Made again in a second or two, if they are still needed.
PACK_SECONDS = 30 * 86400.0
_FORMAT = "3"
_OK = "costmgmt can use "


class NamelessUser(ProvisionFailed):
    """The server's user has no name on this machine: no programs can help that."""


class Prepared(msgspec.Struct, frozen=True):
    """An initialized data folder, packed, and what its programs can load.

    ``lacks`` maps extensions (and ``preload``) to what the server said; ``standin`` says whether
    our stand-in for uuid-ossp closes that gap.
    """

    pack: Path
    password: Secret
    lacks: dict[str, str]
    standin: bool

    @property
    def size(self) -> int:
        """Bytes that the data folder takes."""
        return packs.read(self.pack).size

    @property
    def unusable(self) -> dict[str, str]:
        """What is still missing once the stand-in is in its place."""
        closed = {STANDIN} if self.standin else set()
        return {name: why for name, why in self.lacks.items() if name not in closed}


def prepare(bindir: Path, *, major: int, user: ServerUser, cache: Path) -> Prepared:
    """Return the initialized data folder of these programs; make and cache it if need be.

    Safe when several start at once. Raises NamelessUser, or ProvisionFailed with initdb's last
    words.
    """
    pack = cache / f"initdb-{_key(bindir)}.pack"
    if (ready := _cached(pack)) is not None:
        return ready
    if not user.known:
        raise NamelessUser(
            f"PostgreSQL's initdb refuses a user without a name, and user id {user.uid} has none on"
            " this machine.",
            hint="Run as a user that /etc/passwd knows, give this one a name (an entry there, or"
            " nss_wrapper's LD_PRELOAD and NSS_WRAPPER_PASSWD), or name a server of your own by"
            " --costmgmt-dsn.",
        )
    with locked(pack.with_suffix(".lock"), what="another start's initdb"):
        if (ready := _cached(pack)) is None:
            _make(bindir, major, user, pack)
            ready = _cached(pack)
    if ready is None:
        raise ProvisionFailed(
            f"{pack} was written, but cannot be read back.",
            hint="Give another cache folder: --costmgmt-cache=DIR.",
        )
    return ready


def standin() -> Path:
    """Return the folder of the stand-in, as ``extension_control_path`` takes it."""
    return resource("servers/standin")


@contextlib.contextmanager
def locked(path: Path, *, what: str, deadline: float = 300) -> Iterator[None]:
    """Hold the lock file ``path``. Raises ProvisionFailed at the deadline, naming ``what``."""
    # filelock would do the same, at 110 ms of import time in every start.
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        end = time.monotonic() + deadline
        while not _try_lock(handle):
            if time.monotonic() > end:
                raise ProvisionFailed(
                    f"waited {deadline:.0f} s for {what}, which holds {path}.",
                    hint="See with `fuser` who holds it, and end that process.",
                )
            time.sleep(0.02)
        yield
    finally:
        os.close(handle)


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _key(bindir: Path) -> str:
    # The libraries and extensions that are installed belong to it, so that a package that was
    # added since (the loader's cache changes then) is seen.
    parts = [_FORMAT, str(os.geteuid()), *_FLAGS, *_LOCALES, *EXTENSIONS]
    root = bindir.parent
    watched = [bindir / "postgres", bindir / "initdb", Path("/etc/ld.so.cache")]
    below = ("lib", "lib/postgresql", "share/extension", "share/postgresql/extension")
    watched += [root / name for name in below]
    watched.append(Path("/usr/share/postgresql") / root.name / "extension")
    watched += sorted((resource("servers/standin") / "extension").iterdir())
    for path in watched:
        with contextlib.suppress(OSError):
            seen = path.stat()
            parts.append(f"{path.resolve()} {seen.st_mtime_ns} {seen.st_size}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:20]


def _cached(pack: Path) -> Prepared | None:
    try:
        meta = packs.read(pack).meta
        return Prepared(
            pack=pack,
            password=Secret(meta["password"]),
            lacks=msgspec.json.decode(meta["lacks"], type=dict[str, str]),
            standin=meta["standin"] == "yes",
        )
    except (OSError, ValueError, KeyError, msgspec.MsgspecError):
        return None


def _make(bindir: Path, major: int, user: ServerUser, pack: Path) -> None:
    scratch = Path(tempfile.mkdtemp(prefix="costmgmt-server-initdb-", dir=_scratch_base(user)))
    try:
        shutil.copytree(standin(), scratch / "standin")
        user.own(scratch, *(scratch / "standin").rglob("*"), scratch / "standin")
        password = Secret.generate()
        data = _initdb(bindir, user, scratch, password)
        _lighten(data)
        # On a copy: what the cache holds is what initdb made.
        trial = scratch / "trial"
        shutil.copytree(data, trial)
        trial.chmod(0o700)
        user.own(trial, *trial.rglob("*"))
        lacks, closed = _try_extensions(bindir, major, user, trial, scratch / "standin")
        meta = {
            "password": password.reveal(),
            "lacks": msgspec.json.encode(lacks).decode(),
            "standin": "yes" if closed else "no",
        }
        packs.write(data, pack, meta)
        _forget_old(pack)
    except OSError as error:
        raise ProvisionFailed(
            f"the initialized data of {bindir} could not be cached in {pack.parent}: {error}",
            hint="Make room there, or give another cache folder: --costmgmt-cache=DIR.",
        ) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _lighten(data: Path) -> None:
    """Remove the maps of free space and of visibility: every clone of a database copies them.

    PostgreSQL makes them again where it misses them: a quarter of the files, a sixth of the bytes.
    """
    for path in data.glob("base/*/*"):
        if path.name.endswith(("_fsm", "_vm")):
            path.unlink()


def _forget_old(new: Path) -> None:
    """Remove packs that no start has made for a month: their programs changed since."""
    for pack in new.parent.glob("initdb-*.pack"):
        with contextlib.suppress(OSError):
            if new.stat().st_mtime - pack.stat().st_mtime > PACK_SECONDS:
                pack.unlink()
                pack.with_suffix(".lock").unlink()


def _scratch_base(user: ServerUser) -> Path:
    seen = []
    for base in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp below
        path = Path(base)
        if path.is_dir() and os.access(path, os.W_OK) and user.enters(path):
            return path
        seen.append(base)
    raise ProvisionFailed(
        f"no folder for initdb: none of {', '.join(seen)} can be written by us and entered by"
        f" user {user.name}.",
        hint="Set TMPDIR to a folder that both can use.",
    )


def _initdb(bindir: Path, user: ServerUser, scratch: Path, password: Secret) -> Path:
    # Not in argv, and readable by the server's user only.
    secret_file = scratch / "password"
    with os.fdopen(os.open(secret_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
        out.write(password.reveal() + "\n")
    user.own(secret_file)
    said = ""
    for locale in _LOCALES:
        data = scratch / f"data-{locale}"
        argv = [str(bindir / "initdb"), f"--pgdata={data}", f"--username={SUPERUSER}",
                f"--locale={locale}", f"--pwfile={secret_file}", *_FLAGS]  # fmt: skip
        try:
            done = run(argv, user=user)
        except OSError as error:
            raise ProgramsNotFound(f"{bindir / 'initdb'} could not be started: {error}") from None
        if done.returncode == 0:
            return data
        said = tail(done.stdout)
    raise ProvisionFailed(f"initdb of {bindir}, run as user {user.name}, failed:\n{said}")


def _try_extensions(
    bindir: Path, major: int, user: ServerUser, data: Path, ours: Path
) -> tuple[dict[str, str], bool]:
    preload = ["-c", "shared_preload_libraries=pg_stat_statements"]
    lacks = _single(bindir, user, data, preload)
    if "preload" in lacks:
        lacks = {"preload": lacks["preload"]} | _single(bindir, user, data, [])
        preload = []
    if STANDIN not in lacks or major < STANDIN_MAJOR:
        return lacks, False
    path = ["-c", f"extension_control_path={ours}:$system"]
    return lacks, STANDIN not in _single(bindir, user, data, [*preload, *path])


def _single(bindir: Path, user: ServerUser, data: Path, options: list[str]) -> dict[str, str]:
    """Create each extension in single-user mode, rolled back; return what could not be, and why."""
    blocks = "".join(
        f"DO $$BEGIN CREATE EXTENSION \"{name}\"; RAISE EXCEPTION '{_OK}{name}'; END$$\n"
        for name in EXTENSIONS
    )
    # A line is a command in single-user mode, and an exception rolls its own back.
    quiet = ["-c", "log_min_messages=error", "-c", "log_line_prefix=", "-c", "lc_messages=C",
             "-c", "log_min_error_statement=panic", "-c", "log_error_verbosity=terse",
             "-c", "fsync=off"]  # fmt: skip
    argv = [str(bindir / "postgres"), "--single", "-D", str(data), *quiet, *options, "postgres"]
    done = run(argv, user=user, stdin=blocks)
    said = [line.strip() for line in done.stdout.splitlines()]
    if done.returncode != 0:
        why = next((line for line in said if "FATAL" in line), tail(done.stdout, 1))
        return {"preload": _words(why)}
    errors = [_words(line) for line in said if "ERROR:" in line]
    usable = {line.removeprefix(_OK) for line in errors if line.startswith(_OK)}
    # Errors come in the order of the blocks, one each.
    silence = [tail(done.stdout, 1) or "the server said nothing"] * len(EXTENSIONS)
    reasons = dict(zip(EXTENSIONS, [*errors, *silence], strict=False))
    return {name: why for name, why in reasons.items() if name not in usable}


def _words(line: str) -> str:
    return line.split(":", 1)[1].strip() if ":" in line else line
