"""A Kubernetes for the tests: one that is made here, or the one that KUBECONFIG names."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.chart.helm import helm as helm_program
from tests.cluster.testbed import build, images, keeper, sockets
from tests.cluster.testbed.client import Client, Unanswered
from tests.cluster.testbed.components import RARELY
from tests.cluster.testbed.keeper import PREFIX, BedFailed
from tests.cluster.testbed.sockets import Sockets

Object = dict[str, Any]
# In the folder of a bed that ends only when it is told to.
UNBOUND = "unbound"
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


# A pod that was deleted by force may write for a while; it goes on in what the folder was.
_RENEW = """
mv "$0" "$0.$$" && mkdir "$0" || exit
for turn in $(seq 50); do rm -rf "$0.$$" 2>/dev/null && exit; sleep 0.2; done
exec rm -rf "$0.$$"
"""


class CommandFailed(AssertionError):
    """kubectl or helm ended otherwise than with 0."""

    def __init__(self, command: Sequence[str], done: subprocess.CompletedProcess[str]) -> None:
        said = f"{done.stdout[-3000:]}{done.stderr[-3000:]}"
        super().__init__(f"`{' '.join(command)}` ended with {done.returncode}:\n{said}")
        self.status, self.stdout, self.stderr = done.returncode, done.stdout, done.stderr


@dataclass(frozen=True)
class Node:
    """What only a bed of our own has: its node, from outside."""

    pid: int
    folder: Path
    slot: int
    programs: Path

    @property
    def root(self) -> Path:
        """The node's files; volumes are in run/bed/volumes."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def logs(self) -> Path:
        """What each component said."""
        return self.folder / "logs"

    @property
    def machine(self) -> str:
        """The address at which pods reach what listens on this machine."""
        return f"10.199.{self.slot}.1"

    def run(self, *command: str, given: str | None = None) -> str:
        """Run a program of this machine in the node's namespaces of network and mounts."""
        enter = ["nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--"]
        return _checked([*enter, *command], given=given)

    def processes(self, component: str) -> list[int]:
        """Return the ids, as this machine counts them, of a component's processes."""
        found = []
        for entry in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                first = entry.read_bytes().split(b"\0")[0]
                parent = int((entry.parent / "stat").read_text().rpartition(")")[2].split()[1])
                if Path(first.decode()).name == component and parent == self.pid:
                    found.append(int(entry.parent.name))
        return found

    def kill(self, component: str, signal: int = 9) -> None:
        """End a component, such as kube-apiserver; the node starts it again half a second later."""
        for pid in self.processes(component):
            os.kill(pid, signal)


@dataclass(frozen=True)
class Bed:
    """A cluster, as its administrator has it."""

    kubeconfig: Path
    scratch: Path
    node: Node | None = None
    archive: images.Archive | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    def environment(self, kubeconfig: Path | None = None) -> dict[str, str]:
        """Return the environment for programs that are to find this cluster."""
        own = {name: str(self.scratch / name) for name in ("HELM_CACHE_HOME", "HELM_CONFIG_HOME")}
        data = {"HELM_DATA_HOME": str(self.scratch / "HELM_DATA_HOME")}
        return {
            **os.environ,
            **RARELY,
            **own,
            **data,
            "KUBECONFIG": str(kubeconfig or self.kubeconfig),
        }

    def kubectl(self, *arguments: str, given: object = None, kubeconfig: Path | None = None) -> str:
        """Run kubectl and return what it printed. ``given`` is its standard input, or an object."""
        text = given if isinstance(given, str) or given is None else json.dumps(given)
        program = str(self.node.programs / "kubectl") if self.node else "kubectl"
        return _checked([program, *arguments], self.environment(kubeconfig), text)

    @cached_property
    def _client(self) -> Client:
        return Client(self.kubeconfig)

    @cached_property
    def _sockets(self) -> Sockets:
        return Sockets()

    def get(self, kind: str, name: str, namespace: str = "") -> Object:
        """Return an object as the cluster has it."""
        if self.node:
            with _as_failed("get", kind, name, namespace):
                return self._client.get(kind, name, namespace)
        place = ["-n", namespace] if namespace else []
        found: Object = json.loads(self.kubectl("get", kind, name, *place, "-o", "json"))
        return found

    def list(self, kind: str, namespace: str = "", selector: str = "") -> list[Object]:
        """Return the objects of a kind in a namespace, or of the cluster."""
        if self.node and "," not in kind:
            with _as_failed("list", kind, namespace, selector):
                return self._client.list(kind, namespace, selector)
        place = ["-n", namespace] if namespace else []
        labelled = ["-l", selector] if selector else []
        text = self.kubectl("get", kind, *place, *labelled, "-o", "json")
        found: list[Object] = json.loads(text)["items"]
        return found

    def apply(self, *objects: Object, namespace: str = "") -> None:
        """Make the cluster have these objects."""
        if self.node:
            for each in objects:
                with _as_failed("apply", each["kind"], each["metadata"]["name"], namespace):
                    self._client.apply(each, namespace)
            return
        place = ["-n", namespace] if namespace else []
        given = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self.kubectl("apply", *place, "-f", "-", given=given)

    def helm(self, *arguments: str, major: int = 3, kubeconfig: Path | None = None) -> str:
        """Run Helm 3 or 4 and return what it printed."""
        return _checked([str(helm_program(major)), *arguments], self.environment(kubeconfig))

    def psql(self, namespace: str, statement: str, database: str = "koku") -> str:
        """Return what the database answers its superuser, over the pod's socket."""
        inside = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "postgres"]
        command = [*inside, "-d", database, "-c", statement]
        if self.node and (psql := shutil.which("psql")):
            uid = self.get("pod", "postgres-0", namespace)["metadata"]["uid"]
            if folder := self._sockets.of(uid):
                local = [psql, *command[1:], "-h", str(folder)]
                return _checked(local, sockets.ENVIRONMENT).strip()
        options = ["-n", namespace, "postgres-0", "-c", "postgresql"]
        return self.kubectl("exec", *options, "--", *command).strip()

    def until(self, what: str, ask: Callable[[], object], *, seconds: float = 120) -> Any:
        """Wait until the answer is true, and return it; AssertionError says what was seen last."""
        deadline = time.monotonic() + seconds
        last: object = "nothing"
        while time.monotonic() < deadline:
            try:
                if last := ask():
                    return last
            except CommandFailed as error:
                last = error
            time.sleep(0.3)
        raise AssertionError(f"{what}: not within {seconds:.0f} s; seen last: {last}")

    def until_ready(self, namespace: str, pod: str = "postgres-0", *, seconds: float = 180) -> None:
        """Wait for a pod; what went wrong with it is in the message."""
        try:
            self.until(f"pod {pod} ready", lambda: self.ready(namespace, pod), seconds=seconds)
        except AssertionError as error:
            told = [
                self.tell("describe", "pod", pod, "-n", namespace),
                self.tell("logs", pod, "-n", namespace, "--all-containers", "--tail=40"),
            ]
            raise AssertionError("\n".join([str(error), *told])) from None

    def ready(self, namespace: str, pod: str = "postgres-0") -> bool:
        """Whether a pod is there, ready, and not on its way out."""
        found = self.get("pod", pod, namespace)
        conditions = found["status"].get("conditions", ())
        ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
        return ready and "deletionTimestamp" not in found["metadata"]

    def tell(self, *arguments: str) -> str:
        """Return what kubectl prints, whether or not it fails: for messages."""
        try:
            return self.kubectl(*arguments)
        except CommandFailed as error:
            return str(error)

    @contextlib.contextmanager
    def namespace(self, name: str = "cost-mgmt") -> Iterator[str]:
        """Yield a new namespace that enforces `restricted`; it is gone after, volumes too."""
        own = f"{name}-{secrets.token_hex(3)}"
        labels = {**RESTRICTED, "costmgmt.invalid/test": "true"}
        metadata = {"name": own, "labels": labels}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            # Pods that come before their account are refused, and tried again only later.
            self.until(
                "the namespace's account", lambda: self.get("serviceaccount", "default", own)
            )
            yield own
        finally:
            self.remove(own)

    def remove(self, namespace: str) -> None:
        """Delete a namespace of a test, and make its volumes as good as new.

        Its last objects are the cluster's to remove, in its own time.
        """
        if self.node is not None:
            self._removed(namespace)
            self._renew_volumes(namespace)
            return
        here = ["-n", namespace, "--ignore-not-found"]
        now = ["--grace-period=0", "--force", "--wait=true", "--timeout=60s"]
        self.tell("delete", "statefulsets,jobs,cronjobs", "--all", *here, "--wait=false")
        self.tell("delete", "pods", "--all", *here, *now)
        self.tell("delete", "pvc", "--all", *here, "--wait=true", "--timeout=60s")
        self.tell("delete", "namespace", namespace, "--ignore-not-found", "--wait=false")

    def _removed(self, namespace: str) -> None:
        client = self._client
        with contextlib.suppress(Unanswered):
            for kind in ("statefulsets", "jobs", "cronjobs"):
                client.delete_all(kind, namespace)
            client.delete_all("pods", namespace, now=True)
            client.until_gone("pods", namespace)
            client.delete_all("pvc", namespace)
            client.until_gone("pvc", namespace)
        with contextlib.suppress(Unanswered):
            client.delete("namespaces", namespace)

    def _renew_volumes(self, namespace: str) -> None:
        assert self.node is not None
        for volume in self.list("pv"):
            claim = volume["spec"].get("claimRef", {})
            path = volume["spec"].get("local", {}).get("path")
            if claim.get("namespace") != namespace or not path:
                continue
            self.node.run("sh", "-c", _RENEW, path)
            with contextlib.suppress(Unanswered):
                self._client.take_out("pv", volume["metadata"]["name"], "/spec/claimRef")

    def account(self, namespace: str, name: str, *roles: Object) -> Path:
        """Return a kubeconfig of a new ServiceAccount that has these Roles and nothing else."""
        account = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
        objects: list[Object] = [
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
        ]
        for role in roles:
            own = role["metadata"]["name"]
            objects += [
                role,
                {
                    "apiVersion": "rbac.authorization.k8s.io/v1",
                    "kind": "RoleBinding",
                    "metadata": {"name": f"{own}-{name}"},
                    "subjects": [account],
                    "roleRef": {
                        "apiGroup": "rbac.authorization.k8s.io",
                        "kind": role["kind"],
                        "name": own,
                    },
                },
            ]
        self.apply(*objects, namespace=namespace)
        if self.node:
            with _as_failed("create", "token", name, namespace):
                token = self._client.token(name, namespace, hours=2)
            config = json.loads(self.kubeconfig.read_text())
        else:
            words = ("create", "token", name, "-n", namespace, "--duration=2h")
            token = self.kubectl(*words).strip()
            config = json.loads(self.kubectl("config", "view", "--raw", "--minify", "-o", "json"))
        config["users"] = [{"name": name, "user": {"token": token}}]
        config["contexts"][0]["context"] = {
            "cluster": config["clusters"][0]["name"],
            "user": name,
            "namespace": namespace,
        }
        file = self.scratch / f"{namespace}-{name}.kubeconfig"
        file.touch(mode=0o600)
        file.write_text(json.dumps(config))
        return file


@contextlib.contextmanager
def _as_failed(*command: str) -> Iterator[None]:
    try:
        yield
    except Unanswered as error:
        raise CommandFailed(
            command, subprocess.CompletedProcess(command, 1, "", str(error))
        ) from None


def up(*, bound: bool = True) -> tuple[Bed, subprocess.Popen[str]]:
    """Make a cluster. If bound, it ends with this process, however that ends.

    Raises BedFailed, or CannotBuildError where something cannot be made on this machine.
    """
    if os.geteuid() != 0:
        raise BedFailed("a test bed takes root; or name a cluster by KUBECONFIG")
    build.install_missing()
    programs, archive = build.programs(), images.archive()
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    if not bound:
        (folder / UNBOUND).touch()
    facts = {
        "programs": str(programs),
        "images": str(archive.file),
        "pause": images.PAUSE,
        "path": f"{programs}:{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin",
        "bound": bound,
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cluster.testbed.keeper", str(folder), json.dumps(facts)],
        cwd=keeper.ROOT,
        stdin=subprocess.PIPE if bound else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout
    answer = json.loads(process.stdout.readline() or '{"failed": "its keeper ended"}')
    if "ready" not in answer:
        process.wait()
        raise BedFailed(f"no test bed: {answer['failed']}")
    return at(folder), process


def at(folder: Path) -> Bed:
    """Return the bed that was made with this folder."""
    facts = json.loads((folder / "bed.json").read_text())
    node = Node(facts["node"], folder, facts["slot"], Path(facts["programs"]))
    archive = images.read(Path(facts["images"]))
    return Bed(folder / "kubeconfig", folder, node, archive, facts["seconds"])


def down(process: subprocess.Popen[str]) -> None:
    """End a bed of this process, and wait until nothing is left of it."""
    if process.stdin:
        process.stdin.close()
    process.wait(timeout=60)
    if process.stdout:
        process.stdout.close()


@contextlib.contextmanager
def made() -> Iterator[Bed]:
    """Yield a cluster of our own; nothing of it is left after."""
    bed, process = up()
    try:
        yield bed
    finally:
        down(process)


def given(scratch: Path) -> Bed | None:
    """Return the cluster that KUBECONFIG names, if it is set; also if it is a bed of our own."""
    if not (named := os.environ.get("KUBECONFIG")):
        return None
    file = Path(named).absolute()
    if (file.parent / "bed.json").exists():
        return at(file.parent)
    return Bed(file, scratch)


def _checked(
    command: Sequence[str], environment: Mapping[str, str] | None = None, given: str | None = None
) -> str:
    done = subprocess.run(
        command, env=environment, input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandFailed(command, done)
    return done.stdout
