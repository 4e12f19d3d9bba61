"""Read the operator's values, as Helm would."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pytest_costmgmt.errors import UsageProblem


def read_values(path: Path) -> dict[str, Any]:
    """Return a file of values. Raises UsageProblem for one that Helm would not take."""
    import yaml  # noqa: PLC0415 - comes with the client, heavy

    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        said = getattr(error, "strerror", None) or "it is no text"
        raise UsageProblem(f"--values {path} cannot be read: {said}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageProblem(f"--values {path} is no YAML{where}.") from None
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UsageProblem(f"--values {path} is no mapping of values.")
    return found
