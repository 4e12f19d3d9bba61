"""What is wrong with a release's objects, one thing at a time, and that nothing else is said."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import Objects
from pytest_costmgmt.facts.release_seen import NO_RELEASE, Inside, Network, ReleaseFacts, decoded
from pytest_costmgmt.facts.survival import Identity, Survival
from pytest_costmgmt.facts.upgrades import Held, Stage, Upgrades
from pytest_costmgmt.judge import persistence, release, release_pod, secrets, upgrade
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.kubernetes import shapes_read
from pytest_costmgmt.kubernetes.leaks import Leaks, Record, found_in
from pytest_costmgmt.kubernetes.policies import policy
from pytest_costmgmt.kubernetes.secret_objects import facts_of
from pytest_costmgmt.postgres.attempt import Attempt
from pytest_costmgmt.secret import Secret
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
    "CM-REL-010": release_pod.tokenless,
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


def accepted(role: str = "koku") -> Attempt:
    """Return a login that was let in."""
    return Attempt(role=role, database="koku", offered="own", outcome="accepted", method="scram")


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
        "refused": {},
        "leaks": Leaks(looked=("pods/postgres-0",), known=2),
        "record": Record(release=made.RELEASE, revision=1, status="deployed"),
        "inside": "/var/lib/pgsql/data/userdata",
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
    )
    inside = Inside(data_directory=found["inside"], log_file="", system_identifier="1", started="")
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
            else tuple(policy(each, port=5432) for each in policies),
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


def _policed(*, everybody: bool = False, **network: object) -> Plant:
    def plant(found: dict[str, Any]) -> None:
        found["policies"] = [made.network_policy(everybody=everybody)]
        found["network"].update(network)

    return plant


def _another_endpoint(found: dict[str, Any]) -> None:
    found["slice"]["endpoints"].append(
        {
            "addresses": ["10.244.0.50"],
            "conditions": {"ready": True},
            "targetRef": {"kind": "Pod", "name": "postgres-other-0", "uid": "pod-2"},
        }
    )


POD = "pod.spec.containers.0"
SECURITY = f"{POD}.securityContext"
LOST = Attempt(role="koku", database="koku", offered="own", outcome="failed", kind="no-answer")
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
    "wrong-port": ("CM-REL-003", "failed", _set("service.spec.ports.0.port", 5433)),
    "wrong-target": ("CM-REL-003", "failed", _set("service.spec.ports.0.targetPort", 5433)),
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
    "latest": ("CM-REL-006", "failed", _set(f"{POD}.image", "quay.io/x/postgresql-15-c9s:latest")),
    "no-tag": ("CM-REL-006", "failed", _set(f"{POD}.image", "registry:5000/postgresql-15-c9s")),
    "may-be-root": ("CM-REL-007", "failed", _drop("pod.spec.securityContext.runAsNonRoot")),
    "is-root": ("CM-REL-007", "failed", _set(f"{SECURITY}.runAsUser", 0)),
    "privileged": ("CM-REL-007", "failed", _set(f"{SECURITY}.privileged", True)),
    "escalates": ("CM-REL-007", "failed", _drop(f"{SECURITY}.allowPrivilegeEscalation")),
    "keeps-capabilities": ("CM-REL-007", "failed", _drop(f"{SECURITY}.capabilities.drop")),
    "adds-capability": ("CM-REL-007", "failed", _set(f"{SECURITY}.capabilities.add", ["NET_RAW"])),
    "no-seccomp": ("CM-REL-007", "failed", _drop("pod.spec.securityContext.seccompProfile")),
    "init-container": (
        "CM-REL-007", "failed", _set("pod.spec.initContainers", [{"name": "i", "image": "x:1"}]),
    ),
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
    "configmaps-unseen": (
        "CM-REL-008", "unverifiable", _set("leaks", Leaks(looked=("x",), refused=("configmaps",))),
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
    "no-record": ("CM-REL-009", "not-supported", _set("record", None)),
    "no-helm": ("CM-REL-009", "not-supported", _drop("stateful_set.metadata.annotations")),
    "token": ("CM-REL-010", "failed", _drop("pod.spec.automountServiceAccountToken")),
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
    "migrates-by-another": (
        "CM-SEC-005", "failed",
        _env(made.from_secret("DATABASE_PASSWORD", "other", "password"),
             "cron_job.spec.jobTemplate.spec.template.spec.containers.0"),
    ),
    "secret-changed": (
        "CM-SEC-006", "failed",
        _set("secret.metadata.managedFields",
             [{"time": "2026-11-24T10:00:06Z", "fieldsV1": {"f:data": {}}}]),
    ),
    "does-not-open": ("CM-SEC-007", "failed", _network(opened=refused("koku", "own"))),
    "no-answer": ("CM-SEC-007", "error", _network(opened=LOST)),
    "superuser-enters": (
        "CM-SEC-008", "failed", _network(superuser=(accepted("postgres"), refused("postgres"))),
    ),
    "superuser-enters-by-guess": (
        "CM-SEC-008", "failed", _network(superuser=(refused("postgres"), accepted("postgres"))),
    ),
    "not-again": ("CM-SEC-008", "error", _network(again=refused("koku", "own"))),
    "superuser-unknown": ("CM-SEC-008", "error", _network(superuser=(LOST,))),
    "not-enforced": ("CM-SEC-009", "failed", _policed(excluded=accepted())),
    "asked-for-a-password": ("CM-SEC-009", "failed", _policed(excluded=refused("koku", "own"))),
    "enforced": ("CM-SEC-009", "passed", _policed(excluded=LOST)),
    "enforced-by-reject": (
        "CM-SEC-009", "passed",
        _policed(excluded=LOST, trouble="exec of bash in x: the relay does not reach it."),
    ),
    "excluded-unknown": (
        "CM-SEC-009", "error", _policed(excluded=LOST, trouble="exec could not be opened"),
    ),
    "excluded-not-asked": ("CM-SEC-009", "unverifiable", _policed()),
    "lets-everybody-in": ("CM-SEC-009", "not-supported", _policed(everybody=True)),
    "policies-unseen": ("CM-SEC-009", "unverifiable", _set("policies", None)),
    "data-off-the-volume": (
        "CM-PER-001", "failed", _set(f"{POD}.volumeMounts.0.mountPath", "/var/lib/postgresql/data"),
    ),
    "empty-dir": (
        "CM-PER-001", "failed",
        _set("pod.spec.volumes.0", {"name": "postgresql-data", "emptyDir": {}}),
    ),
    "host-path": (
        "CM-PER-001", "failed",
        _set("pod.spec.volumes.0", {"name": "postgresql-data", "hostPath": {"path": "/x"}}),
    ),
    "shadowed": (
        "CM-PER-001", "failed",
        _set(f"{POD}.volumeMounts.1.mountPath", "/var/lib/pgsql/data/userdata"),
    ),
    "pending-claim": ("CM-PER-002", "failed", _set("claim.status.phase", "Pending")),
    "claim-goes": ("CM-PER-002", "failed", _set("claim.metadata.deletionTimestamp", "2026-01-01")),
    "no-claim": ("CM-PER-002", "failed", _set("claim", None)),
}  # fmt: skip

ALSO = {
    "superuser-unknown": {},
    "not-again": {},
    "does-not-open": {"CM-SEC-008": "error"},
    "no-answer": {"CM-SEC-008": "error"},
    "pod-goes": {"CM-REL-003": "passed"},
    "blank": {},
}


def test_a_healthy_release_passes() -> None:
    """Nothing is said of what the chart renders."""
    assert outcomes(raw()) == HEALTHY


@pytest.mark.parametrize("name", FAULTS)
def test_one_thing_wrong_is_one_check(name: str) -> None:
    """It is the one that says so; where the same fact decides two, the other is named here."""
    check, expected, plant = FAULTS[name]
    found = raw()
    plant(found)
    wanted = {**HEALTHY, check: expected, **ALSO.get(name, {})}
    assert outcomes(found) == {id_: said for id_, said in wanted.items() if said != "passed"}


@pytest.mark.parametrize("lacking", ["database", "username", "password"])
def test_a_key_that_is_missing_is_told(lacking: str) -> None:
    """Each of the three."""
    values = {"database": "koku", "username": "koku", "password": made.PASSWORD}
    del values[lacking]
    found = raw()
    found["secret"] = made.secret(**values)
    assert outcomes(found)["CM-SEC-001"] == "failed"


def test_a_secret_that_is_gone_fails_and_one_that_is_not_seen_does_not() -> None:
    """Not there, and not permitted, are different things."""
    gone, unseen = raw(), raw()
    gone["secret"] = unseen["secret"] = None
    unseen["refused"] = {"Secret postgres-credentials": "forbidden"}
    assert outcome(secrets.keys, facts(gone)) == "failed"
    assert outcome(secrets.keys, facts(unseen)) == "error"


def test_a_pod_that_does_not_exist_is_told_once() -> None:
    """The pod's own check says it; what needs the pod knows nothing."""
    found = raw()
    found["pod"] = None
    said = outcomes(found)
    assert said.pop("CM-REL-002") == "failed"
    assert said == {**HEALTHY, "CM-SEC-006": "error", "CM-PER-001": "error"}


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_no_other_target_is_judged(judge: Callable[[ReleaseFacts], Judgement]) -> None:
    """On an embedded or external server each says why it is not supported."""
    assert judge(decoded("")).not_supported == NO_RELEASE


@pytest.mark.parametrize("judge", JUDGES.values(), ids=JUDGES)
def test_nothing_known_is_never_a_pass(judge: Callable[[ReleaseFacts], Judgement]) -> None:
    """A release of which nothing was read passes no check."""
    with pytest.raises(FactUnavailable):
        judge(ReleaseFacts())


WAS = Identity(pod="pod-1", claim="claim-1", server="7", row="token")
IS = msgspec.structs.replace(WAS, pod="pod-2")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(Survival(before=WAS, after=IS), "passed", id="survived"),
        pytest.param(
            Survival(before=WAS, after=msgspec.structs.replace(IS, row="")), "failed", id="row-gone"
        ),
        pytest.param(
            Survival(before=WAS, after=msgspec.structs.replace(IS, server="8")), "failed",
            id="another-server",
        ),
        pytest.param(
            Survival(before=WAS, after=msgspec.structs.replace(IS, claim="claim-2")), "failed",
            id="another-claim",
        ),
        pytest.param(Survival(before=WAS, after=WAS), "error", id="not-deleted"),
        pytest.param(Survival(before=WAS, error="it broke"), "error", id="broke"),
        pytest.param(Survival(), "error", id="nothing-done"),
    ],
)  # fmt: skip
def test_what_a_deleted_pod_leaves(seen: Survival, expected: str) -> None:
    """Row, claim and server must be the same, and the pod another."""
    assert outcome(lambda facts: persistence.survives(facts, lambda: seen), ReleaseFacts()) == (
        expected
    )


HELD = Held(
    row="token", server="7", claim="claim-1", secret="hash", opens=True, roles=("koku",),
    extensions=("pg_trgm",),
)  # fmt: skip


def _after(**parts: Any) -> Upgrades:
    stage = Stage(what="x", after=msgspec.structs.replace(HELD, **parts))
    return Upgrades(before=HELD, stages={"x": stage})


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(_after(), "passed", id="nothing-changed"),
        pytest.param(_after(row=""), "failed", id="row"),
        pytest.param(_after(server="8"), "failed", id="server"),
        pytest.param(_after(claim="claim-2"), "failed", id="claim"),
        pytest.param(_after(secret="other"), "failed", id="password"),
        pytest.param(_after(opens=False), "failed", id="does-not-open"),
        pytest.param(_after(roles=("koku", "new")), "failed", id="roles"),
        pytest.param(_after(extensions=()), "failed", id="extensions"),
        pytest.param(
            Upgrades(before=HELD, stages={"x": Stage(what="x", refused="no")}), "failed", id="no"
        ),
        pytest.param(
            Upgrades(before=HELD, stages={"x": Stage(what="x", error="broke")}), "error", id="broke"
        ),
        pytest.param(
            Upgrades(before=HELD, stages={"x": Stage(what="x", left_out="w", how="h")}),
            "unverifiable", id="left-out",
        ),
        pytest.param(Upgrades(before=HELD, stages={"x": Stage(what="x")}), "error", id="unseen"),
        pytest.param(Upgrades(before=HELD), "error", id="not-tried"),
        pytest.param(Upgrades(error="no helm"), "error", id="no-helm"),
    ],
)  # fmt: skip
def test_what_an_upgrade_leaves(seen: Upgrades, expected: str) -> None:
    """Everything is as it was, or each that is not is a finding."""
    release_there = facts(raw())
    assert outcome(lambda each: upgrade.kept(each, lambda: seen, "x"), release_there) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("delete statefulset postgres --cascade=orphan", "passed"), ("", "failed"), ("x", "failed")],
)
def test_growth_is_refused_with_the_way_to_it(said: str, expected: str) -> None:
    """A refusal without the commands, or none at all, is a finding."""
    seen = Upgrades(before=HELD, stages={"x": Stage(what="x", refused=said)})
    assert outcome(lambda each: upgrade.growth(each, lambda: seen, "x"), facts(raw())) == expected


def test_what_helm_did_not_install_is_not_upgraded() -> None:
    """Nor is any other target."""
    found = raw()
    del found["stateful_set"]["metadata"]["annotations"]

    def never() -> Upgrades:
        raise AssertionError

    for seen in (facts(found), decoded("")):
        assert upgrade.kept(seen, never, "x").not_supported
        assert upgrade.growth(seen, never, "x").not_supported


def test_no_pod_is_deleted_where_there_is_no_release() -> None:
    """Another target is not acted upon."""

    def never() -> Survival:
        raise AssertionError

    assert persistence.survives(decoded(""), never).not_supported == NO_RELEASE


def test_a_password_is_found_where_it_stands_and_named_by_its_path() -> None:
    """In clear, in a URI and in base64, also below lists; a path never shows it."""
    password = Secret(made.PASSWORD)
    encoded = "VnE3aGZOZDJrTHc5eFJ6NG1UYjY="
    manifest = {
        "spec": {"args": ["a", f"--url=postgresql://koku:{made.PASSWORD}@db"]},
        "data": {"x": encoded, made.PASSWORD: made.PASSWORD},
        "fine": "nothing",
    }
    found = found_in(manifest, [password])
    assert found == ("spec.args[1]", "data.x", "data.********")
