"""--costmgmt-keep: what is kept when, and that the printed commands work as they are printed."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.run_support import Place, Ran, place

FAILING = "import sys; sys.exit('it fails')"


@pytest.fixture
def where() -> Iterator[Place]:
    """A place for a test's runs."""
    with place() as made:
        yield made


def ended(where: Place, keep: str, *, failing: bool) -> tuple[Ran, list[str]]:
    """Run to the end; return what it came to, and what of it is left."""
    script = where.script("manage.py", FAILING)
    more = [f"--costmgmt-manage={sys.executable} {script}"] if failing else []
    run = where.start("--costmgmt", f"--costmgmt-keep={keep}", *more)
    run.until_server()
    return run.finished(), run.left()


def printed(ran: Ran) -> dict[str, str]:
    """Return the commands that a run printed, by what they are for."""
    found = re.findall(r"^  (start|connect|stop|remove)[a-z ]*: +(.*)$", ran.out, re.MULTILINE)
    return dict(found)


def shell(command: str) -> str:
    """Run a command as a person pastes it."""
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        cwd="/",
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(("keep", "failing"), [("never", True), ("on-failure", False)])
def test_nothing_is_kept(where: Place, keep: str, *, failing: bool) -> None:
    """``never`` keeps nothing of a failed run, ``on-failure`` nothing of a conformant one."""
    if not failing:
        pytest.importorskip("django_tenants")
    ran, left = ended(where, keep, failing=failing)
    ran.sound(*((8, "inconclusive") if failing else (0, "conformant")))
    assert left == []
    assert printed(ran) == {}


@pytest.mark.parametrize("keep", ["on-failure", "always"])
def test_what_is_kept_can_be_started_reached_and_removed(where: Place, keep: str) -> None:
    """A failed run's server starts, answers its superuser, stops and is removed, as printed."""
    ran, left = ended(where, keep, failing=True)
    ran.sound(8, "inconclusive")
    commands = printed(ran)
    folder = Path(shlex.split(commands["remove"])[-1])
    assert [name for name in left if not name.startswith(str(folder.parent))] == []
    assert (folder / "log").stat().st_size > 0
    assert (folder / "pgpass").stat().st_mode & 0o777 == 0o600
    assert "it fails" in (folder / "migrations.log").read_text()
    if "pg_ctl" not in commands["start"]:
        shell(commands["remove"])
        pytest.skip("these programs have no pg_ctl")
    shell(commands["start"] + " >/dev/null 2>&1")
    try:
        if shutil.which("psql") is not None:
            query = "SELECT rolname FROM pg_roles WHERE rolname IN ('koku', 'hive') ORDER BY 1"
            assert shell(f"{commands['connect']} -w -Atc {shlex.quote(query)}") == "hive\nkoku\n"
    finally:
        shell(commands["stop"])
    shell(commands["remove"])
    assert not folder.exists()
