"""Write what is generated: the catalogue of checks and the report's schema."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import msgspec

from pytest_costmgmt.engine import catalogue
from pytest_costmgmt.engine.report.model import ConformanceReport
from pytest_costmgmt.resources import PACKAGE

REPORT_SCHEMA = PACKAGE / "engine" / "report" / "report.schema.json"


def report_schema() -> bytes:
    """Return the JSON Schema of report.json."""
    schema = msgspec.json.schema(ConformanceReport)
    return json.dumps(schema, indent=2).encode() + b"\n"


def generated() -> dict[Path, bytes]:
    """Return each generated file with the content that it must have."""
    return {catalogue.CATALOGUE: catalogue.generate(), REPORT_SCHEMA: report_schema()}


def main() -> None:
    """Write every generated file."""
    for path, content in generated().items():
        path.write_bytes(content)
        sys.stdout.write(f"{path.name}\n")


if __name__ == "__main__":
    main()
