"""Write what is generated: the catalogue of checks, the schemas of report and manifest."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from pytest_costmgmt.backup import manifest
from pytest_costmgmt.engine import catalogue
from pytest_costmgmt.engine.check import Check
from pytest_costmgmt.engine.report.model import ConformanceReport
from pytest_costmgmt.resources import PACKAGE

DOCS = Path(__file__).resolve().parents[1] / "docs" / "checks"
REPORT_SCHEMA = PACKAGE / "engine" / "report" / "report.schema.json"


def report_schema() -> bytes:
    """Return the JSON Schema of report.json."""
    schema = msgspec.json.schema(ConformanceReport)
    return json.dumps(schema, indent=2).encode() + b"\n"


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
        REPORT_SCHEMA: report_schema(),
        manifest.SCHEMA: manifest.schema(),
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
