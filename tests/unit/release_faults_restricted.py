"""What a release's pod may do beyond the standard ``restricted``, and what it may as well."""

from __future__ import annotations

from collections.abc import Mapping

from tests.unit.release_faults import POD, Plant, _both, _drop, _set

SECURITY = f"{POD}.securityContext"
LOOSE: Mapping[str, tuple[str, str, Plant]] = {
    "may-be-root": ("CM-REL-007", "failed", _drop("pod.spec.securityContext.runAsNonRoot")),
    "is-root": ("CM-REL-007", "failed", _set(f"{SECURITY}.runAsUser", 0)),
    "privileged": ("CM-REL-007", "failed", _set(f"{SECURITY}.privileged", True)),
    "escalates": ("CM-REL-007", "failed", _drop(f"{SECURITY}.allowPrivilegeEscalation")),
    "keeps-capabilities": ("CM-REL-007", "failed", _drop(f"{SECURITY}.capabilities.drop")),
    "adds-capability": ("CM-REL-007", "failed", _set(f"{SECURITY}.capabilities.add", ["NET_RAW"])),
    "no-seccomp": ("CM-REL-007", "failed", _drop("pod.spec.securityContext.seccompProfile")),
    "unmasked-processes": ("CM-REL-007", "failed", _set(f"{SECURITY}.procMount", "Unmasked")),
    "no-apparmor": (
        "CM-REL-007", "failed", _set(f"{SECURITY}.appArmorProfile", {"type": "Unconfined"}),
    ),
    "own-apparmor": (
        "CM-REL-007", "passed",
        _both(_set(f"{SECURITY}.appArmorProfile", {"type": "RuntimeDefault"}),
              _set("pod.spec.securityContext.appArmorProfile", {"type": "Unconfined"})),
    ),
    "selinux-type": (
        "CM-REL-007", "failed",
        _set("pod.spec.securityContext.seLinuxOptions", {"type": "spc_t"}),
    ),
    "selinux-user": (
        "CM-REL-007", "failed", _set(f"{SECURITY}.seLinuxOptions", {"user": "system_u"}),
    ),
    "selinux-level": (
        "CM-REL-007", "passed",
        _set("pod.spec.securityContext.seLinuxOptions",
             {"level": "s0:c26,c5", "type": "container_t"}),
    ),
    "init-container": (
        "CM-REL-007", "failed", _set("pod.spec.initContainers", [{"name": "i", "image": "x:1"}]),
    ),
    "privileged-debugger": (
        "CM-REL-007", "failed",
        _set("pod.spec.ephemeralContainers", [
            {"name": "debugger-x7k2p", "image": "x:1", "targetContainerName": "postgresql",
             "securityContext": {"privileged": True}},
        ]),
    ),
    "sysctl": (
        "CM-REL-007", "failed",
        _set("pod.spec.securityContext.sysctls", [{"name": "kernel.shmmax", "value": "1"}]),
    ),
    "safe-sysctl": (
        "CM-REL-007", "passed",
        _set("pod.spec.securityContext.sysctls",
             [{"name": "net.ipv4.tcp_keepalive_time", "value": "60"}]),
    ),
    "host-network": ("CM-REL-007", "failed", _set("pod.spec.hostNetwork", True)),
    "host-processes": ("CM-REL-007", "failed", _set("pod.spec.hostPID", True)),
    "host-port": ("CM-REL-007", "failed", _set(f"{POD}.ports.0.hostPort", 5432)),
    "nodes-folder": (
        "CM-REL-007", "failed",
        _set("pod.spec.volumes.1", {"name": "configuration", "hostPath": {"path": "/etc/pg"}}),
    ),
}  # fmt: skip
