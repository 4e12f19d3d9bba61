"""A server outside the namespace, reached from inside it: as the application there will."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.facts import release as facts
from pytest_costmgmt.kubernetes import probe as probes
from pytest_costmgmt.kubernetes import rights
from pytest_costmgmt.kubernetes.relay import Network
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.postgres.connect import NO_PASSWORD
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.cluster import Place, ProbeWishes
from pytest_costmgmt.servers.release import NO_TICKET, Attaching, Attachment, Say, refuse_missing

PURPOSE = "Judging a server outside from inside the namespace"


class NoImage(CostMgmtError, LookupError):
    """Nothing says which image a probe may have."""


def attach_outside(
    place: Place,
    requirements: Requirements,
    *,
    host: str,
    secret: str,
    effect: str,
    wishes: ProbeWishes,
    run: str,
    key: bytes,
    hive: Secret | None = None,
    found: Callable[[Attachment], None] = lambda _: None,
    say: Say = lambda _: None,
) -> Attachment:
    """Attach to the server ``host`` (HOST or HOST:PORT) by a probe in the namespace.

    ``secret`` there holds its credentials. Raises CostMgmtError: without a pod of ours nothing of
    what its pods see can be told.
    """
    if effect == "read-only":
        raise UsageProblem(
            "--costmgmt-allow=read-only makes no pod, and only a pod in the namespace sees the"
            " server as the application does: leave it out, or give --costmgmt-dsn."
        )
    name, port = _split(host)
    attached = Attachment(place, place.api(), run=run or secrets.token_hex(4), key=key,
                          wishes=wishes)  # fmt: skip
    try:
        refuse_missing(attached)
        wanted = (Right("get", "secrets", name=secret), *probes.RIGHTS)
        rights.demand(attached.api, place.namespace, wanted, purpose=PURPOSE)
        attached.objects = facts.read_around(
            attached.reader, key=attached.key, secret=secret, external=f"{name}:{port}"
        )
        found(attached)
        attaching = _Outside(attached, requirements, effect, say)
        attached.server = attaching.server(name, port, hive)
    except BaseException:
        attached.close()
        raise
    return attached


class _Outside(Attaching):
    def server(self, host: str, port: int, hive: Secret | None) -> Server:
        """Open the door; return the server. There is no administrator's."""
        if not self.attached.spec(labels={}).image:
            raise NoImage(
                f"Namespace {self.namespace} has no release whose image a probe could have.",
                hint="Name one with bash: --costmgmt-probe-image.",
            )
        probe = self.make_probe()
        assert probe is not None  # noqa: S101 - its rights were asked for
        route = Network(
            self.api, self.namespace, probe.pod, container=probe.container, host=host, port=port
        )
        where = self.network_door(route, host)
        application = Login(
            role=self.name_of("username") or self.requirements.role.name,
            database=self.name_of("database") or self.requirements.database.name,
            where={**where, **NO_TICKET, "passfile": NO_PASSWORD["passfile"]},
            password=self.password_of(self.objects.secret_name, self.objects.key("password")),
            named=f"{host}:{port} (from a probe pod in namespace {self.namespace})",
        )
        return Server(
            mode="external",
            label=f"{host}:{port} from namespace {self.namespace} of {self.api.label},"
            f" database {application.database}",
            ours=False,
            application=application,
            hive=self.hive_of(application, hive),
        )


def _split(host: str) -> tuple[str, int]:
    """Return host and port.

    >>> _split("db.example.com"), _split("db:5433"), _split("[2001:db8::1]:5432")
    (('db.example.com', 5432), ('db', 5433), ('2001:db8::1', 5432))
    """
    name, colon, port = host.rpartition(":")
    if host.startswith("["):
        inside, _, rest = host[1:].partition("]")
        name, colon, port = inside, rest[:1], rest[1:]
    elif host.count(":") != 1:
        name, colon, port = host, "", ""
    if not colon:
        return name or host, facts.PORT
    if not port.isdigit() or not 0 < int(port) < 1 << 16 or not name:
        raise UsageProblem(f"--costmgmt-host={host} has no port that can be: write HOST:PORT.")
    return name, int(port)
