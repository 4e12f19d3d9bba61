"""Backups that are not what they were: whatever was done to one is told, and names the file."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from pytest_costmgmt import cli
from pytest_costmgmt.backup import archive
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.model import ARCHIVE, MANIFEST
from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.errors import ArchiveFault, BackupFailed
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from tests.server.backup_bed import BackupBed, copied

TABLES = 3


class Made:
    """Two backups of one database that was changed in between, and what reads them."""

    def __init__(self, bed: BackupBed) -> None:
        self.clients: Clients = bed.clients
        self.folder, self.other = bed.folder / "backup", bed.folder / "other"
        for each in range(TABLES):
            rows = f"SELECT g, md5('{each}' || g) FROM generate_series(1, 500) AS g"  # noqa: S608
            bed.run(f"CREATE TABLE t{each} AS {rows}")
        bed.backup(out=self.folder)
        bed.run("UPDATE t1 SET md5 = reverse(md5)")
        # Of one second and one schema, two tables of contents would be the very same bytes.
        bed.run("COMMENT ON TABLE t1 IS 'changed'")
        bed.backup(out=self.other)


@pytest.fixture(scope="module")
def made(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Two backups for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    try:
        yield Made(BackupBed(instance.superuser, tmp_path_factory.mktemp("backups")))
    finally:
        instance.stop()


@pytest.fixture
def backup(made: Made, tmp_path: Path) -> Path:
    """A copy of the first backup, to be damaged."""
    return copied(made.folder, tmp_path / "backup")


def fault(folder: Path, clients: Clients | None = None) -> str:
    """Return what is told of a backup that is not whole."""
    with pytest.raises(ArchiveFault) as caught:
        archive.verify(folder, clients=clients)
    return str(caught.value)


def files(folder: Path) -> list[Path]:
    """Return every file of the archive."""
    found = sorted((folder / ARCHIVE).iterdir())
    assert len(found) == TABLES + 1
    return found


def names(folder: Path, path: Path) -> str:
    """Return how a file is told."""
    return path.relative_to(folder).as_posix()


def test_what_was_copied_is_whole(made: Made, backup: Path) -> None:
    """A copy is as good as the backup itself; every byte of it is read."""
    told: list[Progress] = []
    manifest = archive.verify(backup, clients=made.clients, told=told.append)
    assert manifest == manifests.read(made.folder)
    assert told[-1].bytes == sum(file.bytes for file in manifest.files)


@pytest.mark.parametrize("which", range(TABLES + 1))
def test_each_file_truncated(backup: Path, which: int) -> None:
    """A file that lost its last byte, or all of them, is named with both sizes."""
    path = files(backup)[which]
    size = path.stat().st_size
    os.truncate(path, size - 1)
    assert f"{names(backup, path)} has {size - 1} bytes, not the {size}" in fault(backup)
    os.truncate(path, 0)
    assert f"{names(backup, path)} has 0 bytes, not the {size}" in fault(backup)


@pytest.mark.parametrize("which", range(TABLES + 1))
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_one_bit_flipped_in_each_file(backup: Path, which: int, where: str) -> None:
    """One bit is enough, wherever it is."""
    path = files(backup)[which]
    content = bytearray(path.read_bytes())
    content[{"first": 0, "middle": len(content) // 2, "last": -1}[where]] ^= 1 << which
    path.write_bytes(content)
    told = fault(backup)
    assert f"{names(backup, path)} does not hold what was written" in told
    assert told.count(ARCHIVE) == 1


@pytest.mark.parametrize("which", range(TABLES + 1))
def test_each_file_missing(backup: Path, which: int) -> None:
    """A file that is gone is named."""
    path = files(backup)[which]
    path.unlink()
    assert f"{names(backup, path)} is missing" in fault(backup)


def test_a_file_of_another_backup(made: Made, backup: Path) -> None:
    """A file of a later backup, of the same name and size, is not the one that was written."""
    swapped = []
    for path in files(backup):
        theirs = made.other / names(backup, path)
        if path.name != "toc.dat" and theirs.read_bytes() != path.read_bytes():
            assert theirs.stat().st_size == path.stat().st_size
            shutil.copyfile(theirs, path)
            swapped.append(path)
    (path,) = swapped
    assert f"{names(backup, path)} does not hold what was written" in fault(backup)


def test_the_table_of_contents_of_another_backup(made: Made, backup: Path) -> None:
    """Another backup's table of contents is told, even of the same database."""
    shutil.copyfile(made.other / ARCHIVE / "toc.dat", backup / ARCHIVE / "toc.dat")
    assert f"{ARCHIVE}/toc.dat" in fault(backup)


def test_two_files_that_changed_places(backup: Path) -> None:
    """Files that bear each other's name are both told."""
    first, second = [path for path in files(backup) if path.name != "toc.dat"][:2]
    content = first.read_bytes()
    shutil.copyfile(second, first)
    second.write_bytes(content)
    told = fault(backup)
    assert names(backup, first) in told
    assert names(backup, second) in told


def test_the_whole_archive_of_another_backup(made: Made, backup: Path) -> None:
    """A whole archive beside another's manifest is not the one that it describes."""
    shutil.rmtree(backup / ARCHIVE)
    shutil.copytree(made.other / ARCHIVE, backup / ARCHIVE)
    assert "does not hold what was written" in fault(backup)


def test_a_manifest_of_another_backup(made: Made, backup: Path) -> None:
    """Another's manifest, with its digest, does not go with this archive."""
    for name in (MANIFEST, manifests.DIGEST):
        shutil.copyfile(made.other / name, backup / name)
    assert "does not hold what was written" in fault(backup)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda text: text.replace(b"500", b"501", 1), "not as it was", id="a-digit"),
        pytest.param(lambda text: text + b" ", "not as it was", id="a-space"),
        pytest.param(lambda text: text[:-40], "not as it was", id="cut"),
        pytest.param(lambda _: b"", "not as it was", id="empty"),
        pytest.param(None, f"no {MANIFEST}: not a backup, or one that was inter", id="missing"),
    ],
)
def test_an_edited_manifest(
    backup: Path, change: Callable[[bytes], bytes] | None, told: str
) -> None:
    """Whatever was changed in the manifest is noticed, before anything is believed of it."""
    path = backup / MANIFEST
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    assert told in fault(backup)


def forged(folder: Path, change: Callable[[bytes], bytes]) -> str:
    """Change the manifest, give it a digest that matches, and return what is told."""
    content = change((folder / MANIFEST).read_bytes())
    (folder / MANIFEST).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (folder / manifests.DIGEST).write_text(f"{digest}  {MANIFEST}\n")
    return fault(folder)


def edited(**changes: object) -> Callable[[bytes], bytes]:
    """Return what changes values of the manifest."""
    return lambda text: json.dumps({**json.loads(text), **changes}).encode()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        pytest.param(lambda _: b"{", "cannot be read", id="no-json"),
        pytest.param(lambda _: b"\xff\xfe", "cannot be read", id="no-text"),
        pytest.param(lambda _: b"[]", "cannot be read", id="no-object"),
        pytest.param(lambda _: b"{}", "of no version of no kind, not", id="nothing-in-it"),
        pytest.param(edited(apiVersion="costmgmt.backup/v9"), "v9 Backup, not", id="newer"),
        pytest.param(edited(kind="Report"), "v1 Report, not", id="another-kind"),
        pytest.param(edited(relations=None), "$.relations", id="wrong-type"),
        pytest.param(edited(files=[]), "names no file", id="no-files"),
        pytest.param(
            edited(files=[{"path": "../../etc/passwd", "bytes": 1, "sha256": ""}]),
            "../../etc/passwd is missing",
            id="outside",
        ),
    ],
)
def test_a_forged_manifest(backup: Path, change: Callable[[bytes], bytes], told: str) -> None:
    """A manifest whose digest matches is still read with suspicion, and told in one sentence."""
    assert told in forged(backup, change)


def test_a_missing_digest(backup: Path) -> None:
    """Without its digest the manifest is not believed."""
    (backup / manifests.DIGEST).unlink()
    assert f"it has no {manifests.DIGEST}" in fault(backup)


@pytest.mark.parametrize("name", ["notes.txt", f"{ARCHIVE}/9999.dat", f"{ARCHIVE}/sub/x"])
def test_what_does_not_belong_to_it(backup: Path, name: str) -> None:
    """A file more than was written is told, wherever it is."""
    (backup / name).parent.mkdir(exist_ok=True)
    (backup / name).write_text("x")
    assert f"{name} does not belong to it" in fault(backup)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file(backup: Path, tmp_path: Path, kind: str) -> None:
    """A link, a pipe or a folder in a file's place is told; nothing waits for it."""
    path = files(backup)[0]
    path.rename(tmp_path / "elsewhere")
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.mkdir()
    told = fault(backup)
    assert f"{names(backup, path)} is {'missing' if kind == 'folder' else 'no regular'}" in told


def test_no_archive_at_all(backup: Path, tmp_path: Path) -> None:
    """A manifest alone, a folder with nothing in it, and no folder are no backups."""
    shutil.rmtree(backup / ARCHIVE)
    assert f"{ARCHIVE} cannot be read" in fault(backup)
    (tmp_path / "empty").mkdir()
    assert "not a backup" in fault(tmp_path / "empty")
    assert "there is no such folder" in fault(tmp_path / "none")
    (tmp_path / "file").touch()
    assert "it is no folder" in fault(tmp_path / "file")


def test_many_faults_are_told_together(backup: Path) -> None:
    """Of very many faults the first are named, and the others counted."""
    for each in range(30):
        (backup / ARCHIVE / f"x{each:02}").touch()
    told = fault(backup)
    assert f"{ARCHIVE}/x19 does not" in told
    assert "and 10 more" in told
    assert f"{ARCHIVE}/x20" not in told


def test_an_archive_that_no_program_reads(made: Made, backup: Path) -> None:
    """An archive of garbage with a manifest to match is noticed by whoever has pg_restore."""
    toc = backup / ARCHIVE / "toc.dat"
    toc.write_bytes(b"PGDMP" + bytes(toc.stat().st_size - 5))
    seen = archive.files(backup)
    listed = [{"path": each.path, "bytes": each.bytes, "sha256": each.sha256} for each in seen]
    content = edited(files=listed)((backup / MANIFEST).read_bytes())
    (backup / MANIFEST).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    (backup / manifests.DIGEST).write_text(f"{digest}  {MANIFEST}\n")
    assert f"{ARCHIVE}: pg_restore failed" in fault(backup, made.clients)


def test_told_to_stop(backup: Path) -> None:
    """Reading that is told to stop neither says that it is whole nor that it is not."""
    with pytest.raises(BackupFailed, match="told to stop"):
        archive.verify(backup, stop=lambda: True)


def test_the_command_says_it_by_its_status(made: Made, backup: Path) -> None:
    """`costmgmt verify` ends with 0 for a whole backup, 1 for another, with the reason."""
    done = CliRunner().invoke(cli.main, ["verify", str(backup)])
    assert done.exit_code == 0, done.output
    assert "is whole" in done.output
    assert made.clients.version in done.output
    files(backup)[0].unlink()
    done = CliRunner().invoke(cli.main, ["verify", str(backup)])
    assert done.exit_code == 1
    assert "is missing" in done.output
