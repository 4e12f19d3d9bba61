"""Other people's plugins, each in a hostile configuration: the same outcomes, or not green."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from tests.plugin.bends.support import Bend, Pair, never_greener

SETTINGS = "SECRET_KEY = 'x'\nUSE_TZ = True\nDATABASES = {}\nINSTALLED_APPS = []\n"
CONFIGURED: list[tuple[str, list[str], dict[str, str]]] = [
    ("pytest_rerunfailures", ["--reruns=2"], {}),
    ("pytest_rerunfailures", ["--reruns=1", "--only-rerun=Unmet"], {}),
    ("pytest_retry", ["--retries=2"], {}),
    ("flaky", ["--force-flaky", "--max-runs=3", "--min-passes=1"], {}),
    ("pytest_repeat", ["--count=3"], {}),
    ("pytest_timeout", ["--timeout=0.001"], {}),
    ("pytest_timeout", ["--timeout=0.001", "--timeout-method=thread"], {}),
    ("pytest_randomly", ["-p", "randomly", "--randomly-seed=7"], {}),
    ("pytest_socket", ["--disable-socket"], {}),
    ("pytest_socket", ["--allow-hosts=192.0.2.1"], {}),
    ("pytest_asyncio", ["-o", "asyncio_mode=auto"], {}),
    ("pytest_cov", ["--cov=.", "--cov-fail-under=100"], {}),
    ("pytest_django", ["--ds=no_such_settings"], {}),
    ("pytest_django", ["--ds=hostile_settings", "--fail-on-template-vars", "--nomigrations"], {}),
    ("pytest_order", ["--indulgent-ordering", "--sparse-ordering"], {}),
    ("xdist", ["-n2", "--dist=loadgroup"], {}),
    ("allure_pytest", ["--alluredir=allure", "--allure-severities=trivial"], {}),
    ("allure_pytest", ["--alluredir=allure", "--allure-no-capture"], {}),
]


@pytest.mark.parametrize("workers", ["-n0", "-n2"])
@pytest.mark.parametrize(
    ("package", "arguments", "environ"),
    CONFIGURED,
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_plugin_makes_nothing_greener(
    pair: Pair, package: str, arguments: list[str], environ: dict[str, str], workers: str
) -> None:
    """A plugin in a hostile configuration leaves outcomes alone, or the verdict is not green."""
    for needed in (package, "xdist"):
        if find_spec(needed) is None:
            pytest.skip(f"{needed} is not installed")
    files = {"hostile_settings.py": SETTINGS, "test_user.py": "def test_user(): pass\n"}
    bend = Bend(id="plugin", arguments=[workers, *arguments], environ=environ, files=files)
    for ran, straight in zip(pair.both(bend), pair.unbent, strict=True):
        never_greener(ran, straight, pair.fault)
        if ran.outcomes == straight.outcomes:
            assert ran.report["verdict"] == straight.report["verdict"], ran.said
            assert ran.status >= straight.status, ran.said
        else:
            assert ran.report["verdict"] != "conformant", ran.said
            assert ran.status != 0, ran.said
            assert ran.report["reasons"], ran.said
