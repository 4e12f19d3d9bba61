"""What the tests of ``pytest --costmgmt-deploy`` share: how it is run, and what it left."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from tests.chart.helm import helm
from tests.cluster.bootstraps import SMALL
from tests.cluster.testbed.bed import RESTRICTED, Bed, CommandFailed, Object
from tests.server.run_support import Place, Running

LEASE = "costmgmt-bootstrap"
MINE = {"app.kubernetes.io/managed-by": "pytest-costmgmt", "cost-management/kind": "deployment"}
RUN, EXPIRES, OWNER = (f"cost-management/{name}" for name in ("run", "expires", "owner"))
SMOKE = "--costmgmt-profile=smoke"
KINDS = "statefulsets,pods,services,cronjobs,jobs,secrets,pvc,leases,networkpolicies"


def deploying(
    place: Place, bed: Bed, namespace: str, *more: str, kubeconfig: Path | None = None
) -> Running:
    """Start a run that deploys into a namespace; Helm of the tests is in PATH."""
    programs = place.folder / "programs"
    if not programs.exists():
        programs.mkdir()
        (programs / "helm").symlink_to(helm(3))
    values = place.folder / "values.yaml"
    values.write_text(json.dumps(SMALL))
    path = bed.environment()["PATH"]
    return place.start(
        f"--costmgmt-namespace={namespace}",
        f"--costmgmt-kubeconfig={kubeconfig or bed.kubeconfig}",
        "--costmgmt-deploy", f"--costmgmt-values={values}", *more,
        command="pytest",
        environ={"PATH": f"{programs}:{path}"},
    )  # fmt: skip


def seen(bed: Bed, namespace: str) -> Object:
    """Return the namespace's metadata, or nothing if it is gone."""
    try:
        found: Object = bed.get("ns", namespace)["metadata"]
    except CommandFailed:
        return {}
    return found


def gone(bed: Bed, namespace: str) -> bool:
    """Say whether it is gone, or on its way out: the rest is the cluster's."""
    meta = seen(bed, namespace)
    return not meta or "deletionTimestamp" in meta


def phase(bed: Bed, namespace: str) -> str:
    """Return the phase that a bootstrap in the namespace is in."""
    return noted(bed, namespace, "phase")


def noted(bed: Bed, namespace: str, name: str) -> str:
    """Return a note of the namespace's Lease."""
    try:
        lease = bed.get("lease", LEASE, namespace)
    except CommandFailed:
        return ""
    return str((lease["metadata"].get("annotations") or {}).get(f"cost-management/note-{name}", ""))


def until_phase(bed: Bed, namespace: str, run: Running, *names: str) -> None:
    """Wait until the run's bootstrap is in one of these phases."""

    def reached() -> bool:
        assert run.process.poll() is None, run.said
        return phase(bed, namespace) in names

    bed.until(f"phase {names}", reached, seconds=240)


def objects(bed: Bed, namespace: str) -> set[str]:
    """Return what the namespace holds that somebody made; Helm's records too."""
    listed = bed.list(KINDS, namespace)
    return {f"{each['kind']} {each['metadata']['name']}" for each in listed}


def plant(bed: Bed, name: str, labels: dict[str, str], annotations: dict[str, Any]) -> None:
    """Make a namespace as a run may have left it."""
    metadata = {"name": name, "labels": {**RESTRICTED, **labels}, "annotations": annotations}
    bed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def hours(number: float) -> str:
    """Return a time so many hours from now."""
    when = datetime.now(timezone.utc) + timedelta(hours=number)
    return when.isoformat(timespec="seconds")
