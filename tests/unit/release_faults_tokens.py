"""How a pod comes by a service account's token, as the API server shows it, and how it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.unit.release_faults import Object, Plant

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
CHECK = "CM-REL-010"
ACCESS: Object = {
    "name": "kube-api-access-x7k2p",
    "projected": {
        "defaultMode": 420,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {
                "configMap": {
                    "name": "kube-root-ca.crt",
                    "items": [{"key": "ca.crt", "path": "ca.crt"}],
                }
            },
            {
                "downwardAPI": {
                    "items": [
                        {
                            "path": "namespace",
                            "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        }
                    ]
                }
            },
        ],
    },
}
"What the admission of service accounts adds to a pod."
OWN: Object = {"name": "api", "projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
KEPT: Object = {"name": "default-token-x7k2p", "secret": {"secretName": "default-token-x7k2p"}}
"The same before Kubernetes 1.22, or what a chart asks for itself."
AMONG: Object = {
    "name": "api",
    "projected": {"sources": [{"secret": {"name": "default-token-x7k2p"}}]},
}
PAIR: Object = {
    "name": "tls",
    "secret": {
        "secretName": "default-token-x7k2p",
        "items": [{"key": "tls.crt", "path": "tls.crt"}, {"key": "tls.key", "path": "tls.key"}],
    },
}
"What the chart mounts for TLS: of a Secret's keys those alone, so that no other is there."
EMPTY: Object = {"name": "nothing", "emptyDir": {}}
KNOWN = {"tokens": ("default-token-x7k2p",)}
UNSEEN = {"refused": {"pod postgres-0": "no"}}
UNREAD = {"refused": {"Secret default-token-x7k2p": "forbidden"}}
_UNSAID = "automountServiceAccountToken"


def _spec(found: dict[str, Any], of: str) -> Object:
    spec: Object = found[of]["spec"]
    whole: Object = spec.get("template", {}).get("spec", spec)
    return whole


def _pod(
    volume: Object | None,
    *containers: str,
    says: bool | None = None,
    at: str = PLACE,
    of: str = "pod",
    seen: Mapping[str, object] = {},
) -> Plant:
    """Return what puts a volume into the pod, mounted by these (lists of) containers."""

    def plant(found: dict[str, Any]) -> None:
        spec = _spec(found, of)
        del spec[_UNSAID]
        if says is not None:
            spec[_UNSAID] = says
        if volume is not None:
            spec["volumes"].append(volume)
        for which in containers:
            if which != "containers":
                other = {"name": "other", "image": "x:1", **_restricted(spec)}
                spec[which] = [other]
            mount = {"name": (volume or EMPTY)["name"], "mountPath": at, "readOnly": True}
            spec[which][0].setdefault("volumeMounts", []).append(mount)
        found.update(seen)

    return plant


def _restricted(spec: Object) -> Object:
    return {"securityContext": spec["containers"][0]["securityContext"]}


def _template(volume: Object | None, *containers: str, says: bool | None = None,
              seen: Mapping[str, object] = {}) -> Plant:  # fmt: skip
    """Return what does that to the StatefulSet's template, whose pod is not there."""
    plant = _pod(volume, *containers, says=says, of="stateful_set", seen=seen)

    def gone(found: dict[str, Any]) -> None:
        plant(found)
        found["pod"] = None

    return gone


def _ended(found: dict[str, Any]) -> None:
    _pod(ACCESS, "ephemeralContainers", at="/t")(found)
    state = {"name": "other", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}
    found["pod"]["status"]["ephemeralContainerStatuses"] = [state]


_NO = {"refused": {"ServiceAccount default": "forbidden"}}
TOKENS: Mapping[str, tuple[str, str, Plant]] = {
    # A pod that says nothing, and was given none: its ServiceAccount says no.
    "account-says-no": (CHECK, "passed", _pod(None)),
    "account-says-yes": (CHECK, "failed", _pod(ACCESS, "containers")),
    # The pod's own word goes before its account's, and what is in it before any word.
    "pod-says-yes": (CHECK, "failed", _pod(ACCESS, "containers", says=True)),
    "pod-says-yes-and-another-volume-is-there": (
        CHECK, "passed", _pod(EMPTY, "containers", says=True),
    ),
    "pod-says-no-and-projects-one": (CHECK, "failed", _pod(OWN, "containers", says=False, at="/t")),
    "for-an-init-container": (CHECK, "failed", _pod(ACCESS, "initContainers")),
    "for-who-debugs": (CHECK, "failed", _pod(ACCESS, "ephemeralContainers", at="/t")),
    "for-who-debugged": (CHECK, "passed", _ended),
    # The kubelet makes no volume that nobody mounts.
    "for-nobody": (CHECK, "passed", _pod(OWN, says=False)),
    "kept-in-a-secret": (
        CHECK, "failed", _pod(KEPT, "containers", says=False, at="/t",
                              seen=KNOWN),
    ),
    "kept-in-a-secret-among-others": (
        CHECK, "failed", _pod(AMONG, "containers", says=False, seen=KNOWN),
    ),
    "kept-in-a-secret-for-nobody": (
        CHECK, "passed", _pod(KEPT, says=False, seen=KNOWN),
    ),
    "another-secret": (CHECK, "passed", _pod(KEPT, "containers", says=False, at="/tls")),
    "a-secret-unread": (
        CHECK, "unverifiable", _pod(KEPT, "containers", says=False, at="/tls", seen=UNREAD),
    ),
    "other-keys-of-a-secret-unread": (
        CHECK, "passed", _pod(PAIR, "containers", says=False, at="/tls", seen=UNREAD),
    ),
    "a-secret-unread-for-nobody": (CHECK, "passed", _pod(KEPT, says=False, seen=UNREAD)),
    "a-secret-unread-where-tokens-are": (CHECK, "failed", _pod(KEPT, "containers", seen=UNREAD)),
    "pod-unseen": (CHECK, "error", _template(None, says=False, seen=UNSEEN)),
    # There is no pod: its template, and where that is silent, its ServiceAccount.
    "template-says-no": (CHECK, "passed", _template(None, says=False)),
    "template-says-yes": (CHECK, "failed", _template(None, says=True)),
    "template-says-no-and-projects-one": (
        CHECK, "failed", _template(OWN, "containers", says=False),
    ),
    "template-says-yes-and-nothing-is-mounted-over": (
        CHECK, "passed", _template(EMPTY, "containers", says=True),
    ),
    "template-leaves-it-to-an-account-that-says-yes": (
        CHECK, "failed", _template(None, seen={"account_mounts": True}),
    ),
    "template-leaves-it-to-an-account-that-says-no": (
        CHECK, "passed", _template(None, seen={"account_mounts": False}),
    ),
    "template-leaves-it-to-an-account-unread": (CHECK, "unverifiable", _template(None, seen=_NO)),
    "template-leaves-it-to-an-account-that-is-gone": (CHECK, "unverifiable", _template(None)),
}  # fmt: skip
