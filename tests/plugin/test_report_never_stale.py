"""No older report outlives a run, and what did not come to run is told too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import junitparser
import pytest

from tests.plugin.conftest import Run

OLDER = "conformant, of an earlier run"


def _older(folder: Path) -> None:
    """Put a green report of an earlier run there."""
    folder.mkdir(parents=True)
    for name in ("report.json", "report.html", "fix.sql", "junit.xml"):
        (folder / name).write_text(OLDER)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--costmgmt-requirements=koku-9"],
        ["test_user.py"],
        ["--costmgmt-profile=everything"],
    ],
    ids=lambda wrong: wrong[0],
)
def test_no_older_report_survives_a_run_that_could_not_start(
    run: Run, tmp_path: Path, wrong: list[str]
) -> None:
    """JUnit's file is gone; report.json and report.html are inconclusive and say why."""
    report = tmp_path / "report"
    _older(report)
    ran = run(
        "--costmgmt", *wrong, f"--junitxml={report / 'junit.xml'}",
        files={"test_user.py": "def test_user(): pass"},
    )  # fmt: skip
    assert ran.status == 4, ran.out
    assert sorted(path.name for path in report.iterdir()) == ["report.html", "report.json"]
    assert ran.report is not None
    assert ran.report["verdict"] == "inconclusive"
    (reason,) = ran.report["reasons"]
    assert reason.startswith("the run could not start: ")
    page = (report / "report.html").read_text()
    assert "Inconclusive" in page
    assert "the run could not start" in page
    assert "earlier run" not in page


def test_no_older_report_survives_an_option_that_pytest_does_not_know(
    run: Run, tmp_path: Path
) -> None:
    """Pytest itself refuses the command line before it asks us; the old green is gone already."""
    report = tmp_path / "report"
    _older(report)
    ran = run("--costmgmt", "--no-such-option", f"--junitxml={report / 'junit.xml'}")
    assert ran.status == 4
    assert sorted(path.name for path in report.iterdir()) == ["report.html", "report.json"]
    assert ran.report is not None
    assert ran.report["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    "wrong",
    [["--allow=nothing"], ["--no-such-option"], ["--dsn"]],
    ids=lambda wrong: wrong[0],
)
def test_no_older_report_survives_a_command_that_cannot_be_read(
    tmp_path: Path, wrong: list[str]
) -> None:
    """``costmgmt check`` ends with exit 4, in words without a traceback, and leaves no green."""
    report = tmp_path / "report"
    _older(report)
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest_costmgmt.cli", "check", "--report", str(report),
            f"--junitxml={report / 'junit.xml'}", *wrong,
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 4
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in report.iterdir()) == ["report.html", "report.json"]
    assert json.loads((report / "report.json").read_text())["verdict"] == "inconclusive"


@pytest.mark.parametrize(
    ("command", "junit", "words"),
    [
        pytest.param(
            ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh"], "junit.xml", "--costmgmt-report a folder",
            id="full disk",
        ),
        pytest.param([], "/dev/null/junit.xml", "--junitxml a file", id="junit"),
    ],
)  # fmt: skip
def test_no_older_report_survives_where_none_can_be_written(
    tmp_path: Path, command: list[str], junit: str, words: str
) -> None:
    """What can be removed is, though nothing can be written, or another file stays."""
    report = tmp_path / "report"
    _older(report)
    done = subprocess.run(
        [
            *command, sys.executable, "-m", "pytest", "--costmgmt",
            f"--costmgmt-report={report}", f"--junitxml={report / junit}",
        ],
        # Python leaves half of a module's bytecode on a full disk, for whoever comes next.
        cwd=tmp_path, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 4, done.stderr
    assert words in done.stderr
    left = {path.name for path in report.iterdir() if path.read_text() == OLDER}
    assert left <= ({"junit.xml"} if not command else set())


ELSEWHERE = "import os\nos.makedirs('sub', exist_ok=True)\nos.chdir('sub')\n"


def test_an_older_report_is_found_where_a_plugin_went_elsewhere(run: Run, tmp_path: Path) -> None:
    """A plugin that changes the working folder when it is loaded keeps no older report."""
    _older(tmp_path / "here" / "rel")
    files = {"elsewhere.py": ELSEWHERE}
    given = ["--costmgmt-requirements=koku-9", "--costmgmt-report=rel", "-p", "elsewhere"]
    run("--costmgmt", *given, files=files, report=False)
    written = (tmp_path / "here" / "rel" / "report.json").read_text()
    assert json.loads(written)["verdict"] == "inconclusive"


def test_a_junit_path_with_a_variable_is_the_one_that_pytest_means(
    run: Run, tmp_path: Path
) -> None:
    """An older JUnit file behind ``$HOME`` (as addopts may say it) does not survive either."""
    (tmp_path / "junit.xml").write_text("green, of an earlier run")
    run(
        "--costmgmt", "--costmgmt-requirements=koku-9", "--junitxml=$WHERE/junit.xml",
        environ={"WHERE": str(tmp_path)},
    )  # fmt: skip
    assert not (tmp_path / "junit.xml").exists()


def test_what_did_not_run_is_an_error_in_junit_too(run: Run, tmp_path: Path) -> None:
    """A server that is not there, and -x: JUnit has every expected check and the verdict."""
    junit = tmp_path / "junit.xml"
    ran = run(
        "--costmgmt-dsn", "host=127.0.0.1 port=1 user=koku dbname=koku connect_timeout=2", "-x",
        f"--junitxml={junit}", environ={"PGPASSWORD": "never-asked-for"},
    )  # fmt: skip
    assert ran.status == 8, ran.out
    assert ran.report is not None
    (suite,) = junitparser.JUnitXml.fromfile(str(junit))
    assert (suite.errors, suite.failures) == (len(ran.report["checks"]), 1)
    assert suite.tests == len(ran.report["checks"]) + 1
    assert {type(case.result[0]).__name__ for case in suite} == {"Error", "Failure"}
    assert junit.stat().st_mode & 0o777 == 0o600


def test_the_gate_writes_for_allure_when_it_is_asked_to(tmp_path: Path) -> None:
    """``costmgmt check --alluredir``: plugins stay out, but Allure is let in, also with workers."""
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest_costmgmt.cli", "check", "--dsn",
            "host=127.0.0.1 port=1 user=koku dbname=koku connect_timeout=2", "-n", "2",
            "--alluredir", str(tmp_path / "allure"), "--report", str(tmp_path / "report"),
        ],
        cwd=tmp_path, env={**os.environ, "PGPASSWORD": "never-asked-for"}, capture_output=True,
        text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 8, done.stdout + done.stderr
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    read = [json.loads(path.read_text()) for path in (tmp_path / "allure").glob("*-result.json")]
    checks = [each for each in read if not each["name"].startswith("verdict: ")]
    assert (len(checks), len(read)) == (len(report["checks"]), len(report["checks"]) + 1)
    assert {each["status"] for each in read} == {"broken"}
    assert not [weak for weak in report["weakens"] if "allure" in weak]


def test_nothing_of_allure_or_jinja_is_imported_without_need(tmp_path: Path) -> None:
    """The engine's modules bring neither Allure nor the page's template engine along."""
    code = (
        "import sys; from pytest_costmgmt.engine import entry;"
        "print([m for m in ('allure', 'allure_commons', 'jinja2', 'markupsafe')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
