"""What is generated is what its sources say now, and nothing is left out of it."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import msgspec
import pytest

from pytest_costmgmt.engine import catalogue
from pytest_costmgmt.engine.report import folder, model

ROOT = Path(__file__).resolve().parents[2]


def _script() -> ModuleType:
    """Return scripts/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scripts" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED: dict[Path, bytes] = _script().generated()


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: str(path.relative_to(ROOT)))
def test_what_is_generated_is_not_stale(path: Path) -> None:
    """Each generated file is what ``python scripts/generate.py`` writes now."""
    written = path.read_bytes() if path.exists() else b""
    assert written == GENERATED[path], "run `python scripts/generate.py`"


def test_the_schema_and_the_catalogue_are_among_them() -> None:
    """The two that tools read are generated."""
    assert {"catalogue.json", "report.schema.json"} <= {path.name for path in GENERATED}


# In a process of its own: pytest collects the suite and tells what it found.
COLLECT = """
import json, sys, pytest

class Tell:
    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session):
        items = [(i.check.id, i.check.group, i.name) for i in session.items]
        print("FOUND" + json.dumps(items))
        session.items[:] = []  # nothing of it runs

# Nobody is asked whether a server answers there.
sys.exit(pytest.main(["--costmgmt-dsn=host=127.0.0.1 port=1 user=koku", "-q",
                      "--costmgmt-profile=release-gate", "--costmgmt-allow=disruptive",
                      "--costmgmt-skip=CM-CON-001=nothing runs"], plugins=[Tell()]))
"""


def test_the_catalogue_is_what_is_collected_both_ways(tmp_path: Path) -> None:
    """Pytest collects each check of the widest profile once, in the catalogue's order; no other."""
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=tmp_path, capture_output=True, text=True,
        timeout=240, check=False,
    )  # fmt: skip
    lines = [line for line in done.stdout.splitlines() if line.startswith("FOUND")]
    assert len(lines) == 1, done.stdout + done.stderr
    found: list[list[Any]] = json.loads(lines[0].removeprefix("FOUND"))
    widest = catalogue.expected(catalogue.load(), "release-gate")
    assert found == [[check.id, check.group, check.function] for check in widest]
    everything = {check.id for check in catalogue.load()}
    assert everything == {check.id for check in widest}, "no profile runs these"


def test_every_declared_check_is_in_the_catalogue() -> None:
    """The modules of the suite declare the catalogue's checks and no others."""
    declared = {
        check.id
        for path in catalogue.module_files()
        for check, _ in catalogue.declared(catalogue.load_module(path))
    }
    assert declared == {check.id for check in catalogue.load()}


def test_the_schema_knows_a_report_of_a_run_that_did_not_start() -> None:
    """An inconclusive report without checks is valid too, and every key of it is known."""
    schema = json.loads(GENERATED[_script().REPORT_SCHEMA])
    plain = json.loads(msgspec.json.encode(folder.unfinished("because")))
    jsonschema.validate(plain, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**plain, "verdict": "fine"}, schema)
    assert set(plain) == set(schema["$defs"]["ConformanceReport"]["properties"])


def test_what_differs_between_equal_runs_is_marked() -> None:
    """Times, the run's id and generated names are volatile in the schema; outcomes are not."""
    definitions = json.loads(GENERATED[_script().REPORT_SCHEMA])["$defs"]
    volatile = {
        f"{name}.{key}"
        for name, definition in definitions.items()
        for key, value in definition.get("properties", {}).items()
        if value.get("volatile")
    }
    assert {"RunFacts.id", "RunFacts.started", "RunFacts.seconds"} <= volatile
    assert "ReportedCheck.seconds" in volatile
    assert "ReportedCheck.outcome" not in volatile
    assert model.API_VERSION in json.dumps(definitions)
