"""The embedded target: start our own server, initialize it, migrate the application into it."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from pytest_costmgmt.engine.report import logs
from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.facts.migrations import ASKING, Expected, expected_from_application
from pytest_costmgmt.initialize import migrations
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.servers import Server, embedded
from pytest_costmgmt.settings import Settings, environment

Say = Callable[[str], None]


def check_manage(settings: Settings) -> None:
    """Raise UsageProblem now for a management command that cannot be started."""
    migrations.check_command(settings.manage or migrations.default_manage())


class Embedded:
    """Our own server for one run."""

    def __init__(
        self, settings: Settings, requirements: Requirements, run_id: str, *, say: Say
    ) -> None:
        self.settings, self.requirements, self.run_id, self.say = (
            settings, requirements, run_id, say,
        )  # fmt: skip
        self.instance: embedded.Instance | None = None
        self.logins: list[Login] = []
        self.expected: Expected | None = None

    def start(self) -> Server:
        """Return the server, ready to be judged. Raises CostMgmtError, and leaves nothing then."""
        began = time.perf_counter()
        programs = embedded.embedded_programs(self.settings, environment())
        self.instance = embedded.start(run_id=self.run_id, programs=programs)
        self.say(f"{programs.label} started in {time.perf_counter() - began:.2f} s")
        server = self._initialized(self.instance)
        self._migrate(server, self.instance)
        return server

    def _initialized(self, instance: embedded.Instance) -> Server:
        began = time.perf_counter()
        done = initialize(
            instance.superuser,
            requirements=self.requirements,
            ours=True,
            deadline=self.settings.connect_timeout,
        ).require()
        self.logins = [login for login in (done.application, done.hive) if login is not None]
        self.say(f"initialized in {time.perf_counter() - began:.2f} s")
        return Server(
            mode="embedded",
            label=f"embedded {instance.programs.label}",
            ours=True,
            application=done.application,
            administrator=instance.superuser,
            hive=done.hive,
            programs=str(instance.programs.bindir),
            weakens=instance.weakens,
            folder=str(instance.run_folder),
        )

    def _migrate(self, server: Server, instance: embedded.Instance) -> None:
        manage = self.settings.manage or migrations.default_manage()
        scratch = instance.run_folder / "application"
        scratch.mkdir(mode=0o700, exist_ok=True)
        surroundings = migrations.surroundings(server, self.requirements, scratch)
        deadline = self.settings.migrate_timeout
        # What goes with the server must not be pointed at.
        log = None if self.settings.keep == "never" else instance.run_folder / "migrations.log"
        done = migrations.migrate(
            manage,
            surroundings,
            deadline=deadline,
            progress=self.say,
            log=log,
            server_log=instance.log,
        )
        self.say(f"{len(done.applied)} migrations applied in {done.seconds:.2f} s")
        if self.settings.manage:
            return
        # Asked on the other core meanwhile. A question that fails is asked again, and told, when
        # the facts are read; a daemon, because an interrupt must not wait for the answer.
        asking = threading.Thread(target=self._ask, args=(manage, surroundings), daemon=True)
        asking.start()
        made = migrations.prepare_example(
            manage, surroundings, deadline=deadline, log=log, server_log=instance.log
        )
        asking.join()
        self.say(f"the example application's tenants made in {made.seconds:.2f} s")

    def _ask(self, manage: tuple[str, ...], within: migrations.Surroundings) -> None:
        with contextlib.suppress(CostMgmtError):
            self.expected = expected_from_application(manage, within.environment(), deadline=ASKING)

    def write_logs(self, folder: Path) -> None:
        """Write what the server and the migrations logged, redacted, beside the report."""
        if self.instance is not None:
            logs.write(folder, self.instance.run_folder)

    def end(self, *, keep: bool) -> str:
        """End the server; return how to reach what was kept, or ""."""
        if self.instance is None:
            return ""
        try:
            self.instance.stop(keep=keep, logins=self.logins)
        except CostMgmtError as error:
            return f"costmgmt: {error}"
        return self.instance.how_to_connect() if keep else ""
