"""Progress of a backup or restore: one line that changes on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TextIO

from pytest_costmgmt.backup.progress import Progress

OFTEN = 0.2
"Seconds between two changes of a terminal's line."

SELDOM = 10.0
"Seconds between two plain lines of one stage."

UNITS = ("B", "kB", "MB", "GB", "TB")


class Stage(NamedTuple):
    """A stage under way, since when, and when a plain line told of it last."""

    progress: Progress
    since: float
    last: float


class Shown:
    """Shows progress on a stream, whatever thread tells it. Use :func:`shown`."""

    def __init__(
        self, stream: TextIO, *, terminal: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.stream, self.terminal, self.clock = stream, terminal, clock
        self.stages: dict[str, Stage] = {}
        self.lock = threading.Lock()
        self.changed = float("-inf")
        self.width = 0

    def told(self, progress: Progress) -> None:
        """Take the news, and show them if it is time."""
        now = self.clock()
        with self.lock:
            before = self.stages.get(progress.stage)
            since = now if before is None else before.since
            last = float("-inf") if before is None else before.last
            said = not progress.total and bool(progress.about)
            due = said or self._over(progress) or now - last >= SELDOM
            if said:
                self._line(f"{progress.stage}: {plain(progress.about)}")
                return
            self.stages[progress.stage] = Stage(
                progress, since, now if due and not self.terminal else last
            )
            if self.terminal:
                self._change(now)
            elif due:
                self._line(self._text(self.stages[progress.stage], now))

    def clear(self) -> None:
        """Take a terminal's line away."""
        with self.lock:
            self._erase()

    def _over(self, progress: Progress) -> bool:
        return bool(progress.total) and progress.done >= progress.total

    def _change(self, now: float) -> None:
        if now - self.changed < OFTEN:
            return
        self.changed = now
        under_way = [s for s in self.stages.values() if not self._over(s.progress)]
        text = " · ".join(self._text(stage, now) for stage in under_way)
        room = max(20, shutil.get_terminal_size().columns - 1)
        text = text if len(text) <= room else text[: room - 1] + "…"
        self._erase()
        self.stream.write(text)
        self.stream.flush()
        self.width = len(text)

    def _erase(self) -> None:
        if self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()
            self.width = 0

    def _line(self, text: str) -> None:
        self._erase()
        self.stream.write(text + "\n")
        self.stream.flush()

    def _text(self, stage: Stage, now: float) -> str:
        said = stage.progress
        words = f"{said.stage} {said.done}/{said.total}"
        if said.total_bytes:
            words += f", {size(said.bytes)} of {size(said.total_bytes)}"
        seconds = now - stage.since
        if seconds > 1 and said.bytes:
            words += f", {size(said.bytes / seconds)}/s"
            if left := said.total_bytes - said.bytes:
                words += f", {duration(left * seconds / said.bytes)} left"
        return words


@contextlib.contextmanager
def shown(stream: TextIO) -> Iterator[Callable[[Progress], None]]:
    """Yield what shows progress on a stream until the end of the block."""
    view = Shown(stream, terminal=stream.isatty())
    try:
        yield view.told
    finally:
        view.clear()


def size(count: float) -> str:
    """Return a number of bytes for a person.

    >>> size(999), size(1_234), size(1_570_000_000)
    ('999 B', '1.2 kB', '1.6 GB')
    """
    unit = 0
    while count >= 1000 and unit < len(UNITS) - 1:  # noqa: PLR2004 - decimal units
        count, unit = count / 1000, unit + 1
    return f"{count:.0f} {UNITS[unit]}" if unit == 0 else f"{count:.1f} {UNITS[unit]}"


def duration(seconds: float) -> str:
    """Return a number of seconds for a person.

    >>> duration(4.2), duration(75), duration(7_500)
    ('5 s', '1 min 15 s', '2 h 5 min')
    """
    whole = int(-(-seconds // 1))
    minutes, rest = divmod(whole, 60)
    if minutes < 1:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def plain(text: str) -> str:
    """Return a text, which may hold names, without what would steer a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
