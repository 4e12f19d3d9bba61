"""The release as a target: attach to it once, in the controller, and read what it shows."""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.facts import release_exhibits
from pytest_costmgmt.facts import release_seen as seen
from pytest_costmgmt.facts.exhibit import Exhibit
from pytest_costmgmt.facts.migration_expected import Expected
from pytest_costmgmt.facts.migration_image import expected_from_image
from pytest_costmgmt.facts.release import LEASE, POD
from pytest_costmgmt.facts.release_folders import follow
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.kubernetes import probe as probes
from pytest_costmgmt.kubernetes.trouble import AccessDenied
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.dsn import read_password_file
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.resources import resource
from pytest_costmgmt.secret import Secret, publish
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.cluster import place_of, wishes_of
from pytest_costmgmt.servers.release import SUPERUSER, Attachment, NoRelease, attach
from pytest_costmgmt.servers.release_hold import Quiet, hold
from pytest_costmgmt.servers.release_named import WrongRelease
from pytest_costmgmt.servers.release_outside import attach_outside
from pytest_costmgmt.servers.release_upgrade import Upgrade
from pytest_costmgmt.settings import EFFECT_OF_PROFILE, Settings, environment

if TYPE_CHECKING:
    from pytest_costmgmt.engine.deployment import Deployment

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
        deeds = EFFECT_OF_PROFILE[settings.profile] == "disruptive"
        self.disruptive = deeds and settings.host is None
        "Whether it is to delete the release's pod and upgrade it."
        self._quiet: Quiet | None = None
        self.attachment: Attachment | None = None
        self._known: Attachment | None = None
        self.facts = ReleaseFacts()
        self.errors: dict[str, str] = {}
        self.asks, self.unasked = False, ""
        self._asking: threading.Thread | None = None
        self._looking: threading.Thread | None = None
        self._expected: Expected | None = None
        self.place.check(environment())
        self.deployment: Deployment | None = None
        if settings.deploy:
            from pytest_costmgmt.engine.deployment import Deployment  # noqa: PLC0415 - seldom

            self.deployment = Deployment(settings, self.place, run_id, say=say)
        publish([self.place.namespace])

    def start(self) -> Server:
        """Return the release's server. Raises CostMgmtError; what was seen until then is kept."""
        if self.deployment is not None:
            self.deployment.up()
        try:
            self.attachment = self._attached()
        except WrongRelease:
            raise
        except UsageProblem as error:
            # A kubeconfig that cannot be used: the environment's fault, told in the report.
            raise NoRelease(error.message, hint=error.hint) from None
        if not self.disruptive:
            self._quiet = Quiet(self.attachment.api, self.place.namespace)
            if self._quiet.unseen:
                self.say(self._quiet.unseen)
        self.facts = ReleaseFacts(objects=self.attachment.objects)
        if self.attachment.server is None:
            self._look_around(self.attachment)
        server = self.attachment.require()
        app = server.application
        self.requirements = self.requirements.named(role=app.role, database=app.database)
        return server

    def _attached(self) -> Attachment:
        settings, wishes = self.settings, wishes_of(self.settings)
        common: dict[str, Any] = {
            "effect": settings.allow, "wishes": wishes, "run": self.run_id, "key": self.key,
            "hive": self._hive(), "found": self._found, "say": self.say,
        }  # fmt: skip
        if settings.host is None:
            named = settings.release or ""
            return attach(self.place, self.requirements, release=named, **common)
        return attach_outside(
            self.place,
            self.requirements,
            host=settings.host,
            secret=settings.secret or "",
            **common,
        )

    def _found(self, attached: Attachment) -> None:
        """Remember the release: what comes next may fail, and its state then says why.

        Before the first action what is disruptive makes sure that it may, and is alone.
        """
        self._known = attached
        for what, why in attached.objects.refused.items():
            if what != "the volume":  # the cluster's: few may see it, and its check says so
                self.say(f"{what} is not seen: {why}")
        if self.disruptive:
            hold(attached)
            self.say(f"the release is held by Lease {LEASE}: no other run changes it meanwhile")
        self._begin_to_ask(attached)

    def _begin_to_ask(self, attached: Attachment) -> None:
        """Have the application's image say what it would migrate, while all else is read."""
        settings, objects = self.settings, attached.objects
        given = settings.manage or settings.migrations is not None
        if given or not settings.allows("probe") or objects.migration is None:
            return
        self.asks = True

        def ask() -> None:
            try:
                self._expected = expected_from_image(attached.reader, run=self.run_id, key=self.key)
            except CostMgmtError as error:
                self.unasked = error.message

        # A daemon: an interrupt must not wait for a pod, which the cluster removes.
        self._asking = threading.Thread(target=ask, daemon=True, name="costmgmt-asks")
        self._asking.start()

    def _ask_no_more(self, known: Attachment) -> None:
        """Remove the Job that asks: nobody waits for its answer."""
        with contextlib.suppress(CostMgmtError):
            probes.clear(known.api, self.place.namespace, self.run_id)

    def expected(self) -> Expected | None:
        """Return what the application's image expects; None, and the reason told, if it is mute."""
        if self._asking is not None:
            self._asking.join()
            self._asking = None
            if self.unasked:
                self.say(f"the application was not asked for its migrations: {self.unasked}")
        return self._expected

    def begin_to_look(self, server: Server) -> None:
        """Read what else shows whether the release is right, while the catalogs are read."""
        # A daemon: an interrupt must not wait for a pod.
        args = (server,)
        self._looking = threading.Thread(target=self._look, args=args, daemon=True, name="looks")
        self._looking.start()

    def look(self) -> None:
        """Wait until all of that was read."""
        if self._looking is not None:
            self._looking.join()

    def _look(self, server: Server) -> None:
        attached = self.attachment
        assert attached is not None  # noqa: S101 - it has a server
        self._look_around(attached)
        self.facts = msgspec.structs.replace(
            self.facts,
            inside=self._read("inside", lambda: self._inside(attached, server))
            if server.administrator is not None
            else None,
            network=self._read("network", lambda: self._network(attached, server)),
            errors=self.errors,
        )

    def _look_around(self, attached: Attachment) -> None:
        """Read what is no server's: it shows also where none answers."""
        api, objects = attached.api, attached.objects
        self.facts = msgspec.structs.replace(
            self.facts,
            leaks=self._read("leaks", lambda: seen.leaks(api, objects)),
            record=self._read("record", lambda: seen.helm_record(api, objects)),
            errors=self.errors,
        )

    def _read(self, family: str, what: Callable[[], Fact]) -> Fact | None:
        try:
            return what()
        except CostMgmtError as error:
            self.errors[family] = str(error)
        except Exception as error:  # noqa: BLE001 - a thread's last word must be heard
            self.errors[family] = f"{type(error).__name__} while it was read"
        return None

    def _inside(self, attached: Attachment, server: Server) -> seen.Inside:
        assert server.administrator is not None  # noqa: S101 - a release's is there
        deadline = self.settings.connect_timeout
        # Its own database: the application's may be named wrongly.
        login = server.administrator.on(SUPERUSER)
        with contextlib.closing(connect(login, deadline=deadline)) as opened:
            told = seen.inside(opened, timeout=deadline)
        container = attached.objects.container
        if container is None:
            return told
        try:
            folders = follow(
                attached.api, self.place.namespace, POD,
                container=container.name, data=told.data_directory,
            )  # fmt: skip
        except CostMgmtError as error:
            return msgspec.structs.replace(told, unfollowed=str(error))
        return msgspec.structs.replace(told, folders=folders)

    def _network(self, attached: Attachment, server: Server) -> seen.Network:
        deadline = self.settings.connect_timeout
        ours = server.mode == "release"
        found = seen.network(
            server.application,
            superuser=SUPERUSER if ours else "",
            way=server.application.named,
            unprobed=attached.unprobed,
            deadline=deadline,
        )
        if not ours:
            return found
        try:
            policies = attached.policies()
        except AccessDenied:
            return found
        found = msgspec.structs.replace(found, policies=policies)
        if attached.probe is None or not policies or any(each.lets_in_all for each in policies):
            return found
        with attached.outsider() as (door, address):
            where = {**server.application.where, **door.where, "hostaddr": ""}
            login = msgspec.structs.replace(server.application, where=where)
            tried = attempt(login, offered="own", deadline=min(deadline, 5.0))
            trouble = "; ".join(door.troubles)
        again = attempt(server.application, offered="own", deadline=deadline)
        return msgspec.structs.replace(
            found, excluded=tried, excluded_from=address, trouble=trouble, again=again
        )

    def exhibits(self) -> tuple[Exhibit, ...]:
        """Return what the cluster knows of the release, for a report that is not conformant."""
        attached = self.attachment or self._known
        if attached is None:
            return ()
        found = release_exhibits.collect(attached.reader, attached.objects, key=self.key)
        server, deadline = attached.server, self.settings.connect_timeout
        if server is None or server.administrator is None:
            return found
        try:
            login = server.administrator.on(SUPERUSER)
            with contextlib.closing(connect(login, deadline=deadline)) as opened:
                own = release_exhibits.own_log(opened, timeout=deadline)
        except CostMgmtError:
            return found
        if own is None:
            return found
        return (*found, own)

    def disturbance(self) -> str:
        """Say who changed the release while it was judged, or ""."""
        return "" if self._quiet is None else self._quiet.broken()

    def place_encoded(self) -> str:
        """Return the place as text, for the processes that act there."""
        return msgspec.json.encode(self.place).decode()

    def upgrade_encoded(self) -> str:
        """Return what the release's upgrade is to be, for the process that does it."""
        if not self.settings.allows("disruptive"):
            return ""
        chart = self.settings.chart or resource("charts/cost-management-infrastructure")
        wanted = Upgrade(
            place=self.place,
            chart=str(chart.absolute()),
            run_id=self.run_id,
            key=self.key.hex(),
            tag=self.settings.upgrade_tag or "",
            release=self.settings.release or "",
        )
        return msgspec.json.encode(wanted).decode()

    def encoded(self) -> str:
        """Return the facts as text, for the processes that judge."""
        return msgspec.json.encode(self.facts).decode()

    def _hive(self) -> Secret | None:
        path = self.settings.hive_password_file
        what = "--costmgmt-hive-password-file"
        return None if path is None else read_password_file(path, what=what)

    def end(self, *, keep: bool = False) -> str:
        """Close the doors, remove what this run made; return what stays, in words."""
        if self._asking is not None:
            if self.attachment is None and self._known is not None:
                self._ask_no_more(self._known)
            self._asking.join(5)
        if self.attachment is not None:
            self.attachment.close()
        return "" if self.deployment is None else self.deployment.down(keep=keep)
