"""A healthy release as it is read, and what can be wrong with it, one thing at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import DATA, Objects
from pytest_costmgmt.facts.release_folders import Folder
from pytest_costmgmt.facts.release_seen import Inside, Network, ReleaseFacts, decoded
from pytest_costmgmt.judge import persistence, release, release_pod, release_token, secrets
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.kubernetes import shapes_read
from pytest_costmgmt.kubernetes.leaks import Leaks, Record
from pytest_costmgmt.kubernetes.objects import Namespace
from pytest_costmgmt.kubernetes.policies import policy
from pytest_costmgmt.kubernetes.secret_objects import facts_of
from pytest_costmgmt.postgres.attempt import Attempt
from tests import release_objects as made

Object = dict[str, Any]
Plant = Callable[[dict[str, Any]], object]

JUDGES: Mapping[str, Callable[[ReleaseFacts], Judgement]] = {
    "CM-REL-001": release.deployed,
    "CM-REL-002": release.pod_ready,
    "CM-REL-003": release.service,
    "CM-REL-004": release_pod.probed,
    "CM-REL-005": release_pod.resourced,
    "CM-REL-006": release_pod.pinned,
    "CM-REL-007": release_pod.restricted,
    "CM-REL-008": release_pod.discreet,
    "CM-REL-009": release_pod.recorded,
    "CM-REL-010": release_token.tokenless,
    "CM-SEC-001": secrets.keys,
    "CM-SEC-002": secrets.nothing_more,
    "CM-SEC-003": secrets.whole,
    "CM-SEC-004": secrets.plain,
    "CM-SEC-005": secrets.taken,
    "CM-SEC-006": secrets.unchanged,
    "CM-SEC-007": secrets.opens,
    "CM-SEC-008": secrets.superuser_stays_out,
    "CM-SEC-009": secrets.enforced,
    "CM-PER-001": persistence.on_the_volume,
    "CM-PER-002": persistence.bound,
}


def accepted(role: str = "koku", *, method: str = "unknown") -> Attempt:
    """Return a login that was let in, by its password unless ``method`` says otherwise."""
    return Attempt(role=role, database="koku", offered="own", outcome="accepted", method=method)


def refused(role: str, offered: Any = "wrong", sqlstate: str | None = "28P01") -> Attempt:
    """Return a login that was not."""
    return Attempt(
        role=role, database="koku", offered=offered, outcome="refused", sqlstate=sqlstate,
        message="it was refused",
    )  # fmt: skip


def raw() -> dict[str, Any]:
    """Return a healthy release, as an API server tells it, and what else was seen of it."""
    return {
        "stateful_set": made.stateful_set(),
        "pod": made.pod(),
        "service": made.service(),
        "slice": made.endpoint_slice(),
        "claim": made.claim(),
        "secret": made.secret(),
        "cron_job": made.cron_job(),
        "policies": [],
        "namespace": Namespace(name=made.NAMESPACE, exists=True, labels={"team": "cost"}),
        "refused": {},
        "account_mounts": None,
        "tokens": (),
        "leaks": Leaks(looked=("pods/postgres-0",), known=2),
        "record": Record(release=made.RELEASE, revision=1, status="deployed"),
        "inside": DATA,
        "folders": {".": DATA, "pg_wal": f"{DATA}/pg_wal", "pg_tblspc/1": f"{DATA}/one"},
        "unfollowed": "",
        "network": {
            "way": "postgres.cost-mgmt:5432 (from a probe pod)",
            "opened": accepted(),
            "superuser": (refused("postgres", "none"), refused("postgres")),
            "again": accepted(),
        },
    }


def facts(found: dict[str, Any]) -> ReleaseFacts:
    """Return the facts as they are read of it, sent to a worker and back."""
    template = found["cron_job"] and shapes_read.template(
        found["cron_job"]["spec"]["jobTemplate"]["spec"]["template"]
    )
    objects = Objects(
        namespace=made.NAMESPACE,
        stateful_set=shapes_read.stateful_set(found["stateful_set"]),
        pod=found["pod"] and shapes_read.pod(found["pod"]),
        service=found["service"] and shapes_read.service(found["service"]),
        endpoints=shapes_read.endpoints(found["slice"]),
        claim=found["claim"] and shapes_read.claim(found["claim"]),
        secret=found["secret"] and facts_of(found["secret"], key=b"run"),
        migration=template,
        refused=found["refused"],
        account_mounts=found["account_mounts"],
        tokens=found["tokens"],
    )
    inside = Inside(
        data_directory=found["inside"], log_file="", system_identifier="1", started="",
        folders=tuple(Folder(part=part, path=path) for part, path in found["folders"].items()),
        unfollowed=found["unfollowed"],
    )  # fmt: skip
    policies = found["policies"]
    told = ReleaseFacts(
        objects=objects,
        leaks=found["leaks"],
        record=found["record"],
        inside=inside,
        network=Network(
            **found["network"],
            policies=None
            if policies is None
            else tuple(policy(each, port=5432, here=found["namespace"]) for each in policies),
        ),
    )
    return decoded(msgspec.json.encode(told).decode())


def outcome(judge: Callable[[ReleaseFacts], Judgement], seen: ReleaseFacts) -> str:
    """Return what a judge comes to, in the engine's order."""
    try:
        found = judge(seen)
    except FactUnavailable:
        return "error"
    if found.findings:
        assert all(each.fix for each in found.findings)
        return "failed"
    if found.unverified:
        return "unverifiable"
    if found.not_supported:
        return "not-supported"
    assert found.examined
    return "passed"


def outcomes(found: dict[str, Any]) -> dict[str, str]:
    """Return what every check that did not pass came to."""
    seen = facts(found)
    every = {id_: outcome(judge, seen) for id_, judge in JUDGES.items()}
    return {id_: said for id_, said in every.items() if said != "passed"}


HEALTHY = {"CM-SEC-009": "not-supported"}


def container(found: dict[str, Any], of: str = "pod") -> Object:
    """Return the database's container."""
    spec = found[of]["spec"]
    whole: Object = spec.get("template", {}).get("spec", spec)["containers"][0]
    return whole


def _set(path: str, value: object) -> Plant:
    """Return a plant that sets what ``path`` (dots, numbers for lists) names."""

    def plant(found: dict[str, Any]) -> None:
        *way, last = path.split(".")
        at: Any = found
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[last if isinstance(at, dict) else int(last)] = value

    return plant


def _drop(path: str) -> Plant:
    def plant(found: dict[str, Any]) -> None:
        *way, last = path.split(".")
        at: Any = found
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        del at[last]

    return plant


def _both(*plants: Plant) -> Plant:
    def plant(found: dict[str, Any]) -> None:
        for each in plants:
            each(found)

    return plant


def _secret(**values: str) -> Plant:
    return lambda found: found.update(secret=made.secret(**values))


def _env(entry: Object, at: str = "pod.spec.containers.0") -> Plant:
    def plant(found: dict[str, Any]) -> None:
        place: Any = found
        for step in at.split("."):
            place = place[int(step)] if isinstance(place, list) else place[step]
        others = [each for each in place["env"] if each["name"] != entry["name"]]
        place["env"] = [*others, entry]

    return plant


def _network(**parts: object) -> Plant:
    return lambda found: found["network"].update(parts)


def _another_endpoint(found: dict[str, Any]) -> None:
    found["slice"]["endpoints"].append(
        {
            "addresses": ["10.244.0.50"],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": "postgres-other-0", "uid": "pod-2"},
        }
    )


POD = "pod.spec.containers.0"
LOST = Attempt(role="koku", database="koku", offered="own", outcome="failed", kind="no-answer")
_CHANGED = _set(
    "secret.metadata.managedFields",
    [{"time": "2026-11-24T10:00:06Z", "fieldsV1": {"f:data": {}}}],
)
FAULTS: Mapping[str, tuple[str, str, Plant]] = {
    "two-replicas": ("CM-REL-001", "failed", _set("stateful_set.spec.replicas", 2)),
    "another-service-name": ("CM-REL-001", "failed", _set("stateful_set.spec.serviceName", "x")),
    "selects-others": (
        "CM-REL-001", "failed", _set("stateful_set.spec.selector.matchLabels", {"app": "x"}),
    ),
    "old-revision": ("CM-REL-002", "failed", _set("stateful_set.status.updateRevision", "new")),
    "pod-goes": ("CM-REL-002", "failed", _set("pod.metadata.deletionTimestamp", "2026-01-01")),
    "no-service": ("CM-REL-003", "failed", _set("service", None)),
    "node-port": ("CM-REL-003", "failed", _set("service.spec.type", "NodePort")),
    "external-name": ("CM-REL-003", "failed", _set("service.spec.type", "ExternalName")),
    "external-addresses": (
        "CM-REL-003", "failed", _set("service.spec.externalIPs", ["192.0.2.7"]),
    ),
    "wrong-port": ("CM-REL-003", "failed", _set("service.spec.ports.0.port", 5433)),
    "wrong-target": ("CM-REL-003", "failed", _set("service.spec.ports.0.targetPort", 5433)),
    "named-target": ("CM-REL-003", "passed", _set("service.spec.ports.0.targetPort", "postgresql")),
    "target-named-otherwise": (
        "CM-REL-003", "passed",
        _both(_set("service.spec.ports.0.targetPort", "tcp-db"),
              _set(f"{POD}.ports.0.name", "tcp-db")),
    ),
    "target-that-nothing-is-named": (
        "CM-REL-003", "failed", _set("service.spec.ports.0.targetPort", "postgres"),
    ),
    "target-of-that-name-is-another-port": (
        "CM-REL-003", "failed",
        _both(_set("service.spec.ports.0.targetPort", "postgresql"),
              _set(f"{POD}.ports.0.containerPort", 5433)),
    ),
    "wrong-selector": ("CM-REL-003", "failed", _set("service.spec.selector", {"app": "x"})),
    "no-selector": ("CM-REL-003", "failed", _set("service.spec.selector", {})),
    "no-endpoints": ("CM-REL-003", "failed", _set("slice.endpoints", [])),
    "another-pod": ("CM-REL-003", "failed", _another_endpoint),
    "older-pod": ("CM-REL-003", "failed", _set("slice.endpoints.0.targetRef.uid", "pod-0")),
    "unready-endpoint": (
        "CM-REL-003", "failed", _set("slice.endpoints.0.conditions.ready", False),
    ),
    "endpoints-unseen": (
        "CM-REL-003", "error", _set("refused", {"the Service's endpoints": "no"}),
    ),
    "no-startup-probe": ("CM-REL-004", "failed", _drop(f"{POD}.startupProbe")),
    "no-readiness-probe": ("CM-REL-004", "failed", _drop(f"{POD}.readinessProbe")),
    "no-liveness-probe": ("CM-REL-004", "failed", _drop(f"{POD}.livenessProbe")),
    "no-memory-limit": ("CM-REL-005", "failed", _drop(f"{POD}.resources.limits.memory")),
    "no-requests": ("CM-REL-005", "failed", _drop(f"{POD}.resources.requests")),
    "resources-of-the-pod": (
        "CM-REL-005", "passed",
        _both(_set(f"{POD}.resources", {}), _set("pod.spec.resources", {
            "requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "4Gi"}})),
    ),
    "no-limit-of-the-pod": (
        "CM-REL-005", "failed",
        _both(_set(f"{POD}.resources", {}), _set("pod.spec.resources", {
            "requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"cpu": "2"}})),
    ),
    "latest": ("CM-REL-006", "failed", _set(f"{POD}.image", "quay.io/x/postgresql-15-c9s:latest")),
    "no-tag": ("CM-REL-006", "failed", _set(f"{POD}.image", "registry:5000/postgresql-15-c9s")),
    "leak": ("CM-REL-008", "failed", _set("leaks", Leaks(found=("configmaps/x: data.u",)))),
    "literal": (
        "CM-REL-008", "failed", _env({"name": "POSTGRESQL_ADMIN_PASSWORD", "value": "hunter2"}),
    ),
    "argument": ("CM-REL-008", "failed", _set(f"{POD}.args", ["--password=hunter2"])),
    "uri-argument": (
        "CM-REL-008", "failed", _set(f"{POD}.args", ["postgresql://koku:hunter2@db/koku"]),
    ),
    "migration-argument": (
        "CM-REL-008", "failed",
        _set("cron_job.spec.jobTemplate.spec.template.spec.containers.0.args", ["--password x"]),
    ),
    "migration-prepared-by-argument": (
        "CM-REL-008", "failed",
        _set("cron_job.spec.jobTemplate.spec.template.spec.initContainers",
             [{"name": "wait", "image": "x:1", "args": ["postgresql://koku:hunter2@db/koku"]}]),
    ),
    "configmaps-unseen": (
        "CM-REL-008", "unverifiable", _set("leaks", Leaks(looked=("x",), refused=("configmaps",))),
    ),
    "hive-s-secret-unread": (
        "CM-REL-008", "unverifiable",
        _set("leaks", Leaks(looked=("pods/postgres-0",), known=1, unread=("hive-credentials",))),
    ),
    "not-looked-for": ("CM-REL-008", "error", _set("leaks", None)),
    "pending": (
        "CM-REL-009", "failed",
        _set("record", Record(release="r", revision=2, status="pending-upgrade")),
    ),
    "value-is-a-password": (
        "CM-REL-009", "failed",
        _set("record", Record(release="r", revision=2, status="deployed", leaks=("values.x",))),
    ),
    "earlier-value-is-a-password": (
        "CM-REL-009", "failed",
        _set("record", Record(release="r", revision=3, status="deployed",
                              earlier={"values.x": (1, 2)})),
    ),
    "record-that-is-not-understood": (
        "CM-REL-009", "unverifiable",
        _set("record", Record(release="r", revision=3, status="deployed", undecoded=(2,))),
    ),
    "record-held-against-nothing": (
        "CM-REL-009", "unverifiable",
        _set("record", Record(release="r", revision=3, status="deployed", unread=("postgres",))),
    ),
    "no-record": ("CM-REL-009", "not-supported", _set("record", None)),
    "no-helm": ("CM-REL-009", "not-supported", _drop("stateful_set.metadata.annotations")),
    "more-keys": (
        "CM-SEC-002", "failed",
        _secret(database="koku", username="koku", password=made.PASSWORD, token="x"),
    ),
    "newline": (
        "CM-SEC-003", "failed",
        _secret(database="koku", username="koku\n", password=made.PASSWORD),
    ),
    "empty": (
        "CM-SEC-003", "failed", _secret(database="", username="koku", password=made.PASSWORD),
    ),
    "blank": (
        "CM-SEC-003", "failed", _secret(database=" koku", username="koku", password=made.PASSWORD),
    ),
    "not-plain": (
        "CM-SEC-004", "failed", _secret(database="koku", username="koku", password="p@ss/w:rd#1%"),
    ),
    "literal-user": (
        "CM-SEC-005", "failed", _env({"name": "POSTGRESQL_USER", "value": "koku"}),
    ),
    "another-key": (
        "CM-SEC-005", "failed",
        _both(
            _secret(database="koku", username="koku", password=made.PASSWORD, postgres="x" * 20),
            _env(made.from_secret("POSTGRESQL_PASSWORD", "postgres-credentials", "postgres")),
        ),
    ),
    "migrates-by-another-key": (
        "CM-SEC-005", "failed",
        _env(made.from_secret("DATABASE_USER", "postgres-credentials", "database"),
             "cron_job.spec.jobTemplate.spec.template.spec.containers.0"),
    ),
    "migrates-by-another": (
        "CM-SEC-005", "failed",
        _env(made.from_secret("DATABASE_PASSWORD", "other", "password"),
             "cron_job.spec.jobTemplate.spec.template.spec.containers.0"),
    ),
    "secret-changed": (
        "CM-SEC-006", "failed", _both(_CHANGED, _network(opened=refused("koku", "own"))),
    ),
    "secret-changed-and-anything-opens": (
        "CM-SEC-006", "failed", _both(_CHANGED, _network(opened=accepted(method="trust"))),
    ),
    "secret-changed-and-nobody-tried": (
        "CM-SEC-006", "failed", _both(_CHANGED, _network(opened=LOST)),
    ),
    "secret-relabelled": ("CM-SEC-006", "passed", _CHANGED),
    "does-not-open": ("CM-SEC-007", "failed", _network(opened=refused("koku", "own"))),
    "no-answer": ("CM-SEC-007", "error", _network(opened=LOST)),
    "superuser-enters": (
        "CM-SEC-008", "failed", _network(superuser=(accepted("postgres"), refused("postgres"))),
    ),
    "superuser-enters-by-guess": (
        "CM-SEC-008", "failed", _network(superuser=(refused("postgres"), accepted("postgres"))),
    ),
    "superuser-has-a-password": (
        "CM-SEC-008", "failed",
        _env(made.from_secret("POSTGRESQL_ADMIN_PASSWORD", "postgres-admin", "password")),
    ),
    "superuser-has-one-and-is-rejected": (
        "CM-SEC-008", "passed",
        _both(
            _env(made.from_secret("POSTGRESQL_ADMIN_PASSWORD", "postgres-admin", "password")),
            _network(superuser=(refused("postgres", "none", "28000"),
                                refused("postgres", "wrong", "28000"))),
        ),
    ),
    "not-again": ("CM-SEC-008", "error", _network(again=refused("koku", "own"))),
    "superuser-unknown": ("CM-SEC-008", "error", _network(superuser=(LOST,))),
    "policies-unseen": ("CM-SEC-009", "unverifiable", _set("policies", None)),
}  # fmt: skip

ALSO = {
    "superuser-unknown": {},
    "not-again": {},
    "does-not-open": {"CM-SEC-008": "error"},
    "secret-changed": {"CM-SEC-007": "failed", "CM-SEC-008": "error"},
    "secret-changed-and-nobody-tried": {"CM-SEC-007": "error", "CM-SEC-008": "error"},
    "no-answer": {"CM-SEC-008": "error"},
    "pod-goes": {"CM-REL-003": "passed"},
    "blank": {},
    "host-path": {"CM-REL-007": "failed"},
    "another-key": {"CM-SEC-002": "failed"},
    "literal": {"CM-SEC-008": "failed"},
}
