"""What the tests of ``costmgmt bootstrap`` share: how it is run, as whom, and what it left."""

from __future__ import annotations

import base64
import contextlib
import gzip
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.chart.helm import helm as helm_program
from tests.cluster.releases import published
from tests.cluster.testbed.bed import Bed, CommandFailed, Object

LEASE = "costmgmt-bootstrap"
SMALL: Object = {
    "postgresql": {
        "major": "15",
        "resources": {
            "requests": {"cpu": "20m", "memory": "64Mi"},
            "limits": {"memory": "512Mi"},
        },
    },
    "migration": {"resources": {"requests": {"cpu": "20m", "memory": "64Mi"}}},
}
"Many databases share two processors here."
NOT_MIGRATED: Object = {"migration": {"enabled": False}}


SIGNALLED = """
import os, sys, threading
from pytest_costmgmt import cli
from pytest_costmgmt.kubernetes.lease import Lease

note, phase, number = Lease.note, sys.argv[1], int(sys.argv[2])

def noted(self, name, text):
    note(self, name, text)
    if text and phase in (name, text):
        # A moment later: what the phase is about has begun by then.
        timer = threading.Timer(0.3, os.kill, (os.getpid(), number))
        timer.daemon = True
        timer.start()

Lease.note = noted
sys.argv = ["costmgmt", *sys.argv[3:]]
cli.main()
"""
"Runs costmgmt, and signals it once its Lease says the phase: however slow or fast the machine is."


def merged(base: Object, over: Object) -> Object:
    """Return values with others over them."""
    found = dict(base)
    for name, value in over.items():
        both = isinstance(value, dict) and isinstance(found.get(name), dict)
        found[name] = merged(found[name], value) if both else value
    return found


class Ended(NamedTuple):
    """A run that ended: its status, and what it said on both streams."""

    status: int
    out: str
    err: str

    @property
    def said(self) -> str:
        """Everything."""
        return self.out + self.err

    def did(self, action: str) -> list[str]:
        """Return the steps of an action."""
        return [line.split(maxsplit=1)[1] for line in self.out.splitlines()
                if line.split(maxsplit=1)[:1] == [action]]  # fmt: skip


class Bootstrap(NamedTuple):
    """``costmgmt bootstrap`` in one namespace, as one account."""

    bed: Bed
    namespace: str
    kubeconfig: Path
    folder: Path
    major: int = 3

    def argv(self, *options: str, values: Object | None = None) -> list[str]:
        """Return the command line."""
        file = self.folder / "values.yaml"
        file.write_text(json.dumps(merged(SMALL, values or {})))
        given = ["--namespace", self.namespace, "--values", str(file), *options]
        return [sys.executable, "-m", "pytest_costmgmt.cli", "bootstrap", *given]

    def environment(self) -> dict[str, str]:
        """Return an environment in which helm is found, and the cluster as this account."""
        programs = self.folder / "bin"
        programs.mkdir(exist_ok=True)
        with contextlib.suppress(FileExistsError):
            (programs / "helm").symlink_to(helm_program(self.major))
        found = self.bed.environment(self.kubeconfig)
        return {**found, "PATH": f"{programs}:{os.environ['PATH']}"}

    def run(self, *options: str, values: Object | None = None, status: int = 0) -> Ended:
        """Run it to its end, which must be this status."""
        done = subprocess.run(
            self.argv(*options, values=values),
            env=self.environment(), cwd=self.folder, capture_output=True, text=True, check=False,
            timeout=540,
        )  # fmt: skip
        ended = Ended(done.returncode, done.stdout, done.stderr)
        assert done.returncode == status, ended.said
        assert not re.search(r"^Traceback", ended.said, re.MULTILINE), ended.said
        return ended

    def deployed(self, *options: str, values: Object | None = None) -> Ended:
        """Run it without migrations: all is deployed, and validation says what is missing."""
        ended = self.run(*options, values=merged(NOT_MIGRATED, values or {}), status=1)
        assert "Deployed, but not ready" in ended.out, ended.said
        return ended

    @contextlib.contextmanager
    def started(
        self, *options: str, values: Object | None = None
    ) -> Iterator[subprocess.Popen[str]]:
        """Start it; whatever becomes of the test, it is gone after."""
        with subprocess.Popen(
            self.argv(*options, values=values),
            env=self.environment(), cwd=self.folder, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        ) as process:  # fmt: skip
            try:
                yield process
            finally:
                if process.poll() is None:
                    process.kill()

    def ended_in(
        self, phase: str, number: int, *options: str, values: Object | None = None
    ) -> tuple[int, str]:
        """Have it send itself a signal in a phase; return the status and what was said."""
        argv = self.argv(*options, values=values)
        program = [*argv[:1], "-c", SIGNALLED, phase, str(int(number)), *argv[3:]]
        done = subprocess.run(
            program, env=self.environment(), cwd=self.folder, text=True, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=540,
        )  # fmt: skip
        return done.returncode, done.stdout

    def note(self, name: str) -> str:
        """Return what the Lease's note says."""
        annotations = self._lease()["metadata"].get("annotations") or {}
        return str(annotations.get(f"cost-management/note-{name}", ""))

    def held(self) -> bool:
        """Say whether somebody holds the Lease now."""
        return bool(self._lease()["spec"].get("holderIdentity"))

    def _lease(self) -> Object:
        with contextlib.suppress(CommandFailed):
            return self.bed.get("lease", LEASE, self.namespace)
        return {"metadata": {}, "spec": {}}

    def state(self) -> dict[str, Any]:
        """Return what a run that changes nothing leaves as it is."""
        bed, space = self.bed, self.namespace
        secrets = [
            (each["metadata"]["name"], each["metadata"]["resourceVersion"])
            for each in bed.list("secret", space)
        ]
        there = bed.get("statefulset", "postgres", space)
        return {
            "secrets": secrets,
            "set": (there["metadata"]["uid"], there["metadata"]["generation"]),
            "pod": bed.get("pod", "postgres-0", space)["metadata"]["uid"],
            "claim": bed.get("pvc", "postgresql-data-postgres-0", space)["metadata"]["uid"],
            "roles": bed.psql(space, "SELECT rolname, rolpassword FROM pg_authid ORDER BY 1"),
            "rows": bed.psql(space, "SELECT count(*), max(id) FROM django_migrations"),
        }


@contextlib.contextmanager
def prepared(
    bed: Bed, folder: Path, *, major: int = 3, role: Object | None = None
) -> Iterator[Bootstrap]:
    """Yield a bootstrap in a new namespace, as an account with exactly the published Role."""
    with bed.namespace("boot") as namespace:
        account = bed.account(namespace, "deployer", role or published("bootstrap"))
        yield Bootstrap(bed, namespace, account, folder, major)


RELEASE = "cost-mgmt-infra"


def newest(bed: Bed, namespace: str) -> int:
    """Return the newest revision of the release."""
    listed = json.loads(bed.helm("list", "-n", namespace, "-a", "-o", "json"))
    return int(listed[0]["revision"])


def plant_pending(bed: Bed, namespace: str, labels: dict[str, str] | None = None) -> int:
    """Leave what a helm that is killed in an upgrade leaves; return its revision."""
    last = newest(bed, namespace)
    record = bed.get("secret", f"sh.helm.release.v1.{RELEASE}.v{last}", namespace)
    packed = base64.b64decode(base64.b64decode(record["data"]["release"]))
    release = json.loads(gzip.decompress(packed))
    release["version"] = last + 1
    release["info"]["status"] = "pending-upgrade"
    data = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(release).encode()))).decode()
    meta = record["metadata"]
    kept = {name: text for name, text in meta["labels"].items() if "/" not in name}
    planted = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": record["type"],
        "metadata": {
            "name": f"sh.helm.release.v1.{RELEASE}.v{last + 1}",
            "labels": {
                **kept, "status": "pending-upgrade", "version": str(last + 1), **(labels or {})
            },
        },
        "data": {"release": data},
    }  # fmt: skip
    bed.kubectl("-n", namespace, "create", "-f", "-", given=planted)
    return last + 1
