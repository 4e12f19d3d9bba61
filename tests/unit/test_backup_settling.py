"""A new archive is on the disk before it gets its name, most of it while it is written."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from pytest_costmgmt.backup import archive, dump, settling
from pytest_costmgmt.backup.model import ARCHIVE
from pytest_costmgmt.errors import ArchiveFault

DEADLINE = 60


def test_what_grows_is_synced_while_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A large file of a folder that is made later; a small one is left to the end."""
    synced: list[str] = []
    seen = threading.Event()

    def note(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        seen.set()

    monkeypatch.setattr(os, "fdatasync", note)
    monkeypatch.setattr(settling, "LOOK", 0.01)
    monkeypatch.setattr(settling, "PIECE", 1000)
    with settling.settling(tmp_path / "later"):
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "small").write_bytes(b"x")
        (tmp_path / "later" / "link").symlink_to("/dev/zero")
        (tmp_path / "later" / "large").write_bytes(b"x" * 2000)
        assert seen.wait(DEADLINE)
    assert set(synced) == {"large"}


def test_every_file_and_folder_is_synced_before_the_name_is_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """pg_dump is told not to: so nothing may be left out here."""
    folder, out = tmp_path / "beside", tmp_path / "out"
    (folder / ARCHIVE).mkdir(parents=True)
    for name in ("toc.dat", "1.dat", "2.dat"):
        (folder / ARCHIVE / name).write_text(name)
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    found = archive.files(folder)
    assert {str(folder / each.path) for each in found} == set(synced)
    assert len(synced) == 3
    dump._publish(folder, out)  # noqa: SLF001
    assert synced[3:] == [str(folder / ARCHIVE), str(folder), str(tmp_path)]


def test_a_file_that_cannot_be_brought_to_the_disk_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails at the end fails the backup."""
    (tmp_path / ARCHIVE).mkdir()
    (tmp_path / ARCHIVE / "toc.dat").write_text("x")

    def fail(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(ArchiveFault, match="Input/output error"):
        archive.files(tmp_path)
