"""The Settings of a pytest run: what was typed, what addopts added, environment and ini."""

from __future__ import annotations

from collections.abc import Sequence
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
    if typed_arguments is None:
        typed_arguments = [str(word) for word in config.invocation_params.args]
    typed = config._parser.parse_known_args(list(typed_arguments))  # noqa: SLF001 - no other way
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
