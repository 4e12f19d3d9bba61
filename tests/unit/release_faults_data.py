"""Where a release's data may lie that it does not survive there, and what becomes of its claim."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_costmgmt.facts.release import DATA
from tests.unit.release_faults import POD, Plant, _set

ASTRAY: Mapping[str, tuple[str, str, Plant]] = {
    "data-off-the-volume": (
        "CM-PER-001", "failed", _set(f"{POD}.volumeMounts.0.mountPath", "/var/lib/postgresql/data"),
    ),
    "empty-dir": (
        "CM-PER-001", "failed",
        _set("pod.spec.volumes.0", {"name": "postgresql-data", "emptyDir": {}}),
    ),
    "host-path": (
        "CM-PER-001", "failed",
        _set("pod.spec.volumes.0", {"name": "postgresql-data", "hostPath": {"path": "/x"}}),
    ),
    "shadowed": (
        "CM-PER-001", "failed",
        _set(f"{POD}.volumeMounts.1.mountPath", "/var/lib/pgsql/data/userdata"),
    ),
    "data-by-a-link": ("CM-PER-001", "failed", _set("folders", {".": "/mnt/fast"})),
    "wal-by-a-link": (
        "CM-PER-001", "failed", _set("folders", {".": DATA, "pg_wal": "/var/lib/pgsql/wal"}),
    ),
    "wal-shadowed": (
        "CM-PER-001", "failed", _set(f"{POD}.volumeMounts.1.mountPath", f"{DATA}/pg_wal"),
    ),
    "tablespace-elsewhere": ("CM-PER-001", "failed", _set("folders.pg_tblspc/1", "/fast")),
    "links-not-followed": (
        "CM-PER-001", "unverifiable",
        lambda found: found.update(folders={}, unfollowed="exec is forbidden"),
    ),
    "pending-claim": ("CM-PER-002", "failed", _set("claim.status.phase", "Pending")),
    "claim-goes": ("CM-PER-002", "failed", _set("claim.metadata.deletionTimestamp", "2026-01-01")),
    "no-claim": ("CM-PER-002", "failed", _set("claim", None)),
}  # fmt: skip
