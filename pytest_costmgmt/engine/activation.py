"""Which tests run: decided from what stands on the command line, before anything is loaded."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from pytest_costmgmt.options import OPTIONS

# Options with which pytest would run no check and still say 0.
NOTHING_RUNS = {
    "collectonly": "--collect-only",
    "setupplan": "--setup-plan",
    "setuponly": "--setup-only",
    "stepwise_skip": "--stepwise-skip",
    "looponfail": "--looponfail",  # pytest-xdist's: runs until it is interrupted
}


class Activation(NamedTuple):
    """What this pytest run is to us.

    ``suite``: the conformance suite runs. ``told``: a target was named for the user's own tests,
    so that the run must say that it judged nothing. ``problem`` is the usage error, told when the
    session would start.
    """

    suite: bool = False
    told: bool = False
    problem: str = ""


def decide(
    config: pytest.Config, parser: pytest.Parser, effective: Any, invocation: Sequence[str]
) -> Activation:
    """Return what the run is, from the command line alone and with addopts applied.

    Environment and ini configure; they never start the suite (ENGINE: "Which tests run").
    """
    typed = parser.parse_known_args(list(invocation))
    started = bool(getattr(typed, "costmgmt", None))
    targets = [o.flag for o in OPTIONS if o.target and getattr(typed, o.key, None) is not None]
    paths_typed = bool(typed.file_or_dir)
    paths = [str(path) for path in effective.file_or_dir]
    if not started and not targets:
        if getattr(effective, "costmgmt", None):
            return Activation(
                problem="--costmgmt stands in addopts or PYTEST_ADDOPTS, from where it never"
                " starts the suite: write it on the command line."
            )
        return Activation()
    if started and paths:
        where = "" if paths_typed else " (from addopts or PYTEST_ADDOPTS)"
        return Activation(
            suite=True,
            problem=f"--costmgmt runs the conformance suite alone, but a path is given too:"
            f" {paths[0]}{where}. Leave the path out, or run your own tests without --costmgmt.",
        )
    if paths:
        if not paths_typed:
            return Activation(
                suite=True,
                problem=f"{targets[0]} would start the conformance suite, but addopts or"
                f" PYTEST_ADDOPTS give a path: {paths[0]}. Take the path out, or use"
                " `costmgmt check`.",
            )
        return Activation(told=True)
    for attribute, flag in NOTHING_RUNS.items():
        if getattr(effective, attribute, False):
            return Activation(
                suite=True,
                problem=f"{flag} with the conformance suite would judge nothing: leave it out"
                " (also of addopts and PYTEST_ADDOPTS).",
            )
    if (config.invocation_params.dir / "pytest_costmgmt").is_dir() and _shadowing(config):
        return Activation(
            suite=True,
            problem="a folder pytest_costmgmt/ in the working folder would be imported in place"
            " of the plugin: run from another folder.",
        )
    return Activation(suite=True)


def _shadowing(config: pytest.Config) -> bool:
    """Say whether the working folder's ``pytest_costmgmt`` is not the package that is running."""
    from pytest_costmgmt.resources import PACKAGE  # noqa: PLC0415 - only when the suite runs

    return (config.invocation_params.dir / "pytest_costmgmt").resolve() != PACKAGE


def installed_first(config: pytest.Config) -> None:
    """Have what is installed found before what lies in the working folder.

    ``python -m pytest`` puts that folder first: a ``secrets.py`` or ``psycopg/`` of the user's
    would be imported in place of Python's own, or of the driver.
    """
    here = {"", str(config.invocation_params.dir)}
    sys.path.sort(key=lambda place: place in here)


def in_xdist_worker() -> bool:
    """Say whether this process is an xdist worker.

    ``config.workerinput`` is set only after the initial conftests; the variable that xdist sets
    is inherited by every process below, so a run started inside somebody's test would take
    itself for a worker. Only a worker's stack has execnet's module at its bottom.
    """
    frame = sys._getframe()  # noqa: SLF001 - the documented way to walk one's own stack
    while (frame := frame.f_back) is not None:  # type: ignore[assignment]
        if frame.f_globals.get("__name__") == "__channelexec__":
            return True
    return False
