"""OpenShift's restricted-v2, stood in for: it gives uid and fsGroup, and refuses all others.

Two admission policies for one namespace do what its SCC does: what a pod leaves unsaid is set from
the namespace's range, and a pod that says another is refused.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tests.cluster.testbed.bed import Bed, CommandFailed, Object

FIRST, LAST = 1000680000, 1000689999
_UNSAID = "!has(object.spec.securityContext) || !has(object.spec.securityContext.{0})"
_GIVEN = (
    "Object{{spec: Object.spec{{securityContext: Object.spec.securityContext{{{0}: {1}}}}}}}"
).format
_CONTAINERS = (
    "(object.spec.containers + (has(object.spec.initContainers) ? object.spec.initContainers : []))"
)


@contextlib.contextmanager
def constrained(bed: Bed, namespace: str) -> Iterator[None]:
    """Admit to a namespace only what OpenShift's default constraints admit."""
    objects = [*_mutating(namespace), *_validating(namespace)]
    bed.apply(*objects)
    try:
        bed.until("the policies to count", lambda: _counts(bed, namespace))
        yield
    finally:
        for each in objects:
            name = f"{each['kind']}/{each['metadata']['name']}"
            bed.tell("delete", name, "--ignore-not-found")


def _counts(bed: Bed, namespace: str) -> bool:
    """Say whether both do: an API server hears of a policy a moment later."""
    restricted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    drop = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    container = {"name": "any", "image": "any", "securityContext": drop}
    spec: Object = {"securityContext": restricted, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    command = ("create", "-n", namespace, "--dry-run=server", "-o=yaml", "-f", "-")
    if f"runAsUser: {FIRST}" not in bed.kubectl(*command, given=pod):
        return False
    restricted["runAsUser"] = 26
    try:
        bed.kubectl(*command, given=pod)
    except CommandFailed as error:
        return "must be in the ranges" in error.stderr
    return False


def _here(namespace: str) -> Object:
    pods = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    here = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {"resourceRules": [pods], "namespaceSelector": here}


def _bound(kind: str, version: str, namespace: str, spec: Object) -> list[Object]:
    name = f"scc-{namespace}"
    group = f"admissionregistration.k8s.io/{version}"
    binding = {"policyName": name}
    if kind == "ValidatingAdmissionPolicy":
        binding["validationActions"] = ["Deny"]  # type: ignore[assignment]
    return [
        {"apiVersion": group, "kind": kind, "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": group,
            "kind": f"{kind}Binding",
            "metadata": {"name": name},
            "spec": binding,
        },
    ]


def _mutating(namespace: str) -> list[Object]:
    mutations = [
        {
            "patchType": "ApplyConfiguration",
            "applyConfiguration": {
                "expression": f"{_UNSAID.format(field)} ? {_GIVEN(field, FIRST)} : Object{{}}"
            },
        }
        for field in ("runAsUser", "fsGroup")
    ]
    spec = {
        "matchConstraints": _here(namespace),
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "mutations": mutations,
    }
    return _bound("MutatingAdmissionPolicy", "v1beta1", namespace, spec)


def _validating(namespace: str) -> list[Object]:
    context = "object.spec.securityContext"
    inside = f">= {FIRST} && {{0}} <= {LAST}"
    rules = [
        (
            f"{context}.{field} {inside.format(f'{context}.{field}')}",
            f"{field}: Invalid value: must be in the ranges: [{FIRST}, {LAST}]",
        )
        for field in ("runAsUser", "fsGroup")
    ]
    own = "!has(c.securityContext) || !has(c.securityContext.runAsUser)"
    rules.append(
        (
            f"{_CONTAINERS}.all(c, {own} || c.securityContext.runAsUser >= {FIRST})",
            f"runAsUser: Invalid value: must be in the ranges: [{FIRST}, {LAST}]",
        )
    )
    # restricted-v2 lets a pod's first group be any; the namespace's policy keeps the rest.
    spec = {
        "matchConstraints": _here(namespace),
        "failurePolicy": "Fail",
        "validations": [{"expression": rule, "message": message} for rule, message in rules],
    }
    return _bound("ValidatingAdmissionPolicy", "v1", namespace, spec)
