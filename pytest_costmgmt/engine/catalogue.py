"""The catalogue: all checks there are, as generated data, known before anything is collected."""

from __future__ import annotations

import functools
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import msgspec

from pytest_costmgmt.engine.check import ATTRIBUTE, Check
from pytest_costmgmt.options import EFFECTS
from pytest_costmgmt.resources import PACKAGE, resource
from pytest_costmgmt.settings import EFFECT_OF_PROFILE

CATALOGUE = PACKAGE / "catalogue.json"

# The order in which a person wants to read them, and in which root causes come first.
GROUPS = (
    "release",
    "connection",
    "server",
    "roles",
    "privileges",
    "extensions",
    "migrations",
    "credentials",
    "secrets",
    "persistence",
    "initialization",
    "backup",
    "upgrade",
)


class Catalogue(msgspec.Struct, frozen=True, kw_only=True, rename={"api_version": "apiVersion"}):
    """All checks, in the order in which they run."""

    api_version: str
    kind: str
    checks: tuple[Check, ...]


@functools.cache
def load() -> tuple[Check, ...]:
    """Return the checks that this version knows, from ``catalogue.json``."""
    return msgspec.json.decode(CATALOGUE.read_bytes(), type=Catalogue).checks


def expected(checks: Sequence[Check], profile: str) -> tuple[Check, ...]:
    """Return the checks that must have a result in ``profile``."""
    most = EFFECTS.index(EFFECT_OF_PROFILE[profile])
    return tuple(
        check
        for check in checks
        if EFFECTS.index(check.effect) <= most and (not check.profiles or profile in check.profiles)
    )


def module_files() -> tuple[Path, ...]:
    """Return the suite's modules, in the order in which they run."""
    folder = resource("conformance")
    present = {path.stem.removeprefix("test_"): path for path in folder.glob("test_*.py")}
    return tuple(present[group] for group in GROUPS if group in present) + tuple(
        path for group, path in sorted(present.items()) if group not in GROUPS
    )


def load_module(path: Path) -> ModuleType:
    """Import a module of the suite by its location, whatever sys.path holds."""
    name = f"pytest_costmgmt.conformance.{path.stem}"
    if (loaded := sys.modules.get(name)) is not None:
        return loaded
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def declared(module: ModuleType) -> list[tuple[Check, str]]:
    """Return a module's checks with their functions' names, in the order of definition."""
    return [
        (declaration, name)
        for name, thing in vars(module).items()
        if isinstance(declaration := getattr(thing, ATTRIBUTE, None), Check)
    ]


def generate() -> bytes:
    """Return the content that ``catalogue.json`` must have; raises ValueError for a bad one."""
    found = [check for path in module_files() for check, _ in declared(load_module(path))]
    _refuse(found)
    catalogue = Catalogue(
        api_version="costmgmt.catalogue/v1", kind="Catalogue", checks=_sorted(found)
    )
    encoded = msgspec.json.encode(catalogue)
    return msgspec.json.format(encoded, indent=2) + b"\n"


def _refuse(checks: Sequence[Check]) -> None:
    ids = [check.id for check in checks]
    for check in checks:
        if ids.count(check.id) > 1:
            raise ValueError(f"{check.id} is declared twice; ids are never reused")
        if unknown := set(check.after) - set(ids):
            raise ValueError(f"{check.id} depends on {unknown.pop()}, which is no check")
        if not check.title or not check.rationale or not check.reference:
            raise ValueError(f"{check.id} lacks a title, a rationale or a reference")


def _sorted(checks: Sequence[Check]) -> tuple[Check, ...]:
    """Return the checks as they are declared, but each after those that it depends on."""
    rest, done = list(checks), dict[str, Check]()
    while rest:
        ready = next((c for c in rest if set(c.after) <= set(done)), None)
        if ready is None:
            raise ValueError(f"{rest[0].id} depends on itself, by way of {rest[0].after}")
        done[ready.id] = ready
        rest.remove(ready)
    return tuple(done.values())
