"""A test bed by hand: ``python -m tests.cluster.testbed build|up|down|run``, from the checkout."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.chart.helm import CannotBuildError, helm
from tests.cluster.testbed import bed, build, images
from tests.cluster.testbed.keeper import BedFailed

USAGE = """\
python -m tests.cluster.testbed packages     install what it takes of Debian's packages
python -m tests.cluster.testbed build        make programs and images, and keep them
python -m tests.cluster.testbed up           start a cluster; prints where its kubeconfig is
python -m tests.cluster.testbed down [FILE]  end the cluster of KUBECONFIG, or of that file
python -m tests.cluster.testbed run COMMAND  a cluster for one command, which finds it by KUBECONFIG
"""


def main(arguments: list[str]) -> int:
    """Do what is asked; return the exit status."""
    match arguments:
        case ["packages"]:
            build.install_missing()
        case ["build"]:
            return _build()
        case ["up"]:
            made, _ = bed.up(bound=False)
            _say(f"export KUBECONFIG={made.kubeconfig}")
        case ["down", *named] if len(named) <= 1:
            _down(Path(named[0] if named else os.environ.get("KUBECONFIG", "")))
        case ["run", *command] if command:
            with bed.made() as made:
                return subprocess.run(command, env=made.environment(), check=False).returncode
        case _:
            sys.stderr.write(USAGE)
            return 2
    return 0


def _build() -> int:
    began = time.monotonic()
    build.install_missing()
    steps: dict[str, Callable[[], Path]] = {
        "programs": build.programs,
        "images": lambda: images.archive().file,
        "Helm 3": lambda: helm(3),
        "Helm 4": lambda: helm(4),
    }
    for name, step in steps.items():
        place = step()
        _say(f"{time.monotonic() - began:6.1f} s  {name}: {place}")
    return 0


def _down(kubeconfig: Path) -> None:
    folder = kubeconfig.absolute().parent
    if not (folder / bed.UNBOUND).exists():
        raise BedFailed(f"no cluster that `up` started has its kubeconfig at {kubeconfig}")
    keeper = json.loads((folder / "bed.json").read_text())["keeper"]
    with (folder / "keeper.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:  # it holds it while it lives: then the number is still its own
            os.kill(keeper, signal.SIGTERM)
            fcntl.flock(lock, fcntl.LOCK_EX)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - its answer


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (BedFailed, CannotBuildError) as error:
        sys.exit(str(error))
