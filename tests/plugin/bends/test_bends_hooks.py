"""Hooks of other plugins: neither swallowing, nor raising, nor leaving early bends a verdict."""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugin.bends.support import Bend, Pair

SWALLOW = """
    import pytest
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def {hook}({arguments}):
        try:
            return (yield)
        except {what}:
            return None
"""
PLANT = """
    import os, sys
    import pytest
    class Late:
        @pytest.hookimpl(tryfirst=True)
        def {hook}(self):
            {leave}
    {early}
    def pytest_configure(config):
        config.pluginmanager.register(Late(), "late")
"""

SWALLOWED = [
    Bend(
        id=f"{hook}-swallows-{what}",
        hostile=SWALLOW.format(hook=hook, arguments=arguments, what=what),
        expect="same",
    )
    for hook, arguments in (("pytest_pyfunc_call", "pyfuncitem"), ("pytest_runtest_call", "item"))
    for what in ("AssertionError", "BaseException")
]

RETURNS = [
    Bend(
        id="pyfunc-call-returns-true",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_pyfunc_call(pyfuncitem):
                return True
        """,
        expect="same",
    ),
    Bend(
        id="runtest-call-instead-of-ours",
        hostile="""
            def pytest_collection_modifyitems(items):
                for item in items:
                    item.runtest = lambda: None
        """,
        named="without a judgement",
    ),
    Bend(
        id="function-replaced",
        hostile="""
            def pytest_collection_modifyitems(items):
                for item in items:
                    item.obj = lambda **facts: None
        """,
        expect="same",
    ),
    Bend(
        id="facts-emptied-before-the-call",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_call(item):
                item.funcargs.clear()
        """,
        expect="same",
    ),
    Bend(
        id="protocol-returns-true",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_protocol(item, nextitem):
                return True
        """,
        named="no result",
    ),
    Bend(
        id="loop-returns-true",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtestloop(session):
                return True
        """,
        named="no result",
    ),
    Bend(
        id="loop-swallows-everything",
        hostile="""
            import pytest
            @pytest.hookimpl(wrapper=True, tryfirst=True)
            def pytest_runtestloop(session):
                try:
                    return (yield)
                except BaseException:
                    return True
            def pytest_runtest_teardown(item):
                if "CM-CON-003" in str(item.user_properties):
                    raise KeyboardInterrupt
        """,
        named="no result",
    ),
    Bend(
        id="main-returns-0-and-runs-nothing",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_cmdline_main(config):
                return 0
        """,
        named="no result",
    ),
    Bend(
        id="main-wrapped-to-0",
        hostile="""
            import pytest
            @pytest.hookimpl(wrapper=True, tryfirst=True)
            def pytest_cmdline_main(config):
                yield
                return 0
        """,
        expect="same",
    ),
    Bend(
        id="main-wrapped-to-256",
        hostile="""
            import pytest
            @pytest.hookimpl(wrapper=True)
            def pytest_cmdline_main(config):
                yield
                return 256
        """,
        expect="same",
    ),
    Bend(
        id="status-set-to-0",
        hostile="""
            import pytest
            @pytest.hookimpl(trylast=True)
            def pytest_sessionfinish(session):
                session.exitstatus = 0
                session.testsfailed = 0
        """,
        expect="same",
    ),
]

DURING = (
    "pytest_sessionstart", "pytest_collection", "pytest_collection_modifyitems",
    "pytest_collection_finish", "pytest_runtestloop", "pytest_runtest_protocol",
    "pytest_runtest_logstart", "pytest_runtest_setup", "pytest_runtest_call",
    "pytest_runtest_teardown", "pytest_runtest_makereport", "pytest_runtest_logreport",
    "pytest_runtest_logfinish", "pytest_make_collect_report", "pytest_report_teststatus",
    "pytest_collectreport", "pytest_itemcollected",
    "pytest_collectstart", "pytest_report_collectionfinish", "pytest_report_header",
)  # fmt: skip
# Hooks by which others make or call test functions: the suite does not ask them.
NOT_ASKED = (
    "pytest_pycollect_makemodule",
    "pytest_pycollect_makeitem",
    "pytest_generate_tests",
    "pytest_fixture_setup",
    "pytest_pyfunc_call",
)
# After the last check: what was proved stays proved, but the session's end is told.
AFTER = ("pytest_terminal_summary", "pytest_sessionfinish", "pytest_unconfigure")

LEAVES = {
    "exit-0": "pytest.exit('gone', returncode=0)",
    "exit-256": "pytest.exit('gone', returncode=256)",
    "sys-exit-0": "sys.exit(0)",
    "raise": "raise RuntimeError('gone')",
    "interrupt": "raise KeyboardInterrupt",
    "skip": "pytest.skip('gone')",
    "usage": "raise pytest.UsageError('gone')",
}


def leaving(hook: str, way: str, **more: str) -> Bend:
    """Return the bend that leaves by ``way`` as soon as ``hook`` is called."""
    hostile = PLANT.format(hook=hook, leave=LEAVES[way], early="")
    return Bend(id=f"{way}-in-{hook}", hostile=hostile, **more)  # type: ignore[arg-type]


LEAVING = [leaving(hook, way) for hook in DURING for way in ("exit-0", "sys-exit-0")] + [
    leaving(hook, way)
    for hook in ("pytest_sessionstart", "pytest_runtest_setup", "pytest_runtest_logreport")
    for way in ("exit-256", "raise", "interrupt", "skip", "usage")
]
LEAVING += [leaving(hook, "exit-0", expect="same") for hook in NOT_ASKED]
LEAVING_LATE = [leaving(hook, way) for hook in AFTER for way in LEAVES]
LEAVING_EARLY = [
    Bend(
        id=f"{way}-in-{hook}",
        hostile=f"""
            import sys
            import pytest
            def {hook}(config):
                {LEAVES[way]}
        """,
    )
    for hook in ("pytest_configure", "pytest_cmdline_main")
    for way in ("exit-0", "sys-exit-0", "raise", "usage")
] + [
    Bend(
        id=f"{way}-in-pytest_load_initial_conftests",
        hostile=f"""
            import sys
            import pytest
            def pytest_load_initial_conftests(early_config):
                {LEAVES[way]}
        """,
    )
    for way in ("exit-0", "sys-exit-0", "raise")
]
STOPS = [
    Bend(
        id="shouldstop-before",
        hostile="""
            import pytest
            def pytest_collection_finish(session):
                session.shouldstop = "enough"
        """,
        named="enough",
    ),
    Bend(
        id="shouldstop-after-one",
        hostile="""
            import pytest
            def pytest_runtest_teardown(item):
                item.session.shouldstop = "enough"
        """,
        named="enough",
    ),
    Bend(
        id="shouldfail-after-one",
        hostile="""
            import pytest
            def pytest_runtest_teardown(item):
                item.session.shouldfail = "enough"
        """,
        named="enough",
    ),
    Bend(
        id="shouldstop-after-the-last",
        hostile="""
            import pytest
            def pytest_runtest_teardown(item, nextitem):
                if nextitem is None:
                    item.session.shouldstop = "enough"
        """,
        named="enough",
    ),
]


def unregistered(name: str, **more: Any) -> Bend:
    """Return a plugin of ours taken out once the run has begun."""
    taken = f"config.pluginmanager.unregister(name={name!r})"
    return Bend(
        id=f"unregistered-{name}", hostile=f"def pytest_configure(config):\n    {taken}\n", **more
    )


UNLOADED = [
    unregistered("costmgmt-controller"),
    unregistered("costmgmt-runner"),
    unregistered("costmgmt-guard"),  # it collects the suite
    unregistered("costmgmt", expect="same"),  # it has done all that it does
    unregistered("pytest_costmgmt.fixtures", expect="same"),  # for other people's tests
]


@pytest.mark.parametrize("bend", [*RETURNS, *SWALLOWED, *STOPS, *UNLOADED], ids=lambda b: b.id)
def test_a_hook_cannot_bend_the_verdict(pair: Pair, bend: Bend) -> None:
    """A foreign hook leaves outcomes as they are, or the run is inconclusive and says why."""
    pair.holds(bend)


@pytest.mark.parametrize("bend", [*LEAVING, *LEAVING_EARLY], ids=lambda b: b.id)
def test_leaving_early_is_never_a_pass(pair: Pair, bend: Bend) -> None:
    """Whoever ends the session before its end leaves an inconclusive verdict."""
    pair.holds(bend)


@pytest.mark.parametrize("bend", LEAVING_LATE, ids=lambda b: b.id)
def test_leaving_late_changes_no_outcome(pair: Pair, bend: Bend) -> None:
    """Whoever ends the session after the last check changes no outcome, and hides no failure."""
    for ran, straight in zip(pair.both(bend), pair.unbent, strict=True):
        assert ran.outcomes in (straight.outcomes, {}), ran.said
        assert (ran.status == 0) <= (straight.status == 0), ran.said
        assert ran.report["verdict"] in {straight.report["verdict"], "inconclusive"}, ran.said
        assert (ran.status == 0) == (ran.report["verdict"] == "conformant"), ran.said
