"""Django itself as the judge of our judge: its loader over the same records must say the same."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.facts.migrations import Expected, expected_from_application
from pytest_costmgmt.judge.migration_history import Plan

pytest.importorskip("django")

Keys = list[tuple[str, str]]

# Shapes that are easily judged wrongly: a squash whose replaced files are there (a), one whose
# files are gone while others still name them (b), a branch and its merge (c), a run_before (d).
FILES: dict[str, dict[str, tuple[Keys, Keys]]] = {
    "a": {
        "0001_initial": ([], []),
        "0002_second": ([("a", "0001_initial")], []),
        "0003_third": ([("a", "0002_second")], []),
        "0002_second_squashed_0003_third": (
            [("a", "0001_initial")],
            [("a", "0002_second"), ("a", "0003_third")],
        ),
        "0004_after": ([("a", "0002_second_squashed_0003_third")], []),
        "0007_gap": ([("a", "0004_after")], []),
    },
    "b": {
        "0001_squashed_0003_gone": (
            [("a", "0001_initial")],
            [("b", "0001_gone"), ("b", "0002_gone"), ("b", "0003_gone")],
        ),
        "0004_after": ([("b", "0003_gone"), ("a", "0003_third")], []),
    },
    "c": {
        "0001_initial": ([("b", "__first__")], []),
        "0345_left": ([("c", "0001_initial")], []),
        "0345_right": ([("c", "0001_initial"), ("a", "__latest__")], []),
        "0346_merge": ([("c", "0345_left"), ("c", "0345_right")], []),
    },
    "d": {"0001_initial": ([], [])},
}
RUN_BEFORE = {("d", "0001_initial"): [("c", "0345_left")]}

# What `migrate --check` does, with records that are given instead of read.
ORACLE = """
import json, sys
import django
django.setup()
from django.db.migrations import exceptions, loader
from django.db.migrations.recorder import MigrationRecorder

class Connection:
    alias = "default"

for applied in json.load(sys.stdin):
    rows = {tuple(name.split(".")): None for name in applied}
    MigrationRecorder.applied_migrations = lambda self, rows=rows: dict(rows)
    MigrationRecorder.__init__ = lambda self, connection: None
    try:
        loaded = loader.MigrationLoader(Connection())
    except exceptions.NodeNotFoundError:
        print(json.dumps("cannot be loaded"))
        continue
    plan = {step for leaf in loaded.graph.leaf_nodes() for step in loaded.graph.forwards_plan(leaf)}
    try:
        loaded.check_consistent_history(Connection())
        consistent = True
    except exceptions.InconsistentMigrationHistory:
        consistent = False
    missing = sorted(".".join(s) for s in plan if s not in loaded.applied_migrations)
    print(json.dumps([missing, consistent]))
"""


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Django application whose migrations have all these shapes."""
    folder = tmp_path_factory.mktemp("shapes")
    (folder / "settings.py").write_text(
        f"INSTALLED_APPS = {sorted(FILES)}\nSECRET_KEY = 'x'\nUSE_TZ = True\n"
        "DEFAULT_AUTO_FIELD = 'django.db.models.BigAutoField'\n"
    )
    (folder / "manage.py").write_text(
        "import os, sys\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings'\n"
        "print('noise', end='')\n"
        "from django.core.management import execute_from_command_line\n"
        "execute_from_command_line(sys.argv)\n"
    )
    for app, files in FILES.items():
        package = folder / app / "migrations"
        package.mkdir(parents=True)
        (folder / app / "__init__.py").touch()
        (package / "__init__.py").touch()
        for name, (dependencies, replaces) in files.items():
            (package / f"{name}.py").write_text(
                "from django.db import migrations\n"
                "class Migration(migrations.Migration):\n"
                f"    dependencies = {dependencies}\n    replaces = {replaces}\n"
                f"    run_before = {RUN_BEFORE.get((app, name), [])}\n"
            )
    return folder


@pytest.fixture(scope="module")
def expected(application: Path) -> Expected:
    """Return what the application says of itself."""
    manage = (sys.executable, str(application / "manage.py"))
    return expected_from_application(manage, dict(os.environ), deadline=60)


def _samples(expected: Expected) -> list[list[str]]:
    rows = sorted({m.name for m in expected.migrations} | Plan(expected).known)
    picked = random.Random(7)  # noqa: S311 - the same cases each time
    samples: list[list[str]] = [[], rows]
    # Nearly complete, nearly empty, and in between: each record is there with that probability.
    for likely in (0.1, 0.5, 0.8, 0.9, 0.95):
        samples += [[r for r in rows if picked.random() < likely] for _ in range(80)]
    samples += [[r for r in rows if r != gone] for gone in rows]
    return samples


def _django(application: Path, samples: list[list[str]]) -> list[Any]:
    done = subprocess.run(
        [sys.executable, "-c", ORACLE],
        input=json.dumps(samples),
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "settings"},
        cwd=application,
        capture_output=True,
        text=True,
        check=True,
        timeout=240,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_django_and_we_say_the_same_of_any_records(application: Path, expected: Expected) -> None:
    """What lacks, and whether the order is consistent, is what Django's loader says."""
    samples = _samples(expected)
    answers = _django(application, samples)
    assert len(answers) == len(samples)
    plan = Plan(expected)
    agreed = 0
    for applied, answer in zip(samples, answers, strict=True):
        history = plan.history(applied)
        if answer == "cannot be loaded":
            assert history.missing, applied
            continue
        missing, consistent = answer
        # Where some of a squash are done and the files of the rest are gone, Django forgets the
        # squash: we say that it is missing. Nothing else may differ.
        squash = "b.0001_squashed_0003_gone"
        half = squash in history.missing and squash not in missing
        if half:
            assert set(history.missing) - {squash} == set(missing), applied
            continue
        assert (list(history.missing), not history.inconsistent) == (missing, consistent), applied
        agreed += 1
    assert agreed > len(samples) // 2


def test_the_lost_records_are_what_makes_it_consistent(expected: Expected) -> None:
    """With the records that a history calls lost, nothing is inconsistent for the same reason."""
    plan = Plan(expected)
    for applied in _samples(expected):
        history = plan.history(applied)
        again = plan.history([*applied, *history.lost])
        assert not set(again.inconsistent) & set(history.inconsistent)
        assert not set(history.lost) & set(applied)


def test_a_new_schema_gets_each_squashed_migration_once(expected: Expected) -> None:
    """The number of migrations is that of a fresh plan, not of all files."""
    plan = Plan(expected)
    assert plan.size == len(plan.history([]).missing) == 11
