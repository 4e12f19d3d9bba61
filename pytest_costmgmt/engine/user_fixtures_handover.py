"""What one process of a pytest run makes for all of them: under a lock, once, failures too."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from pytest_costmgmt.errors import CostMgmtError, ProvisionFailed

Make = Callable[[], dict[str, Any]]


class AlreadyFailed(CostMgmtError, RuntimeError):
    """What another process of this run could not make; the message is the cause."""


class Handover(Protocol):
    """Where makers leave what they made. Without xdist it is this process's memory."""

    def once(self, key: str, make: Make) -> dict[str, Any]:
        """Return what ``make`` returned, here or in another process of the run.

        Raises CostMgmtError: the first time and ever after.
        """

    def first_to_tell(self, text: str) -> bool:
        """Say whether nobody in this run has told ``text`` yet; from now on somebody has."""


class InMemory:
    """The handover of a run in one process."""

    def __init__(self) -> None:
        self._made: dict[str, dict[str, Any] | CostMgmtError] = {}
        self._told: set[str] = set()

    def once(self, key: str, make: Make) -> dict[str, Any]:
        """Return what was made; see Handover."""
        if key not in self._made:
            try:
                self._made[key] = make()
            except CostMgmtError as error:
                self._made[key] = error
        made = self._made[key]
        if isinstance(made, CostMgmtError):
            raise AlreadyFailed(made.message, hint=made.hint)
        return made

    def first_to_tell(self, text: str) -> bool:
        """Say whether it is news; see Handover."""
        news = text not in self._told
        self._told.add(text)
        return news


class InFolder:
    """The handover of a run's workers: a folder, 0700, that the first who asks makes.

    It holds passwords. The controller removes it, or, if that is killed, the supervisor of the
    server that it tells of.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with _told(folder):
            with contextlib.suppress(FileExistsError):
                folder.mkdir(mode=0o700)
            seen = folder.lstat()
        if (
            not stat.S_ISDIR(seen.st_mode)
            or seen.st_uid != os.geteuid()
            or stat.S_IMODE(seen.st_mode) != 0o700  # noqa: PLR2004 - the mode
        ):
            raise ProvisionFailed(
                f"The folder {folder}, by which this run's workers share a server, is not ours"
                " alone.",
                hint="Set TMPDIR to a folder of your own.",
            )

    def once(self, key: str, make: Make) -> dict[str, Any]:
        """Return what was made; see Handover."""
        place = self.folder / f"{key}.json"
        if (made := _read(place)) is None:
            with self._locked(key):
                if (made := _read(place)) is None:
                    made = _made(make)
                    self._write(place, json.dumps(made))
        if "problem" in made:
            raise AlreadyFailed(made["problem"], hint=made["hint"])
        return made

    def first_to_tell(self, text: str) -> bool:
        """Say whether it is news; see Handover."""
        name = "told-" + hashlib.sha256(text.encode()).hexdigest()[:16]
        try:
            os.close(os.open(self.folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            return False
        return True

    def leave(self, lines: list[str]) -> None:
        """Leave what a person is to read to the controller: a worker has no terminal."""
        if lines:
            self._write(self.folder / f"said-{os.getpid()}.json", json.dumps(lines))

    @contextlib.contextmanager
    def _locked(self, key: str) -> Iterator[None]:
        place = self.folder / f"{key}.lock"
        with _told(self.folder):
            lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Given back by the kernel if this worker is killed: then the next one makes it.
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _write(self, place: Path, text: str) -> None:
        beside = place.with_suffix(f".{os.getpid()}")
        with _told(self.folder):
            handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            beside.replace(place)


def left_in(folder: Path) -> list[str]:
    """Return what the workers left there by :meth:`InFolder.leave`."""
    said = [json.loads(place.read_text(encoding="utf-8")) for place in folder.glob("said-*.json")]
    return [line for lines in said for line in lines]


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ProvisionFailed(
            f"This run's workers share a server by the folder {folder}, which cannot be used:"
            f" {error.strerror}.",
            hint="Set TMPDIR to a folder that can.",
        ) from None


def _made(make: Make) -> dict[str, Any]:
    try:
        return make()
    except CostMgmtError as error:
        return {"problem": error.message, "hint": error.hint}


def _read(place: Path) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return data
