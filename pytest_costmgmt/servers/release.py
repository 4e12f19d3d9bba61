"""Attach to a release in a namespace: find it, open the doors to its server, give the logins.

*Loopback* leads to the database pod's own localhost, whose image trusts it: the administrator.
*Network* leads from a pod to the Service, as an application goes: its password counts. Both end in
a door here, for this process's life; libpq speaks here, nothing of it runs or lies in a pod.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.kubernetes import probe as probes
from pytest_costmgmt.kubernetes import rights
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.policies import Policy, isolating
from pytest_costmgmt.kubernetes.relay import Loopback, Network, Route
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.secret_objects import secret_name, secret_values
from pytest_costmgmt.kubernetes.socket_door import Door, tcp_door, unix_door
from pytest_costmgmt.kubernetes.trouble import AccessDenied, NotThere
from pytest_costmgmt.postgres.connect import NO_PASSWORD
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.probe import explain
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.cluster import Place, ProbeWishes
from pytest_costmgmt.servers.release_named import be_sure

Say = Callable[[str], None]

SUPERUSER = "postgres"
CLIENT_LABEL = {"cost-management/database-client": "true"}
"What the chart's NetworkPolicy lets through."
NO_TICKET = {"gssencmode": "disable"}
_TLS_CONNECTIONS = 100_000
"The TCP door's, which asks the kernel who connects each time."


class NoRelease(CostMgmtError, LookupError):
    """The namespace, or the release in it, is not there; nothing is made in its place."""


class ServerDown(CostMgmtError, ConnectionError):
    """The release is there, and its server cannot be talked to."""


def reading_rights(secret: str = facts.SECRET) -> tuple[Right, ...]:
    """Return what attaching takes: reading the objects, and streams into pods that exist."""
    return (
        Right("get", "statefulsets", "apps"),
        Right("get", "pods"),
        Right("get", "services"),
        Right("list", "endpointslices", "discovery.k8s.io"),
        Right("get", "persistentvolumeclaims"),
        Right("get", "secrets", name=secret),
        # A WebSocket begins as a GET, which older API servers ask this for.
        Right("create", "pods/portforward"),
        Right("get", "pods/portforward"),
        Right("create", "pods/exec"),
        Right("get", "pods/exec"),
    )


class Attachment:
    """A release, both its doors open. Close it (``contextlib.closing``).

    ``server`` is None where the release is there and its server cannot be talked to: ``problem``
    then says why. ``unprobed`` says why there is no ``probe``, if there is none.
    """

    def __init__(
        self, place: Place, api: Api, *, run: str, key: bytes, wishes: ProbeWishes
    ) -> None:
        self.wishes = wishes
        self.place, self.api, self.run, self.key = place, api, run, key
        self.reader = Reader(api, place.namespace)
        self.objects = facts.Objects(namespace=place.namespace)
        self.server: Server | None = None
        self.problem = ""
        self.probe: probes.Probe | None = None
        self.unprobed = ""
        self._stack = contextlib.ExitStack()

    def close(self) -> None:
        """Close the doors and remove the probe."""
        self._stack.close()

    def require(self) -> Server:
        """Return the server, or raise ServerDown that says why it cannot be talked to."""
        if self.server is None:
            raise ServerDown(self.problem or "the release's server was not reached")
        return self.server

    def spec(self, labels: dict[str, str]) -> probes.ProbeSpec:
        """Return what a probe is made of: where nothing is said, as the database pod is."""
        pod, container = self.objects.pod, self.objects.container
        template = None if pod is None else pod.template
        if self.objects.external:  # no database's pod: the application's image is there at least
            container, template = self.objects.migration_container, self.objects.migration
        return probes.ProbeSpec(
            run=self.run,
            image=self.wishes.image or ("" if container is None else container.image),
            seconds=self.wishes.seconds,
            labels={**labels, **self.wishes.labels},
            annotations=self.wishes.annotations,
            node_selector=self.wishes.node_selector,
            pull_secrets=() if template is None else template.pull_secrets,
            run_as_user=None if template is None else template.security.run_as_user,
        )

    def policies(self) -> tuple[Policy, ...]:
        """Return the NetworkPolicies that isolate the database pod. Raises AccessDenied."""
        labels = {} if self.objects.pod is None else self.objects.pod.template.labels
        return tuple(isolating(self.api, self.place.namespace, labels, port=facts.PORT))

    @contextlib.contextmanager
    def outsider(self) -> Iterator[tuple[Door, str]]:
        """Yield a door whose way begins in a pod that bears no client's label, and its address.

        It leads to the pod's address: a name service that hides it keeps nobody out.
        """
        spec = msgspec.structs.replace(self.spec(labels={}), labels={})
        address = "" if self.objects.pod is None else self.objects.pod.ip
        with probes.probe(self.api, self.place.namespace, spec) as outside:
            route = Network(
                self.api, self.place.namespace, outside.pod,
                container=outside.container, host=address, port=facts.PORT,
            )  # fmt: skip
            with unix_door(route) as door:
                yield door, outside.ip

    def keep(self, manager: contextlib.AbstractContextManager[Any]) -> Any:
        """Enter a context that is left when this attachment is closed."""
        return self._stack.enter_context(manager)


def attach(
    place: Place,
    requirements: Requirements,
    *,
    effect: str = "read-only",
    wishes: ProbeWishes | None = None,
    run: str = "",
    key: bytes = b"",
    hive: Secret | None = None,
    network: bool = True,
    release: str = "",
    found: Callable[[Attachment], None] = lambda _: None,
    say: Say = lambda _: None,
) -> Attachment:
    """Attach to the release in ``place``; ``effect`` probe may make a pod there.

    ``found`` hears of the release as soon as its objects are read, before a probe starts.

    ``release`` is the one that it must be. ``network=False`` opens the administrator's door alone.
    ``hive`` is the password of role hive, where no Secret that the release names holds it. Raises
    CostMgmtError where nothing can be told of the release: no such cluster, namespace, release, or
    right; WrongRelease where it is not the one that was asked for, or one of several.
    """
    attached = Attachment(
        place,
        place.api(),
        run=run or secrets.token_hex(4),
        key=key or secrets.token_bytes(32),
        wishes=wishes or ProbeWishes(),
    )
    try:
        _find(attached, release)
        found(attached)
        attaching = Attaching(attached, requirements, effect, say)
        try:
            attached.server = attaching.reach(hive, network=network)
        except ServerDown as error:
            attached.problem = str(error)
    except BaseException:
        attached.close()
        raise
    return attached


def refuse_missing(attached: Attachment) -> None:
    """Raise NoRelease if the namespace does not exist."""
    api, namespace = attached.api, attached.place.namespace
    if attached.reader.namespace_seen().exists is False:
        raise NoRelease(
            f"Namespace {namespace!r} does not exist in {api.label}.",
            hint="Name the right one, or choose its cluster (--costmgmt-context); none is made.",
        )


def _find(attached: Attachment, release: str) -> None:
    """Read the release's objects; raise what keeps anything from being told of it."""
    api, namespace = attached.api, attached.place.namespace
    refuse_missing(attached)
    purpose = f"Attaching to the release in namespace {namespace!r}"
    rights.demand(api, namespace, reading_rights(), purpose=purpose)
    attached.objects = objects = facts.read(attached.reader, key=attached.key, named=release)
    if objects.stateful_set is None:
        raise NoRelease(
            f"There is no StatefulSet {facts.STATEFUL_SET} in namespace {namespace!r} of"
            f" {api.label}: no release of cost-management-infrastructure is deployed there.",
            hint="Deploy it (`costmgmt bootstrap --namespace NS`), or name its namespace.",
        )
    be_sure(objects, release)
    if objects.secret_name != facts.SECRET:
        own = Right("get", "secrets", name=objects.secret_name)
        rights.demand(api, namespace, [own], purpose=purpose)


class Attaching:
    """Opens the doors to one release."""

    def __init__(
        self,
        attached: Attachment,
        requirements: Requirements,
        effect: str,
        say: Say,
    ) -> None:
        self.attached, self.requirements, self.effect = attached, requirements, effect
        self.say = say
        self.api, self.namespace = attached.api, attached.place.namespace
        self.objects = attached.objects

    def reach(self, hive: Secret | None, *, network: bool) -> Server:
        """Open the doors; return the server."""
        self._ready()
        administrator = self._administrator()
        application = self._application() if network else self._named(administrator)
        return Server(
            mode="release",
            label=f"release {self.objects.release or facts.STATEFUL_SET} in namespace"
            f" {self.namespace} of {self.api.label}",
            ours=False,
            application=application,
            administrator=administrator.on(application.database),
            hive=self.hive_of(application, hive) if network else None,
        )

    def _ready(self) -> None:
        pod = self.objects.pod
        if pod is None:
            raise ServerDown(f"Pod {facts.POD} in namespace {self.namespace} does not exist.")
        if not pod.ready:
            raise ServerDown(
                f"Pod {facts.POD} in namespace {self.namespace} is not ready:"
                f" {facts.state_of(pod)}."
            )

    def _administrator(self) -> Login:
        route = Loopback(self.api, self.namespace, facts.POD)
        door = self.attached.keep(unix_door(route))
        return Login(
            role=SUPERUSER,
            database=SUPERUSER,
            where={**door.where, **NO_PASSWORD, **NO_TICKET},
            named=f"{facts.POD} in namespace {self.namespace} (its localhost)",
        )

    def _named(self, administrator: Login) -> Login:
        """Return the application's role and database, by the administrator's door."""
        role, database = self.name_of("username"), self.name_of("database")
        return administrator.acting_as(
            role or self.requirements.role.name,
            None,
            database=database or self.requirements.database.name,
        )

    def name_of(self, part: str) -> str:
        """Return the database or role that the Secret names, or ""."""
        key = self.objects.key(part)
        try:
            values = secret_values(self.api, self.namespace, self.objects.secret_name)
        except NotThere:
            return ""
        if key not in values:
            return ""
        return secret_name(self.api, self.namespace, self.objects.secret_name, key)

    def _application(self) -> Login:
        route, named = self._route()
        where = self.network_door(route, facts.SERVICE)
        return Login(
            role=self.name_of("username") or self.requirements.role.name,
            database=self.name_of("database") or self.requirements.database.name,
            where={**where, **NO_TICKET, "passfile": NO_PASSWORD["passfile"]},
            password=self.password_of(self.objects.secret_name, self.objects.key("password")),
            named=named,
        )

    def password_of(self, name: str, key: str) -> Secret:
        """Return what a Secret's key holds; an empty one if it is not there."""
        with contextlib.suppress(NotThere):
            found = secret_values(self.api, self.namespace, name)
            return found.get(key) or Secret("")
        return Secret("")

    def _route(self) -> tuple[Route, str]:
        """Return the way that an application goes, or the nearest to it that we may go."""
        service = self.objects.service
        if service is None or not service.ports:
            raise ServerDown(
                f"There is no Service {facts.SERVICE} with a port in namespace {self.namespace}:"
                " no application finds the server."
            )
        port = service.ports[0].port
        probe = self.make_probe()
        if probe is not None:
            route = Network(
                self.api, self.namespace, probe.pod,
                container=probe.container, host=facts.SERVICE, port=port,
            )  # fmt: skip
            return route, f"{facts.SERVICE}.{self.namespace}:{port} (from a probe pod)"
        pod, container = self.objects.pod, self.objects.container
        assert pod is not None  # noqa: S101 - it is ready
        assert container is not None  # noqa: S101 - a pod has one
        route = Network(
            self.api, self.namespace, facts.POD,
            container=container.name, host=pod.ip, port=facts.PORT,
        )  # fmt: skip
        return route, f"{pod.ip}:{facts.PORT} (from the database pod itself)"

    def make_probe(self) -> probes.Probe | None:
        """Return a probe that runs, or None where we may make none (``unprobed`` says why)."""
        if self.effect == "read-only":
            self.attached.unprobed = "--costmgmt-allow=read-only makes no pod"
            return None
        if lacking := rights.missing(self.api, self.namespace, probes.RIGHTS):
            told = ", ".join(right.text for right in lacking)
            self.attached.unprobed = f"we may not {told} in namespace {self.namespace}"
            return None
        for gone in probes.sweep(self.api, self.namespace):
            self.say(f"removed {gone}, which a run that has ended left")
        began = time.perf_counter()
        spec = self.attached.spec(labels=CLIENT_LABEL)
        found: probes.Probe = self.attached.keep(probes.probe(self.api, self.namespace, spec))
        self.attached.probe = found
        self.say(f"probe {found.name} runs after {time.perf_counter() - began:.2f} s")
        return found

    def network_door(self, route: Route, host: str) -> dict[str, str]:
        """Open the application's door; return libpq's parameters for it.

        A Unix socket, unless the server offers TLS, which libpq speaks over TCP alone.
        """
        with contextlib.ExitStack() as first:
            door = first.enter_context(unix_door(route))
            until = time.monotonic() + 10
            answer = explain(door.where["host"], door.where["port"], until=until)
            if answer != b"S":
                self.attached.keep(first.pop_all())
                return dict(door.where)
        tcp = tcp_door(route, host=host, connections=_TLS_CONNECTIONS)
        return {**self.attached.keep(tcp).where, "sslmode": "prefer"}

    def hive_of(self, application: Login, given: Secret | None) -> Login | None:
        """Return hive's login on the application's way, if its password is known."""
        needs = self.requirements.hive
        if needs.policy == "forbidden":
            return None
        password = given or self._hive_password()
        if password is None:
            return None
        return application.acting_as(needs.role, password, database=needs.database)

    def _hive_password(self) -> Secret | None:
        """Return what the release's own migration takes for hive, if we may read it."""
        named = facts.variable(self.objects.migration_container, facts.HIVE_PASSWORD)
        if named is None or not named.secret:
            return None
        try:
            return self.password_of(named.secret, named.key) or None
        except AccessDenied:
            return None
