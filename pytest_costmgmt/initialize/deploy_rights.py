"""What a bootstrap takes of a namespace: rbac/bootstrap.yaml of the chart publishes the same."""

from __future__ import annotations

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.initialize.deploy_site import Wanted
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.lease import GROUP as LEASE_GROUP
from pytest_costmgmt.kubernetes.lease import RIGHTS as LEASE_RIGHTS
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.rights import Right, demand

_MAKES = ("get", "create", "patch", "delete")
# What Helm 3 and 4 are seen to take, as for install.yaml, and what we look at besides.
_HELM = (
    ("secrets", "", ("get", "list", "create", "update", "patch", "delete")),
    ("services", "", _MAKES),
    ("configmaps", "", _MAKES),
    ("pods", "", ("get", "list")),
    ("statefulsets", "apps", ("list", *_MAKES)),
    ("cronjobs", "batch", _MAKES),
    ("networkpolicies", "networking.k8s.io", ("list", *_MAKES)),
    ("poddisruptionbudgets", "policy", _MAKES),
)

RIGHTS = (
    *(Right(verb, resource, group) for resource, group, verbs in _HELM for verb in verbs),
    *LEASE_RIGHTS,
    # What hinders the pod, and the migration.
    Right("list", "events"),
    Right("get", "pods/log"),
    Right("get", "persistentvolumeclaims"),
    # The ways to the database. A WebSocket begins as a GET, which older API servers ask for.
    *(Right(verb, f"pods/{way}") for way in ("portforward", "exec") for verb in ("create", "get")),
    # Migrations and probes.
    *(Right(verb, "jobs", "batch") for verb in ("get", "list", "create", "delete")),
    Right("list", "endpointslices", "discovery.k8s.io"),
)

# Beside those, what a run that deploys and removes again takes: rbac/deploy.yaml publishes it.
DEPLOYING = (
    *(Right("list", resource) for resource in ("services", "configmaps", "persistentvolumeclaims")),
    Right("list", "deployments", "apps"),
    Right("delete", "persistentvolumeclaims"),
    Right("delete", "leases", LEASE_GROUP),
)
MAKING = tuple(Right(verb, "namespaces") for verb in ("get", "create", "patch", "delete"))
"What it takes of the cluster to make a namespace for it, and to remove that."

PURPOSE = "costmgmt bootstrap"


def demand_all(api: Api, wanted: Wanted) -> None:
    """Raise AccessDenied that names everything that is missing; nothing was done by then."""
    if wanted.create_namespace:
        demand(api, "", [Right("create", "namespaces")], purpose=f"{PURPOSE} --create-namespace")
    demand(api, wanted.namespace, RIGHTS, purpose=PURPOSE)


def namespace(reader: Reader, *, create: bool) -> bool:
    """Say whether the namespace exists. Raises UsageProblem if it does not and may not be made."""
    seen = reader.namespace_seen()
    if seen.phase == "Terminating":
        raise UsageProblem(
            f"Namespace {seen.name} is being deleted: nothing can be made in it.",
            hint="Wait until it is gone, or choose another.",
        )
    if seen.exists is False and not create:
        raise UsageProblem(
            f"Namespace {seen.name} does not exist in {reader.api.label}.",
            hint="Check name and context; --create-namespace creates it.",
        )
    return seen.exists is not False
