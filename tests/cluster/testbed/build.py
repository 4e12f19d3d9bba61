"""The test bed's programs: Kubernetes, etcd and CoreDNS, as go.sum pins them, built once and kept.

Standard library only: ``.ci/run`` may start it before anything is installed.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.chart.helm import NOTHING_ELSE, CannotBuildError, alone, go_at_least
from tests.chart.helm import cache as helms

PROGRAM = Path(__file__).resolve().parent / "program"
# One program in all but name: what it is called by picks what it is.
KUBERNETES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)
# program: the Debian package that has it.
FROM_DEBIAN = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "mount": "mount",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "openssl": "openssl",
    "mmdebstrap": "mmdebstrap",
    "/usr/lib/cni/ptp": "containernetworking-plugins",
}


def cache() -> Path:
    """Where the test bed keeps what takes long to make."""
    return helms().parent / "testbed"


def fingerprint(*files: Path) -> str:
    """Return a name for these files' contents."""
    contents = hashlib.sha256()
    for file in sorted(files):
        contents.update(file.name.encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    return contents.hexdigest()[:16]


def programs() -> Path:
    """Return the folder of built programs; builds them first if no cache holds them: minutes, once.

    Raises CannotBuildError.
    """
    key = fingerprint(PROGRAM / "go.mod", PROGRAM / "go.sum", *PROGRAM.glob("*/*.go"))
    place = cache() / f"programs-{key}"
    if place.exists():
        return place
    with alone(place.with_suffix(".lock")):
        if not place.exists():
            _build(place)
    return place


def missing() -> dict[str, str]:
    """Return programs of Debian that this machine does not have, with their packages."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    return {
        program: package
        for program, package in FROM_DEBIAN.items()
        if shutil.which(program, path=path) is None
    }


def install_missing() -> None:
    """Install them by apt-get. Raises CannotBuildError."""
    if not (packages := sorted(set(missing().values()))):
        return
    wanted = " ".join(packages)
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise CannotBuildError(f"The test bed needs these packages of Debian: {wanted}.")
    env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["apt-get", "-qq", "-o", "DPkg::Lock::Timeout=300", "install", "-y"]
    command = [*install, "--no-install-recommends", *packages]
    for prepare in ([], ["apt-get", "-qq", "update"]):
        if prepare:
            subprocess.run(prepare, env=env, check=False, capture_output=True)
        done = subprocess.run(command, env=env, check=False, capture_output=True, text=True)
        if done.returncode == 0:
            return
    raise CannotBuildError(f"`apt-get install {wanted}` failed:\n{done.stderr[-2000:]}")


def _build(place: Path) -> None:
    text = (PROGRAM / "go.mod").read_text()
    go = go_at_least(_first(r"^go (\S+)", text))
    version = _first(r"k8s\.io/kubernetes v(\S+)", text)
    major, minor, _ = version.split(".")
    tells = f"gitVersion=v{version}", f"gitMajor={major}", f"gitMinor={minor}"
    flags = " ".join(f"-X k8s.io/component-base/version.{one}" for one in tells)
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        made = Path(scratch) / "programs"
        made.mkdir()
        for name in ("pause", "coredns", "kubernetes"):
            _compile(go, name, made / name, flags if name == "kubernetes" else "")
        for name in KUBERNETES:
            (made / name).symlink_to("kubernetes")
        made.rename(place)


def _compile(go: str, name: str, into: Path, flags: str) -> None:
    done = subprocess.run(
        [
            *(("nice", "-n", "19") if shutil.which("nice") else ()),
            *(go, "build", "-p", "2", "-trimpath", "-buildvcs=false", "-mod=readonly"),
            *("-ldflags", f"-s -w {flags}".strip(), "-o", str(into), f"./{name}"),
        ],
        cwd=PROGRAM,
        # Go keeps its modules below HOME, which tox may not have passed on.
        env={"HOME": str(Path.home()), **os.environ, **NOTHING_ELSE},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CannotBuildError(f"{name} could not be built from Go modules:\n{done.stderr[-2000:]}")


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise CannotBuildError(f"go.mod does not say {pattern}")
    return found[1]
