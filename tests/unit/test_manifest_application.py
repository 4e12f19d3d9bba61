"""Asking the application for its migrations: noise is borne, every failure names its cause."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from pathlib import Path

import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.migrations import Expected, expected_from_application
from pytest_costmgmt.secret import Secret

# A stand-in for `shell -c`: noise, then the code runs where Django is what this says it is.
NOISY = """#!{python}
import os, sys, types
print("2026-01-01 INFO koku starting", flush=True)
print("WARNING on the other stream", file=sys.stderr, flush=True)
os.write(1, b"\\xff\\xfe no newline at the end")
django = types.ModuleType("django"); django.get_version = lambda: "5.2"
loader = types.ModuleType("loader"); errors = types.ModuleType("exceptions")
class Node:
    def __init__(self, key, parents=()): self.key, self.parents = key, parents
class Migration:
    replaces = []
class Loader:
    def __init__(self, connection, **how):
        one, two = ("api", "0001"), ("api", "0002")
        self.disk_migrations = {disk}
        self.graph = types.SimpleNamespace(
            node_map={{one: Node(one), two: Node(two, [Node(one)])}})
    def build_graph(self): pass
loader.MigrationLoader = Loader
errors.NodeNotFoundError = KeyError
sys.modules.update({{"django": django, "django.db": django, "django.db.migrations": django,
    "django.db.migrations.loader": loader, "django.db.migrations.exceptions": errors}})
assert sys.argv[1:3] == ["shell", "-c"]
exec(sys.argv[3], {{}})
print("bye")
"""


def script(tmp_path: Path, text: str) -> str:
    """Return an executable that does this."""
    path = tmp_path / "manage with space"
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def ask(command: str, *more: str, deadline: float = 30) -> Expected:
    """Ask it with this process's environment."""
    return expected_from_application((command, *more), dict(os.environ), deadline=deadline)


def noisy(tmp_path: Path, disk: str) -> str:
    """Return a management command of an application with these migrations."""
    return script(tmp_path, NOISY.format(python=sys.executable, disk=disk))


def test_an_answer_is_found_in_noise_on_both_streams(tmp_path: Path) -> None:
    """The application may print what it likes, before and after, binary too."""
    expected = ask(noisy(tmp_path, "{one: Migration(), two: Migration()}"))
    assert [m.name for m in expected.migrations] == ["api.0001", "api.0002"]
    assert expected.migrations[1].dependencies == ("api.0001",)
    assert (expected.source, expected.django) == ("application", "5.2")


def test_an_application_without_migrations_is_an_error(tmp_path: Path) -> None:
    """An empty set would be met by everything."""
    with pytest.raises(FactUnavailable, match="empty"):
        ask(noisy(tmp_path, "{}"))


def test_a_command_that_is_not_there_is_named() -> None:
    """What is missing, and how the option is written."""
    with pytest.raises(FactUnavailable) as caught:
        ask("/nowhere/manage.py")
    assert "'/nowhere/manage.py' could not be started: No such file" in str(caught.value)
    assert "--costmgmt-manage" in str(caught.value)


def test_a_command_without_permission_is_named(tmp_path: Path) -> None:
    """A file that cannot be executed says so."""
    path = tmp_path / "manage.py"
    path.write_text("")
    with pytest.raises(FactUnavailable, match=r"Permission denied|Exec format"):
        ask(str(path))


def test_a_failing_command_tells_status_and_last_lines(tmp_path: Path) -> None:
    """What it wrote last is what a person needs."""
    broken = script(
        tmp_path, "#!/bin/sh\necho first\necho 'KeyError: DATABASE_ENGINE' >&2\nexit 3\n"
    )
    with pytest.raises(FactUnavailable) as caught:
        ask(broken)
    assert "exit status 3" in str(caught.value)
    assert "KeyError: DATABASE_ENGINE" in str(caught.value)


def test_a_failing_command_shows_no_password(tmp_path: Path) -> None:
    """A known password in its last lines is masked."""
    secret = Secret("a-password-in-a-traceback")
    broken = script(tmp_path, f"#!/bin/sh\necho 'pw={secret.reveal()}' >&2\nexit 1\n")
    with pytest.raises(FactUnavailable) as caught:
        ask(broken)
    assert secret.reveal() not in str(caught.value)
    assert "pw=" in str(caught.value)


def test_binary_output_is_told_in_printable_words(tmp_path: Path) -> None:
    """Control characters never reach a terminal."""
    binary = script(tmp_path, "#!/bin/sh\nprintf '\\033[2J\\000\\377 done\\n'\n")
    with pytest.raises(FactUnavailable) as caught:
        ask(binary)
    assert "told no migrations" in str(caught.value)
    assert all(c.isprintable() or c == "\n" for c in str(caught.value))


def test_a_command_that_echoes_the_question_is_no_answer() -> None:
    """`echo` prints the code that was to run: that is not an application's answer."""
    with pytest.raises(FactUnavailable, match="told no migrations"):
        ask("/bin/echo")


def test_a_killed_command_names_the_signal(tmp_path: Path) -> None:
    """The kernel's SIGKILL looks like nothing else."""
    with pytest.raises(FactUnavailable, match="SIGKILL"):
        ask(script(tmp_path, "#!/bin/sh\nkill -9 $$\n"))


def test_a_hanging_command_is_ended_with_all_that_it_started(tmp_path: Path) -> None:
    """After its deadline nothing of it is left, and the error tells what it wrote last."""
    child = tmp_path / "child"
    hanging = script(
        tmp_path,
        "#!/bin/sh\ntrap '' TERM\necho waiting for the database\n"
        f"sleep 600 & echo $! > '{child}'\nwait\nsleep 600\n",
    )
    with pytest.raises(FactUnavailable) as caught:
        ask(hanging, deadline=2)
    assert "did not answer within 2 s" in str(caught.value)
    assert "waiting for the database" in str(caught.value)
    assert _gone(int(child.read_text()))


def test_a_grandchild_that_keeps_the_output_open_does_not_hold_us(tmp_path: Path) -> None:
    """What counts is that the command itself ended."""
    child = tmp_path / "child"
    lingering = script(tmp_path, f"#!/bin/sh\nsleep 600 & echo $! > '{child}'\nexit 0\n")
    with pytest.raises(FactUnavailable, match="told no migrations"):
        ask(lingering, deadline=30)
    os.kill(int(child.read_text()), signal.SIGKILL)


def _gone(pid: int) -> bool:
    for _ in range(1200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        state = Path(f"/proc/{pid}/stat")
        if state.exists() and state.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.05)
    return False
