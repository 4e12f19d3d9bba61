"""Initialize again a server that was initialized, alone and twice at once, and see what changes.

On a server that others run nothing may change by a check, so a rehearsal comes first: only if it
finds every step done do the steps run, which then change nothing, or show a fault of ours.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from pytest_costmgmt.errors import CostMgmtError, FactUnavailable
from pytest_costmgmt.facts.initialization import Again, SeenRun, SeenStep
from pytest_costmgmt.initialize import migrations
from pytest_costmgmt.initialize.fingerprint import Fingerprint, fingerprint
from pytest_costmgmt.initialize.server import initialize, plan
from pytest_costmgmt.initialize.step import Step
from pytest_costmgmt.postgres import command
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret

LINES = 20
"How many differing lines are told."

TOLD_TAIL = 20


class Target(migrations.Logins, Protocol):
    """A server with the logins that initialization needs."""

    @property
    def administrator(self) -> Login | None:
        """The administrator's login, if there is one."""


class Reinitialize:
    """Runs initialization and migrations again. The healthy case is acted out once for both."""

    def __init__(
        self,
        target: Target,
        requirements: Requirements,
        manage: tuple[str, ...],
        *,
        migrate_timeout: float,
        connect_timeout: float,
    ) -> None:
        self.target, self.requirements, self.manage = target, requirements, manage
        self.migrate_timeout, self.connect_timeout = migrate_timeout, connect_timeout
        self._at_once: Again | None = None

    def at_once(self) -> Again:
        """Run it in two threads at once; they take turns, step by step."""
        if self._at_once is None:
            self._at_once = self._compared(2)
        return self._at_once

    def twice(self) -> Again:
        """Run it once more. Two runs that took turns and changed nothing were each of them that."""
        both = self.at_once()
        if not both.runs or (both.before == both.after and not any(r.error for r in both.runs)):
            return both
        return self._compared(1)

    def _compared(self, runs: int) -> Again:
        if (missing := self._missing()) is not None:
            return missing
        if pending := self._pending():
            return Again(pending=pending)
        with tempfile.TemporaryDirectory(prefix="costmgmt-", dir=self._home) as folder:
            stop = threading.Event()
            run = self._run(Path(folder), stop.is_set)
            before = self._fingerprint()
            with ThreadPoolExecutor(runs) as pool:
                begun = [pool.submit(run) for _ in range(runs)]
                try:
                    done = [each.result() for each in begun]
                except BaseException:
                    stop.set()  # the pool waits for its threads, which no interrupt reaches
                    raise
            after = self._fingerprint()
        return Again(
            runs=tuple(done),
            parts=len(before),
            before=before.digest,
            after=after.digest,
            appeared=tuple(sorted(after - before)[:LINES]),
            vanished=tuple(sorted(before - after)[:LINES]),
        )

    def _missing(self) -> Again | None:
        if self.target.administrator is None:
            return Again(
                why_not="initialization needs an administrator's login, and none was given",
                how="give --costmgmt-admin-dsn",
            )
        if not self.manage:
            return Again(
                why_not="the application's migrations cannot be run: no command was given",
                how="give --costmgmt-manage",
            )
        return None

    def _pending(self) -> tuple[SeenStep, ...]:
        """Return the steps that are not done. Raises FactUnavailable if that cannot be seen."""
        try:
            steps = plan(
                self.target.administrator,
                requirements=self.requirements,
                application=self.target.application,
                hive_password=self._hive_password,
                deadline=self.connect_timeout,
            )
        except CostMgmtError as error:
            raise FactUnavailable(f"Initialization could not be rehearsed: {error}") from None
        # What the application can live with is another check's to tell: no step would change it.
        return tuple(_seen(step) for step in steps if step.action != "present" and step.blocks)

    @property
    def _home(self) -> str | None:
        # A folder that goes with the server is removed even if we are killed.
        return getattr(self.target, "folder", "") or None

    @property
    def _hive_password(self) -> Secret | None:
        return self.target.hive.password if self.target.hive is not None else None

    def _run(self, scratch: Path, stop: command.Stop) -> Callable[[], SeenRun]:
        within = migrations.surroundings(self.target, self.requirements, scratch)

        def run() -> SeenRun:
            steps: list[SeenStep] = []
            try:
                initialize(
                    self.target.administrator,
                    requirements=self.requirements,
                    application=self.target.application,
                    hive_password=self._hive_password,
                    deadline=self.connect_timeout,
                    told=lambda step: steps.append(_seen(step)) if step.blocks else None,
                )
                done = migrations.migrate(
                    self.manage, within, deadline=self.migrate_timeout, stop=stop
                )
            except CostMgmtError as error:
                return SeenRun(steps=tuple(steps), error=str(error))
            return SeenRun(steps=tuple(steps), applied=done.applied, tail=done.tail[-TOLD_TAIL:])

        return run

    def _fingerprint(self) -> Fingerprint:
        application, needs = self.target.application, self.requirements
        first = self.target.administrator or application
        databases = [application.database]
        if needs.hive.policy == "required":
            databases.append(needs.hive.database)
        tables = (needs.migrations.table, needs.migrations.tenant_table)
        try:
            return fingerprint(
                [first.on(name) for name in databases], tables, deadline=self.connect_timeout
            )
        except CostMgmtError as error:
            raise FactUnavailable(f"The catalog could not be read: {error}") from None


def _seen(step: Step) -> SeenStep:
    return SeenStep(
        name=step.name,
        action=step.action,
        remark=step.remark,
        database=step.database,
        sql=step.sql,
    )
