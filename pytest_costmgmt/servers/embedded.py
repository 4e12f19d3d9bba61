"""The embedded server: our own PostgreSQL, from nothing, for this run only."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import CostMgmtError, ProvisionFailed, UsageProblem
from pytest_costmgmt.postgres import programs_pack as packs
from pytest_costmgmt.postgres import programs_serve as serving
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs, find_programs
from pytest_costmgmt.postgres.programs_initdb import STANDIN, standin
from pytest_costmgmt.postgres.programs_run import clean_environment
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded_folders as folders
from pytest_costmgmt.servers.embedded_folders import RunFolder
from pytest_costmgmt.servers.embedded_supervised import Supervised, stop_from_outside
from pytest_costmgmt.settings import Settings

__all__ = ["Instance", "cache_folder", "embedded_programs", "start", "stop_from_outside"]

_RUN_ID = re.compile(r"[A-Za-z0-9_.-]{1,48}")


class Instance:
    """A running embedded server; :meth:`stop` ends it and leaves nothing."""

    def __init__(
        self,
        *,
        folder: RunFolder,
        programs: Programs,
        supervised: Supervised,
        superuser: Login,
        weakens: tuple[str, ...],
    ) -> None:
        self.run_folder = folder.path
        self.socket_dir = folder.socket_dir
        self.data = folder.path / "data"
        self.log = folder.path / "log"
        self.programs = programs
        self.superuser = superuser
        self.weakens = weakens
        self.supervised = supervised
        self.passfile = folder.path / "pgpass"

    def stop(self, keep: bool = False, *, logins: Sequence[Login] = ()) -> None:
        """End the server; remove its folder, or with ``keep`` leave data and log. Idempotent.

        ``logins`` are those whose passwords the kept folder's password file holds beside the
        superuser's. Raises ProvisionFailed if it does not end within 30 s.
        """
        if keep and self.run_folder.exists():
            serving.write_passfile(self.passfile, [self.superuser, *logins])
        self.supervised.stop(keep=keep)

    def detach(self) -> None:
        """Leave the server to the process that ``start(watch_pid=...)`` named."""
        self.supervised.detach()

    def how_to_connect(self) -> str:
        """Return how to start, reach and remove the server that was kept."""
        user, tool = self.programs.user, self.programs.bindir / "pg_ctl"
        words = [str(tool), "-D", str(self.data), "-l", str(self.log), "-w", "start"]
        if not tool.exists():
            words = serving.command(self.programs.bindir, self.data)
        if user.switch:
            words = ["runuser", "-u", user.name, "--", *words]
        where = self.superuser.where
        client = ["psql", "-h", where["host"], "-p", where["port"], "-U", self.superuser.role,
                  "-d", "postgres"]  # fmt: skip
        removed = dict.fromkeys([str(self.run_folder), str(self.socket_dir)])
        memory = self.run_folder.is_relative_to(folders.MEMORY)
        state = "stopped, and in memory: gone when the machine restarts" if memory else "stopped"
        return (
            f"The embedded server's data and log are kept in {self.run_folder} ({state}).\n"
            f"  start it:  {shlex.join(words)}\n"
            f"  connect:   PGPASSFILE={shlex.quote(str(self.passfile))} {shlex.join(client)}\n"
            f"  stop it:   {shlex.join([w if w != 'start' else 'stop' for w in words])}\n"
            f"  remove it: rm -r -- {shlex.join(removed)}"
        )


def cache_folder(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return the folder for cached server files."""
    return folders.cache_folder(settings.cache, environ)


def embedded_programs(settings: Settings, environ: Mapping[str, str] | None = None) -> Programs:
    """Return the programs that ``settings`` choose. Raises ProgramsNotFound, UsageProblem."""
    environ = os.environ if environ is None else environ
    return find_programs(
        bindir=settings.bindir,
        version=settings.postgres,
        cache=cache_folder(settings, environ),
        environ=environ,
    )


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What a start was asked for."""

    run_id: str
    conf: tuple[str, ...]
    hba_first: tuple[str, ...]
    deadline: float
    watch_pid: int | None
    bases: tuple[Path, ...]
    also: tuple[Path, ...] = ()


def start(
    *,
    run_id: str,
    programs: Programs,
    template: Path | None = None,
    superuser_password: Secret | None = None,
    conf: Sequence[str] = (),
    hba_first: Sequence[str] = (),
    deadline: float = 60,
    watch_pid: int | None = None,
    bases: Sequence[Path] | None = None,
    also: Sequence[Path] = (),
) -> Instance:
    """Start a server in a new folder and return when it answers.

    ``template`` is a cleanly stopped data folder to copy instead of the cached initdb's, or such a
    folder's pack; its superuser has ``superuser_password``. ``conf`` are lines for the end of
    postgresql.conf, ``hba_first`` for the begin of pg_hba.conf. The server ends with process
    ``watch_pid`` (default: this one, and with it also when it closes our pipe). ``bases`` are the
    folders in which the run folder may be made, ``also`` those that end with the server. Raises
    ProvisionFailed or ServerNotReady, nothing left.
    """
    if not _RUN_ID.fullmatch(run_id):
        raise UsageProblem(
            f"run id {run_id!r}: 1 to 48 letters, digits, '.', '-', '_' are allowed."
        )
    wish = Wish(
        run_id=run_id,
        conf=tuple(conf),
        hba_first=tuple(hba_first),
        deadline=deadline,
        watch_pid=watch_pid,
        bases=tuple(folders.run_bases(os.environ) if bases is None else bases),
        also=tuple(also),
    )
    folders.sweep(wish.bases)
    source = _Source(programs, template, superuser_password)
    seen: list[str] = []
    for base in wish.bases:
        try:
            why = folders.too_small(base, source.size)
            if not why and programs.user.enters(base):
                return _start_in(base, source, wish)
            seen.append(f"  {base}: {why or f'user {programs.user.name} cannot enter it'}")
        except OSError as error:  # noqa: PERF203 - a handful of folders
            if isinstance(error, CostMgmtError):
                raise
            seen.append(f"  {base}: {_trouble(error)}")
    raise ProvisionFailed(
        "No folder can take the embedded server's data:\n" + "\n".join(seen),
        hint="Make room in one of them, or set TMPDIR to a folder that has some.",
    )


def _trouble(error: OSError) -> str:
    # copytree gathers its errors: a list of (source, target, why).
    if isinstance(error, shutil.Error):
        return str(error.args[0][0][2])
    return error.strerror or str(error)


class _Source:
    """Where the data come from: the cached initdb's pack, a template's, or a template's folder."""

    def __init__(self, programs: Programs, template: Path | None, password: Secret | None) -> None:
        if template is not None and password is None:
            raise UsageProblem("a template needs the password of its superuser.")
        self.programs = programs
        self.template = template or programs.prepared.pack
        self.packed = template is None or template.is_file()
        self.password = programs.prepared.password if password is None else password
        if template is None:
            self.size = programs.prepared.size
        elif self.packed:
            self.size = packs.read(template).size
        else:
            self.size = sum(f.stat().st_size for f in template.rglob("*") if f.is_file())

    def fill(self, data: Path) -> None:
        user = self.programs.user
        if self.packed:
            packs.unpack(self.template, data, uid=user.uid, gid=user.gid, chown=user.switch)
            return
        leave = shutil.ignore_patterns("postmaster.pid", "postmaster.opts", "mmap.*")
        shutil.copytree(self.template, data, symlinks=True, ignore=leave)
        data.chmod(0o700)
        user.own(data, *data.rglob("*"))


def _start_in(base: Path, source: _Source, wish: Wish) -> Instance:
    programs, user = source.programs, source.programs.user
    folder = folders.make(base, wish.run_id, user, shorter=wish.bases)
    folder = msgspec.structs.replace(folder, also=wish.also)
    data, log = folder.path / "data", folder.path / "log"
    config = {
        "argv": serving.command(programs.bindir, data),
        "env": clean_environment(),
        "data": str(data),
        "log": str(log),
        "uid": user.uid if user.switch else None,
        "gid": user.gid,
    }
    supervised = Supervised(folder, config, wish.watch_pid)
    try:
        # The supervisor's interpreter starts meanwhile.
        source.fill(data)
        ours = _standin_for(programs, folder.path)
        serving.configure(
            data,
            socket_dir=folder.socket_dir,
            preload="preload" not in programs.prepared.lacks,
            standin=ours,
            conf=wish.conf,
            hba_first=wish.hba_first,
        )
        supervised.tell("start")
        return _opened(folder, source, supervised, wish.deadline, weak=ours is not None)
    except BaseException:
        supervised.stop()
        raise


def _opened(
    folder: RunFolder, source: _Source, supervised: Supervised, deadline: float, *, weak: bool
) -> Instance:
    first = serving.superuser(folder.socket_dir, source.password)
    end = time.monotonic() + deadline
    serving.until_ready(
        first,
        data=folder.path / "data",
        log=folder.path / "log",
        ended=supervised.ended,
        deadline=deadline,
    )
    left = max(1.0, end - time.monotonic())
    return Instance(
        folder=folder,
        programs=source.programs,
        supervised=supervised,
        superuser=serving.change_password(first, Secret.generate(), deadline=left),
        weakens=(f"stand-in for extension {STANDIN}",) if weak else (),
    )


def _standin_for(programs: Programs, folder: Path) -> Path | None:
    """Copy the stand-in to where the server's user can read it, if these programs need it."""
    if not programs.prepared.standin:
        return None
    ours = folder / "standin"
    shutil.copytree(standin(), ours)
    programs.user.own(ours, *ours.rglob("*"))
    return ours
