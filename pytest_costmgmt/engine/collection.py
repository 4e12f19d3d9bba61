"""The suite's own collection: no say for python_files, conftest.py, parametrization or plugins."""

from __future__ import annotations

import inspect
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.fixtures import FuncFixtureInfo  # no public way to say "no fixtures"

from pytest_costmgmt.engine import catalogue, shared, suite_fixtures
from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.evidence import Evidence, running

NODE_ID = "costmgmt"


class ConformanceDirectory(pytest.Directory):
    """The folder of the suite; yields our modules in the catalogue's order."""

    def collect(self) -> Iterable[pytest.Item | pytest.Collector]:
        """Yield one collector a group of checks that the profile has."""
        wanted = set(shared.of(self.config).expected)
        groups = {check.group for check in catalogue.load() if check.id in wanted}
        known = {check.group for check in catalogue.load()}
        for path in catalogue.module_files():
            if (group := path.stem.removeprefix("test_")) in known and group not in groups:
                continue
            yield ConformanceModule.from_parent(
                self, path=path, nodeid=f"{NODE_ID}/{path.stem.removeprefix('test_')}"
            )


class ConformanceModule(pytest.Module):
    """One group of checks, imported by location."""

    def _getobj(self) -> ModuleType:
        return catalogue.load_module(self.path)

    def collect(self) -> Iterator[pytest.Item]:
        """Yield one item a declared check: hooks that make or multiply items are not asked."""
        for check, name in catalogue.declared(self.obj):
            item: CheckItem = CheckItem.from_parent(
                self, name=name, callobj=getattr(self.obj, name), fixtureinfo=_no_fixtures()
            )
            item.check = check
            item.user_properties.extend(properties(check))
            yield item


class CheckItem(pytest.Function):
    """A check as pytest's item; its evidence decides, not the absence of an exception.

    Other plugins' fixtures (also autouse ones) and ``pytest_pyfunc_call`` have no say: the item
    calls the declared function itself, with our facts.
    """

    check: Check

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.runs = 0
        self.evidence = Evidence()
        self.started = time.perf_counter()

    @property
    def location(self) -> tuple[str, int | None, str]:
        """Where pytest says that it is: the group, and the check as a person knows it."""
        return f"{NODE_ID}/{self.check.group}", None, f"{self.check.id} {self.check.title}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what pytest's headlines show (and a line: pytest needs one for a skip mark)."""
        return self.path, 0, f"{self.check.id} {self.check.title}"

    def setup(self) -> None:
        """Start afresh: an attempt never inherits another's evidence."""
        self.evidence = Evidence()
        self.started = time.perf_counter()
        super().setup()

    def runtest(self) -> None:
        """Run the check with its evidence open."""
        self.runs += 1
        known = {check.id: check.function for check in catalogue.load()}
        if known.get(self.check.id) != self.check.function:
            raise RuntimeError(f"{self.check.id} is not as the catalogue has it")
        function = getattr(catalogue.load_module(self.path), self.check.function)
        facts = {
            name: suite_fixtures.FACTS[name](self.config)
            for name in inspect.signature(function).parameters
        }
        token = running.set(self.evidence)
        try:
            function(**facts)
        finally:
            running.reset(token)

    def repr_failure(
        self,
        excinfo: pytest.ExceptionInfo[BaseException],
        style: Any = None,  # noqa: ARG002 - pytest's signature
    ) -> str:
        """Return one line: frames would show locals, and the Judgement says more than they do."""
        return f"{excinfo.typename}: {' '.join(str(excinfo.value).split())}"


def _no_fixtures() -> FuncFixtureInfo:
    return FuncFixtureInfo(argnames=(), initialnames=(), names_closure=[], name2fixturedefs={})


def properties(check: Check) -> list[tuple[str, object]]:
    """Return a check's metadata as pytest's user_properties, which reach JUnit."""
    return [
        ("costmgmt_id", check.id),
        ("costmgmt_level", check.level),
        ("costmgmt_effect", check.effect),
        ("costmgmt_reference", check.reference),
    ]
