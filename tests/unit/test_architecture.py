"""The house keeps its rooms: what may import what, and what an unrelated run must not pay for."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "pytest_costmgmt"
SUITE = PACKAGE.parent / "conformance"

# DESIGN: each room may use the rooms below it, never those above or beside it.
FLOORS = [
    {"pytest11"},
    {"plugin", "fixtures", "cli"},
    {"engine", "cli_options"},
    {"servers", "initialize", "backup", "judge"},
    {"facts"},
    {"postgres", "kubernetes"},
    {"settings", "requirements"},
    {"options", "secret", "resources", "tied", "folders"},
    {"errors", "hookspecs", "encoded", "escaped"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# A finding is a word that the engine and the judges share; it uses nothing of ours.
SHARED_WORDS = {"pytest_costmgmt.judge.finding"}


def modules() -> list[Path]:
    """Return every module of the package but the scripts that run on their own."""
    alone = {"supervisor.py", "_migration_probe.py"}
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name not in alone]


def imports(path: Path) -> Iterator[str]:
    """Yield the names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(name: str) -> str | None:
    """Return the room that a module of ours is in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "pytest_costmgmt" and len(parts) > 1 else None


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_room_uses_only_the_rooms_below_it(path: Path) -> None:
    """No import goes up or sideways."""
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in FLOOR, f"{own} has no floor in the house"
    for name in imports(path):
        other = room(name)
        if other is None or other == own or other not in FLOOR or name in SHARED_WORDS:
            continue
        assert FLOOR[other] > FLOOR[own], f"{own} must not import {name}"


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_boundary_imports_a_driver(path: Path) -> None:
    """Psycopg is imported in postgres/ alone, kubernetes in kubernetes/ alone."""
    own = path.relative_to(PACKAGE).parts[0]
    if own == "kubernetes":
        return
    typing_only = _type_checking_imports(path)
    for name in imports(path):
        driver = name.split(".")[0]
        if driver == "psycopg" and own != "postgres":
            assert name in typing_only, f"{path} imports {name}"
        assert driver != "kubernetes", f"{path} imports {name}"


def _type_checking_imports(path: Path) -> set[str]:
    """Return the names imported under ``if TYPE_CHECKING``."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for inner in ast.walk(node):
                if isinstance(inner, ast.ImportFrom) and inner.module:
                    found.add(inner.module)
                    found.update(f"{inner.module}.{alias.name}" for alias in inner.names)
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_only_the_boundary_reveals_a_secret(path: Path) -> None:
    """``.reveal()`` is called in postgres/ and kubernetes/ alone."""
    own = path.relative_to(PACKAGE).parts[0]
    if own in {"postgres", "kubernetes"}:
        return
    calls = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "reveal"
    ]
    assert not calls


def test_the_plugin_itself_imports_pytest_and_the_standard_library_only() -> None:
    """What every pytest run loads is pytest11.py, options.py, fixtures.py and plugin.py."""
    allowed = {*sys.stdlib_module_names, "pytest"}
    for name in ("pytest11", "plugin", "options", "fixtures"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        for node in tree.body:
            if isinstance(node, ast.ImportFrom) and node.module:
                top = node.module.split(".")[0]
                assert top in allowed or node.module == "pytest_costmgmt.options", node.module


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_name_or_password_comes_from_random(path: Path) -> None:
    """They come from ``secrets``: other plugins seed ``random`` alike everywhere."""
    assert "random" not in {name.split(".")[0] for name in imports(path)}


def test_what_every_run_loads_is_loaded_by_python_itself(tmp_path: Path) -> None:
    """Pytest's own loader rewrites asserts, of which there are none, and costs each start more."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        "def test_it():\n"
        "    ours = {n for n in sys.modules if n.startswith('pytest_costmgmt.')}\n"
        "    assert ours == {'pytest_costmgmt.' + n\n"
        "                    for n in ('pytest11', 'options', 'fixtures', 'plugin')}\n"
        "    for name in ours - {'pytest_costmgmt.pytest11'}:\n"
        "        loader = type(sys.modules[name].__spec__.loader)\n"
        "        assert loader.__name__ == 'SourceFileLoader', (name, loader)\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("pytest11", "options", "fixtures", "plugin"):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        assert not [node for node in ast.walk(tree) if isinstance(node, ast.Assert)], name


HEAVY = ("psycopg", "kubernetes", "allure", "django", "msgspec", "click", "filelock")


def test_an_unrelated_run_imports_nothing_heavy(tmp_path: Path) -> None:
    """A pytest run that names none of our options pays for none of our libraries."""
    (tmp_path / "test_it.py").write_text(
        "import sys\n"
        f"HEAVY = {HEAVY!r}\n"
        "def test_it():\n"
        "    assert not [name for name in HEAVY if name in sys.modules]\n"
        "    assert 'pytest_costmgmt.plugin' in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:allure_pytest",
         "-p", "no:randomly", "-p", "no:hypothesispytest", str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=tmp_path, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_file_has_outgrown_one_thing() -> None:
    """No module is above 450 lines."""
    long = {
        str(path.relative_to(PACKAGE.parent)): lines
        for path in [*PACKAGE.rglob("*.py"), *SUITE.glob("*.py")]
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > 450
    }
    assert not long
