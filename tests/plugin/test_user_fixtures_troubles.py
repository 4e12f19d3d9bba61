"""What a test may do to its database, its server and its process; the next one does not suffer."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pytest_costmgmt import Credentials
from tests.plugin.conftest import Run

STAYS = """
from psycopg import sql
from pytest_costmgmt.postgres.connect import connect
def test_marks(costmgmt_database, costmgmt_server):
    with connect(costmgmt_server.administrator, deadline=10) as c:
        c.execute(sql.SQL("ALTER DATABASE {} IS_TEMPLATE true").format(
            sql.Identifier(costmgmt_database.name)))
def test_next(costmgmt_connection):
    pass
def test_next_but_one(costmgmt_connection):
    pass
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_what_stays_is_told_at_the_end_not_of_the_next_test(run: Run, workers: str) -> None:
    """A database that its own test made undroppable is told of by that test's name; all pass."""
    if workers != "0":
        pytest.importorskip("xdist")
    ran = run(
        *(["-n", workers, "--dist=loadfile"] if workers != "0" else []),
        files={"test_user.py": STAYS},
        report=False,
    )
    assert ran.status == 0, ran.out
    told = "costmgmt: the database of test_user.py::test_marks could not be removed after it: "
    assert ran.out.count(told) == 1, ran.out
    assert "cannot drop a template database" in ran.out


ENDS_ALL = """
import pytest
from pytest_costmgmt.postgres.connect import connect
def ended(server):
    with connect(server.administrator, deadline=10) as c:
        query = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE backend_type"
        c.execute(query + " = 'client backend' AND pid <> pg_backend_pid()")
def test_first(costmgmt_connection):
    pass
def test_with_a_database(costmgmt_database, costmgmt_server):
    ended(costmgmt_server)
def test_between(costmgmt_connection):
    costmgmt_connection.execute("CREATE TABLE t ()")
def test_without_one(costmgmt_server):
    ended(costmgmt_server)
def test_next(costmgmt_connection):
    costmgmt_connection.execute("CREATE TABLE t ()")
"""


def test_a_test_may_end_everybodys_sessions(run: Run) -> None:
    """Its own database is removed, and the next test has one: ours were among the sessions."""
    ran = run("-W", "error", files={"test_user.py": ENDS_ALL}, report=False)
    assert ran.status == 0, ran.out
    assert "could not be removed" not in ran.out


FORKS = """
import os
import pytest
def test_one(costmgmt_connection):
    pass
def test_two(costmgmt_connection):
    pass
def test_child(costmgmt_database_factory):
    child = os.fork()
    if child == 0:
        try:
            for _ in range(3):
                with costmgmt_database_factory.fresh() as database:
                    database.connect().close()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
@pytest.mark.parametrize("number", range(3))
def test_parent(costmgmt_connection, number):
    costmgmt_connection.execute("CREATE TABLE mine ()")
    costmgmt_connection.commit()
"""


def test_a_forked_child_makes_databases_by_connections_of_its_own(run: Run) -> None:
    """Neither takes the other's answers, nor the copy that the other made ahead."""
    # Another plugin's thread makes each fork a warning.
    ran = run("-W", "error", "-W", "ignore::DeprecationWarning", "--durations=1",
              files={"test_user.py": FORKS}, report=False)  # fmt: skip
    assert ran.status == 0, ran.out
    assert "6 passed" in ran.out


THREADS = """
from concurrent.futures import ThreadPoolExecutor
def test_threads(costmgmt_database_factory):
    def named(_):
        with costmgmt_database_factory.fresh() as database, database.connect() as c:
            return c.execute("SELECT current_database()").fetchone() == (database.name,)
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(named, range(60)))
"""


def test_the_factory_serves_several_threads(run: Run) -> None:
    """One statement at a time goes over each of its connections."""
    ran = run(files={"test_user.py": THREADS}, report=False)
    assert ran.status == 0, ran.out


AGAIN = """
from _pytest.runner import runtestprotocol
def pytest_runtest_protocol(item, nextitem):
    if item.name != "test_flaky":
        return None
    for _ in range(2):  # as pytest-rerunfailures does
        item._initrequest()
        reports = runtestprotocol(item, nextitem=nextitem, log=False)
    for report in reports:
        item.ihook.pytest_runtest_logreport(report=report)
    return True
"""
FLAKY = """
import time
from pytest_costmgmt.postgres.connect import connect
SEEN = []
def test_flaky(costmgmt_database):
    SEEN.append(costmgmt_database.name)
    assert len(SEEN) == 2
def test_kept(costmgmt_database, costmgmt_server):
    deadline = time.monotonic() + 60
    while True:
        with connect(costmgmt_server.administrator, deadline=10) as c:
            there = {name for (name,) in c.execute("SELECT datname FROM pg_database")}
        if there & {*SEEN} == {SEEN[0]}:
            break
        assert time.monotonic() < deadline, there & {*SEEN}
"""


def test_an_attempt_that_passes_keeps_nothing(run: Run) -> None:
    """A test that is run again, and passes, keeps the failed attempt's database only."""
    files = {"conftest.py": AGAIN, "test_user.py": FLAKY}
    ran = run("--costmgmt-keep=on-failure", files=files, report=False)
    assert ran.status == 0, ran.out


TEARS = """
import time
import pytest
from pytest_costmgmt.postgres.connect import connect
SEEN = []
@pytest.fixture
def breaks(costmgmt_database):
    yield
    SEEN.append(costmgmt_database.name)
    raise RuntimeError("of the fixture")
def test_passes(costmgmt_database):
    SEEN.append(costmgmt_database.name)
def test_is_torn_down(breaks):
    pass
def test_kept(costmgmt_database, costmgmt_server):
    deadline = time.monotonic() + 60
    while True:
        with connect(costmgmt_server.administrator, deadline=10) as c:
            there = {name for (name,) in c.execute("SELECT datname FROM pg_database")}
        if there & {*SEEN} == {SEEN[1]}:
            break
        assert time.monotonic() < deadline, there & {*SEEN}
"""


def test_a_failed_teardown_keeps_the_database_too(run: Run) -> None:
    """A fixture that used it fails at its end: what the report says is kept is there."""
    ran = run("--costmgmt-keep=on-failure", files={"test_user.py": TEARS}, report=False)
    found = re.search(r"remove it: rm -r -- (.+)", ran.out)
    assert found, ran.out
    subprocess.run(["rm", "-r", "--", *shlex.split(found[1])], check=True)
    assert "3 passed, 1 error" in ran.out, ran.out
    assert len(re.findall(r"name='costmgmt_\w+'.* is kept", ran.out)) == 1


LOSES_TMPDIR = """
import os, shutil
def pytest_sessionstart(session):
    if hasattr(session.config, "workerinput"):
        shutil.rmtree(os.environ["TMPDIR"], ignore_errors=True)
"""
NEEDS_IT = """
import pytest
@pytest.mark.parametrize("number", range(6))
def test_it(costmgmt_database, number):
    pass
"""


def test_workers_that_cannot_share_say_why(run: Run, tmp_path: Path) -> None:
    """TMPDIR is gone: the folder and the reason, in full once in each worker."""
    pytest.importorskip("xdist")
    temporary = tmp_path / "t"
    temporary.mkdir()
    ran = run(
        *("-n", "2"),
        files={"conftest.py": LOSES_TMPDIR, "test_user.py": NEEDS_IT},
        environ={"TMPDIR": str(temporary)},
        report=False,
    )
    assert "6 errors" in ran.out, ran.out
    bodies = ran.out.split("short test summary info")[0]
    words = rf"^costmgmt_server: .*{re.escape(str(temporary))}.*cannot be used: No such file"
    assert 1 <= len(re.findall(words, bodies, re.MULTILINE)) <= 2, ran.out
    assert len(re.findall(r"^as told above: ", bodies, re.MULTILINE)) >= 4, ran.out
    assert "Set TMPDIR" in ran.out


def test_credentials_take_no_plain_password() -> None:
    """A text would be shown by the credentials' repr: it is refused, and not repeated."""
    with pytest.raises(TypeError, match="Secret") as caught:
        Credentials(role="koku", password="tr0ub4dor")  # type: ignore[arg-type]
    assert "tr0ub4dor" not in str(caught.value)
