"""The names that users annotate their tests with: each is there, and no other is."""

from __future__ import annotations

import inspect
import re

import pytest

import pytest_costmgmt
from pytest_costmgmt import fixtures


def test_each_public_name_is_there() -> None:
    """What type checkers see under TYPE_CHECKING is what an import finds."""
    for name in pytest_costmgmt.__all__:
        assert getattr(pytest_costmgmt, name), name


def test_what_a_fixture_gives_can_be_annotated() -> None:
    """Every type of ours in a public fixture's annotation is a public name of the package."""
    text = inspect.getsource(fixtures)
    ours = set(re.findall(r"from pytest_costmgmt\.[\w.]+ import ([\w, ]+)", text.split("@", 1)[0]))
    names = {name for line in ours for name in line.split(", ")}
    assert {"Database", "Databases", "Proof"} <= names
    assert names <= {*pytest_costmgmt.__all__}


def test_a_misspelled_name_is_an_error_to_type_checkers_too() -> None:
    """Mypy finds the ignore unused, and fails, if the package gives Any for any name."""
    with pytest.raises(ImportError):
        from pytest_costmgmt import Databsae  # type: ignore[attr-defined]  # noqa: F401, PLC0415
