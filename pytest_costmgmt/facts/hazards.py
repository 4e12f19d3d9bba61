"""What a backup of this database would lose, or could not restore: read before one is made."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from pytest_costmgmt.facts import stale_views
from pytest_costmgmt.facts.hazards_sql import LOOKED, MINE, QUESTIONS
from pytest_costmgmt.postgres.streamed import streamed

Kind = Literal[
    "unreadable",
    "row security",
    "invalid index",
    "unvalidated constraint",
    "unpopulated materialized view",
    "stale materialized view",
    "materialized view not compared",
    "disabled trigger of a constraint",
    "inherited columns in another order",
    "function without search_path",
    "extension without files",
    "unlogged table",
    "foreign table",
    "prepared transaction",
    "subscription",
    "other database",
    "role outside the dump",
]

STALE: Kind = "stale materialized view"
NOT_COMPARED: Kind = "materialized view not compared"

EXAMPLES = 50
"How many objects of one kind are named; more of them are only counted."


class Hazard(msgspec.Struct, frozen=True, kw_only=True):
    """One object that a backup will not bring back as it is. ``fix`` is SQL or a comment."""

    kind: str
    of: str
    consequence: str
    fix: str = ""


class HazardFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen by ``role``, who would make the backup, in ``database``.

    ``looked`` counts what was looked at, by kind of object: nothing looked at proves nothing.
    ``found`` counts all hazards by kind; of each kind at most EXAMPLES are in ``hazards``, but
    every materialized view: a restore refreshes it, and its proof must know.
    """

    role: str
    database: str
    looked: dict[str, int]
    found: dict[str, int]
    hazards: tuple[Hazard, ...]

    def of(self, *kinds: Kind) -> tuple[Hazard, ...]:
        """Return the hazards of these kinds."""
        return tuple(hazard for hazard in self.hazards if hazard.kind in kinds)


def read(
    cursor: Any, *, each: float = stale_views.EACH, together: float = stale_views.TOGETHER
) -> HazardFacts:
    """Read the hazards of the cursor's database, as its role sees them.

    ``cursor`` is in a read-only transaction with search_path pg_catalog (``read_only``). ``each``
    and ``together`` are the seconds that materialized views may be compared with their queries.
    """
    cursor.execute("SET LOCAL quote_all_identifiers = off")
    role, database = cursor.execute("SELECT CURRENT_USER, pg_catalog.current_database()").fetchone()
    looked = {kind: count for kind, count in cursor.execute(MINE + LOOKED)}  # noqa: C416 - rows
    found: dict[str, int] = {}
    hazards: list[Hazard] = []
    for question in QUESTIONS:
        first, number = _first(streamed(cursor, MINE + question.query))
        if number:
            found[question.kind] = number
        hazards += [
            Hazard(kind=question.kind, of=of, consequence=question.consequence, fix=fix)
            for of, fix in first
        ]
    for view in stale_views.look(cursor, each=each, together=together):
        if (hazard := _of_view(view)) is not None:
            found[hazard.kind] = found.get(hazard.kind, 0) + 1
            hazards.append(hazard)
    return HazardFacts(
        role=role, database=database, looked=looked, found=found, hazards=tuple(hazards)
    )


def _first(rows: Iterable[tuple[Any, ...]]) -> tuple[list[tuple[Any, ...]], int]:
    """Return the first rows in their order, and how many there are: every table may be one."""
    number = 0

    def counted() -> Iterator[tuple[Any, ...]]:
        nonlocal number
        for row in rows:
            number += 1
            yield row

    return heapq.nsmallest(EXAMPLES, counted()), number


def _of_view(view: stale_views.Looked) -> Hazard | None:
    if view.state == "current":
        return None
    refresh = f"REFRESH MATERIALIZED VIEW {view.view.removeprefix('materialized view ')}"
    if view.state == "stale":
        said = "it holds something else than its query gives: a restore refreshes it"
        return Hazard(kind=STALE, of=view.view, consequence=said, fix=refresh)
    said = f"a restore refreshes it, and whether it was up to date is not known: {view.why}"
    return Hazard(kind=NOT_COMPARED, of=view.view, consequence=said, fix=refresh)
