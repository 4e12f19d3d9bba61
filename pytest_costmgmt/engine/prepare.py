"""Before the run, once, in the controller: make or reach the server, fill it, read its facts."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import msgspec
import pytest

from pytest_costmgmt.engine.shared import Means, Shared, public_names
from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.exhibit import Exhibit
from pytest_costmgmt.facts.gathered import Facts
from pytest_costmgmt.facts.migration_expected import Expected, expected_from_manifest
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import publish
from pytest_costmgmt.servers import Server
from pytest_costmgmt.settings import Profile, Settings, environment

if TYPE_CHECKING:
    from pytest_costmgmt.engine.attach import Attached
    from pytest_costmgmt.engine.provision import Embedded

Say = Callable[[str], None]


class Preparation:
    """Everything that happens before the first check, and the end of the server.

    Constructing it raises UsageProblem for what the operator wrote wrongly, and ``run`` pytest's
    UsageError for what shows only then (a cache that cannot be used); never for what the server
    or the environment did: a failed provisioning is recorded.
    """

    def __init__(self, settings: Settings, run_id: str, *, say: Say) -> None:
        self.settings, self.run_id, self.say = settings, run_id, say
        self.embedded: Embedded | None = None
        self.attached: Attached | None = None
        self.kept = ""
        self.requirements = load(settings.requirements)
        if settings.migrations is not None:
            expected_from_manifest(settings.migrations)  # a bad one is told before anything runs
        self.external: Server | None = None
        if settings.mode == "external":
            from pytest_costmgmt.servers.external import external_server  # noqa: PLC0415

            self.external = external_server(settings, self.requirements, environment())
            self.requirements = self.requirements.named(
                role=self.external.application.role, database=self.external.application.database
            )
        elif settings.mode == "release":
            from pytest_costmgmt.engine.attach import Attached  # noqa: PLC0415 - a release only

            self.attached = Attached(settings, self.requirements, run_id, say=say)
        if settings.mode == "embedded" or settings.manage:
            from pytest_costmgmt.engine.provision import check_manage  # noqa: PLC0415

            check_manage(settings)

    def run(self, *, expected: Sequence[str]) -> Shared:
        """Return what the checks are given; provisioning's failure is in ``problem``."""
        shared = Shared(
            facts=Facts(),
            means=self._means(),
            skip=self.settings.skip,
            expected=tuple(expected),
            requirements=self.requirements,
        )
        try:
            shared = msgspec.structs.replace(shared, means=self._means(cache=str(self._cache())))
            server = self.external or self._provision()
        except UsageProblem as error:
            raise pytest.UsageError(str(error)) from None
        except CostMgmtError as error:
            return msgspec.structs.replace(shared, problem=str(error), release=self._release())
        shared = msgspec.structs.replace(
            shared, release=self._release(), requirements=self.requirements
        )
        context = self._context(server)
        publish(public_names(server, self.requirements))
        if self.attached is not None:
            self.attached.begin_to_look(server)
        from pytest_costmgmt.engine import gather  # noqa: PLC0415 - the driver, after usage errors

        with self._timed(f"facts read from {server.label}"):
            facts = gather.Gathering(
                server,
                self.requirements,
                context,
                shared.means,
                self.settings,
                told=self._told,
            ).everything()
        if self.attached is not None:
            with self._timed(f"facts awaited from namespace {self.settings.namespace}"):
                self.attached.look()
            shared = msgspec.structs.replace(shared, release=self._release())
        return msgspec.structs.replace(shared, facts=facts, server=server, context=context)

    def _release(self) -> str:
        """Return the facts of the release, encoded, or "" without one."""
        return "" if self.attached is None else self.attached.encoded()

    def _provision(self) -> Server:
        if self.attached is not None:
            server = self.attached.start()
            self.requirements = self.attached.requirements
            return server
        from pytest_costmgmt.engine.provision import Embedded  # noqa: PLC0415 - embedded only

        self.embedded = Embedded(self.settings, self.requirements, self.run_id, say=self.say)
        return self.embedded.start()

    @contextlib.contextmanager
    def _timed(self, what: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.say(f"{what} in {time.perf_counter() - began:.2f} s")

    def _means(self, cache: str = "") -> Means:
        settings = self.settings
        manage, example = settings.manage, False
        if not manage and settings.mode == "embedded":
            from pytest_costmgmt.initialize.migrations import default_manage  # noqa: PLC0415

            manage, example = default_manage(), True
        return Means(
            manage=manage,
            migrate_timeout=settings.migrate_timeout,
            connect_timeout=settings.connect_timeout,
            example=example,
            cache=cache,
            accept_disk_risk=settings.accept_disk_risk or settings.deploy,
            place="" if self.attached is None else self.attached.place_encoded(),
            upgrade="" if self.attached is None else self.attached.upgrade_encoded(),
        )

    def _cache(self) -> Path | str:
        """Return where a wheel's programs are unpacked, if a check is to run any."""
        if not self.settings.allows("scratch"):
            return ""
        from pytest_costmgmt.servers.embedded import cache_folder  # noqa: PLC0415 - profile full

        return cache_folder(self.settings, environment())

    def _context(self, server: Server) -> Context:
        settings = self.settings
        return Context(
            mode=server.mode,
            profile=cast("Profile", settings.profile),
            ours=server.ours,
            writable=settings.allows("scratch"),
            role=server.application.role,
            database=server.application.database,
            has_administrator=server.administrator is not None,
            failed_logins=self._failed_logins(server),
            application=self._application(),
            run_id=self.run_id,
            today=datetime.now(timezone.utc).date().isoformat(),
            relayed=self.attached is not None
            and server.application.where.get("host", "").startswith("/"),
        )

    def _failed_logins(self, server: Server) -> int | None:
        if self.settings.failed_logins is not None:
            return self.settings.failed_logins
        # A release of the chart locks nobody out.
        return 0 if server.mode == "external" else None

    def _told(self) -> Expected | None:
        """Return the expected migrations where the target's making told them already."""
        if self.embedded is not None:
            return self.embedded.expected
        return None if self.attached is None else self.attached.expected()

    def _application(self) -> Literal["example", "given", "manifest", "image", ""]:
        if self.settings.manage:
            return "given"
        if self.settings.migrations is not None:
            return "manifest"
        if self.attached is not None and self.attached.asks:
            return "image"
        return "example" if self.settings.mode == "embedded" else ""

    def exhibits(self) -> tuple[Exhibit, ...]:
        """Return what else shows how the target does, while it can be asked."""
        return () if self.attached is None else self.attached.exhibits()

    def disturbance(self) -> str:
        """Say what changed the target while it was judged, or ""."""
        return "" if self.attached is None else self.attached.disturbance()

    def end(self, *, conformant: bool) -> None:
        """End the server that this run made; keep what the operator asked to keep."""
        keep = self.settings.keep == "always" or (
            self.settings.keep == "on-failure" and not conformant
        )
        if self.attached is not None:
            self.kept = self.attached.end(keep=keep)
        if self.embedded is None:
            return
        evidence = self.settings.report
        if evidence is not None and (self.settings.keep != "never" or not conformant):
            self.embedded.write_logs(evidence)
        self.kept = self.embedded.end(keep=keep)
