"""The release as a target: attach to it once, in the controller, and read what it shows."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable
from typing import TypeVar

import msgspec

from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.facts import release_seen as seen
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.kubernetes.trouble import AccessDenied
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.dsn import read_password_file
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret, publish
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.cluster import place_of, wishes_of
from pytest_costmgmt.servers.release import SUPERUSER, Attachment, NoRelease, attach
from pytest_costmgmt.settings import Settings, environment

Say = Callable[[str], None]
Fact = TypeVar("Fact")


class Attached:
    """A release for one run. Its doors live here, in the controller, until :meth:`end`.

    Constructing it raises UsageProblem for what the operator wrote wrongly.
    """

    def __init__(
        self, settings: Settings, requirements: Requirements, run_id: str, *, say: Say
    ) -> None:
        self.settings, self.requirements, self.run_id, self.say = (
            settings, requirements, run_id, say,
        )  # fmt: skip
        self.place, self.key = place_of(settings), secrets.token_bytes(32)
        self.attachment: Attachment | None = None
        self.facts = ReleaseFacts()
        self.place.check(environment())
        publish([self.place.namespace])

    def start(self) -> Server:
        """Return the release's server. Raises CostMgmtError; what was seen until then is kept."""
        try:
            self.attachment = attach(
                self.place,
                self.requirements,
                effect=self.settings.allow,
                wishes=wishes_of(self.settings),
                run=self.run_id,
                key=self.key,
                hive=self._hive(),
                say=self.say,
            )
        except UsageProblem as error:
            # A kubeconfig that cannot be used: the environment's fault, told in the report.
            raise NoRelease(error.message, hint=error.hint) from None
        self.facts = ReleaseFacts(objects=self.attachment.objects)
        server = self.attachment.require()
        app = server.application
        self.requirements = self.requirements.named(role=app.role, database=app.database)
        return server

    def look(self, server: Server) -> None:
        """Read what else shows whether the release is right; what cannot be read is told."""
        attached = self.attachment
        assert attached is not None  # noqa: S101 - it has a server
        api, objects, errors = attached.api, attached.objects, dict[str, str]()

        def read(family: str, what: Callable[[], Fact]) -> Fact | None:
            try:
                return what()
            except CostMgmtError as error:
                errors[family] = str(error)
                return None

        self.facts = msgspec.structs.replace(
            self.facts,
            leaks=read("leaks", lambda: seen.leaks(api, objects)),
            record=read("record", lambda: seen.helm_record(api, objects)),
            inside=read("inside", lambda: self._inside(server)),
            network=read("network", lambda: self._network(attached, server)),
            errors=errors,
        )

    def _inside(self, server: Server) -> seen.Inside:
        assert server.administrator is not None  # noqa: S101 - a release's is there
        deadline = self.settings.connect_timeout
        with contextlib.closing(connect(server.administrator, deadline=deadline)) as opened:
            return seen.inside(opened, timeout=deadline)

    def _network(self, attached: Attachment, server: Server) -> seen.Network:
        deadline = self.settings.connect_timeout
        found = seen.network(
            server.application,
            superuser=SUPERUSER,
            way=server.application.named,
            unprobed=attached.unprobed,
            deadline=deadline,
        )
        try:
            policies = attached.policies()
        except AccessDenied:
            return found
        found = msgspec.structs.replace(found, policies=policies)
        if attached.probe is None or not policies or any(each.lets_in_all for each in policies):
            return found
        with attached.outsider() as door:
            where = {**server.application.where, **door.where, "hostaddr": ""}
            login = msgspec.structs.replace(server.application, where=where)
            tried = attempt(login, offered="own", deadline=min(deadline, 5.0))
            trouble = "; ".join(door.troubles)
        again = attempt(server.application, offered="own", deadline=deadline)
        return msgspec.structs.replace(found, excluded=tried, trouble=trouble, again=again)

    def encoded(self) -> str:
        """Return the facts as text, for the processes that judge."""
        return msgspec.json.encode(self.facts).decode()

    def _hive(self) -> Secret | None:
        path = self.settings.hive_password_file
        what = "--costmgmt-hive-password-file"
        return None if path is None else read_password_file(path, what=what)

    def end(self) -> None:
        """Close the doors and remove what this run made in the namespace."""
        if self.attachment is not None:
            self.attachment.close()
