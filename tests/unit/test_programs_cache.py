"""The cache folder: the given one, the user's, or a safe other."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.errors import ProvisionFailed, UsageProblem
from pytest_costmgmt.servers import embedded_folders as folders

ROOT = os.geteuid() == 0
UNWRITABLE = "/proc"
REFUSED = r"it is a link|another user's, or others may write"


@pytest.fixture(autouse=True)
def _not_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    # Only what is below the temporary folders, so that no test writes into /var/cache.
    monkeypatch.setattr(folders, "SYSTEM_CACHE", Path(UNWRITABLE))
    monkeypatch.setattr(folders, "temporary", lambda environ: [Path(environ["TMPDIR"])])


@pytest.fixture
def everyones() -> Iterator[Path]:
    """Return a folder that the server's user can enter."""
    with tempfile.TemporaryDirectory(prefix="cm-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_the_given_folder_is_made(tmp_path: Path) -> None:
    """A folder that is given is created if it does not exist, and nothing else is looked at."""
    assert folders.cache_folder(tmp_path / "a/b", {}) == tmp_path / "a/b"
    assert (tmp_path / "a/b").is_dir()


def test_a_given_folder_that_cannot_be_used() -> None:
    """A given folder that cannot be written is an error, never a reason to take another."""
    with pytest.raises(UsageProblem, match="--costmgmt-cache=/proc/nothing cannot be used"):
        folders.cache_folder(Path("/proc/nothing"), {"HOME": "/tmp"})  # noqa: S108


def test_xdg_goes_before_home(everyones: Path) -> None:
    """XDG_CACHE_HOME decides before HOME."""
    environ = {
        "XDG_CACHE_HOME": str(everyones / "xdg"),
        "HOME": str(everyones),
        "TMPDIR": UNWRITABLE,
    }
    assert folders.cache_folder(None, environ) == everyones / "xdg/pytest-costmgmt"


def test_home(everyones: Path) -> None:
    """Without XDG_CACHE_HOME it is .cache in HOME."""
    found = folders.cache_folder(None, {"HOME": str(everyones), "TMPDIR": UNWRITABLE})
    assert found == everyones / ".cache/pytest-costmgmt"


@pytest.mark.parametrize("home", [UNWRITABLE, "/nonexistent/home", "", "relative"])
def test_home_that_cannot_be_written(everyones: Path, home: str) -> None:
    """An unwritable, absent or senseless HOME leads to a folder below TMPDIR, by user."""
    found = folders.cache_folder(None, {"HOME": home, "TMPDIR": str(everyones)})
    assert found == everyones / f"pytest-costmgmt-{os.geteuid()}"
    assert found.stat().st_mode & 0o022 == 0


@pytest.mark.skipif(not ROOT, reason="only root runs the server as another user")
def test_home_that_the_servers_user_cannot_enter(everyones: Path) -> None:
    """As root, a HOME that only root may enter does not do."""
    home = everyones / "closed"
    home.mkdir(mode=0o700)
    found = folders.cache_folder(None, {"HOME": str(home), "TMPDIR": str(everyones)})
    assert found == everyones / "pytest-costmgmt-0"


def test_a_folder_that_others_may_write_is_not_trusted(everyones: Path) -> None:
    """A cache that someone else could have filled is not used."""
    trap = everyones / f"pytest-costmgmt-{os.geteuid()}"
    trap.mkdir()
    trap.chmod(0o777)
    with pytest.raises(ProvisionFailed, match=REFUSED):
        folders.cache_folder(None, {"TMPDIR": str(everyones)})


def test_a_link_is_not_trusted(everyones: Path) -> None:
    """A link where the cache should be is not followed."""
    (everyones / "elsewhere").mkdir()
    (everyones / f"pytest-costmgmt-{os.geteuid()}").symlink_to(everyones / "elsewhere")
    with pytest.raises(ProvisionFailed, match=REFUSED):
        folders.cache_folder(None, {"TMPDIR": str(everyones)})


@pytest.mark.skipif(not ROOT, reason="only root can give a folder away")
def test_another_users_folder_is_not_trusted(everyones: Path) -> None:
    """A folder that another user made is not used."""
    trap = everyones / "pytest-costmgmt-0"
    trap.mkdir(mode=0o755)
    os.chown(trap, 12345, 12345)
    with pytest.raises(ProvisionFailed, match=REFUSED):
        folders.cache_folder(None, {"TMPDIR": str(everyones)})
