"""NetworkPolicies as values: whom they isolate, and whom they let in."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import path_of

_GROUP = "networking.k8s.io/v1"


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A NetworkPolicy that isolates the database pod from what it does not let in.

    ``lets_in_all``: its rules let any pod of the namespace in, so that nothing shows whether it is
    enforced. ``peers`` are the labels that it lets in, as text.
    """

    name: str
    lets_in_all: bool
    peers: tuple[str, ...] = ()


def isolating(api: Api, namespace: str, labels: Mapping[str, str], *, port: int) -> list[Policy]:
    """Return the policies that isolate a pod with these labels from others' connections."""
    what = f"Reading the NetworkPolicies of {namespace}"
    return [
        policy(each, port=port)
        for each in api.items(path_of(namespace, "networkpolicies", group=_GROUP), what=what)
        if _isolates(each.get("spec") or {}, labels)
    ]


def _isolates(spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    kinds = spec.get("policyTypes") or ["Ingress"]
    return "Ingress" in kinds and selects(spec.get("podSelector") or {}, labels)


def policy(found: Mapping[str, Any], *, port: int) -> Policy:
    """Return a NetworkPolicy as far as it is about ``port``."""
    rules = [
        rule
        for rule in (found.get("spec") or {}).get("ingress") or ()
        if _about(rule.get("ports") or (), port)
    ]
    peers = [peer for rule in rules for peer in rule.get("from") or ()]
    everybody = any(not rule.get("from") for rule in rules) or any(map(_anybody, peers))
    return Policy(
        name=str((found.get("metadata") or {}).get("name") or ""),
        lets_in_all=everybody,
        peers=tuple(_told(peer) for peer in peers),
    )


def _about(ports: Any, port: int) -> bool:
    if not ports:
        return True
    for each in ports:
        first = each.get("port")
        if not isinstance(first, int):
            return True  # none is all, and a name is the container's own
        if first <= port <= int(each.get("endPort") or first):
            return True
    return False


def _anybody(peer: Mapping[str, Any]) -> bool:
    """Say whether a peer is every pod of the namespace."""
    if "ipBlock" in peer:
        with contextlib.suppress(ValueError):
            return ipaddress.ip_network(peer["ipBlock"].get("cidr", "")).prefixlen == 0
        return True
    return not any((peer.get("podSelector") or {}).values())


def _told(peer: Mapping[str, Any]) -> str:
    return " ".join(msgspec.json.encode(peer).decode().split())


def selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Say whether a label selector selects these labels.

    >>> selects({"matchLabels": {"app": "pg"}}, {"app": "pg", "x": "y"}), selects({}, {})
    (True, True)
    >>> selects({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, {"app": "pg"})
    False
    """
    if any(labels.get(k) != v for k, v in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(each, labels) for each in selector.get("matchExpressions") or ())


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    key, values = expression.get("key", ""), expression.get("values") or ()
    operator = expression.get("operator")
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    return (key in labels) == (operator == "Exists")
