"""The test bed itself: nothing of it is left, two stand beside each other, parts come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.cluster.releases import RESTRICTED_CONTAINER
from tests.cluster.testbed import keeper
from tests.cluster.testbed.bed import UNBOUND, Bed, Node
from tests.cluster.testbed.images import APPLICATION, POSTGRESQL

pytestmark = pytest.mark.gate
TUNED = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops", "net/ipv4/ip_forward")


def traces(slot: int) -> list[str]:
    """Return what there is on this machine of a bed in that slot."""
    found = [str(one) for one in Path("/sys/fs/cgroup").glob(f"**/costmgmt-bed{slot}")]
    found += [str(one) for one in Path("/sys/class/net").glob(f"costmgmt-bed{slot}")]
    return found


def processes_of(namespace: str) -> list[str]:
    """Return the processes of a process namespace."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        try:
            if str(link.readlink()) == namespace:
                found.append(link.parts[2])
        except OSError:
            continue
    return found


def sysctls() -> list[str]:
    """Return the settings of the machine that a kubelet would change."""
    return [(Path("/proc/sys") / name).read_text() for name in TUNED]


def test_nothing_is_left_when_the_tests_are_killed(node: Node) -> None:
    """A second bed stands beside the first; after SIGKILL of its tests no trace of it is left."""
    before = sysctls()
    seen = "import os, time; print(os.environ['KUBECONFIG'], flush=True); time.sleep(600)"
    command = [sys.executable, "-m", "tests.cluster.testbed", "run", sys.executable, "-c", seen]
    environment = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
    with subprocess.Popen(
        command, cwd=keeper.ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as tests:
        assert tests.stdout
        folder = Path(tests.stdout.readline().strip()).parent
        facts = json.loads((folder / "bed.json").read_text())
        inside = str(Path(f"/proc/{facts['node']}/ns/pid").readlink())
        assert facts["slot"] != node.slot
        assert traces(facts["slot"])
        assert len(processes_of(inside)) > 8
        assert sysctls() == before
        for pid in [*keeper.children(tests.pid), tests.pid]:
            # Its keeper is a session of its own, and is not among those that are killed.
            if pid != facts["keeper"]:
                os.kill(pid, signal.SIGKILL)
        tests.wait()
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and (folder.exists() or processes_of(inside)):
        time.sleep(0.1)
    assert not folder.exists()
    assert processes_of(inside) == []
    assert traces(facts["slot"]) == []
    assert sysctls() == before
    assert str(folder) not in Path("/proc/self/mounts").read_text()


def test_what_a_killed_keeper_leaves_is_swept(tmp_path: Path) -> None:
    """A folder whose keeper is gone is removed by the next; one that is kept is not."""
    del tmp_path
    left = Path(tempfile.mkdtemp(prefix=keeper.PREFIX))
    (left / "keeper.lock").touch()
    keeper.sweep()
    assert not left.exists()


def test_a_number_that_was_a_keepers_is_left_alone(tmp_path: Path) -> None:
    """`down` of a cluster whose keeper is gone ends nobody who has its number now."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        (tmp_path / UNBOUND).touch()
        (tmp_path / "keeper.lock").touch()
        (tmp_path / "bed.json").write_text(json.dumps({"keeper": stranger.pid}))
        command = [sys.executable, "-m", "tests.cluster.testbed", "down", "kubeconfig"]
        subprocess.run(
            command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": str(keeper.ROOT)}
        )
        assert stranger.poll() is None
        stranger.communicate(b"\n")
        assert stranger.returncode == 0


def test_an_api_server_that_is_killed_comes_back(bed: Bed, node: Node) -> None:
    """The node starts a component again that ended, and the cluster is the same one."""
    before = bed.get("namespace", "kube-system")["metadata"]["uid"]
    (old,) = node.processes("kube-apiserver")
    node.kill("kube-apiserver")
    bed.until("another API server", lambda: node.processes("kube-apiserver") not in ([], [old]))
    after = bed.until("an answer", lambda: bed.get("namespace", "kube-system"))
    assert after["metadata"]["uid"] == before


def test_the_kubeconfig_trusts_one_authority_only(bed: Bed, node: Node) -> None:
    """The API server's certificate is verified; nothing is skipped."""
    config = json.loads(bed.kubeconfig.read_text())
    cluster = config["clusters"][0]["cluster"]
    assert set(cluster) == {"server", "certificate-authority-data"}
    assert cluster["server"] == f"https://10.199.{node.slot}.2:6443"


def test_images_are_there_by_tag_and_by_digest(bed: Bed, node: Node) -> None:
    """The images that the chart names by default are there; a pod may also name one by digest."""
    assert bed.archive is not None
    image = bed.archive.named(POSTGRESQL[15])
    assert bed.archive.named(APPLICATION).name == "quay.io/insights-onprem/koku:latest"
    assert bed.archive.named(POSTGRESQL[15], "next").digest != image.digest
    with bed.namespace("images") as namespace:
        container = {
            "name": "version",
            "image": image.by_digest,
            "command": ["postgres", "--version"],
            "securityContext": RESTRICTED_CONTAINER,
        }
        security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
        # Any uid will do, as OpenShift gives one.
        spec = {
            "restartPolicy": "Never",
            "securityContext": {**security, "runAsUser": 1000680000},
            "containers": [container],
        }
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec}
        bed.apply(pod, namespace=namespace)
        bed.until(
            "the pod's end",
            lambda: bed.get("pod", "one", namespace)["status"]["phase"] == "Succeeded",
        )
        assert "(PostgreSQL) 15." in bed.kubectl("logs", "one", "-n", namespace)
    assert node.processes("postgres") == []
