"""The embedded server: what it is once it answers, and that it leaves nothing."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.errors import ConnectFailed, ProvisionFailed, UsageProblem
from pytest_costmgmt.postgres import programs_pack as packs
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded, embedded_folders
from pytest_costmgmt.servers.embedded import Instance

ROOT = os.geteuid() == 0


@pytest.fixture(scope="module")
def instance(programs: Programs) -> Iterator[Instance]:
    """Return a running server that tests only read."""
    server = embedded.start(run_id="test-start", programs=programs)
    yield server
    server.stop()


def ask(login: Login, query: str) -> str:
    """Return the one value that ``query`` gives, as text."""
    with connect(login, deadline=10) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return str(row[0])


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("listen_addresses", ""),
        ("fsync", "off"),
        ("full_page_writes", "off"),
        ("synchronous_commit", "off"),
        ("shared_preload_libraries", "pg_stat_statements"),
        ("server_encoding", "UTF8"),
        ("TimeZone", "UTC"),
        ("lc_messages", "C"),
        ("password_encryption", "scram-sha-256"),
        ("max_connections", "200"),
        ("log_checkpoints", "off"),
    ],
)
def test_the_servers_settings(instance: Instance, setting: str, expected: str) -> None:
    """The server is reached by its socket only, forgets quickly, and speaks UTF-8 and UTC."""
    assert ask(instance.superuser, f"SELECT pg_catalog.current_setting('{setting}')") == expected


@pytest.mark.parametrize("role", ["postgres", "nobody-such"])
def test_a_wrong_password_is_refused(instance: Instance, role: str) -> None:
    """Every login is asked for its password, the superuser's too: 28P01, as in production."""
    wrong = Secret("a-wrong-password")
    with pytest.raises(ConnectFailed) as caught:
        connect(instance.superuser.acting_as(role, wrong, database="postgres"), deadline=10)
    assert caught.value.sqlstate == "28P01"


def test_no_password_is_not_enough(instance: Instance) -> None:
    """Who offers no password does not come in."""
    login = instance.superuser.acting_as("postgres", Secret(""), database="postgres")
    with pytest.raises(ConnectFailed):
        connect(login, deadline=10)


def test_every_line_of_pg_hba_asks_for_scram(instance: Instance) -> None:
    """No way in, TCP included, has another method than scram-sha-256."""
    query = "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_catalog.pg_hba_file_rules"
    assert ask(instance.superuser, query) == "scram-sha-256"


def test_passwords_are_a_runs_own(programs: Programs, instance: Instance) -> None:
    """Two servers from the same cache do not share a password, nor keep the cached one."""
    other = embedded.start(run_id="test-other", programs=programs)
    try:
        for password in (instance.superuser.password, programs.prepared.password):
            with pytest.raises(ConnectFailed) as caught:
                connect(
                    other.superuser.acting_as("postgres", password, database="postgres"),
                    deadline=10,
                )
            assert caught.value.sqlstate == "28P01"
    finally:
        other.stop()


def test_databases_hold_no_maps_that_clones_would_copy(programs: Programs) -> None:
    """What is unpacked has no map of free space or visibility, and vacuuming makes them again."""
    server = embedded.start(run_id="test-maps", programs=programs)
    try:
        base = server.data / "base"
        assert not [*base.glob("*/*_vm"), *base.glob("*/*_fsm")]
        with connect(server.superuser, deadline=10) as connection:
            connection.execute("VACUUM pg_catalog.pg_proc")
            query = "SELECT pg_catalog.pg_relation_filepath('pg_catalog.pg_proc')"
            (path,) = connection.execute(query).fetchone() or ("",)
        assert (server.data / f"{path}_vm").exists()
    finally:
        server.stop()


def test_the_password_is_in_no_file_and_no_argv(instance: Instance) -> None:
    """Neither the run folder nor the processes' command lines hold the password."""
    password = instance.superuser.password
    assert password is not None
    needle = password.reveal().encode()
    files = [f for f in instance.run_folder.rglob("*") if f.is_file() and not f.is_fifo()]
    assert [f for f in files if needle in f.read_bytes()] == []
    argvs = [p.read_bytes() for p in _readable("/proc", "*/cmdline")]
    assert [a for a in argvs if needle in a] == []


def _readable(base: str, pattern: str) -> Iterator[Path]:
    for path in Path(base).glob(pattern):
        try:
            path.read_bytes()
        except OSError:
            continue
        yield path


def test_another_user_cannot_enter_the_folder(instance: Instance) -> None:
    """The folder is 0700, and root's server cannot be reached by a third user either."""
    assert instance.run_folder.stat().st_mode & 0o777 == 0o700
    if ROOT:
        done = subprocess.run(
            ["/bin/ls", str(instance.run_folder)],
            user=12345, group=12345, extra_groups=[], capture_output=True, check=False,
        )  # fmt: skip
        assert done.returncode != 0


def test_the_extensions_are_usable(instance: Instance) -> None:
    """The three extensions that Cost Management needs can be created and used."""
    with connect(instance.superuser, deadline=10) as connection:
        for name in ("uuid-ossp", "pg_trgm", "pg_stat_statements"):
            connection.execute(f'CREATE EXTENSION IF NOT EXISTS "{name}"'.encode())
    query = "SELECT uuid_generate_v4() IS NOT NULL AND similarity('abc', 'abc') = 1"
    assert ask(instance.superuser, query) == "True"
    assert int(ask(instance.superuser, "SELECT count(*) FROM pg_stat_statements")) > 0


def test_nothing_is_left_after_stop(programs: Programs) -> None:
    """After stop there is no folder and no process; a second stop does nothing."""
    server = embedded.start(run_id="test-left", programs=programs)
    postmaster = int((server.data / "postmaster.pid").read_text().split("\n")[0])
    held = connect(server.superuser, deadline=10)
    server.stop()
    server.stop()
    held.close()
    assert not server.run_folder.exists()
    assert not server.socket_dir.exists()
    assert not Path(f"/proc/{postmaster}").exists()


def test_a_kept_server_can_be_started_again(programs: Programs) -> None:
    """With keep, data and log stay, and the printed commands start, reach, stop and remove it."""
    server = embedded.start(run_id="test-keep", programs=programs)
    with connect(server.superuser, deadline=10) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    server.stop(keep=True)
    try:
        embedded_folders.sweep([server.run_folder.parent])
        assert server.log.exists()
        assert server.passfile.stat().st_mode & 0o777 == 0o600
        said = server.how_to_connect()
        password = server.superuser.password
        assert password is not None
        assert password.reveal() not in said
        steps = {line.partition(":")[0].strip(): line for line in said.splitlines()}
        start, stop, remove = (
            shlex.split(steps[name].partition(":")[2])
            for name in ("start it", "stop it", "remove it")
        )
        subprocess.run(start, check=True, cwd="/", stdout=subprocess.DEVNULL)
        try:
            assert ask(server.superuser, "SELECT answer FROM kept") == "42"
        finally:
            subprocess.run(stop, check=True, cwd="/", stdout=subprocess.DEVNULL)
        subprocess.run(remove, check=True)
        assert not server.run_folder.exists()
    finally:
        shutil.rmtree(server.run_folder, ignore_errors=True)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "pack"])
def test_a_template_is_copied(programs: Programs, tmp_path: Path, packed: bool) -> None:
    """A stopped server's data can be started again and again, each time as it was."""
    first = embedded.start(run_id="test-template", programs=programs)
    with connect(first.superuser, deadline=10) as connection:
        connection.execute("CREATE TABLE prepared (n int)")
    first.stop(keep=True)
    template = first.data
    if packed:
        template = tmp_path / "pack"
        packs.write(first.data, template, {})
    try:
        for _ in range(2):
            copy = embedded.start(
                run_id="test-copy",
                programs=programs,
                template=template,
                superuser_password=first.superuser.password,
                hba_first=("local all copied trust",),
                conf=("work_mem = '7MB'",),
            )
            try:
                assert ask(copy.superuser, "SELECT count(*) FROM prepared") == "0"
                assert ask(copy.superuser, "SHOW work_mem") == "7MB"
                with connect(copy.superuser, deadline=10) as connection:
                    connection.execute("INSERT INTO prepared VALUES (1)")
                    connection.execute("CREATE ROLE copied LOGIN")
                trusted = copy.superuser.acting_as("copied", None, database="postgres")
                assert ask(trusted, "SELECT current_user") == "copied"
            finally:
                copy.stop()
    finally:
        shutil.rmtree(first.run_folder)


def test_a_server_that_ends_while_starting(programs: Programs) -> None:
    """A configuration that PostgreSQL refuses ends the start at once, with its own words."""
    with pytest.raises(ProvisionFailed, match="no_such_setting"):
        embedded.start(run_id="test-refused", programs=programs, conf=("no_such_setting = 1",))
    for base in embedded_folders.run_bases(os.environ):
        assert list(base.glob("costmgmt-server-test-refused-*")) == []


@pytest.mark.parametrize("run_id", ["", "a/b", "../x", "x" * 99, "a b"])
def test_a_run_id_is_a_files_name(programs: Programs, run_id: str) -> None:
    """A run id that could leave the folder is refused."""
    with pytest.raises(UsageProblem, match="run id"):
        embedded.start(run_id=run_id, programs=programs)
