"""A password comes out nowhere, in no form, and what is evidence stays readable."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.passwords import verifier
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.spellings import url
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded
from tests.plugin.conftest import Ran, Run
from tests.plugin.sinks import LOUD, PLANTER, USER_TESTS, leaks, written

ROLE, DATABASE = "Kök-u r", "Kök-u db"
PASSWORD = 'it\'s "ä" p/w@h:1%20 \\ $HOME 密码'


class Bed:
    """A server that logs every statement, and whose application's password a test may choose."""

    def __init__(self, administrator: Login, application: Login, log: Path) -> None:
        self.administrator, self.application, self.log = administrator, application, log
        self.password = ""

    def use(self, password: str) -> None:
        """Give the application's role a password."""
        with connect(self.administrator, deadline=10) as connection:
            secret = verifier(connection, ROLE, Secret(password))
            connection.execute(f"ALTER ROLE \"{ROLE}\" PASSWORD '{secret}'".encode())
        self.password = password
        self.application = self.application.acting_as(ROLE, Secret(password), database=DATABASE)


@pytest.fixture(scope="module")
def bed(programs: Programs) -> Iterator[Bed]:
    """The server of this module."""
    logged = ("log_statement = 'all'", "log_connections = on", "log_min_messages = debug1")
    instance = embedded.start(run_id="sinks", programs=programs, conf=logged)
    try:
        needs = load().named(role=ROLE, database=DATABASE)
        done = initialize(instance.superuser, requirements=needs, ours=True).require()
        yield Bed(instance.superuser, done.application, instance.log)
    finally:
        instance.stop()


@pytest.fixture
def planted(run: Run, bed: Bed, tmp_path: Path) -> Planted:
    """A run into which the application's password is planted."""
    bed.use(PASSWORD)
    return Planted(run, bed, tmp_path)


class Planted:
    """Runs with the password planted, and looks at all that they left."""

    def __init__(self, run: Run, bed: Bed, folder: Path) -> None:
        self.run, self.bed, self.folder = run, bed, folder

    def suite(self, where: str, *more: str) -> Ran:
        """Run the suite, loudly, with the planter."""
        file = self.folder / "secret"
        file.write_bytes(self.bed.password.encode())
        file.chmod(0o600)
        return self.run(
            "--costmgmt", "-p", "planter", *more, *LOUD,
            files={"planter.py": PLANTER},
            environ={"COSTMGMT_DSN": url(self.bed.application), "PLANTED": str(file),
                     "PLANTED_AT": where},
        )  # fmt: skip

    def users(self, *more: str) -> Ran:
        """Run a user's tests that use our fixtures."""
        file = self.folder / "secret"
        file.write_bytes(self.bed.password.encode())
        return self.run(
            *more, *LOUD, "--costmgmt-allow=scratch",
            files={"test_user.py": USER_TESTS}, report=False,
            environ={
                "COSTMGMT_DSN": url(self.bed.application),
                "COSTMGMT_ADMIN_DSN": url(self.bed.administrator),
                "PLANTED": str(file),
            },
        )  # fmt: skip

    def nothing_leaked(self, ran: Ran) -> dict[str, str]:
        """Assert that the password is nowhere; return what there is to read."""
        said = {"said": ran.out, "server's log": self.bed.log.read_text()}
        places = [self.folder / "here", self.folder / "report"]
        for number, (name, text) in enumerate(written(*places)):
            said[f"{number} {name}"] = text
        assert not leaks(self.bed.password, said)
        return said


def readable(said: dict[str, str], word: str, *sinks: str) -> None:
    """Assert that a word of the evidence is in each of these sinks."""
    for sink in sinks:
        assert any(word in text for name, text in said.items() if sink in name), (word, sink)


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_no_sink_of_a_judged_run_shows_it(planted: Planted, workers: tuple[str, ...]) -> None:
    """A finding, an error, logs, warnings, sections: all are told, without the password."""
    ran = planted.suite("checks", *workers)
    assert ran.status != 0
    bundle = subprocess.run(
        [sys.executable, "-m", "pytest_costmgmt.cli", "support-bundle",
         str(planted.folder / "report"), "--out", str(planted.folder / "here" / "bundle.tar.gz")],
        capture_output=True, text=True, check=True, cwd=planted.folder,
    )  # fmt: skip
    assert "report.json" in bundle.stdout
    said = planted.nothing_leaked(ran)
    sinks = ("said", "junit.xml", "report.json", "report.html", "allure", "bundle")
    readable(said, "the finding of", *sinks)
    readable(said, "planted: ", *sinks)
    readable(said, "connecting with", "all.log", "said")
    readable(said, "ALTER ROLE koku PASSWORD", "fix.sql")
    readable(said, "deprecated way", "said")
    report = json.loads((planted.folder / "report" / "report.json").read_text())
    assert (report["target"]["role"], report["target"]["database"]) == (ROLE, DATABASE)


ALONE, WORKERS = (), ("-n2",)
CRASHES = [
    *[(where, ways) for where in ("controller", "facts", "interrupt") for ways in (ALONE, WORKERS)],
    ("vanish", WORKERS),  # only a worker can
]


@pytest.mark.parametrize(
    ("where", "workers"), CRASHES, ids=[f"{w}-{'xdist' if n else 'alone'}" for w, n in CRASHES]
)
def test_no_crash_shows_it(planted: Planted, where: str, workers: tuple[str, ...]) -> None:
    """Our own crash, an interrupt, a worker that vanishes: the trace is there without it."""
    ran = planted.suite(where, *workers)
    assert ran.status != 0
    said = planted.nothing_leaked(ran)
    word = "crashed" if where == "vanish" else "planted: "
    if (where, workers) != ("interrupt", ("-n2",)):  # xdist tells no worker's interrupt
        readable(said, word, "said")


@pytest.mark.parametrize("workers", [(), ("-n2",)], ids=["alone", "xdist"])
def test_no_sink_of_a_users_tests_shows_it(planted: Planted, workers: tuple[str, ...]) -> None:
    """Ids, locals, assertions, logs of tests that use our fixtures are told without it."""
    ran = planted.users(*workers)
    assert "2 failed" in ran.out, ran.out
    said = planted.nothing_leaked(ran)
    readable(said, "evidence stays", "said", "junit.xml", "allure")
    readable(said, "test_evidence_by_id[role=koku password=", "said", "lastfailed", "junit.xml")
    readable(said, ROLE, "said")
    readable(said, "careful with", "said")


odd = st.text(
    alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"))
    | st.sampled_from("'\"/@:%\\$ é\n"),
    min_size=8, max_size=200,
).filter(lambda value: len(set(value.strip())) >= 8 and len(value.strip()) >= 16)  # fmt: skip


@settings(
    max_examples=3, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(password=odd)
def test_no_odd_password_comes_out(planted: Planted, password: str) -> None:
    """Quotes, slashes, per cent, spaces, line breaks and any letter: it comes out nowhere."""
    planted.bed.use(password)
    ran = planted.suite("checks")
    said = planted.nothing_leaked(ran)
    readable(said, "the finding of", "said", "junit.xml", "report.json", "report.html", "allure")


def test_the_second_line_cannot_be_taken_out(run: Run) -> None:
    """``-p no:costmgmt-redaction`` is a usage error, and named."""
    ran = run("--costmgmt", "-p", "no:costmgmt-redaction")
    assert ran.status == 4
    assert "-p no:costmgmt-redaction takes out what keeps passwords" in ran.out
