"""What a NetworkPolicy of a release can be, whom it lets in, and whether it is enforced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_costmgmt.kubernetes.objects import Namespace
from tests import release_objects as made
from tests.unit.release_faults import LOST, Object, Plant, accepted, refused


def _policed(*peers: Object, everybody: bool = False, **network: object) -> Plant:
    def plant(found: dict[str, Any]) -> None:
        found["policies"] = [made.network_policy(*peers, everybody=everybody)]
        found["network"].update({"excluded_from": "10.244.0.99", **network})

    return plant


def _namespaces(**labels: str) -> Object:
    """Return a peer: every pod of the namespaces with these labels."""
    return {"namespaceSelector": {"matchLabels": labels}}


def _named(name: str) -> Object:
    """Return a peer: every pod of the namespace of this name."""
    return _namespaces(**{"kubernetes.io/metadata.name": name})


def _unread(plant: Plant) -> Plant:
    """Return a plant of a namespace whose labels we may not read."""

    def planted(found: dict[str, Any]) -> None:
        plant(found)
        found["namespace"] = Namespace(name=made.NAMESPACE, exists=None)

    return planted


UNLABELLED = {
    "podSelector": {"matchExpressions": [{"key": "untrusted", "operator": "DoesNotExist"}]}
}
POLICED: Mapping[str, tuple[str, str, Plant]] = {
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
    "another-namespace-is-let-in": (
        "CM-SEC-009", "failed", _policed(_namespaces(team="monitoring"), excluded=accepted()),
    ),
    "its-pods-are-let-in": (
        "CM-SEC-009", "failed",
        _policed({**_namespaces(team="monitoring"), "podSelector": {}}, excluded=accepted()),
    ),
    "another-name-is-let-in": (
        "CM-SEC-009", "failed", _unread(_policed(_named("monitoring"), excluded=accepted())),
    ),
    "own-namespace-is-let-in": (
        "CM-SEC-009", "not-supported", _policed(_namespaces(team="cost"), excluded=accepted()),
    ),
    "own-name-is-let-in": (
        "CM-SEC-009", "not-supported", _unread(_policed(_named(made.NAMESPACE))),
    ),
    "perhaps-own-namespace": (
        "CM-SEC-009", "unverifiable", _unread(_policed(_namespaces(team="x"), excluded=accepted())),
    ),
    "perhaps-and-enforced": (
        "CM-SEC-009", "passed", _unread(_policed(_namespaces(team="x"), excluded=LOST)),
    ),
    "addresses-outside": (
        "CM-SEC-009", "failed",
        _policed({"ipBlock": {"cidr": "192.0.2.0/24"}}, excluded=accepted()),
    ),
    "addresses-of-pods": (
        "CM-SEC-009", "not-supported",
        _policed({"ipBlock": {"cidr": "10.0.0.0/8"}}, excluded=accepted()),
    ),
    "all-addresses-but-pods": (
        "CM-SEC-009", "failed",
        _policed({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, excluded=accepted()),
    ),
    "all-addresses": (
        "CM-SEC-009", "not-supported", _policed({"ipBlock": {"cidr": "0.0.0.0/0"}}),
    ),
    "whoever-is-not-labelled": (
        "CM-SEC-009", "not-supported", _policed(UNLABELLED, excluded=accepted()),
    ),
}  # fmt: skip
