"""What we may do: asked before the first action, and all that is missing is named at once."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.trouble import AccessDenied

REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class Right(msgspec.Struct, frozen=True):
    """One verb on one resource, such as ``create pods/exec``; ``group`` is "" for the core."""

    verb: str
    resource: str
    group: str = ""
    name: str = ""

    @property
    def text(self) -> str:
        """As kubectl says it.

        >>> Right("create", "jobs", "batch").text
        'create jobs.batch'
        """
        named = f" {self.name!r}" if self.name else ""
        resource, _, below = self.resource.partition("/")
        group = f".{self.group}" if self.group else ""
        return f"{self.verb} {resource}{group}{'/' + below if below else ''}{named}"


def missing(api: Api, namespace: str, rights: Iterable[Right]) -> tuple[Right, ...]:
    """Return those that we do not have in ``namespace``; as whom we act, so is it reviewed."""
    return tuple(right for right in rights if not _allowed(api, namespace, right))


def _allowed(api: Api, namespace: str, right: Right) -> bool:
    resource, _, below = right.resource.partition("/")
    attributes = {
        "namespace": namespace,
        "verb": right.verb,
        "group": right.group,
        "resource": resource,
        **({"subresource": below} if below else {}),
        **({"name": right.name} if right.name else {}),
    }
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = api.create(REVIEWS, review, what="Asking what we may do")
    status = answer.get("status") or {}
    return bool(status.get("allowed")) and not status.get("denied")


def demand(api: Api, namespace: str, rights: Iterable[Right], *, purpose: str) -> None:
    """Raise AccessDenied that names every right that is missing, and the rules that give them."""
    if not (lacking := missing(api, namespace, rights)):
        return
    told = ", ".join(right.text for right in lacking)
    raise AccessDenied(
        f"{purpose} needs what we may not do in namespace {namespace!r} of {api.label}: {told}.",
        code=403,
        reason="Forbidden",
        missing=tuple(right.text for right in lacking),
        hint="A Role with these rules, bound to us, gives it:\n" + rules(lacking),
    )


def rules(rights: Iterable[Right]) -> str:
    """Return the rules of a Role that give ``rights``, as YAML.

    >>> print(rules([Right("get", "pods"), Right("list", "pods"), Right("get", "jobs", "batch")]))
    - {apiGroups: [""], resources: ["pods"], verbs: ["get", "list"]}
    - {apiGroups: ["batch"], resources: ["jobs"], verbs: ["get"]}
    """
    found: dict[tuple[str, str], list[str]] = {}
    for right in rights:
        found.setdefault((right.group, right.resource), []).append(right.verb)
    return "\n".join(
        f'- {{apiGroups: ["{group}"], resources: ["{resource}"], verbs: ['
        + ", ".join(f'"{verb}"' for verb in dict.fromkeys(verbs))
        + "]}"
        for (group, resource), verbs in found.items()
    )
