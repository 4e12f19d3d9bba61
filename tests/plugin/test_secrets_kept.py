"""The passwords that we make: in no process's arguments, in no log, in no file but the one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.engine.report import logs
from tests.plugin.sinks import leaks, written
from tests.server.run_support import PATIENCE, Place, Ran, Running, place


@pytest.fixture
def where() -> Iterator[Place]:
    """A place for a test's runs."""
    with place() as made:
        yield made


def watched(run: Running) -> tuple[dict[str, str], dict[str, str]]:
    """Follow a run to its end; return its processes' arguments and their environments."""
    arguments: dict[str, str] = {}
    environments: dict[str, str] = {}
    end = time.monotonic() + PATIENCE
    while run.process.poll() is None and time.monotonic() < end:
        for pid in [*run.note().seen]:
            shown = _read(pid, "cmdline").replace("\0", " ")
            arguments[f"{pid} {shown}"] = shown
            environments[f"{pid} {shown}"] = _read(pid, "environ")
        time.sleep(0.05)
    return arguments, environments


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="backslashreplace")
    except OSError:
        return ""


def passwords(folder: Path) -> set[str]:
    """Return the passwords in a kept server's password file, which nobody else can read."""
    file = folder / "pgpass"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    return {line.rpartition(":")[2] for line in file.read_text().splitlines()}


def bundled(
    folder: Path, out: Path, *, cwd: Path | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run ``costmgmt support-bundle``."""
    command = [sys.executable, "-m", "pytest_costmgmt.cli", "support-bundle", str(folder)]
    return subprocess.run(
        [*command, "--out", str(out)], cwd=cwd or out.parent, env={**os.environ, **environ},
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip


def test_what_is_generated_is_in_the_password_file_alone(where: Place) -> None:
    """Arguments, environments, logs, reports, bundle, kept folder: none but pgpass has it."""
    pytest.importorskip("django_tenants")
    run = where.start("--costmgmt", "--costmgmt-keep=always", "-n2", "--junitxml=junit.xml", "-v")
    arguments, environments = watched(run)
    ran = run.finished()
    ran.sound(0, "conformant")
    (kept,) = run.folders
    made = passwords(kept)
    assert len(made) >= 3
    out = where.folder / "bundle.tar.gz"
    told = bundled(ran.folder, out)
    assert told.returncode == 0, told.stderr
    files = dict(written(ran.folder, where.here))
    # The server keeps verifiers, from which nobody can tell the password.
    files |= {n: t for n, t in written(kept) if not n.endswith("/pgpass")}
    with tarfile.open(out) as archive:
        members = {m.name: archive.extractfile(m) for m in archive.getmembers()}
        files |= {f"bundle {n}": f.read().decode() for n, f in members.items() if f is not None}
    for password in made:
        assert not leaks(password, {"said": ran.said, **files, **arguments})
        holders = [who for who, text in environments.items() if password in text]
        allowed = ("manage.py", "migrat", "pg_dump", "pg_restore")
        assert all(any(word in who for word in allowed) for who in holders), holders
    assert any("manage.py" in who for who in arguments)
    names = {Path(name).name for name in members}
    assert {"report.json", "server.log", "migrations.log", "versions.json"} <= names


def report_in(folder: Path) -> Ran:
    """Make a folder with the report of a run that could not start."""
    folder.mkdir()
    command = [sys.executable, "-m", "pytest", "--costmgmt", "--costmgmt-mode=release"]
    done = subprocess.run(
        [*command, f"--costmgmt-report={folder}"], cwd=folder.parent,
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr, folder)


def test_a_bundle_holds_our_files_and_no_others(tmp_path: Path) -> None:
    """Reports, our JUnit and logs are packed and listed; strangers' files and links are not."""
    folder = tmp_path / "report"
    assert report_in(folder).status == 4
    outside = tmp_path / "outside"
    outside.write_text("-- not ours\n")
    (folder / "private.key").write_text("not ours")
    (folder / "fix.sql").symlink_to(outside)
    (folder / "other.xml").write_text("<testsuites>somebody's</testsuites>")
    (folder / "ours.xml").write_text("<testsuites><property name='costmgmt_verdict'/></testsuites>")
    (folder / "server.log").write_text(
        "STATEMENT:  CREATE ROLE r PASSWORD 'whose-is-this'\nLOG:  url postgresql://r:pw-of-r@h/d\n"
        'FATAL:  password authentication failed for user "koku"\nLOG: the-operators-own\n'
    )
    out = tmp_path / "bundle.tar.gz"
    told = bundled(folder, out, PGPASSWORD="the-operators-own")
    assert told.returncode == 0, told.stderr
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with tarfile.open(out) as archive:
        entries = archive.getmembers()
        log = next(entry for entry in entries if entry.name.endswith("server.log"))
        file = archive.extractfile(log)
        assert file is not None
        text = file.read().decode()
    names = [Path(entry.name).name for entry in entries]
    assert sorted(names) == [
        "ours.xml", "report.html", "report.json", "server.log", "settings.json", "versions.json",
    ]  # fmt: skip
    for entry in entries:
        assert f"{entry.size:>10}  {Path(entry.name).name}\n" in told.stdout
    for secret in ("whose-is-this", "pw-of-r", "the-operators-own"):
        assert secret not in text
    assert 'password authentication failed for user "koku"' in text


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="none"),
        pytest.param("{", id="broken"),
        pytest.param('{"kind": "Other"}', id="somebodys"),
    ],
)
def test_a_folder_without_our_report_is_a_usage_error(tmp_path: Path, content: str | None) -> None:
    """No report.json of ours: exit 4, in words, and no archive."""
    folder = tmp_path / "report"
    folder.mkdir()
    if content is not None:
        (folder / "report.json").write_text(content)
    out = tmp_path / "bundle.tar.gz"
    told = bundled(folder, out)
    assert told.returncode == 4
    assert "report" in told.stderr
    assert "Traceback" not in told.stderr
    assert not out.exists()


def test_a_bundle_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A place that is not there: exit 4, in words, nothing half written."""
    folder = tmp_path / "report"
    report_in(folder)
    out = tmp_path / "nowhere"
    told = bundled(folder, Path(f"../{tmp_path.name}/nowhere/bundle.tar.gz"), cwd=tmp_path)
    assert told.returncode == 4
    assert "cannot be written" in told.stderr
    assert not out.exists()


def test_the_end_of_a_long_log_is_kept_in_whole_lines(tmp_path: Path) -> None:
    """A log is cut to its end, and says so."""
    path = tmp_path / "log"
    path.write_text("".join(f"line {number:06}\n" for number in range(40_000)))
    lines = logs.end_of(path).splitlines()
    assert lines[0].startswith("(the last ")
    assert lines[-1] == "line 039999"
    assert all(len(line) == len("line 000000") for line in lines[1:])
    assert len("\n".join(lines)) < logs.LARGEST + 100


def test_a_conformant_runs_folder_holds_no_old_logs(tmp_path: Path) -> None:
    """Logs of an earlier run do not survive the next one's start."""
    folder = tmp_path / "report"
    folder.mkdir()
    (folder / "server.log").write_text("of yesterday")
    command = [sys.executable, "-m", "pytest", "--costmgmt", "--costmgmt-mode=release"]
    subprocess.run([*command, f"--costmgmt-report={folder}"], cwd=tmp_path, check=False,
                   capture_output=True, timeout=240)  # fmt: skip
    assert json.loads((folder / "report.json").read_text())["verdict"] == "inconclusive"
    assert not (folder / "server.log").exists()
