"""Run the application's migrations: progress live, output kept, a failure named with its cause."""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

from pytest_costmgmt.errors import StepFailed, UsageProblem
from pytest_costmgmt.initialize import causes
from pytest_costmgmt.postgres import command
from pytest_costmgmt.postgres.environment import application_environment
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import LOCK_NOT_AVAILABLE, StatementFailed, held
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.resources import resource
from pytest_costmgmt.secret import redact

EXAMPLE = "examples/django-project"
EXAMPLE_TENANTS = ("acct1000001", "org1000002")

# The application gets its own settings anew; ours, libpq's and pytest's are not its business.
_OURS = ("COSTMGMT_", "PG", "PYTEST_", "DATABASE_", "HIVE_DATABASE_")
_OURS_WHOLE = frozenset({"ONPREM", "DJANGO_SECRET_KEY", "PROMETHEUS_MULTIPROC_DIR"})

_APPLYING = re.compile(r"Applying (?P<name>\S+?)\.\.\.(?:\[[^\]]*\])?\s*(?P<done>OK|FAKED)?")
_SCHEMA = re.compile(r"^\[[^\]]*?(?P<schema>[^\]:\s]+)\]")

Progress = Callable[[str], None]


class Logins(Protocol):
    """Whatever has the application's login, and hive's if there is one: a server, a result."""

    @property
    def application(self) -> Login:
        """The application's login."""

    @property
    def hive(self) -> Login | None:
        """Hive's login."""


class Surroundings(msgspec.Struct, frozen=True, kw_only=True):
    """What a management command runs in. Its environment, which holds passwords, is made late."""

    application: Login
    hive: Login | None
    onprem: bool
    scratch: Path

    def environment(self) -> dict[str, str]:
        """Return the whole environment, *with* passwords: straight into the command's start."""
        __tracebackhide__ = True
        return {
            **inherited(os.environ),
            **application_environment(
                self.application, self.hive, onprem=self.onprem, scratch_folder=self.scratch
            ),
        }


def surroundings(logins: Logins, requirements: Requirements, scratch: Path) -> Surroundings:
    """Return what the application's commands run in; ``scratch`` is a folder that it may write."""
    forbidden = requirements.hive.policy == "forbidden"
    return Surroundings(
        application=logins.application,
        hive=None if forbidden else logins.hive,
        onprem=forbidden,
        scratch=scratch,
    )


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment without what the application must not see of it.

    >>> inherited({"PATH": "/bin", "PGPASSWORD": "x", "COSTMGMT_DSN": "y", "ONPREM": "1"})
    {'PATH': '/bin', 'PYTHONUNBUFFERED': '1'}
    """
    kept = {k: v for k, v in environ.items() if not k.startswith(_OURS) and k not in _OURS_WHOLE}
    # Else Python would hold the progress back until a block is full.
    return {**kept, "PYTHONUNBUFFERED": "1"}


class Migrated(msgspec.Struct, frozen=True, kw_only=True):
    """A migration run that succeeded. ``applied`` are "app.name", in order, each once a schema."""

    seconds: float
    applied: tuple[str, ...]
    tail: tuple[str, ...]


class MigrationFailed(StepFailed):
    """The migrations did not succeed; ``migration`` is where they stopped, ``status`` how."""

    def __init__(
        self, message: str, *, migration: str, status: int | None, tail: tuple[str, ...], hint: str
    ) -> None:
        super().__init__("migrations", message, hint=hint)
        self.migration, self.status, self.tail = migration, status, tail


def default_manage() -> tuple[str, ...]:
    """Return the management command of the example application. Raises UsageProblem."""
    if missing := [m for m in ("django", "django_tenants") if find_spec(m) is None]:
        raise UsageProblem(
            f"The example application needs {' and '.join(missing)}: run pip install"
            " 'pytest-costmgmt[embedded]', or give your application by --costmgmt-manage."
        )
    return (sys.executable, str(resource(EXAMPLE) / "manage.py"))


def check_command(manage: tuple[str, ...]) -> None:
    """Raise UsageProblem if ``manage`` cannot be started at all."""
    command.check(manage)


def migrate(
    manage: tuple[str, ...],
    within: Surroundings,
    *,
    deadline: float,
    progress: Progress = lambda _: None,
    log: Path | None = None,
    server_log: Path | None = None,
    stop: command.Stop = command.never,
) -> Migrated:
    """Run ``manage migrate`` within ``deadline`` seconds; one at a time for each database.

    ``progress`` hears each migration as it begins. ``log`` gets the whole output, 0600.
    ``server_log``, where there is one, names the statement that failed.
    Raises MigrationFailed, UsageProblem for a command that cannot be started.
    """
    work = _Work(manage, ("migrate", "--noinput"), within, deadline, log, server_log, stop)
    return _run(work, progress)


def prepare_example(
    manage: tuple[str, ...],
    within: Surroundings,
    *,
    deadline: float,
    progress: Progress = lambda _: None,
    log: Path | None = None,
    server_log: Path | None = None,
) -> Migrated:
    """Make the example application's tenants; those that exist are left as they are."""
    arguments = ("create_tenants", *EXAMPLE_TENANTS)
    return _run(_Work(manage, arguments, within, deadline, log, server_log), progress)


class _Work(NamedTuple):
    """What the two above ask for."""

    manage: tuple[str, ...]
    arguments: tuple[str, ...]
    within: Surroundings
    deadline: float
    log: Path | None
    server_log: Path | None
    stop: command.Stop = command.never


def _run(work: _Work, progress: Progress) -> Migrated:
    command.check(work.manage)
    started, follower = time.monotonic(), Follower(progress)
    before = _size(work.server_log)
    try:
        # Two migrations of one database at once break each other.
        with held(work.within.application, deadline=min(work.deadline, 30.0), wait=work.deadline):
            ended = command.run(
                [*work.manage, *work.arguments],
                work.within.environment,
                deadline=max(1.0, work.deadline - (time.monotonic() - started)),
                heard=follower.hear,
                log=work.log,
                stop=work.stop,
            )
    except StatementFailed as error:
        why = "another run holds" if error.sqlstate == LOCK_NOT_AVAILABLE else "cannot take"
        raise StepFailed("migrations", f"{why} the lock of this database: {error.text}") from None
    if ended.status != 0:
        statement = _last_statement(work.server_log, before)
        raise _failed(work.arguments[0], ended, follower, statement, work)
    return Migrated(
        seconds=time.monotonic() - started, applied=tuple(follower.applied), tail=ended.tail
    )


class Follower:
    """Reads the migrations' names out of the output; a line may come in pieces."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.applied: list[str] = []
        self.current = ""
        self._announced = ""

    def hear(self, text: str) -> None:
        """Take a piece of the output."""
        if (found := _APPLYING.search(text)) is None:
            return
        schema = _SCHEMA.match(text.lstrip())
        self._announce(found["name"] + (f" in {schema['schema']}" if schema else ""))
        self.current = found["name"]
        if found["done"]:
            self.applied.append(self.current)
            self.current = self._announced = ""

    def _announce(self, name: str) -> None:
        if name != self._announced:
            self._announced = name
            self.progress(f"applying {name}")


def _failed(
    what: str, ended: command.Ended, follower: Follower, statement: str, work: _Work
) -> MigrationFailed:
    """Return the failure as a person needs it: where, what, by which statement, usually why."""
    done = len(follower.applied)
    where = f"{follower.current} (after {done} others)" if follower.current else f"manage {what}"
    failed = causes.failure(ended.tail)
    if ended.status is None or ended.status < 0 or failed is None:
        message, hint = _stopped(ended, work.deadline)
        message = f"{where} {message}; {_said_last(ended.tail)}"
    else:
        message = f"{where} failed: {failed.kind}: {failed.text}"
        hint = causes.usual_cause(follower.current, failed)
        if by := redact(statement or failed.code):
            message += f"\n  in: {by}"
    if work.log is not None:
        hint = f"{hint}\nIts whole output is in {work.log.name}.".strip()
    return MigrationFailed(
        message, migration=follower.current, status=ended.status, tail=ended.tail, hint=hint
    )


def _stopped(ended: command.Ended, deadline: float) -> tuple[str, str]:
    """Return how a command ended that gave no reason, and what may be done."""
    if ended.status is None:
        return (
            f"was not done within {deadline:.0f} s and was ended",
            "Raise --costmgmt-migrate-timeout, or see in pg_stat_activity what it waits for.",
        )
    if ended.status >= 0:
        return f"ended with exit status {ended.status}", ""
    name = _signal_name(-ended.status)
    memory = "If nobody did that, the system was out of memory: its journal says so."
    return f"was killed by {name}", memory if name == "SIGKILL" else ""


def _said_last(tail: tuple[str, ...]) -> str:
    said = [line[:300] for line in tail if line.strip()][-5:]
    return "\n  ".join(["it said last:", *said]) if said else "it said nothing"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _size(log: Path | None) -> int:
    try:
        return log.stat().st_size if log is not None else 0
    except OSError:
        return 0


def _last_statement(log: Path | None, before: int) -> str:
    """Return the last statement that the server logged as failed since ``before`` bytes."""
    if log is None:
        return ""
    try:
        with log.open("rb") as file:
            file.seek(before)
            text = file.read(1 << 20).decode("utf-8", errors="replace")
    except OSError:
        return ""
    # Our own server speaks English (its lc_messages is C).
    found = re.findall(r" STATEMENT:  (.+(?:\n\t.+)*)", text)
    return " ".join(found[-1].split())[:500] if found else ""
