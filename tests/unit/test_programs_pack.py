"""The pack: a data folder in one file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_costmgmt.postgres import programs_initdb
from pytest_costmgmt.postgres import programs_pack as packs


def _folder(base: Path) -> Path:
    source = base / "source"
    (source / "base/1").mkdir(parents=True)
    (source / "empty").mkdir()
    (source / "base/1/zero").write_bytes(b"")
    (source / "base/1/small").write_bytes(b"abc")
    holes = bytes(65536) + b"x" * 70000 + bytes(200000) + b"end" + bytes(65536 * 2)
    (source / "wal").write_bytes(holes)
    return source


def _content(base: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(base)): path.read_bytes() if path.is_file() else None
        for path in base.rglob("*")
    }


def _unpack(pack: Path, target: Path) -> None:
    packs.unpack(pack, target, uid=os.geteuid(), gid=os.getegid(), chown=False)


def test_a_pack_gives_back_what_it_was_made_from(tmp_path: Path) -> None:
    """Every file and folder comes back byte for byte, empty ones and holes too."""
    source = _folder(tmp_path)
    packs.write(source, tmp_path / "p.pack", {"k": "v"})
    _unpack(tmp_path / "p.pack", tmp_path / "target")
    assert _content(tmp_path / "target") == _content(source)
    assert packs.read(tmp_path / "p.pack").meta == {"k": "v"}


def test_a_pack_leaves_zeros_out(tmp_path: Path) -> None:
    """What is zero takes no room in the pack, but counts in its size."""
    source = _folder(tmp_path)
    packs.write(source, tmp_path / "p.pack", {})
    assert (tmp_path / "p.pack").stat().st_size < 250_000
    assert packs.read(tmp_path / "p.pack").size >= (source / "wal").stat().st_size


def test_a_pack_and_its_files_are_for_us_only(tmp_path: Path) -> None:
    """Neither the pack nor what is unpacked can be read by others, whatever the umask."""
    old = os.umask(0)
    try:
        packs.write(_folder(tmp_path), tmp_path / "p.pack", {})
        _unpack(tmp_path / "p.pack", tmp_path / "target")
    finally:
        os.umask(old)
    target = tmp_path / "target"
    for path in (tmp_path / "p.pack", target, *target.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """A pack is complete or absent: nothing stands beside it after an error."""
    cache = tmp_path / "cache"
    cache.mkdir()
    with pytest.raises(TypeError):
        packs.write(_folder(tmp_path), cache / "p.pack", {"k": object()})  # type: ignore[dict-item]
    assert list(cache.iterdir()) == []


@pytest.mark.parametrize("damage", ["empty", "foreign", "cut"])
def test_a_damaged_pack_is_not_believed(tmp_path: Path, damage: str) -> None:
    """What is no pack, or half of one, is an error and not half a data folder."""
    pack = tmp_path / "p.pack"
    packs.write(_folder(tmp_path), pack, {})
    whole = pack.read_bytes()
    pack.write_bytes({"empty": b"", "foreign": b"#!/bin/sh\n" * 99, "cut": whole[:-100]}[damage])
    with pytest.raises((ValueError, OSError)):
        packs.read(pack)
    with pytest.raises((ValueError, OSError)):
        _unpack(pack, tmp_path / "target")


def test_old_packs_are_forgotten(tmp_path: Path) -> None:
    """Packs of programs that have not been in use for long do not fill the cache for ever."""
    old, recent, new = (tmp_path / f"initdb-{name}.pack" for name in ("old", "recent", "new"))
    for pack in (old, recent, new):
        pack.touch()
        pack.with_suffix(".lock").touch()
    os.utime(old, (0, 0))
    programs_initdb._forget_old(new)  # noqa: SLF001
    left = {path.name for path in tmp_path.glob("*.pack")}
    assert left == {recent.name, new.name}
    assert not old.with_suffix(".lock").exists()
