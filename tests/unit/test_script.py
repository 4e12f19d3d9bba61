"""scripts/bootstrap-infrastructure.sh: the documented entry, from a checkout and from the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

toml = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
ROOT = Path(__file__).resolve().parents[2]
NAME = "bootstrap-infrastructure.sh"
SCRIPT = ROOT / "scripts" / NAME
SAYS = '#!/bin/sh\necho "{} $*"\n'


def program(folder: Path, whose: str) -> Path:
    """Write a costmgmt that says whose it is, and how it was called."""
    folder.mkdir()
    made = folder / "costmgmt"
    made.write_text(SAYS.format(whose))
    made.chmod(0o755)
    return made


def called(script: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """Call the script with options, one of which has a space."""
    return subprocess.run(
        [str(script), "--namespace", "cost-mgmt", "--values", "a file"],
        env={"PATH": f"{path}:/usr/bin:/bin"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_it_calls_the_command_of_the_path(tmp_path: Path) -> None:
    """From a checkout: every option reaches `costmgmt bootstrap` as it was written."""
    program(tmp_path / "bin", "the path's")
    done = called(SCRIPT, tmp_path / "bin")
    assert done.stdout == "the path's bootstrap --namespace cost-mgmt --values a file\n"


def test_installed_it_calls_the_command_beside_it(tmp_path: Path) -> None:
    """Called by its path in an environment that is not active, it is that environment's."""
    program(tmp_path / "bin", "the path's")
    own = program(tmp_path / "own", "its own").parent
    done = called(Path(shutil.copy2(SCRIPT, own / NAME)), tmp_path / "bin")
    assert done.stdout.startswith("its own bootstrap --namespace")


def test_without_the_command_it_says_how_to_get_it(tmp_path: Path) -> None:
    """The status is a usage error's."""
    done = called(SCRIPT, tmp_path)
    assert done.returncode == 4
    assert "pip install pytest-costmgmt" in done.stderr


def test_the_wheel_brings_it() -> None:
    """Into the environment's programs, under its documented name."""
    hatch = toml.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]
    taken = hatch["build"]["targets"]["wheel"]["shared-scripts"]
    assert taken == {f"scripts/{NAME}": NAME}
