"""The keeper: the one process of a test bed that stands outside it, and that cleans up after it.

It ends the bed when its standard input ends (the tests are gone, however they went), when it is
told to (SIGTERM), or when the node is gone. If it is killed itself, the node sees its own input
end, and goes with all that is in it; empty control groups and a folder are left then, which the
next bed removes. Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.testbed import components
from tests.cluster.testbed.components import Place

SLOTS = range(16)
PREFIX = "costmgmt-bed-"
START = 180.0
ROOT = Path(__file__).resolve().parents[3]
CGROUPS = Path("/sys/fs/cgroup")


class Node(NamedTuple):
    """The node's process, and what it said that nobody has read yet."""

    process: subprocess.Popen[bytes]
    said: bytearray


class BedFailed(RuntimeError):
    """The bed could not be made, or ended by itself; the text says what was seen last."""


def main(folder: Path, facts: dict[str, Any]) -> None:
    """Keep one bed, from its start to its end."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    bound = facts.pop("bound")
    if not bound:
        # Nobody's end is waited for: an input that never ends, for its other end is ours.
        endless, _ = os.pipe()
        os.dup2(endless, 0)
    with _held(folder), _slot() as slot:
        place = Place(**{**facts, "folder": str(folder), "slot": slot})
        sweep()
        try:
            with _cgroups(place), _node(place) as node:
                _bring_up(node, place)
                if not bound:
                    _let_go(folder)
                _wait_for_the_end(node)
        except BedFailed as error:
            _say({"failed": f"{error}\n{_last_words(folder)}"})
            sys.exit(1)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _let_go(folder: Path) -> None:
    """Leave the terminal or pipe of whoever started the bed, who may wait for its end."""
    with (folder / "logs" / "keeper.log").open("ab") as log:
        for descriptor in (1, 2):
            os.dup2(log.fileno(), descriptor)


def _leave(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(0)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Hold the folder's lock, so that no other bed sweeps it away."""
    (folder / "logs").mkdir(exist_ok=True)
    with (folder / "keeper").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        # Only now under the name that is looked for: never seen without its lock.
        (folder / "keeper").rename(folder / "keeper.lock")
        yield


def sweep() -> None:
    """Remove the folders of beds whose keepers were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "keeper.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _slot() -> Iterator[int]:
    """Hold a number that no other bed of this network namespace has: its names and addresses."""
    for slot in SLOTS:
        if _taken(slot):
            continue
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as held:
            # A name without a file: it is free again when this process is gone, however it went.
            try:
                held.bind(f"\0costmgmt-bed-{slot}")
            except OSError:
                continue
            yield slot
            return
    raise BedFailed(f"all {len(SLOTS)} places for test beds are taken, or their networks are")


def _taken(slot: int) -> bool:
    wanted = ipaddress.ip_network(f"10.199.{slot}.0/30")
    done = subprocess.run(
        ["ip", "-j", "route", "show", "table", "all"], capture_output=True, text=True, check=False
    )
    for route in json.loads(done.stdout or "[]"):
        with contextlib.suppress(ValueError):
            there = ipaddress.ip_network(route.get("dst", ""), strict=False)
            if there.version == wanted.version and there.prefixlen and there.overlaps(wanted):
                # What a killed bed left is ours to replace, and goes with its namespace.
                return bool(route.get("dev") != f"costmgmt-bed{slot}")
    return False


@contextlib.contextmanager
def _cgroups(place: Place) -> Iterator[None]:
    unified = CGROUPS / "cgroup.controllers"
    roots = [CGROUPS] if unified.exists() else [one for one in CGROUPS.iterdir() if one.is_dir()]
    _remove_cgroups(roots, place.name)
    for root in roots:
        if unified.exists():
            wanted = " ".join(f"+{one}" for one in unified.read_text().split())
            with contextlib.suppress(OSError):
                (root / "cgroup.subtree_control").write_text(wanted)
        (root / place.name).mkdir()
    try:
        yield
    finally:
        _remove_cgroups(roots, place.name)


def _remove_cgroups(roots: list[Path], name: str) -> None:
    """Remove these groups; the kernel takes a moment to forget their processes."""
    deadline = time.monotonic() + 10
    while left := [root / name for root in roots if (root / name).exists()]:
        for top in left:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
        if time.monotonic() > deadline:
            sys.stderr.write(f"control groups were not empty after 10 s: {left}\n")
            return
        time.sleep(0.02)


@contextlib.contextmanager
def _node(place: Place) -> Iterator[Node]:
    log = Path(place.folder) / "logs" / "node.log"
    # Our end of its input is closed when we are gone, and it ends.
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [
                *("unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child"),
                *("--mount-proc", sys.executable, "-m", "tests.cluster.testbed.node"),
                json.dumps(place._asdict()),
            ],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield Node(process, bytearray())
        finally:
            if process.poll() is None:  # else its number, and its children's, may be others'
                for pid in children(process.pid):
                    os.kill(pid, signal.SIGKILL)
            process.kill()
            process.wait()
            # It goes with its namespace, but only when the kernel finds the time.
            subprocess.run(["ip", "link", "del", place.name], check=False, capture_output=True)


def children(pid: int) -> list[int]:
    """Return the processes that a process started, by their first thread."""
    with contextlib.suppress(OSError):
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        return [int(one) for one in text.split()]
    return []


def _bring_up(node: Node, place: Place) -> None:
    began = time.monotonic()
    deadline = began + START
    _hear(node, "namespaces", deadline)
    (inside,) = children(node.process.pid)
    _cable(place, inside)
    assert node.process.stdin  # a pipe
    node.process.stdin.write(b"\n")
    node.process.stdin.flush()
    _hear(node, "started", deadline)
    kubectl = [place.program("kubectl"), f"--kubeconfig={place.folder}/kubeconfig"]
    objects = json.dumps({"apiVersion": "v1", "kind": "List", "items": _objects()})
    _run(*kubectl, "create", "-f", "-", given=objects)
    _until_ready(place, deadline)
    ready = time.monotonic()
    if (told := _hear(node, "images", deadline)) != "images 0":
        raise BedFailed(f"the images could not be imported: {told}")
    facts = {
        "folder": place.folder,
        "slot": place.slot,
        "node": inside,
        "keeper": os.getpid(),
        "programs": place.programs,
        "images": place.images,
        "seconds": {
            "ready": round(ready - began, 2),
            "images": round(time.monotonic() - began, 2),
        },
    }
    (Path(place.folder) / "bed.json").write_text(json.dumps(facts))
    _say({"ready": facts})


def _cable(place: Place, inside: int) -> None:
    subprocess.run(["ip", "link", "del", place.name], check=False, capture_output=True)
    pair = ("type", "veth", "peer", "name", "eth0", "netns", str(inside))
    _run("ip", "link", "add", place.name, *pair)
    _run("ip", "address", "add", f"{place.host}/30", "dev", place.name)
    _run("ip", "link", "set", place.name, "up")


def _objects() -> list[dict[str, Any]]:
    """Return what a cluster has before anybody uses it: a storage class, and volumes."""
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    claims: list[dict[str, Any]] = [
        {
            "apiVersion": "storage.k8s.io/v1",
            "kind": "StorageClass",
            "metadata": {"name": components.CLASS, "annotations": default},
            "provisioner": "kubernetes.io/no-provisioner",
            "volumeBindingMode": "WaitForFirstConsumer",
        }
    ]
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [components.NODE]}
    for number in range(components.VOLUMES):
        spec = {
            "capacity": {"storage": "20Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": components.CLASS,
            "persistentVolumeReclaimPolicy": "Retain",
            # Of a local volume the kubelet gives a group what it asks for; not of a host's path.
            "local": {"path": f"{components.STATE}/volumes/{number:02}"},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
        }
        metadata = {"name": f"bed-{number:02}"}
        claims.append(
            {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": spec}
        )
    return claims


def _until_ready(place: Place, deadline: float) -> None:
    """Wait until pods can be made: the node is ready, and namespaces get their account."""
    config = json.loads((Path(place.folder) / "kubeconfig").read_text())
    server, token = config["clusters"][0]["cluster"]["server"], config["users"][0]["user"]["token"]
    authority = config["clusters"][0]["cluster"]["certificate-authority-data"]
    import base64  # noqa: PLC0415 - here only

    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())

    def get(path: str) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own server
            f"{server}/api/v1/{path}", headers={"Authorization": f"Bearer {token}"}
        )
        with urllib.request.urlopen(request, context=context, timeout=5) as answer:  # noqa: S310
            found: dict[str, Any] = json.load(answer)
            return found

    last = "nothing"
    while time.monotonic() < deadline:
        try:
            node = get(f"nodes/{components.NODE}")
            get("namespaces/default/serviceaccounts/default")
        except OSError as error:
            last = str(error)
        else:
            for condition in node["status"]["conditions"]:
                if condition["type"] == "Ready" and condition["status"] == "True":
                    return
                last = condition.get("message", last)
        time.sleep(0.1)
    raise BedFailed(f"the node was not ready within {START:.0f} s; seen last: {last}")


def _hear(node: Node, word: str, deadline: float) -> str:
    """Return the node's next line, which begins with this word."""
    assert node.process.stdout  # a pipe
    said = node.process.stdout.fileno()
    while b"\n" not in node.said:
        left = max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([said, 0], [], [], left)
        if not ready:
            raise BedFailed(f"the node did not say {word!r} within {START:.0f} s")
        if 0 in ready and not os.read(0, 100):
            sys.exit(0)
        if said in ready:
            more = os.read(said, 4096)
            node.said.extend(more or b"nothing: it ended\n")
    line, _, rest = bytes(node.said).partition(b"\n")
    node.said[:] = rest
    if not line.startswith(word.encode()):
        raise BedFailed(f"the node was to say {word!r}, and said {line.decode()!r}")
    return line.decode()


def _wait_for_the_end(node: Node) -> None:
    assert node.process.stdout  # a pipe
    said = node.process.stdout.fileno()
    while True:
        ready, _, _ = select.select([said, 0], [], [])
        if 0 in ready and not os.read(0, 100):
            return
        if said in ready:
            raise BedFailed("the node ended by itself")


def _run(*command: str, given: str | None = None) -> None:
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BedFailed(f"`{' '.join(command[:5])}` failed: {done.stderr.strip()[-1000:]}")


def _last_words(folder: Path) -> str:
    """Return the end of each log, for whoever must find out why."""
    parts = []
    for log in sorted((folder / "logs").glob("*.log")):
        lines = log.read_text(errors="replace").splitlines()[-8:]
        parts += [f"--- {log.name}", *lines]
    return "\n".join(parts)


def _say(answer: dict[str, Any]) -> None:
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(answer), flush=True)  # noqa: T201 - how it speaks with who started it


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
