"""Measure the smoke of a deployed release, whole process, beside one probe pod with psql.

    KUBECONFIG=... python bench/release.py [NAMESPACE [TIMES]]

Both over the same release (one that is made on the bed if none is named), paired: `pytest
--costmgmt-namespace NAMESPACE`, and `kubectl run` of a pod from the database's own image that asks
one query over the Service and is removed. Prints both medians, and the difference: at most 5 s.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 5.0
CALM = 3
"Pairs, unless told otherwise."


def timed(command: list[str], folder: Path) -> float:
    """Return the seconds of a command that must end with 0."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command[:4])} ended with {done.returncode}:\n{done.stdout[-3000:]}"
                 f"{done.stderr[-2000:]}")  # fmt: skip
    return time.perf_counter() - began


def plain(kubectl: str, namespace: str) -> list[str]:
    """Return the command that starts one pod with psql, and removes it."""
    pod = json.loads(
        subprocess.run(
            [kubectl, "get", "pod", "postgres-0", "-n", namespace, "-o", "json"],
            capture_output=True, check=True,
        ).stdout
    )  # fmt: skip
    spec = pod["spec"]
    keys = ("name", "image", "imagePullPolicy", "securityContext")
    container = {key: spec["containers"][0].get(key) for key in keys}
    name = f"plain-{secrets.token_hex(3)}"
    secret = {"name": "postgres-credentials", "key": "password"}
    container |= {
        "name": name,
        "command": ["psql", "-X", "-h", "postgres", "-U", "koku", "-d", "koku", "-c", "SELECT 1"],
        "env": [{"name": "PGPASSWORD", "valueFrom": {"secretKeyRef": secret}}],
    }
    security = {k: v for k, v in spec["securityContext"].items() if not k.startswith("fsGroup")}
    overrides = {
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": security,
            "containers": [container],
        }
    }
    return [
        kubectl, "run", name, "-n", namespace, "--rm", "--attach", "--restart=Never", "--quiet",
        f"--image={container['image']}", f"--overrides={json.dumps(overrides)}",
    ]  # fmt: skip


def main() -> None:
    """Measure and print."""
    kubectl = shutil.which("kubectl") or sys.exit("there is no kubectl in PATH")
    times = int(sys.argv[2]) if sys.argv[2:] else CALM
    if sys.argv[1:]:
        measure(kubectl, sys.argv[1], times)
        return
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tests.cluster.attach_bed import healthy  # noqa: PLC0415 - only for a release of our own
    from tests.cluster.testbed.bed import given  # noqa: PLC0415

    with tempfile.TemporaryDirectory(prefix="costmgmt-bench-") as scratch:
        bed = given(Path(scratch)) or sys.exit("KUBECONFIG names no cluster")
        with healthy(bed) as release:
            measure(kubectl, release.namespace, times)


def measure(kubectl: str, namespace: str, times: int) -> None:
    """Measure over the release in ``namespace``."""
    smoke = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q",
             f"--costmgmt-namespace={namespace}"]  # fmt: skip
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="costmgmt-bench-") as made:
        folder = Path(made)
        for _ in range(times):
            theirs.append(timed(plain(kubectl, namespace), folder))
            ours.append(timed(smoke, folder))
            print(f"  {theirs[-1]:.2f} s, {ours[-1]:.2f} s", file=sys.stderr, flush=True)
    mine, beside = statistics.median(ours), statistics.median(theirs)
    print(f"{times} pairs on {os.cpu_count()} cores")
    print("| what | seconds | difference | at most |")
    print("|---|---|---|---|")
    print(f"| one `kubectl run` probe pod with psql | {beside:.2f} | | |")
    print(f"| smoke of a deployed release | {mine:.2f} | {mine - beside:+.2f} | +{LIMIT:.0f} |")


if __name__ == "__main__":
    main()
