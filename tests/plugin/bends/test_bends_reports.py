"""Reports and items of other plugins: marks, flips, forgeries, second attempts, fixtures."""

from __future__ import annotations

import pytest

from tests.plugin.bends.support import Bend, Pair

MARKS = [
    Bend(
        id=f"marked-{name}",
        hostile=f"""
            import pytest
            def pytest_collection_modifyitems(items):
                for item in items:
                    item.add_marker({mark})
        """,
        expect="bent" if named else "same",
        named=named,
    )
    for name, mark, named in (
        ("xfail", "pytest.mark.xfail(strict=False)", ""),
        ("xfail-strict", "pytest.mark.xfail(strict=True)", ""),
        ("xfail-not-run", "pytest.mark.xfail(run=False)", "Failed"),
        ("skip", "pytest.mark.skip(reason='not today')", "not today"),
        ("skipif", "pytest.mark.skipif(True, reason='not today')", "not today"),
        ("usefixtures", "pytest.mark.usefixtures('no_such')", ""),
        ("filterwarnings", "pytest.mark.filterwarnings('error')", ""),
    )
]
FLIP = """
    import pytest
    def flip(report):
        {how}
        return report
    class Outside:
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_makereport(self, item, call):
            return flip((yield))
    class Inside:
        @pytest.hookimpl(wrapper=True, trylast=True)
        def pytest_runtest_makereport(self, item, call):
            return flip((yield))
    class Logged:
        @pytest.hookimpl(tryfirst=True)
        def pytest_runtest_logreport(self, report):
            flip(report)
    class LoggedOutside:
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_logreport(self, report):
            flip(report)
            return (yield)
    def pytest_configure(config):
        config.pluginmanager.register({where}(), "flipper")
"""
HOWS = {
    "passed": "report.outcome, report.longrepr = 'passed', None",
    "skipped": "report.outcome, report.longrepr = 'skipped', ('x', 1, 'Skipped: no')",
    "xfailed": "report.outcome, report.wasxfail = 'skipped', 'expected'",
    "teardown": "report.when = 'teardown'",
    "rerun": "report.outcome = 'rerun'",
}
STOPPING = {"skipped", "xfailed", "rerun"}
FLIPS = [
    Bend(
        id=f"{how}-{where}",
        hostile=FLIP.format(how=HOWS[how], where=where),
        # Set up as skipped, a check is not even called by pytest; inside, ours comes after.
        expect="bent" if how in STOPPING and where != "Inside" else "same",
        named="no result" if how in STOPPING and where != "Inside" else "",
    )
    for how in HOWS
    for where in ("Inside", "Outside", "Logged", "LoggedOutside")
]
REMOVED = [
    Bend(
        id=f"result-removed-{where}",
        hostile=FLIP.format(how="report.__dict__.pop('costmgmt', None)", where=where),
        named="lost its result",
    )
    for where in ("Outside", "LoggedOutside")
]
FORGE = "getattr(report, 'costmgmt', {})['outcome'] = 'passed'"
FORGED = [
    Bend(
        id=f"result-forged-{where}",
        hostile=FLIP.format(
            how="getattr(report, 'costmgmt', {})['outcome'] = 'passed'", where=where
        ),
        named="does not bear out",
    )
    for where in ("Outside", "LoggedOutside")
] + [
    Bend(
        id="check-exchanged",
        hostile="""
            import msgspec
            def pytest_collection_modifyitems(items):
                role = next(i.check for i in items if i.check.id == "CM-ROL-001")
                for item in items:
                    item.check = msgspec.structs.replace(role, id=item.check.id)
        """,
        named="not as the catalogue has it",
    ),
]
REPLACED = [
    Bend(
        id="report-replaced",
        hostile="""
            import pytest
            class Late:
                @pytest.hookimpl(wrapper=True, tryfirst=True)
                def pytest_runtest_makereport(self, item, call):
                    yield
                    return pytest.TestReport(
                        item.nodeid, item.location, {}, "passed", None, call.when)
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        named="lost its result",
    ),
    Bend(
        id="report-made-first",
        hostile="""
            import pytest
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_makereport(item, call):
                return pytest.TestReport(item.nodeid, item.location, {}, "passed", None, call.when)
        """,
        expect="same",
    ),
    Bend(
        id="exception-forgotten",
        hostile="""
            import pytest
            class Late:
                @pytest.hookimpl(wrapper=True, tryfirst=True)
                def pytest_runtest_makereport(self, item, call):
                    call.excinfo = None
                    return (yield)
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        expect="same",
    ),
    Bend(
        id="report-dropped",
        hostile="""
            import pytest
            from _pytest import runner
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_protocol(item, nextitem):
                for report in runner.runtestprotocol(item, nextitem=nextitem, log=False):
                    if report.passed:
                        item.ihook.pytest_runtest_logreport(report=report)
                return True
        """,
        named="no result",
    ),
]
# The first attempt fails (here: is made to) and is not shown; the second one is.
AGAIN = """
    import pytest
    from _pytest import runner
    seen = set()
    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_protocol(item, nextitem):
        runner.runtestprotocol(item, nextitem=item, log={first})
        runner.runtestprotocol(item, nextitem=nextitem, log=True)
        return True
"""
ATTEMPTS = [
    Bend(id="twice-shown", hostile=AGAIN.format(first=True), named="2 attempts"),
    Bend(id="twice-first-hidden", hostile=AGAIN.format(first=False), named="2 attempts"),
    Bend(
        id="failed-then-passed",
        hostile="""
            import pytest
            from _pytest import runner
            seen = set()
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_protocol(item, nextitem):
                if item.check.id == "CM-SRV-003":
                    runner.runtestprotocol(item, nextitem=item, log=True)
                    runner.runtestprotocol(item, nextitem=nextitem, log=True)
                    return True
            @pytest.hookimpl(tryfirst=True)
            def pytest_runtest_call(item):
                if item.check.id == "CM-SRV-003" and item.check.id not in seen:
                    seen.add(item.check.id)
                    raise RuntimeError("only the first time")
        """,
        named="CM-SRV-003 (2 attempts: error, ",
    ),
    Bend(
        id="twice-first-called-teardown",
        hostile=AGAIN.format(first=True)
        + """
    class Late:
        @pytest.hookimpl(wrapper=True, tryfirst=True)
        def pytest_runtest_logreport(self, report):
            report.when = "teardown"
            return (yield)
    def pytest_configure(config):
        config.pluginmanager.register(Late(), "late")
""",
        named="2 attempts",
    ),
]
FIXTURES = [
    Bend(
        id="fixture-of-our-name",
        hostile="""
            import pytest
            class Late:
                @pytest.fixture(scope="session")
                def costmgmt_catalog(self):
                    return None
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        expect="same",
    ),
    Bend(
        id="fixture-of-our-name-altered",
        hostile="""
            import pytest, msgspec
            def calmed(catalog):
                roles = tuple(msgspec.structs.replace(role, createdb=False)
                              for role in catalog.roles.roles)
                return msgspec.structs.replace(
                    catalog, roles=msgspec.structs.replace(catalog.roles, roles=roles))
            class Late:
                @pytest.fixture(scope="session")
                def costmgmt_catalog(self, costmgmt_catalog):
                    return calmed(costmgmt_catalog)
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        expect="same",
    ),
    Bend(
        id="fixture-setup-answered",
        hostile="""
            import pytest
            class Late:
                @pytest.hookimpl(tryfirst=True)
                def pytest_fixture_setup(self, fixturedef, request):
                    if fixturedef.argname == "costmgmt_catalog":
                        fixturedef.cached_result = (None, fixturedef.cache_key(request), None)
                        return True
            def pytest_configure(config):
                config.pluginmanager.register(Late(), "late")
        """,
        expect="same",
    ),
    Bend(
        id="funcargs-replaced",
        hostile="""
            import pytest
            def pytest_runtest_call(item):
                for name in item.funcargs:
                    item.funcargs[name] = None
        """,
        expect="same",
    ),
    Bend(
        id="autouse-skips",
        hostile="""
            import pytest
            @pytest.fixture(autouse=True)
            def hostile():
                pytest.skip("not today")
        """,
        expect="same",
    ),
    Bend(
        id="autouse-xfails",
        hostile="""
            import pytest
            @pytest.fixture(autouse=True)
            def hostile():
                pytest.xfail("not today")
        """,
        expect="same",
    ),
    Bend(
        id="autouse-raises-after",
        hostile="""
            import pytest
            @pytest.fixture(autouse=True)
            def hostile():
                yield
                raise RuntimeError("not today")
        """,
        expect="same",
    ),
    Bend(
        id="autouse-parametrized",
        hostile="""
            import pytest
            @pytest.fixture(autouse=True, params=[])
            def hostile(request):
                return request.param
        """,
        expect="same",
    ),
    Bend(
        id="autouse-adds-xfail",
        hostile="""
            import pytest
            @pytest.fixture(autouse=True)
            def hostile(request):
                request.node.add_marker(pytest.mark.xfail)
        """,
        expect="same",
    ),
    Bend(
        id="autouse-changes-folder-and-clock",
        hostile="""
            import time
            import pytest
            @pytest.fixture(autouse=True)
            def hostile(monkeypatch, tmp_path):
                monkeypatch.chdir(tmp_path)
                monkeypatch.setenv("PGHOST", "nowhere.invalid")
                monkeypatch.setattr(time, "time", lambda: 0.0)
        """,
        expect="same",
    ),
]
# One SHOULD alone: the verdict must not stay conformant over an outcome that was bent.
ALONE = [
    Bend(
        id=f"one-should-{name}",
        hostile=f"""
            import pytest
            @pytest.hookimpl(trylast=True)
            def pytest_collection_modifyitems(items):
                one = next(i for i in items if i.check.level == "SHOULD")
                {how}
        """,
        named=named,
    )
    for name, how, named in (
        ("skipped", "one.add_marker(pytest.mark.skip(reason='not today'))", "not today"),
        ("taken-out", "items.remove(one)", "no result"),
        ("twice", "items.append(one)", "2 attempts"),
        ("not-run", "one.runtest = lambda: None", "without a judgement"),
    )
]


@pytest.mark.parametrize(
    "bend", [*MARKS, *FLIPS, *REMOVED, *FORGED, *REPLACED, *ATTEMPTS], ids=lambda b: b.id
)
def test_a_report_cannot_bend_the_verdict(pair: Pair, bend: Bend) -> None:
    """Marks, flips and second attempts leave the outcome that the evidence gave."""
    pair.holds(bend)


@pytest.mark.parametrize("bend", [*FIXTURES, *ALONE], ids=lambda b: b.id)
def test_a_fixture_cannot_bend_the_verdict(pair: Pair, bend: Bend) -> None:
    """The checks judge our facts, whatever fixtures other plugins bring."""
    pair.holds(bend)
