"""Count what an unrelated pytest run pays for having the plugin installed, in instructions.

    python bench/startup.py [WHEEL]

Makes three virtual environments (pytest alone; pytest with the packages that we depend on; both
and the plugin), runs one trivial test in each under ``valgrind --tool=callgrind`` in an empty
environment, and prints the ratios with an A/A pair. The second shows what is the plugin's own
share: pytest looks at every installed distribution, and at every file of those with a plugin.
The last run is of the same distribution with an empty plugin: below that no plugin of as many
files can come.
Wall time would wander by 25 ms; instructions repeat to ten in 780 million.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.03


def environment(folder: Path, *packages: str) -> Path:
    """Return the Python of a new virtual environment with these packages."""
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    python = folder / "bin" / "python"
    subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def version(python: Path) -> str:
    """Return the version of pytest in an environment."""
    asks = "import importlib.metadata as m; print(m.version('pytest'))"
    done = subprocess.run([str(python), "-c", asks], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def without_the_plugin(python: Path) -> None:
    """Leave the packages that we depend on, and take our plugin out: only it is measured."""
    subprocess.run(
        [str(python), "-m", "pip", "uninstall", "-q", "-y", "pytest-costmgmt"], check=True
    )


def empty_the_plugin(python: Path) -> None:
    """Leave every file of the distribution where it is, and nothing in its plugin."""
    # Isolated: a checkout that we stand in is not the environment's.
    asks = "import importlib.util as u; print(u.find_spec('pytest_costmgmt.pytest11').origin)"
    done = subprocess.run(
        [str(python), "-I", "-c", asks], check=True, capture_output=True, text=True
    )
    place = Path(done.stdout.strip())
    if not place.is_relative_to(python.parents[1]):
        sys.exit(f"{place} is not in the environment that was made for this")
    place.write_text("plugin = object()\n")


def listed(python: Path) -> int:
    """Return how many files pytest looks at, because their distribution holds our plugin."""
    asks = "import importlib.metadata as m; print(len(m.files('pytest-costmgmt')))"
    done = subprocess.run([str(python), "-c", asks], check=True, capture_output=True, text=True)
    return int(done.stdout)


def instructions(python: Path, folder: Path) -> int:
    """Return the instructions of one whole pytest process, without its children."""
    done = subprocess.run(
        ["env", "-i", "PYTHONHASHSEED=0", "PATH=/usr/bin:/bin", f"HOME={folder}",
         "valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/callgrind.out",
         str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or found is None:
        sys.exit(done.stdout + done.stderr)
    return int(found.group(1))


def main() -> None:
    """Measure and print."""
    folder = Path(tempfile.mkdtemp(prefix="costmgmt-startup-"))
    wheel = sys.argv[1] if len(sys.argv) > 1 else str(ROOT)
    try:
        (folder / "test_it.py").write_text("def test_it():\n    pass\n")
        bare = environment(folder / "bare", wheel)
        without_the_plugin(bare)
        ours = environment(folder / "ours", wheel)
        alone = environment(folder / "alone", f"pytest=={version(ours)}")
        for python in (alone, bare, ours):
            instructions(python, folder)  # warm-up: bytecode
        first, again, beside, plugin = (
            instructions(python, folder) for python in (alone, alone, bare, ours)
        )
        files = listed(ours)
        empty_the_plugin(ours)
        instructions(ours, folder)
        floor = instructions(ours, folder)
        print(f"{platform.machine()}, Python {platform.python_version()}, pytest {version(ours)}\n")
        print("| what | instructions | ratio | at most |")
        print("|---|---|---|---|")
        print(f"| pytest alone | {first / 1e6:.1f} million | | |")
        print(f"| pytest alone, again | {again / 1e6:.1f} million | {again / first:.4f} | |")
        print(f"| with our dependencies | {beside / 1e6:.1f} million | {beside / first:.4f} | |")
        print(f"| with the plugin | {plugin / 1e6:.1f} million | {plugin / first:.4f} | {LIMIT} |")
        empty = f"an empty plugin among our {files} files"
        print(f"| {empty} | {floor / 1e6:.1f} million | {floor / first:.4f} | |")
        print(f"| the plugin beside its dependencies | | {plugin / beside:.4f} | |")
        print(f"| the plugin's own code | | {1 + (plugin - floor) / first:.4f} | |")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
