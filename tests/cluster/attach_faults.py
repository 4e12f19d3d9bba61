"""Faults of a release that are planted on a real cluster, and the checks that each must fail."""

from __future__ import annotations

from typing import NamedTuple


class Fault(NamedTuple):
    """One fault: its name is that of a plant in test_cluster_attach.py."""

    name: str
    fails: frozenset[str]


def _fault(name: str, *fails: str) -> Fault:
    return Fault(name, frozenset(fails))


FAULTS = (
    _fault("image-that-does-not-exist", "CM-REL-002"),
    _fault("two-replicas", "CM-REL-001"),
    _fault("service-selects-nothing", "CM-REL-003"),
    _fault(
        "pod-made-carelessly",
        "CM-REL-004", "CM-REL-005", "CM-REL-006", "CM-REL-007", "CM-REL-008", "CM-REL-010",
        "CM-SEC-005",
    ),
    _fault("helm-killed", "CM-REL-009"),
    _fault("secret-without-a-key", "CM-SEC-001"),
    _fault("secret-with-more", "CM-SEC-002"),
    _fault("secret-with-a-newline", "CM-SEC-003"),
    _fault("secret-changed", "CM-SEC-004", "CM-SEC-006", "CM-SEC-007"),
    _fault("trust-from-other-pods", "CM-SEC-008"),
    _fault("policy-not-enforced", "CM-SEC-009"),
    _fault("volume-mounted-elsewhere", "CM-PER-001"),
    _fault("tablespace-elsewhere", "CM-PER-001"),
    _fault("claim-goes", "CM-PER-002"),
    _fault("data-wiped-at-start", "CM-PER-003"),
    _fault("password-made-anew", "CM-UPG-001"),
    _fault("chart-that-wipes", "CM-UPG-001", "CM-UPG-002", "CM-UPG-003", "CM-UPG-004"),
    _fault("growth-not-refused", "CM-UPG-005"),
)  # fmt: skip
