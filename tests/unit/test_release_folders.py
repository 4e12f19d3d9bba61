"""Where a release's data really lies: asked by a script, which is run here as in a pod."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.facts import release_folders
from pytest_costmgmt.facts.release_folders import Folder, follow
from pytest_costmgmt.kubernetes.streams import Ran
from pytest_costmgmt.kubernetes.trouble import StreamBroken


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_where: object, **_options: object) -> Ran:
        argv: Sequence[str] = _where[3]  # type: ignore[assignment]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        return Ran(status=done.returncode, stdout=done.stdout, stderr=done.stderr)

    monkeypatch.setattr(release_folders, "run", run)


def followed(data: Path) -> tuple[Folder, ...]:
    """Return what is told of a data folder."""
    api: Any = None
    return follow(api, "ns", "postgres-0", container="postgresql", data=str(data))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A data folder, with the parts that are looked at."""
    made = tmp_path / "userdata"
    for part in ("base", "global", "pg_wal", "pg_tblspc", "log"):
        (made / part).mkdir(parents=True)
    return made


def test_without_links_each_part_is_where_it_stands(data: Path) -> None:
    """What is not there, and what a server does without, is not told."""
    parts = {each.part: each.path for each in followed(data)}
    assert parts == {
        ".": str(data),
        **{part: str(data / part) for part in ("base", "global", "pg_wal")},
    }


def test_a_link_is_told_by_its_end(data: Path, tmp_path: Path) -> None:
    """Of pg_wal and of tablespaces, over several links, with whatever name."""
    wal, fast = tmp_path / "wal", tmp_path / "fast\nand 'odd'\n"
    wal.mkdir()
    fast.mkdir()
    (tmp_path / "between").symlink_to(wal)
    (data / "pg_wal").rmdir()
    (data / "pg_wal").symlink_to(tmp_path / "between")
    (data / "pg_tblspc/16400").symlink_to(fast)
    (data / "log").rmdir()
    (data / "log").symlink_to(wal)
    parts = {each.part: each.path for each in followed(data)}
    assert parts.pop("pg_wal") == str(wal)
    assert parts.pop("pg_tblspc/16400") == str(fast)
    assert parts.keys() == {".", "base", "global"}


def test_the_folder_itself_may_be_a_link(data: Path, tmp_path: Path) -> None:
    """Its parts then lie where it leads."""
    link = tmp_path / "named"
    link.symlink_to(data)
    parts = {each.part: each.path for each in followed(link)}
    assert parts["."] == str(data)
    assert parts["base"] == str(data / "base")


def test_what_is_not_told_is_an_error_that_says_why(tmp_path: Path) -> None:
    """A folder that is not there is never one without links."""
    with pytest.raises(StreamBroken, match=r"was not told: .*(No such|can't cd)"):
        followed(tmp_path / "nowhere")


def test_half_an_answer_is_none(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever ends in the middle of a pair is not believed."""
    for said in ("", ".\0", ".\0/data\0pg_wal\0", ".\0/data", "pg_wal\0/wal\0"):
        ran = Ran(status=0, stdout=said, stderr="")
        monkeypatch.setattr(release_folders, "run", lambda *_, _ran=ran, **__: _ran)
        with pytest.raises(StreamBroken, match="was not told"):
            followed(data)
