"""What the public fixtures do: the server of a user's own tests, its databases, its end."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.engine import redaction
from pytest_costmgmt.engine import user_fixtures_server as servers
from pytest_costmgmt.engine.resolved import settings_of
from pytest_costmgmt.engine.user_fixtures_database import Credentials, Database
from pytest_costmgmt.engine.user_fixtures_databases import Databases, made_template
from pytest_costmgmt.engine.user_fixtures_handover import (
    AlreadyFailed,
    Handover,
    InFolder,
    InMemory,
    left_in,
)
from pytest_costmgmt.engine.user_fixtures_server import PREFIX, Made, Wanted
from pytest_costmgmt.engine.user_fixtures_told import END, FAILED, NOTES, Told
from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.initialize import template
from pytest_costmgmt.postgres.errand import maintenance
from pytest_costmgmt.postgres.spellings import settled_password
from pytest_costmgmt.postgres.statements import StatementFailed
from pytest_costmgmt.secret import publish
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.embedded import stop_from_outside
from pytest_costmgmt.settings import Settings

HANDED = "costmgmt_user_fixtures"
"The key in xdist's workerinput: see pytest_costmgmt.fixtures.pytest_configure_node."

_BROKER: pytest.StashKey[Broker] = pytest.StashKey()


class Broker:
    """One process's way to the servers of this run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        handed = getattr(config, "workerinput", {}).get(HANDED)
        # A worker on another machine cannot share: it has its own.
        self.shared = handed if handed and handed["host"] == os.uname().nodename else None
        self.run_id = self.shared["run"] if self.shared else secrets.token_hex(4)
        self.handover: Handover = InMemory()
        self._unshared: CostMgmtError | None = None
        if self.shared is not None:
            try:
                self.handover = InFolder(Path(self.shared["folder"]))
            except CostMgmtError as error:
                self._unshared = error
        self.told = Told(self.handover)
        self.started: list[servers.Started] = []
        self._made: dict[str, Made] = {}
        self._credentials: dict[int, Credentials] = {}
        self._databases: dict[str, Databases] = {}
        self._wanted: dict[int, Wanted] = {}
        self._kept: set[str] = set()
        config.pluginmanager.register(self.told, "costmgmt-user-fixtures")
        redaction.enter(config)
        config.add_cleanup(self.end)

    @property
    def prefix(self) -> str:
        """What the names of this run's databases begin with."""
        return f"{PREFIX}{self.run_id}_"

    def wanted(self, settings: Settings) -> Wanted:
        """Return what the settings ask for, read once."""
        what = self._wanted.get(id(settings))
        if what is None or what.settings is not settings:
            what = self._wanted[id(settings)] = servers.wanted(settings)
        return what

    # --- servers --------------------------------------------------------------------------

    def server(self, settings: Settings) -> Made:
        """Return the server that the settings ask for: the same one in every process."""
        if self._unshared is not None:
            raise AlreadyFailed(self._unshared.message, hint=self._unshared.hint)
        what = self.wanted(settings)
        if what.key not in self._made:
            data = self.handover.once(what.key, lambda: self._provisioned(what))
            self._made[what.key] = made = servers.unpacked(what, data)
            app = made.server.application
            publish({app.role, app.database, *app.where.values()})
        return self._made[what.key]

    def _provisioned(self, what: Wanted) -> dict[str, Any]:
        if what.external is not None:
            return servers.reached(what, what.external)
        started = servers.Started(what, self.run_id)
        if self.shared is None:
            data = started.begin(watch_pid=None, also=())
            self.started.append(started)
            return data
        folder = Path(self.shared["folder"])
        data = started.begin(watch_pid=self.shared["pid"], also=[folder])
        if started.instance is not None:
            started.instance.detach()
        return data

    def credentials(self, server: Server) -> Credentials:
        """Return the application's credentials on a server; the same object each time."""
        if id(server) not in self._credentials:
            app = server.application
            self._credentials[id(server)] = Credentials(
                role=app.role, password=settled_password(app)
            )
        return self._credentials[id(server)]

    def here(self, settings: Settings, server: Server) -> Made:
        """Return the server for what the fixtures are *here*."""
        made = next((m for m in self._made.values() if m.server is server), None)
        if made is None:  # a server that the user's own fixture made
            return Made(wanted=self.wanted(settings), server=server)
        # Or settings are overridden below the session, where the session's server was made already.
        return made if made.wanted.key == self.wanted(settings).key else self.server(settings)

    # --- databases ------------------------------------------------------------------------

    def databases(self, settings: Settings, server: Server, credentials: Credentials) -> Databases:
        """Return where fresh databases come from, for what the fixtures are *here*."""
        made = self.here(settings, server)
        if made.server is not server and credentials is self.credentials(server):
            credentials = self.credentials(made.server)
        if not made.server.ours and not settings.allows("scratch"):
            raise UsageProblem(
                f"a fresh database would be created on {made.server.label}, which is not ours:"
                " give --costmgmt-allow=scratch, or leave the target out for an embedded server."
            )
        key = servers.digest([id(made.server), credentials.role, hash(credentials.password)])
        if key not in self._databases:
            source = self._template(made, credentials)
            self._databases[key] = Databases(made, credentials, template=source, prefix=self.prefix)
        return self._databases[key]

    def _template(self, made: Made, credentials: Credentials) -> str:
        if made.template and credentials == self.credentials(made.server):
            return made.template
        app = made.server.application
        key = servers.digest([made.wanted.key, app.where, app.role, credentials.role])
        name = f"{self.prefix}template_{key[:6]}"
        data = self.handover.once(f"template-{key}", lambda: made_template(made, name, credentials))
        return str(data["template"])

    # --- the end --------------------------------------------------------------------------

    def end(self) -> None:
        """End what this process began; what is shared, the controller ends."""
        problems = []
        for databases in self._databases.values():
            try:
                databases.close()
            except CostMgmtError as error:
                problems.append(str(error))
            problems += databases.left
        if isinstance(self.handover, InFolder):
            self.handover.leave(problems)
            return
        for made in self._made.values():
            if not made.server.ours:
                problems += _swept(made.server, self.prefix, self._kept)
        for started in self.started:
            told = started.end(keep=_keeps(self.config, started.settings.keep))
            problems += [told] if told else []
        _say(self.config, problems)

    def keep(self, name: str) -> None:
        """Have a database outlive the run, for its test's sake."""
        self._kept.add(name)
        if self.shared is not None:
            (Path(self.shared["folder"]) / f"kept-{name}").touch(mode=0o600)


def of(config: pytest.Config) -> Broker:
    """Return this process's broker."""
    if (broker := config.stash.get(_BROKER, None)) is None:
        broker = config.stash[_BROKER] = Broker(config)
    return broker


def learn_secrets(config: pytest.Config) -> None:
    """Read the passwords that the settings name; what is wrong with them, a fixture tells."""
    broker = of(config)
    with contextlib.suppress(CostMgmtError):
        broker.wanted(settings_of(config, broker.shared and broker.shared["typed"]))


# --- the fixtures' bodies -----------------------------------------------------------------


@contextlib.contextmanager
def telling(config: pytest.Config, name: str) -> Iterator[Broker]:
    """Yield the broker; what a fixture cannot have is its cause in words, told once."""
    __tracebackhide__ = True
    broker = of(config)
    try:
        yield broker
    except CostMgmtError as error:
        raise broker.told.unavailable(name, error) from None


def settings(config: pytest.Config) -> Settings:
    """Return the run's settings."""
    __tracebackhide__ = True
    with telling(config, "costmgmt_settings") as broker:
        return settings_of(config, broker.shared and broker.shared["typed"])


def for_test(request: pytest.FixtureRequest, databases: Databases) -> Iterator[Database]:
    """Yield a database of this test; keep it if its test's report and --costmgmt-keep say so."""
    __tracebackhide__ = True
    config, node = request.config, request.node
    node.stash[FAILED] = False  # an earlier attempt, if the test is run again, kept its own
    with telling(config, "costmgmt_database"):
        database = databases.create()
    keep = databases.made.wanted.settings.keep
    if keep != "never":
        notes = node.stash.setdefault(NOTES, {})
        notes["costmgmt_database"] = lambda: f"{database!r} is kept (--costmgmt-keep={keep})"
    yield database
    if keep == "never":
        with telling(config, "costmgmt_database"):
            databases.remove(database, of=node.nodeid)
        return

    def end(failed: bool) -> None:
        if failed or keep == "always":
            of(config).keep(database.name)
            return
        try:
            databases.remove(database, of=node.nodeid)
        except CostMgmtError as error:
            databases.left.append(f"costmgmt: {database!r} could not be removed: {error}")

    node.stash[END] = end  # a fixture that used it may have failed in this very teardown


def check(config: pytest.Config) -> None:
    """Raise UsageError for what the operator wrote wrongly, before any test runs."""
    try:
        servers.wanted(settings_of(config))
    except CostMgmtError as error:
        raise pytest.UsageError(str(error)) from None


# --- the end of a run with workers, in the controller -------------------------------------


def end_run(config: pytest.Config, folder: Path, run_id: str) -> None:
    """End the servers that workers started, remove what they left on others' servers."""
    # All of it is read first: with the first server that ends the folder goes.
    told = left_in(folder)
    kept = {path.name.removeprefix("kept-") for path in folder.glob("kept-*")}
    places = sorted(folder.glob("server-*.json"))
    for data in [json.loads(place.read_text(encoding="utf-8")) for place in places]:
        if "problem" in data:
            continue
        if not data["folder"]:
            told += _swept(Server.unpack(data["server"]), f"{PREFIX}{run_id}_", kept)
            continue
        keep = _keeps(config, data["keep"])
        try:
            stop_from_outside(Path(data["folder"]), keep=keep)
        except CostMgmtError as error:
            told.append(str(error))
        told += [data["how"]] if keep else []
    shutil.rmtree(folder, ignore_errors=True)
    _say(config, told)


def _keeps(config: pytest.Config, keep: str) -> bool:
    session = config.pluginmanager.get_plugin("session")
    return keep == "always" or (keep == "on-failure" and bool(getattr(session, "testsfailed", 0)))


def _swept(server: Server, prefix: str, kept: set[str]) -> list[str]:
    """Remove this run's databases from a server that is not ours; return what stayed, and why."""
    told = [f"costmgmt: kept: database {name} on {server.label}" for name in sorted(kept)]
    try:
        errand = maintenance(server.administrator or server.application, deadline=10)
        try:
            for name in template.beginning_with(errand, prefix):
                try:
                    if name not in kept:
                        errand.run(template.drop(errand, name))
                except StatementFailed as error:  # noqa: PERF203 - the others go nevertheless
                    told.append(f"costmgmt: database {name} is left on {server.label}: {error}")
        finally:
            errand.close()
    except CostMgmtError as error:
        told.append(f"costmgmt: databases {prefix}* may be left on {server.label}: {error}")
    return told


def _say(config: pytest.Config, lines: list[str]) -> None:
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    for line in lines:
        if reporter is None:
            print(line)  # noqa: T201 - there is no reporter (-p no:terminal)
        else:
            reporter.write_line(line)
