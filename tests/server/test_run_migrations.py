"""Whole runs whose management command is wrong: the cause is named, and nothing looks green."""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterator

import pytest

from pytest_costmgmt.resources import resource
from tests.server.run_support import Place, Ran, place

pytest.importorskip("django_tenants")


@pytest.fixture
def where() -> Iterator[Place]:
    """A place for a test's runs."""
    with place() as made:
        yield made


def migrated(where: Place, *command: str, timeout: int = 60) -> Ran:
    """Run the suite on an embedded server with this management command."""
    manage = f"--costmgmt-manage={shlex.join(command)}"
    return where.run("--costmgmt", manage, f"--costmgmt-migrate-timeout={timeout}")


def stopped(ran: Ran) -> str:
    """Assert that provisioning failed, as one error that blocks all else; return its words."""
    said = ran.unreachable()
    assert "migrations" in said
    return said


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program manage.py", "does not exist"),
        ("./text manage.py", "is not executable"),
        ("python 'manage.py", "cannot be read as a command line"),
    ],
)
def test_a_command_that_cannot_be_started(where: Place, command: str, words: str) -> None:
    """What the operator wrote wrongly is exit 4, before a server is started."""
    where.script("text", "no program\n", mode=0o644)
    ran = where.run("--costmgmt", f"--costmgmt-manage={command}").sound(4, "inconclusive")
    assert words in ran.err
    assert " started in " not in ran.out


@pytest.mark.parametrize(
    ("code", "timeout", "words"),
    [
        pytest.param("sys.exit('no settings')", 60, ["exit status 1", "no settings"], id="exits-1"),
        pytest.param("time.sleep(600)", 1, ["was not done within 1 s"], id="hangs"),
        pytest.param(
            r"sys.stdout.buffer.write(bytes(range(256)) * 300); sys.exit(3)",
            60,
            ["exit status 3", r"\x0b"],
            id="prints-binary",
        ),
        pytest.param(
            "print('so far', flush=True); os.kill(os.getpid(), 9)",
            60,
            ["was killed by SIGKILL", "so far", "out of memory"],
            id="is-killed",
        ),
    ],
)
def test_a_command_that_fails(where: Place, code: str, timeout: int, words: list[str]) -> None:
    """How it ended and what it said last are told, printable; the server is gone afterwards."""
    script = where.script("manage.py", f"import os, sys, time\n{code}\n")
    ran = migrated(where, sys.executable, str(script), timeout=timeout)
    said = stopped(ran)
    for word in words:
        assert word in said
    assert all(character.isprintable() or character in "\n\t" for character in ran.out)
    assert where.litter() == []


def test_a_program_that_is_none(where: Place) -> None:
    """An executable file that the kernel does not take is told, not tried as something else."""
    script = where.script("manage", "\x7fELF no program\n")
    assert "cannot be started" in stopped(migrated(where, str(script)))


BROKEN = """
from django.db import migrations

class Migration(migrations.Migration):
    dependencies = [("api", "0039_create_hive_db")]
    operations = [migrations.RunSQL(["CREATE TABLE halfway (id int)", "SELECT * FROM nowhere"])]
"""


def test_a_migration_that_fails_half_way(where: Place) -> None:
    """The migration, its statement and the server's words are named; nobody judges the rest."""
    project = where.here / "project"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(resource("examples/django-project"), project, ignore=leave)
    (project / "api/migrations/0055_install_pg_stat_statements.py").write_text(BROKEN)
    said = stopped(migrated(where, sys.executable, str(project / "manage.py")))
    assert "api.0055_install_pg_stat_statements" in said
    assert "SELECT * FROM nowhere" in said
    assert 'relation "nowhere" does not exist' in said
