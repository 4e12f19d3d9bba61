"""NetworkPolicies as values: whom they isolate, and whom they let in."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import Namespace, Reader, path_of

_GROUP = "networking.k8s.io/v1"
_NAME = "kubernetes.io/metadata.name"
"The label that every namespace has."


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """Addresses that a policy lets in."""

    cidr: str
    without: tuple[str, ...] = ()

    def holds(self, address: str) -> bool:
        """Say whether ``address`` is one of them; what cannot be read may be.

        >>> Block(cidr="10.0.0.0/8", without=("10.1.0.0/16",)).holds("10.2.0.9")
        True
        >>> Block(cidr="10.0.0.0/8", without=("10.1.0.0/16",)).holds("10.1.0.9")
        False
        """
        try:
            ours = ipaddress.ip_address(address)
            if ours not in ipaddress.ip_network(self.cidr, strict=False):
                return False
        except ValueError:
            return True
        return not any(Block(cidr=each).holds(address) for each in self.without)


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """A NetworkPolicy that isolates the database pod from what it does not let in.

    ``lets_in_all``: its rules let a pod of the namespace in that bears no label of a client, so
    that nothing shows whether it is enforced; ``perhaps`` are the peers of which that is not known.
    ``blocks`` are the addresses that it lets in. ``peers`` are all of them, as text.
    """

    name: str
    lets_in_all: bool
    perhaps: tuple[str, ...] = ()
    blocks: tuple[Block, ...] = ()
    peers: tuple[str, ...] = ()


def isolating(api: Api, namespace: str, labels: Mapping[str, str], *, port: int) -> list[Policy]:
    """Return the policies that isolate a pod with these labels from others' connections."""
    what = f"Reading the NetworkPolicies of {namespace}"
    found = [
        each
        for each in api.items(path_of(namespace, "networkpolicies", group=_GROUP), what=what)
        if _isolates(each.get("spec") or {}, labels)
    ]
    here = Reader(api, namespace).namespace_seen() if found else None
    return [policy(each, port=port, here=here) for each in found]


def _isolates(spec: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    kinds = spec.get("policyTypes") or ["Ingress"]
    return "Ingress" in kinds and selects(spec.get("podSelector") or {}, labels)


def policy(found: Mapping[str, Any], *, port: int, here: Namespace | None = None) -> Policy:
    """Return a NetworkPolicy as far as it is about ``port``; it is in the namespace ``here``."""
    rules = [
        rule
        for rule in (found.get("spec") or {}).get("ingress") or ()
        if _about(rule.get("ports") or (), port)
    ]
    peers = [peer for rule in rules for peer in rule.get("from") or ()]
    labelled = [(peer, _anybody(peer, here)) for peer in peers if "ipBlock" not in peer]
    blocks = [_block(peer["ipBlock"] or {}) for peer in peers if "ipBlock" in peer]
    everybody = any(not rule.get("from") for rule in rules)
    everybody |= any(said for _, said in labelled) or any(map(_everything, blocks))
    return Policy(
        name=str((found.get("metadata") or {}).get("name") or ""),
        lets_in_all=everybody,
        perhaps=tuple(_told(peer) for peer, said in labelled if said is None),
        blocks=tuple(blocks),
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


def _anybody(peer: Mapping[str, Any], here: Namespace | None) -> bool | None:
    """Say whether a peer is also a pod of ours without a client's label; None is not known."""
    if not selects(peer.get("podSelector") or {}, {}):
        return False
    if peer.get("namespaceSelector") is None:
        return True
    selector = peer["namespaceSelector"]
    name = {} if here is None else {_NAME: here.name}
    if here is not None and here.exists:
        return selects(selector, {**here.labels, **name})
    return _by_name(selector, name)


def _by_name(selector: Mapping[str, Any], name: Mapping[str, str]) -> bool | None:
    """Say whether a namespace is selected of which we know its name's label alone.

    >>> _by_name({"matchLabels": {_NAME: "a", "team": "x"}}, {_NAME: "b"})
    False
    >>> _by_name({"matchLabels": {"team": "x"}}, {_NAME: "b"}) is None
    True
    """
    labels, expressions = selector.get("matchLabels") or {}, selector.get("matchExpressions") or ()
    about = {key: value for key, value in labels.items() if key in name}
    known = [each for each in expressions if each.get("key") in name]
    if not selects({"matchLabels": about, "matchExpressions": known}, name):
        return False
    return True if len(about) + len(known) == len(labels) + len(expressions) else None


def _block(found: Mapping[str, Any]) -> Block:
    without = tuple(str(each) for each in found.get("except") or ())
    return Block(cidr=str(found.get("cidr") or ""), without=without)


def _everything(block: Block) -> bool:
    with contextlib.suppress(ValueError):
        return not block.without and ipaddress.ip_network(block.cidr).prefixlen == 0
    return True


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
