"""A release's objects as one snapshot: what the cluster says of it, without a Secret's data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import PurePosixPath
from typing import TypeVar

import msgspec

from pytest_costmgmt.kubernetes.helm_holders import Holders, holders
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.secret_objects import SecretFacts, secret_facts, secret_type
from pytest_costmgmt.kubernetes.shapes import (
    Claim,
    Container,
    Endpoint,
    EnvVariable,
    Mount,
    PersistentVolume,
    Pod,
    PodTemplate,
    Service,
    StatefulSet,
)
from pytest_costmgmt.kubernetes.shapes_read import template
from pytest_costmgmt.kubernetes.trouble import AccessDenied

T = TypeVar("T")

STATEFUL_SET = SERVICE = "postgres"
POD = "postgres-0"
CONTAINER = "postgresql"
MIGRATION = "cost-mgmt-migration"
HIVE_PASSWORD = "HIVE_DATABASE_PASSWORD"  # noqa: S105 - a variable's name
RECORDS = "Helm's records"
LEASE = "costmgmt-bootstrap"
"Whoever changes the release holds it: bootstrap, and a run that is disruptive."
TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a Secret's type
SECRET = "postgres-credentials"  # noqa: S105 - an object's name
DATA = "/var/lib/pgsql/data/userdata"
"Where the image keeps its data, whatever PGDATA says."
PORT = 5432
KEYS = {"database": "POSTGRESQL_DATABASE", "username": "POSTGRESQL_USER",
        "password": "POSTGRESQL_PASSWORD"}  # fmt: skip
"The Secret's keys by what they are, and the variables in which the image takes them."


class Objects(msgspec.Struct, frozen=True, kw_only=True):
    """What the namespace holds of a release; what does not exist is None.

    ``refused`` says by resource what we may not read, in words.
    """

    namespace: str
    stateful_set: StatefulSet | None = None
    pod: Pod | None = None
    service: Service | None = None
    endpoints: tuple[Endpoint, ...] = ()
    claim: Claim | None = None
    volume: PersistentVolume | None = None
    secret: SecretFacts | None = None
    migration: PodTemplate | None = None
    "What the application's migration Job is made from (CronJob cost-mgmt-migration)."
    account_mounts: bool | None = None
    "Whether its service account mounts its token; asked where neither pod nor template tells."
    tokens: tuple[str, ...] = ()
    "Those of the Secrets in its volumes that are tokens of service accounts."
    named: str = ""
    "The release that was asked for by name."
    holders: tuple[str, ...] = ()
    "The releases whose records render the StatefulSet, where it does not name its own."
    perhaps: dict[str, str] = {}
    "The releases whose records are not understood, and why: it may be of one of them."
    refused: dict[str, str] = {}
    given: str = ""
    "The Secret that the operator named, of a server outside (``external``)."
    external: str = ""
    'The server outside the namespace that is judged from inside it, or "".'

    @property
    def release(self) -> str:
        """The Helm release that the StatefulSet says it belongs to, or the records do, or ""."""
        told = "" if self.stateful_set is None else self.stateful_set.meta.release
        if told or self.named in self.holders:
            return told or self.named
        return self.holders[0] if len(self.holders) == 1 else ""

    @property
    def unknown_release(self) -> str:
        """Why nobody knows of which Helm release the StatefulSet is, if nobody does.

        What Helm installs says so itself: that its records may not be listed leaves no doubt.
        """
        if self.release or self.holders:
            return ""
        return "; ".join(self.perhaps.values())

    @property
    def template(self) -> PodTemplate | None:
        """What the pod was made from; where there is none, what one would be made from."""
        if self.pod is not None:
            return self.pod.template
        return None if self.stateful_set is None else self.stateful_set.template

    @property
    def container(self) -> Container | None:
        """The container that runs PostgreSQL, as the pod has it, else as its template has it."""
        return None if self.template is None else database_container(self.template.containers)

    @property
    def migration_container(self) -> Container | None:
        """The container that migrates, in the application's image."""
        found = () if self.migration is None else self.migration.containers
        return next((each for each in found if each.name == "migration"), next(iter(found), None))

    @property
    def secret_name(self) -> str:
        """The Secret that the pod takes the password from, or that was given."""
        if self.given:
            return self.given
        found = variable(self.container, KEYS["password"])
        return found.secret if found is not None and found.secret else SECRET

    def key(self, part: str) -> str:
        """Return the Secret's key that holds the database, username or password."""
        found = None if self.given else variable(self.container, KEYS[part])
        return found.key if found is not None and found.key else part


def database_container(containers: tuple[Container, ...]) -> Container | None:
    """Return the container that runs PostgreSQL: the chart's name, else the one with its port."""
    named = [each for each in containers if each.name == CONTAINER]
    ported = [each for each in containers if PORT in each.ports]
    return next(iter([*named, *ported, *containers]), None)


def variable(container: Container | None, name: str) -> EnvVariable | None:
    """Return an environment variable of a container; the last of a name is what counts."""
    found = [] if container is None else [each for each in container.env if each.name == name]
    return found[-1] if found else None


def read_around(reader: Reader, *, key: bytes, secret: str, external: str) -> Objects:
    """Return what a namespace holds for a server outside it; there must be no database in it."""
    reading = _Reading(reader)
    one = reading.one
    return Objects(
        namespace=reader.namespace,
        given=secret,
        external=external,
        stateful_set=one("StatefulSet postgres", lambda: reader.stateful_set(STATEFUL_SET)),
        secret=one(
            f"Secret {secret}",
            lambda: secret_facts(reader.api, reader.namespace, secret, key=key),
        ),
        migration=one("CronJob cost-mgmt-migration", lambda: _migration(reader, key)),
        refused=reading.refused,
    )


def read(reader: Reader, *, key: bytes, named: str = "") -> Objects:
    """Return the snapshot; ``key`` is the run's. What we may not read is in ``refused``.

    ``named`` is the release that was asked for by name; whether it is there is not judged here.
    """
    reading = _Reading(reader)
    one = reading.one
    objects = Objects(
        namespace=reader.namespace,
        stateful_set=one("StatefulSet postgres", lambda: reader.stateful_set(STATEFUL_SET)),
        pod=one("pod postgres-0", lambda: reader.pod(POD)),
        service=one("Service postgres", lambda: reader.service(SERVICE)),
        endpoints=one("the Service's endpoints", lambda: reader.endpoints(SERVICE)) or (),
        named=named,
    )
    name = objects.secret_name
    claim = one("the pod's claim", lambda: reader.claim(claim_name(objects)))
    seen = None
    if claim is not None and claim.volume:
        seen = reader.persistent_volume(claim.volume)
        if isinstance(seen, str):
            reading.refused["the volume"] = seen
            seen = None
    known, perhaps = Holders((), {})
    if objects.stateful_set is not None and not objects.release:
        known, perhaps = one(RECORDS, lambda: _holders(reader, key)) or (known, perhaps)
    return msgspec.structs.replace(
        objects,
        holders=known,
        perhaps=perhaps,
        account_mounts=_account_mounts(reading, objects),
        tokens=tuple(_tokens(reading, objects)),
        claim=claim,
        volume=seen,
        migration=one("CronJob cost-mgmt-migration", lambda: _migration(reader, key)),
        secret=one(
            f"Secret {name}",
            lambda: secret_facts(reader.api, reader.namespace, name, key=key),
        ),
        refused=reading.refused,
    )


def _holders(reader: Reader, key: bytes) -> Holders:
    return holders(reader.api, reader.namespace, "StatefulSet", STATEFUL_SET, key=key)


def _account_mounts(reading: _Reading, objects: Objects) -> bool | None:
    """Ask the service account, where there is no pod to look at and its template says nothing."""
    template = objects.template
    if objects.pod is not None or template is None or template.mounts_token is not None:
        return None
    name = template.service_account or "default"
    return reading.one(f"ServiceAccount {name}", lambda: reading.reader.account_mounts(name))


def _tokens(reading: _Reading, objects: Objects) -> Iterator[str]:
    """Yield which of the Secrets in the pod's volumes are tokens of service accounts."""
    template, reader = objects.template, reading.reader
    volumes = () if template is None else template.volumes
    for name in dict.fromkeys(name for volume in volumes for name in volume.secrets):
        of = partial(secret_type, reader.api, reader.namespace, name)
        if reading.one(f"Secret {name}", of) == TOKEN:
            yield name


def _migration(reader: Reader, key: bytes) -> PodTemplate | None:
    found = reader.manifest("cronjobs", MIGRATION, key=key, group="batch/v1")
    if found is None:
        return None
    return template(found["spec"]["jobTemplate"]["spec"]["template"])


def claim_name(objects: Objects) -> str:
    """Return the PersistentVolumeClaim of the pod's data, or the one that the chart would make."""
    return claim_of(objects.pod) or f"postgresql-data-{POD}"


def claim_of(pod: Pod | None) -> str:
    """Return the claim that the database's data lies on; where it lies on none, its first or ""."""
    container = None if pod is None else database_container(pod.template.containers)
    if pod is None or container is None:
        return ""
    claims = {
        volume.name: volume.of
        for volume in pod.template.volumes
        if volume.source == "persistentVolumeClaim"
    }
    # It may have others: for backups, for archived WAL.
    mounts = [covering(container.mounts, DATA), *container.mounts]
    return next((claims[each.name] for each in mounts if each and each.name in claims), "")


def covering(mounts: tuple[Mount, ...], folder: str) -> Mount | None:
    """Return the mount that ``folder`` lies on: the deepest that holds it.

    >>> both = (Mount(name="a", path="/var/lib"), Mount(name="b", path="/var/lib/pgsql/data"))
    >>> covering(both, "/var/lib/pgsql/data/userdata").name, covering(both, "/var/lib/x").name
    ('b', 'a')
    >>> covering(both, "/var/library") is None
    True
    """
    place = PurePosixPath(folder)
    over = [each for each in mounts if place.is_relative_to(PurePosixPath(each.path))]
    return max(over, key=lambda each: len(PurePosixPath(each.path).parts), default=None)


def state_of(pod: Pod) -> str:
    """Return how a pod does, in words: the worst of its containers, else its conditions."""
    return "; ".join(_states(pod)) or pod.phase


def _states(pod: Pod) -> Iterator[str]:
    if pod.meta.deleting:
        yield "it is being deleted"
    for state in pod.states:
        if (state.state == "running" and state.ready) or state.exit_code == 0:
            continue
        told = f"{state.name} {state.state} {state.reason} {state.message}"
        if state.last_reason:
            told += f" (ended before: {state.last_reason} {state.last_exit_code})"
        yield " ".join(told.split())
    for condition in pod.conditions:
        if condition.type == "PodScheduled" and condition.status == "False":
            yield f"{condition.reason} {condition.message}".strip()


class _Reading:
    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.refused: dict[str, str] = {}

    def one(self, what: str, read: Callable[[], T]) -> T | None:
        try:
            return read()
        except AccessDenied as error:
            self.refused[what] = error.message
            return None
