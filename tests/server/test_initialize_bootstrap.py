"""`costmgmt bootstrap` on a server that exists: told first, done once, refused with the way out."""

from __future__ import annotations

import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from pytest_costmgmt.engine import bootstrap_command
from pytest_costmgmt.errors import StepFailed, UsageProblem
from pytest_costmgmt.postgres.login import Login, pack
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded
from pytest_costmgmt.settings import resolve

SCRATCH = {"allow": "scratch"}


@pytest.fixture
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for one test: hive's name is not the test's own."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs)
    yield instance
    instance.stop()


class Operator:
    """Somebody who runs the command; ``said`` is what was printed."""

    def __init__(self, administrator: Login, folder: Path) -> None:
        self.folder, self.said = folder, ""
        where = administrator.where
        self.application = make_conninfo("", **where, user="Kök-u r", dbname="Kök-u d")
        packed = pack(administrator)
        assert packed is not None
        password = folder / "admin"
        password.write_text(packed["password"])
        password.chmod(0o600)
        self.admin = {
            "admin-dsn": make_conninfo("", **where, user=administrator.role, dbname="postgres"),
            "admin-password-file": str(password),
        }
        self.files = {
            "password-file": str(folder / "app"),
            "hive-password-file": str(folder / "hive"),
        }

    def bootstrap(self, *options: dict[str, str], dry_run: bool = False) -> int:
        """Run the command with options as on the command line."""
        given = {"dsn": self.application}
        for each in options:
            given |= each
        settings = resolve(given, {}, lambda _: None)
        lines: list[str] = []
        try:
            return bootstrap_command.run(settings, os.environ, dry_run=dry_run, echo=lines.append)
        finally:
            self.said = "\n".join(lines)


@pytest.fixture
def operator(
    server: embedded.Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Operator:
    """Return an operator in a folder of their own, without libpq's variables."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))
    return Operator(server.superuser, tmp_path)


def test_told_first_then_done_then_nothing(operator: Operator) -> None:
    """A dry run prints SQL and changes nothing, the run does it, a second one finds it done."""
    given = {**operator.admin, **operator.files}
    assert operator.bootstrap(given, dry_run=True) == 0
    assert 'CREATE DATABASE "Kök-u d" OWNER "Kök-u r"' in operator.said
    assert operator.said.endswith("-- Nothing was changed.")
    assert not (operator.folder / "app").exists()
    assert operator.bootstrap(SCRATCH, given) == 0
    assert "created  role Kök-u r" in operator.said
    for name in ("app", "hive"):
        assert stat.S_IMODE((operator.folder / name).stat().st_mode) == 0o600
        assert (operator.folder / name).read_text().strip() not in operator.said
    assert operator.bootstrap(SCRATCH, given) == 0
    assert "created" not in operator.said
    assert "changed" not in operator.said


def test_a_dry_run_is_a_script_for_psql(
    operator: Operator, server: embedded.Instance, programs: Programs
) -> None:
    """What a dry run prints does in psql what the command would do, passwords given there."""
    operator.bootstrap(operator.admin, operator.files, dry_run=True)
    packed = pack(server.superuser)
    assert packed is not None
    done = subprocess.run(
        [programs.bindir / "psql", "-X", "-v", "ON_ERROR_STOP=1", "-v", "password=a-given-one",
         operator.admin["admin-dsn"]],
        input=operator.said, env={**os.environ, "PGPASSWORD": packed["password"]},
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for name in operator.files.values():
        Path(name).write_text("a-given-one")
        Path(name).chmod(0o600)
    assert operator.bootstrap(SCRATCH, operator.admin, operator.files) == 0
    assert "created" not in operator.said
    assert "changed" not in operator.said


def test_nothing_without_permission(operator: Operator) -> None:
    """Without --costmgmt-allow nothing is changed, and the option is named."""
    with pytest.raises(UsageProblem, match="--costmgmt-allow=scratch, or --dry-run"):
        operator.bootstrap(operator.admin, operator.files)


def test_a_role_with_a_password_that_nobody_would_learn(operator: Operator) -> None:
    """A role is not made with a password that is kept nowhere: the option is named."""
    with pytest.raises(UsageProblem, match="--costmgmt-password-file=FILE"):
        operator.bootstrap(SCRATCH, operator.admin)
    with pytest.raises(UsageProblem, match="--costmgmt-hive-password-file=FILE"):
        operator.bootstrap(SCRATCH, operator.admin, {"password-file": str(operator.folder / "app")})


def test_a_manage_command_that_fails_is_told(operator: Operator, tmp_path: Path) -> None:
    """After the server's steps the migrations run; their failure is the command's."""
    (tmp_path / "manage.py").write_text("import sys; sys.exit('no such luck')")
    with pytest.raises(StepFailed, match="no such luck"):
        operator.bootstrap(
            SCRATCH,
            {"manage": f"{sys.executable} {tmp_path / 'manage.py'}"},
            operator.admin,
            operator.files,
        )
    assert "created  extension pg_stat_statements" in operator.said


def test_an_embedded_server_must_be_kept() -> None:
    """The embedded server would end with the command: one sentence says how to have it."""
    settings = resolve({}, {}, lambda _: None)
    with pytest.raises(UsageProblem, match="--costmgmt-keep=always"):
        bootstrap_command.run(settings, {}, dry_run=False, echo=print)
