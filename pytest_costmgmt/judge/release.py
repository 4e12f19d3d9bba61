"""A release's objects: is what runs in the namespace what the chart describes, and safely so."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release import PORT, Objects, state_of
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.kubernetes.shapes import (
    Container,
    Endpoint,
    Pod,
    PodTemplate,
    Service,
    StatefulSet,
)

Judge = Callable[[ReleaseFacts], Judgement]

_CHART = "cost-management-infrastructure"
_HASH = "controller-revision-hash"


def of_a_release(judge: Judge) -> Judge:
    """Have ``judge`` asked of releases alone: no other target can have what it is about."""

    @functools.wraps(judge)
    def asked(facts: ReleaseFacts) -> Judgement:
        if facts.absent:
            return not_supported(facts.absent)
        if facts.objects is not None and facts.objects.external:
            return not_supported(f"{facts.objects.external} is no release's: {OUTSIDE}")
        return judge(facts)

    return asked


OUTSIDE = "its database runs outside the namespace"


def of_a_namespace(judge: Judge) -> Judge:
    """Have ``judge`` asked of whatever is reached through a namespace, a server outside it too."""

    @functools.wraps(judge)
    def asked(facts: ReleaseFacts) -> Judgement:
        return not_supported(facts.absent) if facts.absent else judge(facts)

    return asked


def objects_of(facts: ReleaseFacts) -> Objects:
    """Return the objects, or raise that there are none: nothing is known then."""
    if facts.objects is None:
        raise FactUnavailable("the release's objects were not read")
    return facts.objects


def stateful_set_of(objects: Objects) -> StatefulSet:
    """Return the StatefulSet; attaching does not go on without one."""
    if objects.stateful_set is None:
        raise FactUnavailable("the release's StatefulSet was not read")
    return objects.stateful_set


def template_of(objects: Objects) -> PodTemplate:
    """Return what the pod was made from; where there is none, what one would be made from."""
    if objects.template is None:
        raise FactUnavailable("the release's StatefulSet was not read")
    return objects.template


def permitted(objects: Objects, what: str) -> None:
    """Raise FactUnavailable if we may not read it: not there and not seen are different things."""
    if what in objects.refused:
        raise FactUnavailable(f"{what} could not be read: {objects.refused[what]}")


def of_no_known_release(objects: Objects) -> Judgement | None:
    """Return that nobody knows of which Helm release it is, or None: it is known, or of none."""
    if not (why := objects.unknown_release):
        return None
    unverified = Unverified(
        what="whether StatefulSet postgres is of a Helm release, which it does not say itself, and"
        f" what is kept of that ({why})",
        who="who may list Secrets in the namespace, or installed the chart",
        how="helm list --all; helm get manifest RELEASE",
    )
    return judgement((), unverified=[unverified])


@of_a_namespace
def deployed(facts: ReleaseFacts) -> Judgement:
    """Judge that one PostgreSQL is deployed, and settled; none where the server is outside."""
    objects = objects_of(facts)
    if objects.external:
        return _none_deployed(objects)
    found = stateful_set_of(objects)
    belongs = f"Helm release {objects.release}" if objects.release else "no Helm release"
    if objects.unknown_release:
        belongs += " that is known"
    return judgement(
        ["StatefulSet postgres: replicas, serviceName, selector"],
        _misdeployed(found),
        summary=f"StatefulSet postgres in namespace {objects.namespace} ({belongs})",
    )


def _none_deployed(objects: Objects) -> Judgement:
    permitted(objects, "StatefulSet postgres")
    found = Finding(
        summary=f"namespace {objects.namespace} has a database of its own beside"
        f" {objects.external}",
        expected="no StatefulSet postgres: the application is to use the server outside",
        found="StatefulSet postgres",
        fix=Fix(
            kind="values",
            text="postgresql:\n  enabled: false   # after its data was moved (costmgmt backup)",
            needs="who installs the chart",
        ),
    )
    return judgement(
        ["StatefulSet postgres"],
        () if objects.stateful_set is None else [found],
        summary=f"no database in namespace {objects.namespace}: it is {objects.external}",
    )


def _misdeployed(found: StatefulSet) -> Iterator[Finding]:
    if found.replicas != 1:
        yield Finding(
            summary=f"StatefulSet postgres has {found.replicas} replicas",
            expected="1: each replica is a database of its own, and the Service mixes them",
            found=f"spec.replicas {found.replicas}",
            fix=Fix(
                kind="shell",
                text="kubectl scale statefulset postgres --replicas=1",
                needs="who may scale it",
            ),
        )
    if found.service != "postgres":
        yield Finding(
            summary="StatefulSet postgres belongs to another Service",
            expected="spec.serviceName postgres",
            found=f"spec.serviceName {found.service or 'is empty'}",
            fix=_reinstall("serviceName"),
        )
    labels = found.template.labels
    if not found.selector or any(labels.get(k) != v for k, v in found.selector.items()):
        yield Finding(
            summary="StatefulSet postgres selects other pods than its own",
            expected="a selector that its pod template's labels meet",
            found=f"selector {_pairs(found.selector)}, labels {_pairs(labels)}",
            fix=_reinstall("selector"),
        )


def _reinstall(field: str) -> Fix:
    return Fix(
        kind="shell",
        text=f"# {field} cannot be changed in place; pods and data stay:\n"
        "kubectl delete statefulset postgres --cascade=orphan\n"
        f"helm upgrade --install RELEASE charts/{_CHART}",
        needs="who installs the chart",
    )


def _pairs(found: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(found.items())) or "none"


@of_a_release
def pod_ready(facts: ReleaseFacts) -> Judgement:
    """Judge that the pod is ready, and made from what the StatefulSet says now."""
    objects = objects_of(facts)
    permitted(objects, "pod postgres-0")
    return judgement(
        ["pod postgres-0: condition Ready, revision"],
        _unready(objects.pod, stateful_set_of(objects)),
        summary="pod postgres-0 is ready and of the current revision",
    )


def _unready(pod: Pod | None, described: StatefulSet) -> Iterator[Finding]:
    expected = "pod postgres-0, ready"
    look = Fix(
        kind="shell",
        text="kubectl describe pod postgres-0\nkubectl logs postgres-0 --all-containers --tail=50",
        needs="who may read pods",
    )
    if pod is None:
        yield Finding(
            summary="pod postgres-0 does not exist",
            expected=expected,
            found="none; the StatefulSet's events say why it makes none",
            fix=Fix(
                kind="shell",
                text="kubectl describe statefulset postgres",
                needs="who may read the StatefulSet",
            ),
        )
        return
    if not pod.ready:
        yield Finding(
            summary="pod postgres-0 is not ready",
            expected=expected,
            found=state_of(pod),
            fix=look,
        )
    seen, wanted = pod.template.labels.get(_HASH, ""), described.update_revision
    if seen and wanted and seen != wanted:
        yield Finding(
            summary="pod postgres-0 is not what the StatefulSet describes",
            expected=f"a pod of revision {wanted}",
            found=f"revision {seen}: a rollout that did not happen, or hangs",
            fix=Fix(
                kind="shell",
                text="kubectl rollout status statefulset postgres\nkubectl delete pod postgres-0",
                needs="who may delete the pod; the data is on its volume (CM-PER-001)",
            ),
        )


@of_a_release
def service(facts: ReleaseFacts) -> Judgement:
    """Judge that the Service leads to the ready pod, and to nothing else."""
    objects = objects_of(facts)
    permitted(objects, "Service postgres")
    permitted(objects, "the Service's endpoints")
    if objects.service is None:
        findings = [
            Finding(
                summary="there is no Service postgres",
                expected="Service postgres, by whose name the application finds the database",
                found="none",
                fix=_upgrade("who installs the chart"),
            )
        ]
    else:
        findings = [
            *_misdirected(objects.service, objects),
            *_endpoints(objects.endpoints, objects.pod),
        ]
    return judgement(
        ["Service postgres: type, ports, selector", "its endpoints"],
        findings,
        summary="Service postgres leads to pod postgres-0 alone",
    )


def _upgrade(needs: str) -> Fix:
    return Fix(
        kind="shell",
        text=f"helm upgrade --install RELEASE charts/{_CHART} --reuse-values",
        needs=needs,
    )


def _leads(target: str, template: PodTemplate) -> bool:
    """Say whether a Service's target is the server's port, by its number or its name in the pod.

    >>> pod = PodTemplate(containers=(Container(name="a", image="b", port_names={"db": 5432}),))
    >>> _leads("5432", pod), _leads("db", pod), _leads("postgresql", pod)
    (True, True, False)
    """
    named = [each.port_names[target] for each in template.containers if target in each.port_names]
    return target == str(PORT) or named[:1] == [PORT]


def _misdirected(found: Service, objects: Objects) -> Iterator[Finding]:
    fix, pod, template = _upgrade("who installs the chart"), objects.pod, template_of(objects)
    if found.type != "ClusterIP":
        yield Finding(
            summary=f"Service postgres is of type {found.type}",
            expected="ClusterIP: the database is for this cluster",
            found=found.type
            + (f" to {found.external_name}" if found.external_name else ", open to beyond it"),
            fix=fix,
        )
    if found.external_ips:
        yield Finding(
            summary=f"Service postgres has {len(found.external_ips)} external addresses",
            expected="no externalIPs: the database is for this cluster",
            found=f"externalIPs {', '.join(found.external_ips)}: whatever reaches a node by one of"
            " them reaches the server",
            fix=Fix(
                kind="shell",
                text="kubectl patch service postgres --type=merge"
                """ -p '{"spec": {"externalIPs": null}}'""",
                needs="who may write the Service",
            ),
        )
    ports = {(each.port, each.target) for each in found.ports if each.protocol == "TCP"}
    if not any(port == PORT and _leads(target, template) for port, target in ports):
        told = ", ".join(f"{port} to {target}" for port, target in sorted(ports)) or "none"
        yield Finding(
            summary=f"Service postgres has no port {PORT} that leads to the server's",
            expected=f"TCP port {PORT} to {PORT}",
            found=told,
            fix=fix,
        )
    labels = {} if pod is None else pod.template.labels
    if pod is not None and (
        not found.selector or any(labels.get(k) != v for k, v in found.selector.items())
    ):
        yield Finding(
            summary="Service postgres does not select pod postgres-0",
            expected=f"a selector that its labels meet: {_pairs(labels)}",
            found=f"selector {_pairs(found.selector)}",
            fix=fix,
        )


def _endpoints(found: tuple[Endpoint, ...], pod: Pod | None) -> Iterator[Finding]:
    ready = [each for each in found if each.ready]
    if pod is None:
        return
    right = [each for each in ready if each.pod_uid == pod.meta.uid and PORT in each.ports]
    others = [each for each in ready if each not in right]
    if not right and pod.ready:
        yield Finding(
            summary="Service postgres does not lead to the ready pod",
            expected=f"one ready endpoint: {pod.ip}:{PORT} (pod postgres-0)",
            found=", ".join(map(_endpoint, found)) or "no endpoints",
            fix=_upgrade("who installs the chart"),
        )
    if others:
        yield Finding(
            summary="Service postgres leads to other pods too",
            expected="pod postgres-0 alone: another server has other data",
            found=", ".join(map(_endpoint, others)),
            fix=Fix(
                kind="shell",
                text="# whose labels meet the Service's selector:\n"
                "kubectl get endpointslices -l kubernetes.io/service-name=postgres -o wide",
                needs="whoever runs those pods",
            ),
        )


def _endpoint(found: Endpoint) -> str:
    ports = ",".join(map(str, found.ports)) or "no port"
    ready = "" if found.ready else ", not ready"
    return f"{found.address}:{ports} ({found.pod or 'no pod'}{ready})"


def container_of(objects: Objects) -> Container:
    """Return the database's container."""
    if objects.container is None:
        raise FactUnavailable("the release's StatefulSet has no container")
    return objects.container
