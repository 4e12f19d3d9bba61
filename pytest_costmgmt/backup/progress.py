"""How far something is: plain data for whoever shows it, a terminal or a log."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a stage of a backup, a restore or a proof is.

    ``stage`` is a word for a person ("dumping", "hashing", ...), ``done`` of ``total`` things are
    done, and ``bytes`` of ``total_bytes``; 0 of 0 where that is not known. ``about`` is what it
    is at, or what there is to say.
    """

    stage: str
    done: int = 0
    total: int = 0
    bytes: int = 0
    total_bytes: int = 0
    about: str = ""


Told = Callable[[Progress], None]
"Called from any thread, often: whoever shows it decides how often."


def nobody(_: Progress) -> None:
    """Tell nobody."""
