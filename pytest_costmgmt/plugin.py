"""The plugin: hooks only. Imports pytest and the standard library, nothing else.

pytest11.py is the entry point that brings it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from pytest_costmgmt.options import OPTIONS

if TYPE_CHECKING:
    from pytest_costmgmt.engine.activation import Activation

_ACTIVATION: pytest.StashKey[Activation] = pytest.StashKey()

# pytest 8.0 to 8.3 know no numeric ini types.
_NUMERIC = pytest.version_tuple >= (8, 4)
_INI_TYPES = {"list": "linelist", "int": "int", "seconds": "float"}


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Register every option and ini key; all default to None, so that 'not given' is known."""
    # Not by pytest_plugins: pytest would read every installed distribution's entry points again.
    name = "pytest_costmgmt.fixtures"
    pluginmanager.register(import_module(name), name)
    group = parser.getgroup("costmgmt", "is this PostgreSQL ready for Cost Management (koku)?")
    group.addoption(
        "--costmgmt",
        action="store_true",
        default=None,
        dest="costmgmt",
        help="run the conformance suite, by default against an embedded PostgreSQL of our own",
    )
    for option in OPTIONS:
        extra: dict[str, Any] = {"action": "append"} if option.kind == "list" else {}
        extra["metavar"] = option.metavar or "|".join(option.choices) or "VALUE"
        if option.kind == "flag":
            extra = {"action": "store_const", "const": "yes"}
        group.addoption(option.flag, dest=option.key, default=None, help=option.help, **extra)
        ini: Any = _INI_TYPES.get(option.kind, "string")
        if ini in {"int", "float"} and not _NUMERIC:
            ini = "string"
        parser.addini(option.key, option.help, type=ini, default=None)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> Generator[None, None, None]:
    """Decide what this run is, and point pytest at the suite if it is ours."""
    effective = early_config.known_args_namespace
    if not _named(effective):
        return (yield)
    from pytest_costmgmt.engine import activation  # noqa: PLC0415 - only if named

    decided = activation.decide(
        early_config, parser, effective, early_config.invocation_params.args
    )
    early_config.stash[_ACTIVATION] = decided
    if decided.suite:
        activation.installed_first(early_config)
        from pytest_costmgmt.engine import entry  # noqa: PLC0415 - only if the suite runs

        entry.enter(early_config, args, effective, decided.problem)
    try:
        return (yield)
    except (SystemExit, pytest.exit.Exception) as error:
        if not decided.suite:
            raise
        # Another plugin's way out with status 0, before anything ran.
        raise pytest.UsageError(f"a plugin ended the run while it was set up: {error}") from None
    except Exception as error:
        if not decided.suite or isinstance(error, pytest.UsageError):
            raise
        # Python would make it 1, which is non-conformant.
        sys.excepthook(type(error), error, error.__traceback__)
        raise pytest.UsageError("a plugin failed while the run was set up.") from None


def _named(effective: Any) -> bool:
    """Say whether the run names any of our options (a run that does not pays nothing)."""
    return bool(getattr(effective, "costmgmt", None)) or any(
        getattr(effective, option.key, None) is not None for option in OPTIONS
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(
    config: pytest.Config,
) -> Generator[None, int | pytest.ExitCode | None, int | pytest.ExitCode | None]:
    """Tell what this run is to us, unless the suite runs (that is engine.entry.Guard's)."""
    decided = config.stash.get(_ACTIVATION, None)
    if decided is None or hasattr(config, "workerinput"):
        return (yield)
    if decided.suite and not config.pluginmanager.has_plugin("costmgmt-guard"):
        raise pytest.UsageError("costmgmt-guard was taken out, and with it what decides a verdict.")
    if decided.suite:
        return (yield)
    if decided.problem:
        raise pytest.UsageError(decided.problem)
    if decided.told:
        _check_settings(config)
    status = yield
    if decided.told:
        _say_no_verdict(config)
    return status


def _check_settings(config: pytest.Config) -> None:
    """A target that cannot be meant is told before the user's tests run."""
    from pytest_costmgmt.engine import user_fixtures  # noqa: PLC0415 - a target was named

    user_fixtures.check(config)


def _say_no_verdict(config: pytest.Config) -> None:
    """A run that named a target but ran the user's tests must not pass for a judgement."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    line = "costmgmt: no conformance verdict: user tests"
    if reporter is None:
        print(line)  # noqa: T201 - there is no reporter (-p no:terminal)
    else:
        reporter.write_line(line)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep the passwords of a target that was named out of the ids of a user's own tests."""
    if not (_named(config.option) or any(name.startswith("COSTMGMT_") for name in os.environ)):
        return
    decided = config.stash.get(_ACTIVATION, None)
    if decided is None or not decided.suite:
        from pytest_costmgmt.engine import redaction  # noqa: PLC0415 - a target was named

        redaction.known_before_collection(config, items)
