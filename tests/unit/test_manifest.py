"""The manifest of expected migrations: written for a diff, read with every error named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.facts.migrations import (
    Expected,
    Migration,
    expected_from_manifest,
    export,
)

MIGRATIONS = (
    Migration(name="api.0001_initial"),
    Migration(
        name="api.0002_squashed",
        dependencies=("api.0001_initial",),
        replaces=("api.0002_a", "api.0003_b"),
    ),
    Migration(name="reporting.0001_initial", dependencies=("api.0003_b",)),
)
ASKED = Expected(
    source="application",
    label="manage.py",
    django="5.2",
    migrations=MIGRATIONS,
    command="manage.py",
)


def test_what_was_exported_is_read_back(tmp_path: Path) -> None:
    """A manifest says the same as the application that it was asked of."""
    path = tmp_path / "migrations.json"
    path.write_text(export(ASKED))
    read = expected_from_manifest(path)
    assert read.migrations == MIGRATIONS
    assert (read.source, read.label, read.django) == ("manifest", "migrations.json", "5.2")


def test_the_manifest_is_versioned_and_diffs_well() -> None:
    """One line for each name, sorted, with a kind and a version."""
    text = export(ASKED)
    plain = json.loads(text)
    assert plain["apiVersion"] == "costmgmt.migrations/v1"
    assert plain["kind"] == "MigrationManifest"
    assert text.endswith("\n")
    assert len(text.splitlines()) > len(MIGRATIONS)
    shuffled = Expected(source="application", label="m", django="5.2", migrations=MIGRATIONS[::-1])
    assert export(shuffled) == text


def _broken(**changes: Any) -> str:
    return json.dumps({**json.loads(export(ASKED)), **changes})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "JSON", id="empty"),
        pytest.param("{", "JSON", id="cut"),
        pytest.param("[]", "Expected `object`", id="not-an-object"),
        pytest.param(_broken(apiVersion="costmgmt.migrations/v2"), "apiVersion", id="version"),
        pytest.param(_broken(migrations=[]), "$.migrations", id="nothing-expected"),
        pytest.param(_broken(migrations=[{"name": 7}]), "$.migrations[0].name", id="wrong-type"),
        pytest.param(_broken(migrations=[{"name": "api"}]), "APP.NAME", id="no-app"),
        pytest.param(_broken(migrations=[{"name": "a.1"}, {"name": "a.1"}]), "twice", id="twice"),
        pytest.param(
            _broken(migrations=[{"name": "a.1", "dependencies": ["a.0"]}]), "'a.0'", id="no-parent"
        ),
        pytest.param(_broken(migration=[]), "`migration`", id="unknown-key"),
    ],
)
def test_a_wrong_manifest_names_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    """The error names the file, the place in it, and how to get a right one."""
    path = tmp_path / "expected.json"
    path.write_text(text)
    with pytest.raises(UsageProblem) as caught:
        expected_from_manifest(path)
    assert str(path) in str(caught.value)
    assert said in str(caught.value)
    assert "costmgmt migrations export" in str(caught.value)


def test_a_manifest_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error like any other."""
    path = tmp_path / "expected.json"
    path.write_bytes(b'{"apiVersion": "\xff\xfe"}')
    with pytest.raises(UsageProblem, match="JSON"):
        expected_from_manifest(path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    """A file that is not there is an error of the operator, with the system's reason."""
    with pytest.raises(UsageProblem, match="No such file"):
        expected_from_manifest(tmp_path / "nowhere.json")
