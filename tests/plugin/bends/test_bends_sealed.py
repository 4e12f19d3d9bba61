"""`costmgmt check` shuts other people's configuration out; so do odd places and second runs."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

from pytest_costmgmt.resources import PACKAGE, resource
from tests.plugin.bends.support import Bend, Pair

HOSTILE = """
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config):
    yield
    return 0
def pytest_collection_modifyitems(items):
    items.clear()
"""
INI = """[{section}]
addopts = -k nothing -x -p hostile --collect-only test_user.py
filterwarnings = error
testpaths = tests
required_plugins = pytest-no-such
usefixtures = no_such
python_files = nothing
norecursedirs = *
xfail_strict = true
log_level = DEBUG
"""
TOML = """
[{section}]
addopts = {addopts}
filterwarnings = ["error"]
testpaths = ["tests"]
required_plugins = {required}
usefixtures = ["no_such"]
python_files = ["nothing"]
"""
NATIVE = TOML.format(
    section="{section}", addopts='["-k", "nothing", "-x", "--collect-only"]',
    required='["pytest-no-such"]',
)  # fmt: skip
OLD = TOML.format(
    section="{section}", addopts='"-k nothing -x -p hostile --collect-only"',
    required='"pytest-no-such"',
)  # fmt: skip
HIDDEN = {
    "pytest.ini": INI.format(section="pytest"),
    "tox.ini": INI.format(section="pytest"),
    "setup.cfg": INI.format(section="tool:pytest"),
    "pyproject.toml": OLD.format(section="tool.pytest.ini_options"),
}
if pytest.version_tuple >= (9,):
    HIDDEN["pytest.toml"] = NATIVE.format(section="pytest") + "strict = true\n"


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "two-workers"])
@pytest.mark.parametrize("name", HIDDEN)
def test_the_gate_shuts_out_what_surrounds_it(pair: Pair, name: str, workers: list[str]) -> None:
    """addopts, PYTEST_ADDOPTS, PYTEST_PLUGINS, conftest.py and plugins have no say in the gate."""
    bend = Bend(
        id="gate",
        files={
            name: HIDDEN[name],
            "conftest.py": "raise RuntimeError('loaded')\n",
            "hostile.py": HOSTILE,
            "test_user.py": "def test_user(): pass\n",
            "tests/conftest.py": "raise RuntimeError('loaded')\n",
        },
        environ={"PYTEST_ADDOPTS": "-k nothing -p hostile", "PYTEST_PLUGINS": "hostile"},
        arguments=workers,
    )
    for target, straight in zip((pair.healthy, pair.faulty), pair.unbent, strict=True):
        ran = target.run(bend, command=("-m", "pytest_costmgmt.cli", "check"))
        assert ran.outcomes == straight.outcomes, ran.said
        assert ran.status == straight.status, ran.said
        assert ran.report["run"]["addopts"] == ""


def test_a_virtual_environment_inside_the_project(pair: Pair) -> None:
    """The suite in PROJECT/.venv is collected, whatever pytest thinks of such folders."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    inside = f".venv/lib/{version}/site-packages"
    bend = Bend(
        id="venv",
        files={
            ".venv/pyvenv.cfg": "home = /usr/bin\n",
            ".venv/bin/activate": "",
            ".venv/conda-meta/history": "",
            "pytest.ini": "[pytest]\nnorecursedirs = .* lib site-packages pytest_costmgmt\n",
            "conftest.py": "collect_ignore_glob = ['*']\n",
            "where.py": "import pytest_costmgmt\nprint('from', pytest_costmgmt.__file__)\n",
        },
        arguments=["-p", "where"],
        expect="same",
    )

    def install(folder: Path) -> dict[str, str]:
        site = folder / inside
        shutil.copytree(PACKAGE, site / "pytest_costmgmt")
        for name in ("conformance", "examples"):
            if not (site / "pytest_costmgmt" / name).exists():
                shutil.copytree(resource(name), site / "pytest_costmgmt" / name)
        return {"PYTHONPATH": f"{site}:{folder}"}

    for target, straight in zip((pair.healthy, pair.faulty), pair.unbent, strict=True):
        ran = target.run(bend, prepare=install)
        assert f"{inside}/pytest_costmgmt/__init__.py" in ran.said
        assert ran.outcomes == straight.outcomes, ran.said
        assert ran.status == straight.status, ran.said


TWICE = """
import sys
import pytest
first = pytest.main(sys.argv[1:])
print("first", int(first))
sys.exit(pytest.main(sys.argv[1:]))
"""


def test_two_runs_in_one_process(pair: Pair) -> None:
    """pytest.main() called twice says the same twice."""
    bend = Bend(id="twice", files={"twice.py": TWICE})
    for target, straight in zip((pair.healthy, pair.faulty), pair.unbent, strict=True):
        ran = target.run(bend, command=("twice.py",))
        assert f"first {straight.status}" in ran.said
        assert ran.outcomes == straight.outcomes, ran.said
        assert ran.status == straight.status, ran.said


def test_without_the_plugin_there_is_no_verdict(pair: Pair) -> None:
    """-p no:costmgmt is not ours any more: a usage error, never a status of 0."""
    ran = pair.healthy.run(Bend(id="none", arguments=["-p", "no:costmgmt"]), reported=False)
    assert ran.status == 4, ran.said
    assert "conformant" not in ran.said


@pytest.mark.parametrize("plugin", ["xdist", "no_such_plugin"])
def test_a_run_that_cannot_be_parsed_is_told(pair: Pair, plugin: str) -> None:
    """An option whose plugin is off, or a plugin that is not there, never leaves a green report."""
    arguments = ["-p", "no:xdist", "-n2"] if plugin == "xdist" else ["-p", plugin]
    ran = pair.healthy.run(Bend(id="parse", arguments=arguments), reported=False)
    assert ran.status != 0, ran.said
    assert ran.report.get("verdict", "inconclusive") == "inconclusive"


@pytest.mark.parametrize("hook", ["cmdline_main", "sessionfinish"])
def test_plugins_of_the_environment_come_inside_ours(pair: Pair, hook: str) -> None:
    """A plugin of PYTEST_PLUGINS, which is loaded after ours, cannot wrap the status to 0."""
    hostile = f"""
import pytest
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_{hook}({"config" if hook == "cmdline_main" else "session"}):
    {"yield" if hook == "cmdline_main" else "yield; session.exitstatus = 0"}
    return 0
"""
    pair.holds(
        Bend(
            id="environment",
            files={"hostile.py": hostile},
            environ={"PYTEST_PLUGINS": "hostile"},
            expect="same",
        )
    )
