"""Measure the smoke of a deployed release, whole process, beside one probe pod with psql.

    python bench/release.py [NAMESPACE [TIMES]]

On the cluster that KUBECONFIG names, else on a test bed made for it; both over the same release
(one that is made if none is named), paired: `pytest --costmgmt-namespace NAMESPACE`, and `kubectl
run` of a pod from the database's own image that asks one query over the Service and is removed.
Prints both medians, and the difference: at most 5 s.
"""

from __future__ import annotations

import argparse
import contextlib
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
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.cluster.attach_bed import healthy
from tests.cluster.testbed import bed as testbed
from tests.cluster.testbed.bed import Bed

LIMIT = 5.0
CALM = 3
"Pairs, unless told otherwise."


class Cluster(NamedTuple):
    """The cluster: its kubectl, and the environment in which it is found."""

    kubectl: str
    environment: dict[str, str]

    @classmethod
    def of(cls, bed: Bed) -> Cluster:
        """Return it; a bed brings its own kubectl."""
        own = str(bed.node.programs / "kubectl") if bed.node else shutil.which("kubectl")
        return cls(own or sys.exit("there is no kubectl in PATH"), bed.environment())

    def timed(self, command: list[str], folder: Path) -> float:
        """Return the seconds of a command that must end with 0."""
        began = time.perf_counter()
        done = subprocess.run(
            command, cwd=folder, env=self.environment, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(f"{' '.join(command[:4])} ended with {done.returncode}:\n"
                     f"{done.stdout[-3000:]}{done.stderr[-2000:]}")  # fmt: skip
        return time.perf_counter() - began


def plain(cluster: Cluster, namespace: str) -> list[str]:
    """Return the command that starts one pod with psql, and removes it."""
    pod = json.loads(
        subprocess.run(
            [cluster.kubectl, "get", "pod", "postgres-0", "-n", namespace, "-o", "json"],
            env=cluster.environment, capture_output=True, check=True,
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
        cluster.kubectl, "run", name, "-n", namespace, "--rm", "--attach", "--restart=Never",
        "--quiet", f"--image={container['image']}", f"--overrides={json.dumps(overrides)}",
    ]  # fmt: skip


def main() -> int:
    """Measure and print; the status is 1 if the limit is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("namespace", nargs="?", default="")
    parser.add_argument("times", nargs="?", type=int, default=CALM)
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="costmgmt-bench-"))
        bed = testbed.given(Path(scratch)) or stack.enter_context(testbed.made())
        namespace = given.namespace or stack.enter_context(healthy(bed)).namespace
        return measure(Cluster.of(bed), namespace, given.times)


def measure(cluster: Cluster, namespace: str, times: int) -> int:
    """Measure over the release in ``namespace``."""
    smoke = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q",
             f"--costmgmt-namespace={namespace}"]  # fmt: skip
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(prefix="costmgmt-bench-") as made:
        folder = Path(made)
        for _ in range(times):
            theirs.append(cluster.timed(plain(cluster, namespace), folder))
            ours.append(cluster.timed(smoke, folder))
            print(f"  {theirs[-1]:.2f} s, {ours[-1]:.2f} s", file=sys.stderr, flush=True)
    mine, beside = statistics.median(ours), statistics.median(theirs)
    print(f"{times} pairs on {os.cpu_count()} cores")
    print("| what | seconds | difference | at most |")
    print("|---|---|---|---|")
    print(f"| one `kubectl run` probe pod with psql | {beside:.2f} | | |")
    print(f"| smoke of a deployed release | {mine:.2f} | {mine - beside:+.2f} | +{LIMIT:.0f} |")
    return int(mine - beside > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
