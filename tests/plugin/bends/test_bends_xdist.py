"""Under pytest-xdist: the same report whatever --dist says, and a lost worker is a lost result."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.engine.report import model
from tests.plugin.bends.support import Bend, Pair, Ran, never_greener

pytest.importorskip("xdist")
XDIST = tuple(int(part) for part in version("pytest-xdist").split(".")[:2])

SCHEMA = json.loads((Path(model.__file__).parent / "report.schema.json").read_text())
DISTS = ("load", "loadscope", "loadfile", "loadgroup", "worksteal", "each", "no")

PARALLEL = [
    *(["-n2", f"--dist={dist}"] for dist in DISTS),
    ["-n4"],
    ["-n0"],
    ["-n2", "--maxprocesses=1"],
    ["-n2", "--max-worker-restart=0"],
    ["--tx=2*popen", "--dist=each"],
    ["-n2", "--maxschedchunk=1"],
    ["-n2", "-p", "no:terminal"],
]

# Each line: what began or ended, as the file's order tells it, not a clock.
RECORD = """
import os
import pytest
def tell(word, item):
    line = f"{word} {item.check.id}\\n".encode()
    place = os.open("order", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(place, line)
    os.close(place)
@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item, nextitem):
    tell("begins", item)
    try:
        return (yield)
    finally:
        tell("ends", item)
"""
MADE = """
import os
from pytest_costmgmt.engine.prepare import Preparation
run = Preparation.run
def counted(self, **more):
    place = os.open("prepared", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(place, b"once\\n")
    os.close(place)
    return run(self, **more)
Preparation.run = counted
"""
KILL = """
    import os, sys
    import pytest
    def end(config):
        if hasattr(config, "workerinput") and not ({once} and os.path.exists("ended")):
            open("ended", "w").close()
            {how}
"""
HOOKS = {
    "sessionstart": "def pytest_sessionstart(session): end(session.config)",
    "collection": "def pytest_collection_finish(session): end(session.config)",
    "setup": "def pytest_runtest_setup(item): item.check.id == 'CM-SRV-003' and end(item.config)",
    "teardown": "def pytest_runtest_teardown(item):"
    " item.check.id == 'CM-ROL-005' and end(item.config)",
    "makereport": "def pytest_runtest_makereport(item, call):"
    " item.check.id == 'CM-ROL-005' and call.when == 'call' and end(item.config)",
    "logreport": "def pytest_runtest_logreport(report):"
    " 'roles' in report.nodeid and os.environ.get('PYTEST_XDIST_WORKER') and os._exit(0)",
    "sessionfinish": "def pytest_sessionfinish(session): end(session.config)",
}
ENDS = {
    "killed": "os.kill(os.getpid(), 9)",
    "gone-0": "os._exit(0)",
    "exit-0": "pytest.exit('gone', returncode=0)",
    "sys-exit-0": "sys.exit(0)",
}


def steady(value: Any, schema: dict[str, Any]) -> Any:
    """Return what equal runs must say equally: all but what the schema calls volatile."""
    if "$ref" in schema:
        return steady(value, SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        known = [each for each in schema["anyOf"] if "$ref" in each]
        return steady(value, known[0]) if value is not None and known else value
    if isinstance(value, list) and "items" in schema:
        return [steady(each, schema["items"]) for each in value]
    if isinstance(value, dict) and "properties" in schema:
        return {
            key: steady(each, schema["properties"].get(key, {}))
            for key, each in value.items()
            if not schema["properties"].get(key, {}).get("volatile")
        }
    return value


def plain(ran: Ran) -> Any:
    """Return a run's report without what is volatile."""
    return steady(ran.report, SCHEMA)


@pytest.mark.parametrize("arguments", PARALLEL, ids=" ".join)
def test_the_report_is_the_same_in_parallel(pair: Pair, arguments: list[str]) -> None:
    """With any number of workers, and any --dist, the report is that of one process."""
    for ran, straight in zip(
        pair.both(Bend(id="parallel", arguments=arguments)), pair.unbent, strict=True
    ):
        assert plain(ran) == plain(straight), ran.said
        assert ran.status == straight.status, ran.said


@pytest.mark.parametrize("dist", DISTS)
def test_our_scheduler_keeps_order_without_overlap(pair: Pair, dist: str) -> None:
    """A canary: checks of one target begin in catalogue order, each after the last one's end."""
    bend = Bend(id="order", hostile=RECORD, arguments=["-n2", f"--dist={dist}"])
    ran = pair.healthy.run(bend)
    told = (pair.healthy.last / "order").read_text().splitlines()
    ids = [check["id"] for check in ran.report["checks"]]
    assert told == [f"{word} {id_}" for id_ in ids for word in ("begins", "ends")]


@pytest.mark.parametrize("workers", ["-n0", "-n2", "-n4"])
def test_preparation_happens_once(pair: Pair, workers: str) -> None:
    """The controller prepares, and no worker does."""
    pair.healthy.run(Bend(id="once", hostile=MADE, arguments=[workers]))
    assert (pair.healthy.last / "prepared").read_text() == "once\n"


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
def test_a_failed_preparation_fails_once(pair: Pair, workers: str) -> None:
    """A server that does not answer is one error, also with workers; all else is blocked by it."""
    unreachable = ["--costmgmt-dsn=host=127.0.0.1 port=1 user=koku dbname=koku"]
    bend = Bend(id="unreachable", hostile=MADE, arguments=[workers, *unreachable])
    ran = pair.healthy.run(bend, target=["--costmgmt-connect-timeout=2"])
    assert (pair.healthy.last / "prepared").read_text() == "once\n"
    assert ran.status == 8, ran.said
    assert list(ran.outcomes.values()).count("error") == 1, ran.said
    assert set(ran.outcomes.values()) == {"error", "blocked"}, ran.said


@pytest.mark.parametrize("restart", ["--max-worker-restart=0", "--max-worker-restart=2"])
@pytest.mark.parametrize("how", ["killed", "exit-0"])
@pytest.mark.parametrize("hook", HOOKS)
def test_a_lost_worker_is_never_a_pass(pair: Pair, hook: str, how: str, restart: str) -> None:
    """A worker that ends in any hook leaves the same outcomes, or an inconclusive verdict."""
    _lost(pair, hook, how, once=restart.endswith("2"), arguments=["-n2", restart])


@pytest.mark.parametrize("how", ["gone-0", "sys-exit-0"])
@pytest.mark.parametrize("hook", ["collection", "setup", "teardown", "makereport"])
def test_a_worker_that_leaves_quietly_is_missed(pair: Pair, hook: str, how: str) -> None:
    """A worker that leaves with status 0 is missed as one that was killed."""
    _lost(pair, hook, how, once=True, arguments=["-n2"])


def _lost(pair: Pair, hook: str, how: str, *, once: bool, arguments: list[str]) -> None:
    hostile = KILL.format(how=ENDS[how], once=once) + f"    {HOOKS[hook]}\n"
    bend = Bend(id="lost", hostile=hostile, arguments=arguments)
    for ran, straight in zip(pair.both(bend), pair.unbent, strict=True):
        never_greener(ran, straight, pair.fault)
        if ran.outcomes != straight.outcomes:
            assert ran.status != 0, ran.said
            assert ran.report["verdict"] != "conformant", ran.said
            assert ran.report["reasons"], ran.said


BENT = [
    Bend(id="selected", arguments=["-n2", "-k", "role"], named="no result"),
    Bend(id="deselected", arguments=["-n2", "--deselect", "costmgmt/roles"], named="no result"),
    Bend(
        id="removed-in-workers",
        hostile="""
            def pytest_collection_modifyitems(items):
                del items[5:]
        """,
        arguments=["-n2"],
        named="no result",
    ),
    Bend(
        id="different-in-each-worker",
        hostile="""
            import os
            def pytest_collection_modifyitems(items):
                if os.environ.get("PYTEST_XDIST_WORKER") == "gw1":
                    del items[5:]
        """,
        arguments=["-n2"],
    ),
    Bend(
        id="results-not-serialised",
        hostile="""
            import pytest
            class Late:
                @pytest.hookimpl(wrapper=True, tryfirst=True)
                def pytest_report_to_serializable(self, report):
                    data = yield
                    data.pop("costmgmt", None)
                    return data
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        arguments=["-n2"],
        named="lost its result",
    ),
    Bend(
        id="nothing-handed-over",
        hostile="""
            import pytest
            @pytest.hookimpl(trylast=True)
            def pytest_configure_node(node):
                node.workerinput.pop("costmgmt", None)
        """,
        arguments=["-n2"],
    ),
    Bend(
        id="shouldstop-in-worker",
        hostile="""
            def pytest_runtest_teardown(item):
                item.session.shouldstop = "enough"
        """,
        arguments=["-n2"],
        # A worker of an older one does not stop for it.
        expect="bent" if XDIST >= (3, 6) else "same",
        named="no result",
    ),
    Bend(
        id="interrupted-in-worker",
        hostile="""
            def pytest_runtest_teardown(item):
                if item.check.id == "CM-SRV-003":
                    raise KeyboardInterrupt
        """,
        arguments=["-n2"],
        named="no result",
    ),
]
SAME = [
    Bend(
        id="flipped-in-workers",
        hostile="""
            import pytest
            @pytest.hookimpl(wrapper=True)
            def pytest_runtest_makereport(item, call):
                report = yield
                report.outcome = "passed"
                return report
        """,
        arguments=["-n2"],
        expect="same",
    ),
    Bend(
        id="another-scheduler",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_xdist_make_scheduler(config, log):
                from xdist.scheduler import LoadScheduling
                return LoadScheduling(config, log)
        """,
        arguments=["-n2"],
        expect="same",
    ),
    Bend(
        id="inside-another-run",
        environ={"PYTEST_XDIST_WORKER": "gw7", "PYTEST_XDIST_WORKER_COUNT": "8"},
        arguments=["-n2"],
        expect="same",
    ),
]


# xdist's hooks in the controller: leaving from any of them must be told.
XDIST_HOOKS = (
    "pytest_xdist_setupnodes", "pytest_configure_node", "pytest_testnodeready",
    "pytest_xdist_make_scheduler", "pytest_xdist_node_collection_finished",
)  # fmt: skip
LEAVING = [
    Bend(
        id=f"exit-0-in-{hook}",
        hostile=f"""
            import pytest
            class Late:
                @pytest.hookimpl(tryfirst=True)
                def {hook}(self):
                    pytest.exit("gone", returncode=0)
            def pytest_configure(config):
                if not hasattr(config, "workerinput"):
                    config.pluginmanager.register(Late(), "late")
        """,
        arguments=["-n2"],
    )
    for hook in XDIST_HOOKS
]


@pytest.mark.parametrize("bend", [*BENT, *SAME, *LEAVING], ids=lambda b: b.id)
def test_workers_cannot_bend_the_verdict(pair: Pair, bend: Bend) -> None:
    """What is left out, stopped or flipped in a worker is missed by the controller."""
    pair.holds(bend)
