"""Progress on a terminal and elsewhere."""

from __future__ import annotations

import io

import pytest

from pytest_costmgmt.backup.progress import Progress
from pytest_costmgmt.engine.backup_shown import Shown


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def news(stage: str, done: int) -> Progress:
    """Return that so many of ten, each a megabyte, are done."""
    return Progress(
        stage=stage, done=done, total=10, bytes=done * 10**6, total_bytes=10**7, about="t"
    )


@pytest.fixture
def clock() -> Clock:
    """A clock."""
    return Clock()


def test_plain_lines_are_few(clock: Clock) -> None:
    """Not on a terminal, a stage is told at its begin and end, and seldom in between."""
    stream = io.StringIO()
    view = Shown(stream, terminal=False, clock=clock)
    for done in range(1, 11):
        view.told(news("dumping", done))
        clock.now += 3
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"dumping {n}/10" for n in (1, 5, 9, 10)]
    assert lines[1] == "dumping 5/10, 5.0 MB of 10.0 MB, 416.7 kB/s, 12 s left"
    assert "\r" not in stream.getvalue()


def test_a_terminal_has_one_line_that_changes(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the stages under way share a line, cut to its width, gone at the end."""
    monkeypatch.setenv("COLUMNS", "60")
    stream = io.StringIO()
    view = Shown(stream, terminal=True, clock=clock)
    for done in range(1, 11):
        view.told(news("dumping", done))
        view.told(news("hashing", done // 2))
        clock.now += 1
    view.clear()
    shown = [piece for piece in stream.getvalue().split("\r") if piece.strip()]
    assert all(len(piece) < 60 for piece in shown)
    assert any("dumping" in piece and "hashing" in piece for piece in shown)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r")


@pytest.mark.parametrize("terminal", [True, False])
def test_what_is_said_is_a_line_of_its_own(clock: Clock, *, terminal: bool) -> None:
    """What has no count is said as it is; a name's control characters do not reach a terminal."""
    stream = io.StringIO()
    view = Shown(stream, terminal=terminal, clock=clock)
    view.told(news("dumping", 1))
    view.told(Progress(stage="beginning anew", about='"a\nb\x1b[2J" was truncated'))
    assert 'beginning anew: "a b [2J" was truncated\n' in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
