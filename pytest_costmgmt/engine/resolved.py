"""The Settings of a pytest run: what was typed, what addopts added, environment and ini."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.options import OPTIONS
from pytest_costmgmt.settings import Settings, environment, resolve


def settings_of(config: pytest.Config, typed_arguments: Sequence[str] | None = None) -> Settings:
    """Resolve the Settings of a run; raises UsageProblem.

    ``typed_arguments`` are what stood on the command line, where ``config`` (a worker's) does not
    know it.
    """
    typed = _typed(config, typed_arguments)
    command_line = {option.name: getattr(config.option, option.key, None) for option in OPTIONS}
    from_addopts = frozenset(
        option.name for option in OPTIONS if getattr(typed, option.key, None) is None
    )

    def ini(key: str) -> Any:
        try:
            return config.getini(key)
        except (TypeError, ValueError, pytest.UsageError) as error:
            raise UsageProblem(f"the ini key {key} cannot be read: {error}") from None

    return resolve(command_line, environment(), ini, from_addopts=from_addopts)


def given(parsed: Any) -> dict[str, Any]:
    """Return the value of each option as it was parsed, before anybody else had the floor."""
    values = {option.key: getattr(parsed, option.key, None) for option in OPTIONS}
    return {key: [*value] if isinstance(value, list) else value for key, value in values.items()}


def changed(config: pytest.Config, before: Mapping[str, Any]) -> str:
    """Say which option a plugin has given another value since it was typed or parsed, or "".

    A target or a profile that is not the operator's would be judged in silence.
    """
    if {"-h", "--help"} & {*map(str, config.invocation_params.args)}:
        return ""  # nothing is judged; some pytests parse no further than to this word
    typed = given(_typed(config, None))
    for key, value in given(config.option).items():
        mine = typed[key]
        if isinstance(mine, list) and isinstance(value, list):
            same = value == before[key] and value[-len(mine) :] == mine  # addopts' come first
        else:
            same = value == before[key] and (mine is None or value == mine)
        if not same:
            return (
                f"--{key.replace('_', '-')} is not what was given: a plugin changed it."
                " Take the plugin out (-p no:NAME), or use `costmgmt check`."
            )
    return ""


def _typed(config: pytest.Config, arguments: Sequence[str] | None) -> Any:
    if arguments is None:
        arguments = [str(word) for word in config.invocation_params.args]
    return config._parser.parse_known_args([*arguments])  # noqa: SLF001 - no other way
