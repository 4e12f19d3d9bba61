"""Where the files are that stand beside the package in a checkout and inside it in the wheel."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def resource(name: str) -> Path:
    """Return the folder ``name`` ("conformance", "examples/django-project", ...).

    The wheel holds it inside the package; an editable install, which does not see what the wheel
    adds, has it beside the package. Raises FileNotFoundError if it is in neither place.
    """
    for base in (PACKAGE, PACKAGE.parent):
        if (found := base / name).exists():
            return found
    raise FileNotFoundError(f"{name} is neither in {PACKAGE} nor beside it: reinstall the package")
