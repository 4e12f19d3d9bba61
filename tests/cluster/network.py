"""NetworkPolicies, played: the bed's network enforces none, so that the tests do.

On the node, what a policy excludes is dropped on its way to the pod that the policy selects, as a
network that enforces policies does it. Without ``enforced`` a policy is an object and nothing more:
so both outcomes can be seen.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import threading
from collections.abc import Iterator

from tests.cluster.testbed.bed import Bed, CommandFailed, Object

SYNC_SECONDS = 0.3


@contextlib.contextmanager
def enforced(bed: Bed, namespace: str) -> Iterator[None]:
    """Have a namespace's policies for ingress count, for pods that come meanwhile too."""
    assert bed.node is not None, "only a node of our own can be played with"
    chain = f"BED-{hashlib.sha256(namespace.encode()).hexdigest()[:12]}"
    jump = ("FORWARD", "-j", chain)
    seen: list[str] = []

    def sync() -> None:
        lines = ["*filter", f":{chain} - [0:0]", *_rules(bed, namespace, chain), "COMMIT", ""]
        if lines != seen:
            assert bed.node is not None
            bed.node.run("iptables-restore", "--noflush", "--wait", given="\n".join(lines))
            seen[:] = lines

    ended = threading.Event()
    failures: list[Exception] = []

    def keep() -> None:
        while not ended.wait(SYNC_SECONDS):
            try:
                sync()
            except CommandFailed as error:  # an API server that restarts; the rules stay
                failures[:] = [error]

    sync()
    bed.node.run("iptables", "--wait", "-I", jump[0], "1", *jump[1:])
    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        bed.node.run("iptables", "--wait", "-D", *jump)
        bed.node.run("iptables", "--wait", "-F", chain)
        bed.node.run("iptables", "--wait", "-X", chain)


def _rules(bed: Bed, namespace: str, chain: str) -> Iterator[str]:
    """Yield the rules of one chain: what was answered passes, then each policy's, then nothing."""
    pods = [pod for pod in bed.list("pods", namespace) if pod["status"].get("podIP")]
    policies = bed.list("networkpolicies", namespace)
    for pod in pods:
        chosen = [each for each in policies if _selects(each["spec"]["podSelector"], pod)]
        address = pod["status"]["podIP"]
        if not chosen:
            continue
        yield f"-A {chain} -d {address} -m conntrack --ctstate ESTABLISHED,RELATED -j RETURN"
        for policy in chosen:
            for rule in policy["spec"].get("ingress", ()):
                for source in _sources(bed, rule, pods):
                    for port in rule.get("ports") or [{}]:
                        yield f"-A {chain} -d {address}{source}{_port(port)} -j RETURN"
        yield f"-A {chain} -d {address} -j DROP"


def _sources(bed: Bed, rule: Object, pods: list[Object]) -> Iterator[str]:
    if not rule.get("from"):
        yield ""
        return
    for peer in rule["from"]:
        if "ipBlock" in peer:
            assert not peer["ipBlock"].get("except"), "not played"
            yield f" -s {ipaddress.ip_network(peer['ipBlock']['cidr'])}"
            continue
        near = pods
        if "namespaceSelector" in peer:
            near = [
                pod
                for namespace in bed.list("namespaces")
                if _selects(peer["namespaceSelector"], namespace)
                for pod in bed.list("pods", namespace["metadata"]["name"])
            ]
        for pod in near:
            if _selects(peer.get("podSelector", {}), pod) and pod["status"].get("podIP"):
                yield f" -s {pod['status']['podIP']}"


def _port(port: Object) -> str:
    protocol = port.get("protocol", "TCP").lower()
    number = f" --dport {port['port']}" if "port" in port else ""
    return f" -p {protocol}{number}" if port else ""


def _selects(selector: Object, thing: Object) -> bool:
    assert "matchExpressions" not in selector, "not played"
    labels = thing["metadata"].get("labels", {})
    wanted = selector.get("matchLabels", {})
    return all(labels.get(name) == value for name, value in wanted.items())
