"""Options that a plugin gives another value, after they were typed and before they are read."""

from __future__ import annotations

import pytest

from tests.plugin.bends.support import Bend, Pair

CHANGES = """
import pytest
class Outer:
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_cmdline_main(self, config):
        {change}
        return (yield)
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    early_config.pluginmanager.register(Outer())
"""
ARGUMENTS = """
import pytest
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(args):
    args.append("--costmgmt-profile=preflight")
"""
CHANGED = [
    Bend(id="added", hostile=ARGUMENTS, named="--costmgmt-profile"),
    *(
        Bend(
            id=name,
            hostile=CHANGES.format(change=f"config.option.costmgmt_{name} = {value!r}"),
            named=f"--costmgmt-{name}",
        )
        for name, value in (
            ("profile", "preflight"),
            ("dsn", "host=127.0.0.1 port=1"),
            ("requirements", "koku-onprem"),
            ("skip", ["CM-ROL-001"]),
        )
    ),
]


@pytest.mark.parametrize("bend", CHANGED, ids=lambda b: b.id)
def test_what_was_typed_is_what_is_judged(pair: Pair, bend: Bend) -> None:
    """A profile, a target or requirements that a plugin exchanged are told, and nothing is run."""
    pair.holds(bend)


def test_options_from_addopts_are_no_change(pair: Pair) -> None:
    """What addopts gave was given."""
    ini = "[pytest]\naddopts = --costmgmt-connect-timeout=9\n"
    pair.holds(Bend(id="addopts", files={"pytest.ini": ini}, expect="same"))
