"""Which tests run, when nothing of ours does, and what cannot be meant."""

from __future__ import annotations

import pytest

from tests.plugin.conftest import Run

USER_TEST = {"test_user.py": "def test_user():\n    pass\n"}


def test_an_unrelated_run_is_left_alone(run: Run) -> None:
    """Without our options nothing of ours is said or done."""
    ran = run(files=USER_TEST, report=False)
    assert ran.status == 0
    assert "costmgmt" not in ran.out.replace("plugins: ", "").split("rootdir")[1].split("\n", 3)[3]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--costmgmt", "test_user.py"], "path"),
        (["--costmgmt", "--collect-only"], "--collect-only"),
        (["--costmgmt", "--setup-plan"], "--setup-plan"),
        (["--costmgmt", "--setup-only"], "--setup-only"),
        (["--costmgmt", "--sw", "--sw-skip"], "--stepwise-skip"),
        (
            ["--costmgmt-namespace", "ns", "--costmgmt-as", "j\N{LATIN SMALL LETTER O WITH ACUTE}"],
            "stream",
        ),
        (["--costmgmt-namespace", "ns", "--costmgmt-as-group", "devs"], "no user"),
        (["--costmgmt", "--costmgmt-profile=everything"], "release-gate"),
        (["--costmgmt", "--costmgmt-skip=CM-XXX-999=because"], "CM-XXX-999"),
        (["--costmgmt", "--costmgmt-requirements=koku-9"], "koku-onprem"),
        (["--costmgmt", "--costmgmt-manage=no-such-program manage.py"], "no-such-program"),
        (["--costmgmt-dsn", "host=db password=tr0ub4dor"], "PGPASSFILE"),
        (["--costmgmt-dsn", "postgresql://koku:tr0ub4dor@db/koku"], "COSTMGMT_DSN"),
        (["--costmgmt-dsn", "host=db", "--costmgmt-service=x"], "--costmgmt-service"),
        (["--costmgmt-dsn", "host db"], "--costmgmt-dsn"),
    ],
)
def test_what_cannot_be_meant_is_exit_4_in_a_sentence(
    run: Run, arguments: list[str], words: str
) -> None:
    """A usage error names itself, repeats no password, shows no traceback, and is reported."""
    ran = run(*arguments, files=USER_TEST)
    assert ran.status == 4, ran.out
    assert words in ran.out
    assert "Traceback" not in ran.out
    assert "tr0ub4dor" not in ran.out
    assert ran.report is not None
    assert ran.report["verdict"] == "inconclusive"
    assert "tr0ub4dor" not in str(ran.report)


def test_a_path_from_addopts_is_refused(run: Run) -> None:
    """``--costmgmt`` with a path in addopts would be green with one user test."""
    ran = run("--costmgmt", files={**USER_TEST, "pytest.ini": "[pytest]\naddopts = test_user.py\n"})
    assert ran.status == 4
    assert "addopts" in ran.out


@pytest.mark.parametrize(
    "given", ["--collect-only", "--setup-plan", "--setup-only", "--stepwise-skip"]
)
def test_what_runs_nothing_is_refused_from_addopts_too(run: Run, given: str) -> None:
    """An option by which nothing runs is exit 4, also where the command line does not name it."""
    ran = run("--costmgmt", files={"pytest.ini": f"[pytest]\naddopts = {given}\n"})
    assert ran.status == 4
    assert given in ran.out
    assert ran.report is not None
    assert ran.report["verdict"] == "inconclusive"


def test_addopts_never_start_the_suite(run: Run) -> None:
    """``--costmgmt`` in addopts is told, not obeyed."""
    ran = run(files={**USER_TEST, "pytest.ini": "[pytest]\naddopts = --costmgmt\n"}, report=False)
    assert ran.status == 4
    assert "command line" in ran.out


@pytest.mark.parametrize(
    ("ini", "environ"),
    [
        ("costmgmt_dsn = host=db user=koku password=tr0ub4dor", {}),
        ("addopts = --costmgmt-dsn=postgresql://koku:tr0ub4dor@db/koku", {}),
        ("", {"PYTEST_ADDOPTS": "--costmgmt-dsn=postgresql://koku:tr0ub4dor@db/koku"}),
    ],
    ids=["ini", "addopts", "PYTEST_ADDOPTS"],
)
def test_a_password_where_others_read_it_is_refused(
    run: Run, ini: str, environ: dict[str, str]
) -> None:
    """A DSN in ini or addopts may not hold a password either, and none is repeated."""
    ran = run("--costmgmt", files={"pytest.ini": f"[pytest]\n{ini}\n"}, environ=environ)
    assert ran.status == 4
    assert "PGPASSFILE" in ran.out
    assert "tr0ub4dor" not in ran.out


def test_a_folder_that_shadows_the_plugin_is_refused(run: Run) -> None:
    """A user's folder pytest_costmgmt/ in the working folder is told, not imported."""
    ran = run("--costmgmt", files={"pytest_costmgmt/other.py": ""})
    assert ran.status == 4
    assert "another folder" in ran.out


def test_an_older_report_does_not_survive_a_run_that_could_not_start(run: Run) -> None:
    """After an unknown option the folder says inconclusive, whatever it said before."""
    ran = run("--costmgmt", "--no-such-option")
    assert ran.status == 4
    assert ran.report is not None
    assert ran.report["verdict"] == "inconclusive"


def test_a_target_with_paths_runs_the_users_tests_without_a_verdict(run: Run) -> None:
    """A target option with paths gives our fixtures to the user's tests, and no verdict."""
    ran = run("--costmgmt-dsn", "host=db user=koku", "test_user.py", files=USER_TEST)
    assert ran.status == 0
    assert "no conformance verdict: user tests" in ran.last
    assert ran.report is None


SHADOWS = {"psycopg/__init__.py": "", "jinja2.py": "", "msgspec.py": "", "secrets.py": ""}


def test_what_lies_in_the_working_folder_stands_in_for_nothing(run: Run) -> None:
    """A user's module named as one that we import is not imported by ``python -m pytest``."""
    ran = run("--costmgmt-dsn=host=127.0.0.1 port=1 user=koku dbname=koku", files=SHADOWS)
    assert ran.status == 8, ran.out
    assert "Traceback" not in ran.out
    assert "error: CM-CON-001 " in ran.out


IMPORTED = {"ipaddress.py": "", "early.py": "import ipaddress\n"}


def test_what_was_imported_before_is_told_and_never_non_conformant(run: Run) -> None:
    """Where a plugin imported it before us, the traceback names it, and the status is 4."""
    ran = run("--costmgmt-dsn=host=db user=koku", "-p", "early", files=IMPORTED)
    assert ran.status == 4, ran.out
    assert "here/ipaddress.py" in ran.out
    assert ran.report is not None
    assert ran.report["reasons"] == ["the run could not start: ImportError, as told above"]
