"""Nobody listens: streams that are closed, and readers that are gone."""

from __future__ import annotations

import pytest

from tests.plugin.bends.support import Bend, Pair, never_greener

# The status of the command, not of what reads its output.
PIPED = '{ "$@"; echo $? >status; } | %s; exit "$(cat status)"'
GONE_LATE = """
import os
def pytest_unconfigure():
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 1)
"""
RAISES = """
import pytest
class Late:
    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_cmdline_main(self):
        yield
        raise RuntimeError("gone")
def pytest_configure(config):
    config.pluginmanager.register(Late())
@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config):
    early_config.pluginmanager.register(Late())
"""


@pytest.mark.parametrize("workers", [[], ["-n2"]], ids=["alone", "two-workers"])
@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_changes_nothing(pair: Pair, closed: str, workers: list[str]) -> None:
    """Without stdout, stderr or all three, the target is judged as it is."""
    bend = Bend(id="closed", arguments=workers)
    for target, straight in zip((pair.healthy, pair.faulty), pair.unbent, strict=True):
        ran = target.run(bend, line=f'"$@" {closed}')
        assert ran.outcomes == straight.outcomes, ran.reasons
        assert ran.status == straight.status, ran.reasons


def test_a_usage_error_needs_no_stream(pair: Pair) -> None:
    """Exit 4 is exit 4 where nobody reads why."""
    bend = Bend(id="usage", arguments=["--costmgmt-skip=CM-XXX-999=because"])
    for line in ('"$@" >&-', '"$@" <&- >&- 2>&-', PIPED % "true"):
        ran = pair.healthy.run(bend, line=line)
        assert ran.status == 4, ran.said
        assert ran.report["verdict"] == "inconclusive"


@pytest.mark.parametrize("command", [("-m", "pytest"), ("-m", "pytest_costmgmt.cli", "check")])
def test_a_reader_that_leaves_ends_the_run(pair: Pair, command: tuple[str, ...]) -> None:
    """``| head -1`` ends the session: an internal error, and never "non-conformant"."""
    for target, straight in zip((pair.healthy, pair.faulty), pair.unbent, strict=True):
        ran = target.run(Bend(id="gone"), command=command, line=PIPED % "head -1")
        never_greener(ran, straight, pair.fault)
        assert ran.status == 3, ran.said
        assert "BrokenPipeError" in ran.reasons
        assert "Traceback" not in ran.said


def test_a_reader_that_left_after_the_session_changes_nothing(pair: Pair) -> None:
    """What was judged stands, though the verdict's line is read by nobody."""
    bend = Bend(id="late", hostile=GONE_LATE)
    for target, straight in zip((pair.healthy, pair.faulty), pair.unbent, strict=True):
        ran = target.run(bend)
        assert ran.outcomes == straight.outcomes
        assert ran.report["verdict"] == straight.report["verdict"]
        assert ran.status == straight.status, ran.said


def test_an_error_of_somebody_else_is_shown_and_never_non_conformant(pair: Pair) -> None:
    """An exception outside of the session is an internal error, with its traceback."""
    ran = pair.healthy.run(Bend(id="raises", hostile=RAISES))
    assert (ran.status, ran.report["verdict"]) == (3, "inconclusive"), ran.said
    assert "RuntimeError: gone" in ran.said
