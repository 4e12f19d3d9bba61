"""Collection and configuration: what hides, multiplies, reorders or stops checks from outside."""

from __future__ import annotations

import pytest

from tests.plugin.bends.support import Bend, Pair

EVERY = "def pytest_collection_modifyitems(items):\n    {how}\n"


def items(id_: str, how: str, **more: str) -> Bend:
    """Return the bend that changes the list of items."""
    return Bend(id=f"items-{id_}", hostile=EVERY.format(how=how), **more)  # type: ignore[arg-type]


ITEMS = [
    items("removed", "items[:] = items[:5]", named="no result"),
    items("all-removed", "items.clear()", named="no result"),
    items("one-removed", "del items[30]", named="no result"),
    items("duplicated", "items.extend(items[:3])", named="2 attempts"),
    items("reversed", "items.reverse()", expect="same"),
    items("shuffled", "items.sort(key=lambda i: hash(i.name))", expect="same"),
    items(
        "renamed",
        "[setattr(i, '_nodeid', f'user/{i.name}') for i in items]",
        # Since 9.2 an item's id is not kept there.
        expect="same" if pytest.version_tuple >= (9, 2) else "bent",
        named="which is no check",
    ),
    Bend(
        id="items-replaced",
        hostile="""
            import pytest
            def test_nothing():
                pass
            def pytest_collection_modifyitems(items):
                items[:] = [
                    pytest.Function.from_parent(i.parent, name=i.name, callobj=test_nothing)
                    for i in items
                ]
        """,
        named="no result",
    ),
    Bend(
        id="items-deselected",
        hostile="""
            def pytest_collection_modifyitems(config, items):
                config.hook.pytest_deselected(items=items[-2:])
                del items[-2:]
        """,
        named="deselected",
    ),
    Bend(
        id="parametrized",
        hostile="""
            def pytest_generate_tests(metafunc):
                metafunc.fixturenames.append("hostile")
                metafunc.parametrize("hostile", [])
        """,
        expect="same",
    ),
    Bend(
        id="makeitem-first",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_pycollect_makeitem(collector, name, obj):
                return []
            @pytest.hookimpl(tryfirst=True)
            def pytest_pycollect_makemodule(module_path, parent):
                raise RuntimeError("ours now")
            @pytest.hookimpl(tryfirst=True)
            def pytest_collect_file(file_path, parent):
                raise RuntimeError("ours now")
            @pytest.hookimpl(tryfirst=True)
            def pytest_ignore_collect(collection_path, config):
                return True
        """,
        expect="same",
    ),
    Bend(
        id="directory-first",
        hostile="""
            import pytest
            class Empty(pytest.Directory):
                def collect(self):
                    return []
            @pytest.hookimpl(tryfirst=True)
            def pytest_collect_directory(path, parent):
                return Empty.from_parent(parent, path=path)
        """,
        expect="same",
    ),
    Bend(
        id="directory-first-and-late",
        hostile="""
            import pytest
            class Empty(pytest.Directory):
                def collect(self):
                    return []
            class Late:
                @pytest.hookimpl(tryfirst=True)
                def pytest_collect_directory(self, path, parent):
                    return Empty.from_parent(parent, path=path)
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        named="no result",
    ),
    Bend(
        id="ignored-late",
        hostile="""
            import pytest
            class Late:
                @pytest.hookimpl(tryfirst=True)
                def pytest_ignore_collect(self, collection_path, config):
                    return True
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        expect="same",
    ),
    Bend(
        id="collection-answered",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_collection(session):
                session.items = []
                return True
        """,
        named="no result",
    ),
    Bend(
        id="collect-report-emptied",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_make_collect_report(collector):
                return pytest.CollectReport(collector.nodeid, "passed", None, [])
        """,
        named="no result",
    ),
    Bend(
        id="one-group-emptied",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_make_collect_report(collector):
                if collector.nodeid == "costmgmt/roles":
                    return pytest.CollectReport(collector.nodeid, "passed", None, [])
        """,
        named="no result",
    ),
    Bend(
        id="one-group-fails",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_make_collect_report(collector):
                if collector.nodeid == "costmgmt/roles":
                    return pytest.CollectReport(collector.nodeid, "failed", "broken", [])
        """,
        named="costmgmt/roles could not be collected",
    ),
    Bend(
        id="one-group-fails-but-goes-on",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_make_collect_report(collector):
                if collector.nodeid == "costmgmt/roles":
                    return pytest.CollectReport(collector.nodeid, "failed", "broken", [])
        """,
        arguments=["--continue-on-collection-errors"],
        named="costmgmt/roles could not be collected",
    ),
    Bend(
        id="collect-only-set-late",
        hostile="""
            def pytest_configure(config):
                config.option.collectonly = True
        """,
        named="no result",
    ),
    Bend(
        id="setup-only-set-late",
        hostile="""
            def pytest_configure(config):
                config.option.setuponly = True
        """,
        named="no result",
    ),
    Bend(
        id="arguments-replaced",
        hostile="""
            def pytest_load_initial_conftests(early_config, args):
                args[:] = [a for a in args if "conformance" not in a] + ["test_user.py"]
        """,
        files={"test_user.py": "def test_user(): pass\n"},
        named="test_user.py::test_user",
    ),
]

CHOSEN = [
    Bend(id=f"chosen-{'-'.join(a.strip('-') for a in arguments)}", arguments=arguments,
         named=named)
    for arguments, named in (
        (["-k", "role"], "no result"),
        (["-m", "slow"], "no result"),
        (["--deselect", "costmgmt/roles"], "no result"),
        (["-k", "not test_no_creation_of_roles_or_databases"], "deselected"),
    )
]  # fmt: skip

CONFTEST = """
import pytest
pytest_plugins = ["hostile_two"]
collect_ignore_glob = ["*"]
def pytest_ignore_collect():
    return True
def pytest_collection_modifyitems(items):
    items.clear()
@pytest.fixture(autouse=True)
def hostile():
    pytest.skip("not today")
"""
HIDING = """[pytest]
python_files = nothing_*.py
python_functions = nothing_*
python_classes = Nothing
norecursedirs = * .* conformance
testpaths = tests
usefixtures =
addopts = {addopts}
xfail_strict = false
filterwarnings = error
markers = slow
"""
FILES = {
    "conftest.py": CONFTEST,
    "hostile_two.py": "raise RuntimeError('loaded')\n",
    "tests/conftest.py": CONFTEST,
    "tests/test_user.py": "def test_user(): pass\n",
}
OFF = (
    "logging", "warnings", "cacheprovider", "skipping", "assertion", "junitxml", "unittest",
    "doctest", "faulthandler", "monkeypatch", "stepwise", "tmpdir", "recwarn", "subtests",
    "pastebin", "debugging", "setuponly", "setupplan",
)  # fmt: skip
# Each is one run; what does not exclude another stands together.
OPTIONS = {
    "prepend": ["--import-mode=prepend", "--confcutdir=."],
    "append": ["--import-mode=append", "--rootdir=/"],
    "importlib": ["--import-mode=importlib", "-o", "python_files=x"],
    "hiding": ["--ignore-glob=*", "--ignore=/", "--pyargs", "--ff", "--nf", "--cache-clear",
               "--keep-duplicates", "--doctest-modules"],
    "strict": ["--noconftest", "--runxfail", "--strict-markers", "--strict-config",
               "--assert=plain", "-W", "error"],
    "shown": ["-s", "-vv", "--setup-show", "--durations=0", "--color=yes", "--showlocals",
              "-o", "console_output_style=count"],
    "not-shown": ["--capture=sys", "--tb=no", "--no-header", "--no-summary", "--show-capture=no",
                  "--disable-warnings", "-W", "ignore"],
    "junit": ["-o", "junit_family=xunit1", "--junitxml=j.xml", "--junitprefix=x"],
    "quiet": ["-qq"],
    "no-terminal": ["-p", "no:terminal"],
    "nothing-built-in": [part for name in OFF for part in ("-p", f"no:{name}")],
    "fixtures-asked": ["-o", "usefixtures=no_such"],
}  # fmt: skip
ENVIRONMENTS = {
    "optimized": {"PYTHONOPTIMIZE": "1", "PYTHONHASHSEED": "0", "LC_ALL": "C"},
    "optimized-twice": {"PYTHONOPTIMIZE": "2", "PYTHONDONTWRITEBYTECODE": "1"},
    "warnings": {"PYTHONWARNINGS": "error", "PYTHONDEVMODE": "1"},
    "inside-another-run": {"PYTEST_XDIST_WORKER": "gw0", "PYTEST_XDIST_TESTRUNUID": "other",
                           "PYTEST_CURRENT_TEST": "other (call)", "CI": "true"},
    "addopts": {"PYTEST_ADDOPTS": "--import-mode=importlib -q -p no:randomly"},
}  # fmt: skip
SAME = [
    Bend(id="configuration", files={**FILES, "pytest.ini": HIDING.format(addopts="")},
         expect="same"),
    *(Bend(id=name, arguments=arguments, files=FILES, expect="same")
      for name, arguments in OPTIONS.items()),
    *(Bend(id=name, environ=environ, files=FILES, expect="same")
      for name, environ in ENVIRONMENTS.items()),
]  # fmt: skip

BENT = [
    Bend(id=f"bent-{'-'.join(a.strip('-') for a in arguments)}", arguments=arguments, named=named)
    for arguments, named in (
        (["-p", "no:costmgmt-controller"], "costmgmt-controller"),
        (["-p", "no:costmgmt-runner"], "costmgmt-runner"),
        (["-p", "no:costmgmt-guard"], ""),
        (["--fixtures"], ""), (["--markers"], ""), (["--cache-show"], ""), (["--help"], ""),
        (["--fixtures-per-test"], ""),
        (["--looponfail"], "--looponfail"),
    )
]  # fmt: skip


@pytest.mark.parametrize("bend", ITEMS, ids=lambda b: b.id)
def test_collection_cannot_be_bent(pair: Pair, bend: Bend) -> None:
    """Checks that were taken out, replaced or multiplied are missed by their ids."""
    pair.holds(bend)


@pytest.mark.parametrize("bend", SAME, ids=lambda b: b.id)
def test_the_users_configuration_hides_nothing(pair: Pair, bend: Bend) -> None:
    """conftest.py, ini, options and variables that are about the user's tests change nothing."""
    pair.holds(bend)


@pytest.mark.parametrize("bend", [*CHOSEN, *BENT], ids=lambda b: b.id)
def test_a_choice_of_checks_is_no_verdict(pair: Pair, bend: Bend) -> None:
    """Selecting checks, or leaving out a part of us, is inconclusive and told."""
    pair.holds(bend)


@pytest.mark.parametrize("given", ["required_plugins = pytest-no-such", "minversion = 99"])
def test_what_pytest_refuses_before_any_plugin_is_asked_is_exit_4(pair: Pair, given: str) -> None:
    """Nothing of ours has begun then: pytest's own usage error stands, and no verdict is told."""
    bend = Bend(id="refused", files={"pytest.ini": f"[pytest]\n{given}\n"})
    ran = pair.healthy.run(bend, reported=False)
    assert ran.status == 4
    assert "verdict" not in ran.said


@pytest.mark.parametrize(
    ("arguments", "files", "environ"),
    [
        pytest.param(["--lf"], {}, {}, id="last-failed"),
        pytest.param(["--sw"], {}, {}, id="stepwise"),
        pytest.param(["-x"], {}, {}, id="exitfirst"),
        pytest.param(["--maxfail=1"], {}, {}, id="maxfail"),
        pytest.param([], {"pytest.ini": "[pytest]\naddopts = -x\n"}, {}, id="addopts"),
        pytest.param([], {}, {"PYTEST_ADDOPTS": "--maxfail=1"}, id="PYTEST_ADDOPTS"),
        pytest.param(["--pdb"], {}, {}, id="pdb"),
        pytest.param(["--trace"], {}, {}, id="trace"),
    ],
)
def test_stopping_at_a_failure_never_looks_better(
    pair: Pair, arguments: list[str], files: dict[str, str], environ: dict[str, str]
) -> None:
    """What stops at failures hides none, and calls nothing conformant that is not."""
    bend = Bend(id="stop", arguments=arguments, files=files, environ=environ)
    healthy, faulty = pair.both(bend)
    assert (healthy.status == 0) == (healthy.report["verdict"] == "conformant"), healthy.said
    assert faulty.report["verdict"] != "conformant", faulty.said
    assert faulty.status != 0, faulty.said
    assert pair.fault in faulty.reasons or "bent" in faulty.reasons, faulty.said
