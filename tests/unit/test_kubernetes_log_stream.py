"""A log that is asked for again and again: each line once, none left out."""

from __future__ import annotations

from typing import cast

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.log_stream import LogStream


class Log:
    """A container's log, as a kubelet gives it: from a second on, inclusive."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, second: int, text: str) -> None:
        """Write at a time; without an end of line it is not whole yet."""
        self.text += f"2026-01-01T00:00:{second:02}.000000001Z {text}"

    def read(self, _path: str, query: list[tuple[str, str]], *, what: str = "") -> bytes:
        """Return what is asked for."""
        del what
        since = dict(query).get("sinceTime", "").removesuffix("Z")
        lines = self.text.splitlines(keepends=True)
        return "".join(line for line in lines if line[:19] >= since).encode()


def test_each_line_comes_once() -> None:
    """Equal lines of one second too, however many were there the time before."""
    log = Log()

    class Asked:
        text = staticmethod(log.read)

    stream = LogStream(cast("Api", Asked()), "ns", "pod", "migration")
    assert stream.more() == []
    log.write(1, "one\n")
    log.write(2, "same\n")
    assert stream.more() == ["one", "same"]
    log.write(2, "same\n")
    log.write(2, "other\n")
    assert stream.more() == ["same", "other"]
    assert stream.more() == []
    log.write(3, "half")
    assert stream.more() == []
    assert stream.more(last=True) == ["half"]
