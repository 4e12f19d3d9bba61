"""A release's objects as values: what the checks ask for, typed, and nothing of a Secret's data."""

from __future__ import annotations

import msgspec


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of an object's status."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class EnvVariable(msgspec.Struct, frozen=True, kw_only=True):
    """One environment variable: a literal, or where it comes from."""

    name: str
    literal: str = ""
    secret: str = ""
    key: str = ""
    source: str = ""
    "literal, secret, configmap, field, resource"


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A volume in a container."""

    name: str
    path: str
    sub_path: str = ""
    read_only: bool = False


class Security(msgspec.Struct, frozen=True, kw_only=True):
    """A security context, of a pod or a container; None is unsaid."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool | None = None
    allow_privilege_escalation: bool | None = None
    read_only_root: bool | None = None
    dropped: tuple[str, ...] = ()
    added: tuple[str, ...] = ()
    seccomp: str = ""
    app_armor: str = ""
    proc_mount: str = ""
    se_linux: dict[str, str] = {}
    "Its user, role, type and level."


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A container as its pod, or its template, asks for it."""

    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    port_names: dict[str, int] = {}
    host_ports: tuple[int, ...] = ()
    "Ports of its node that lead to it."
    env: tuple[EnvVariable, ...] = ()
    env_from: tuple[str, ...] = ()
    mounts: tuple[Mount, ...] = ()
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    probes: tuple[str, ...] = ()
    "Which of startup, readiness and liveness it has."
    security: Security = Security()
    pull_policy: str = ""


class ContainerState(msgspec.Struct, frozen=True, kw_only=True):
    """How a container does."""

    name: str
    state: str
    "waiting, running, terminated"
    ready: bool = False
    restarts: int = 0
    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    image_id: str = ""
    started: str = ""
    last_reason: str = ""
    last_exit_code: int | None = None
    last_message: str = ""
    init: bool = False


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A pod's volume: ``source`` is what it comes from, ``of`` that one's name.

    ``token`` says whether a service account's is projected into it, ``secrets`` are the Secrets
    whose key ``token``, should they have one, it holds.
    """

    name: str
    source: str
    of: str = ""
    token: bool = False
    secrets: tuple[str, ...] = ()


class PodTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod is made from."""

    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    "Those of `kubectl debug` but the ended, which are never started again."
    volumes: tuple[Volume, ...] = ()
    security: Security = Security()
    pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    mounts_token: bool | None = None
    "automountServiceAccountToken; where it is unsaid, its service account decides."
    requests: dict[str, str] = {}
    limits: dict[str, str] = {}
    "What all its containers share, where that is said."
    service_links: bool = True
    node_selector: dict[str, str] = {}
    of_the_host: tuple[str, ...] = ()
    "What it shares with its node: hostNetwork, hostPID, hostIPC."
    sysctls: tuple[str, ...] = ()

    @property
    def every(self) -> tuple[Container, ...]:
        """All its containers: those that prepare, serve and debug."""
        return (*self.init_containers, *self.containers, *self.ephemeral_containers)


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """Whose an object is, and since when."""

    name: str
    namespace: str = ""
    uid: str = ""
    created: str = ""
    deleting: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owners: tuple[str, ...] = ()
    "The uids of what owns it."

    @property
    def release(self) -> str:
        """The Helm release that it says it belongs to."""
        return self.annotations.get("meta.helm.sh/release-name", "")


class Pod(msgspec.Struct, frozen=True, kw_only=True):
    """A pod."""

    meta: Meta
    template: PodTemplate
    phase: str
    reason: str = ""
    message: str = ""
    ip: str = ""
    node: str = ""
    started: str = ""
    conditions: tuple[Condition, ...] = ()
    states: tuple[ContainerState, ...] = ()

    @property
    def ready(self) -> bool:
        """Whether it is Ready, and stays."""
        said = any(each.type == "Ready" and each.status == "True" for each in self.conditions)
        return said and not self.meta.deleting


class ClaimTemplate(msgspec.Struct, frozen=True, kw_only=True):
    """What a StatefulSet makes claims from."""

    name: str
    storage_class: str | None
    size: str
    modes: tuple[str, ...]


class StatefulSet(msgspec.Struct, frozen=True, kw_only=True):
    """A StatefulSet."""

    meta: Meta
    template: PodTemplate
    replicas: int
    ready: int
    service: str
    selector: dict[str, str]
    claims: tuple[ClaimTemplate, ...] = ()
    revision: str = ""
    update_revision: str = ""
    generation: int = 0
    observed: int = 0
    strategy: str = ""


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A Service's port."""

    port: int
    target: str
    name: str = ""
    protocol: str = "TCP"


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A Service."""

    meta: Meta
    type: str
    cluster_ip: str
    selector: dict[str, str]
    ports: tuple[Port, ...]
    external_name: str = ""
    external_ips: tuple[str, ...] = ()


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """One address behind a Service."""

    address: str
    ready: bool
    pod: str = ""
    pod_uid: str = ""
    ports: tuple[int, ...] = ()


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """A PersistentVolumeClaim."""

    meta: Meta
    phase: str
    volume: str
    storage_class: str
    asked: str
    capacity: str
    modes: tuple[str, ...]
    conditions: tuple[Condition, ...] = ()


class PersistentVolume(msgspec.Struct, frozen=True, kw_only=True):
    """A PersistentVolume; reading one needs a right beyond the namespace."""

    meta: Meta
    phase: str
    capacity: str
    reclaim: str
    storage_class: str
    source: str


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What the cluster reported about an object."""

    kind: str
    name: str
    type: str
    reason: str
    message: str
    count: int
    last: str
    uid: str = ""
