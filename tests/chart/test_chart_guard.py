"""The init container: whose data it refuses, in one sentence, and that it touches none."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from pytest_costmgmt.postgres.programs import Programs
from tests.chart.chart_server import script, shells
from tests.server.access_server import own_server


@pytest.fixture(params=shells())
def shell(request: pytest.FixtureRequest) -> str:
    """Each shell that the image's /bin/sh may be."""
    return str(request.param)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A folder of programs with PostgreSQL 15's version, which goes before the machine's."""
    folder = tmp_path / "tools"
    folder.mkdir()
    program(folder, "postgres", 'echo "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"')
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    """An empty volume, as a new claim has it."""
    (tmp_path / "volume" / "lost+found").mkdir(parents=True)
    return tmp_path / "volume"


def program(folder: Path, name: str, text: str) -> None:
    """Write a program for the script to find."""
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def database(volume: Path, version: str, name: str = "userdata") -> Path:
    """Write what tells a data folder of that major version."""
    data = volume / name
    data.mkdir(exist_ok=True)
    (data / "PG_VERSION").write_text(f"{version}\n")
    return data


def everything(volume: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that a touch would change."""
    return {
        str(path): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in volume.rglob("*")
    }


def refusal(volume: Path, tools: Path, shell: str) -> str:
    """Return the one sentence of a refusal, which touched nothing."""
    before = everything(volume)
    done = script("check-data.sh", str(volume), shell=shell, path=tools)
    assert done.returncode == 1
    assert done.stdout == ""
    assert everything(volume) == before
    (line,) = done.stderr.splitlines()
    assert line.endswith("Nothing was touched.")
    return line


def accepted(volume: Path, tools: Path | None, shell: str) -> None:
    """Say nothing, end with 0, touch nothing."""
    before = everything(volume)
    done = script("check-data.sh", str(volume), shell=shell, path=tools)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert everything(volume) == before


def test_an_empty_volume(volume: Path, tools: Path, shell: str) -> None:
    """A new claim is accepted."""
    accepted(volume, tools, shell)


def test_its_own_version(volume: Path, tools: Path, shell: str) -> None:
    """A data folder of the image's version is accepted."""
    database(volume, "15")
    accepted(volume, tools, shell)


def test_the_layout_before_userdata(volume: Path, tools: Path, shell: str) -> None:
    """A data folder in the volume's root, which the image moves itself, is judged too."""
    database(volume, "15", ".")
    accepted(volume, tools, shell)
    database(volume, "13", ".")
    assert "is of PostgreSQL 13" in refusal(volume, tools, shell)


@pytest.mark.parametrize("version", ["13", "16", "9.6", "5", "150"])
def test_another_version(volume: Path, tools: Path, shell: str, version: str) -> None:
    """Data of another major version is refused: both, and the way, are named."""
    database(volume, version)
    told = refusal(volume, tools, shell)
    assert f"is of PostgreSQL {version} and the image is PostgreSQL 15" in told
    assert f"set postgresql.major={version}" in told
    assert "backup and restore" in told


@pytest.mark.parametrize("version", ["16beta1", "18.6", "18devel"])
def test_versions_are_read(volume: Path, tools: Path, shell: str, version: str) -> None:
    """The image's version is read as `postgres --version` writes it."""
    program(tools, "postgres", f'echo "postgres (PostgreSQL) {version}"')
    major = re.match(r"\d+", version)
    assert major is not None
    database(volume, major[0])
    accepted(volume, tools, shell)


def test_another_owner(volume: Path, tools: Path, shell: str) -> None:
    """A data folder of another uid is refused with both uids."""
    database(volume, "15")
    owner = (volume / "userdata").stat().st_uid
    program(tools, "id", "echo 1000680000")
    told = refusal(volume, tools, shell)
    assert f"belongs to uid {owner}, and the pod runs as uid 1000680000" in told


def test_a_database_elsewhere_on_the_volume(volume: Path, tools: Path, shell: str) -> None:
    """A database where the image does not look is not passed over for an empty one."""
    database(volume, "15", "pgdata")
    told = refusal(volume, tools, shell)
    assert f"holds a database in {volume / 'pgdata'}" in told
    assert f"an empty one in {volume / 'userdata'}" in told


def test_an_image_without_postgresql(volume: Path, tools: Path, shell: str) -> None:
    """An image that has no server says so."""
    program(tools, "postgres", "exit 127")
    assert "no program postgres" in refusal(volume, tools, shell)


def test_a_real_data_folder(programs: Programs, shell: str, tmp_path: Path) -> None:
    """What initdb really made, by the `postgres --version` that really made it, is accepted."""
    with own_server(programs) as server:
        (tmp_path / "userdata").symlink_to(server.data)
        folder = tmp_path / "tools"
        folder.mkdir()
        program(folder, "postgres", f'exec {programs.bindir}/postgres "$@"')
        accepted(tmp_path, folder, shell)
        assert subprocess.run([folder / "postgres", "--version"], check=True).returncode == 0
