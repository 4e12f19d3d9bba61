"""Write what is generated: the catalogue of checks, the schemas of report and manifest."""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.backup import manifest
from pytest_costmgmt.backup.model import Manifest
from pytest_costmgmt.engine import catalogue
from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.report.model import ConformanceReport
from pytest_costmgmt.resources import PACKAGE

DOCS = Path(__file__).resolve().parents[1] / "docs" / "checks"
REPORT_SCHEMA = PACKAGE / "engine" / "report" / "report.schema.json"


def schema(of: type) -> bytes:
    """Return the JSON Schema of a type, alike whatever msgspec and Python make of docstrings."""
    return json.dumps(_cleaned(msgspec.json.schema(of)), indent=2).encode() + b"\n"


def _cleaned(part: Any) -> Any:
    # msgspec before 0.23 on Python before 3.13 leaves the indentation in.
    if isinstance(part, dict):
        return {
            key: inspect.cleandoc(value)
            if key == "description" and isinstance(value, str)
            else _cleaned(value)
            for key, value in part.items()
        }
    return [_cleaned(each) for each in part] if isinstance(part, list) else part


def page(check: Check) -> str:
    """Return a check's page for users."""
    after = ", ".join(f"[{id_}]({id_}.md)" for id_ in check.after) or "none"
    return f"""# {check.id}: {check.title}

| | |
|---|---|
| level | {check.level} |
| effect | {check.effect} |
| group | {check.group} |
| since | {check.since} |
| depends on | {after} |

**Why.** {check.rationale}

**Required by.** {check.reference}

A failure says what was found and what ends it; `report.json` and `fix.sql` hold the same. To leave
the check out, with a reason that the report keeps: `--costmgmt-skip '{check.id}=why'`.
"""


def index(checks: tuple[Check, ...]) -> str:
    """Return the list of all checks."""
    lines = ["# All checks", "", "Generated from the catalogue; ids are never reused."]
    for group in dict.fromkeys(check.group for check in checks):
        lines += [
            "",
            f"## {group}",
            "",
            "| id | level | effect | what must hold |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| [{c.id}]({c.id}.md) | {c.level} | {c.effect} | {c.title} |"
            for c in checks
            if c.group == group
        ]
    return "\n".join(lines) + "\n"


def generated() -> dict[Path, bytes]:
    """Return each generated file with the content that it must have."""
    content = catalogue.generate()
    checks = msgspec.json.decode(content, type=catalogue.Catalogue).checks
    pages = {DOCS / f"{check.id}.md": page(check).encode() for check in checks}
    return {
        catalogue.CATALOGUE: content,
        REPORT_SCHEMA: schema(ConformanceReport),
        manifest.SCHEMA: schema(Manifest),
        DOCS / "README.md": index(checks).encode(),
        **pages,
    }


def main() -> None:
    """Write every generated file; remove pages of checks that are gone."""
    files = generated()
    DOCS.mkdir(parents=True, exist_ok=True)
    for stale in set(DOCS.glob("*.md")) - set(files):
        stale.unlink()
    for path, content in files.items():
        path.write_bytes(content)
    sys.stdout.write(f"{len(files)} files\n")


if __name__ == "__main__":
    main()
