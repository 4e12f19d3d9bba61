"""What one mutation of a restored copy is, and what the proof must say of it."""

from __future__ import annotations

from typing import NamedTuple


class Mutation(NamedTuple):
    """One thing that is done to a copy. The proof must name it, and nothing else.

    ``of`` and ``name`` are the difference that must be told; every difference that is told must be
    of an object that has ``about`` in its name, by default ``of`` without its first word. ``keys``
    are the rows that must be named. ``undo`` is for what is the server's, not the copy's.
    """

    id: str
    sql: str
    of: str
    name: str
    about: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    undo: str = ""
    since: int = 13

    @property
    def subjects(self) -> tuple[str, ...]:
        """What every difference's object must have in its name: one of these."""
        return self.about or (self.of.partition(" ")[2],)


def table(name: str) -> str:
    """Return how a table of the schema torture is told."""
    return f"table torture.{name}"
