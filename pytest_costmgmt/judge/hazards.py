"""Judge what a backup of this database would lose, or could not restore."""

from __future__ import annotations

from pytest_costmgmt.facts.hazards import Hazard, HazardFacts, Kind
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement

READ: tuple[Kind, ...] = ("unreadable", "row security")
WHOLE: tuple[Kind, ...] = (
    "invalid index",
    "unvalidated constraint",
    "unpopulated materialized view",
    "function without search_path",
    "extension without files",
)
INSIDE: tuple[Kind, ...] = (
    "unlogged table",
    "foreign table",
    "prepared transaction",
    "subscription",
)

_EXPECTED = {
    "unreadable": "the role that makes the backup may read it",
    "row security": "the role that makes the backup sees every row",
    "invalid index": "an index that is valid",
    "unvalidated constraint": "a constraint that every row was tried against",
    "unpopulated materialized view": "a materialized view that holds its rows",
    "function without search_path": "a function that finds its names under any search_path",
    "extension without files": "an extension that the server can create again",
    "unlogged table": "a table that survives a crash",
    "foreign table": "rows that are in this database",
    "prepared transaction": "no transaction that waits to be committed by somebody else",
    "subscription": "no subscription, or one whose slot is looked after",
}
_NEEDS = {
    "unreadable": "the object's owner",
    "row security": "the table's owner, or a superuser",
}


def readable(facts: HazardFacts) -> Judgement:
    """Judge that the role that makes the backup may read all of it.

    >>> seen = {"tables": 3}
    >>> facts = HazardFacts(role="koku", database="k", looked=seen, found={}, hazards=())
    >>> readable(facts).summary
    'role koku reads all of 3 tables'
    >>> readable(HazardFacts(role="a", database="b", looked={}, found={}, hazards=())).examined
    ()
    """
    return _judged(facts, READ, f"role {facts.role} reads all of {_looked(facts)}")


def whole(facts: HazardFacts) -> Judgement:
    """Judge that every object comes back as it is."""
    return _judged(facts, WHOLE, f"{_looked(facts)}: each can come back as it is")


def inside(facts: HazardFacts) -> Judgement:
    """Judge that the data is in the backup, and say which other databases need their own."""
    others = [hazard.of for hazard in facts.of("other database")]
    more = f"; {', '.join(others)} need{'s' * (len(others) == 1)} a backup of its own"
    return _judged(facts, INSIDE, "all rows are in it" + (more if others else ""))


def _judged(facts: HazardFacts, kinds: tuple[Kind, ...], summary: str) -> Judgement:
    findings = tuple(_finding(facts, hazard) for hazard in facts.of(*kinds))
    examined = [f"{count} {kind}" for kind, count in sorted(facts.looked.items()) if count]
    return judgement(examined, findings, summary="" if findings else summary)


def _looked(facts: HazardFacts) -> str:
    kinds = ("tables", "materialized views", "sequences", "indexes")
    told = [f"{facts.looked[kind]} {kind}" for kind in kinds if facts.looked.get(kind)]
    return ", ".join(told) or "an empty database"


def _finding(facts: HazardFacts, hazard: Hazard) -> Finding:
    count = facts.found.get(hazard.kind, 1)
    more = f" (one of {count} of its kind)" if count > 1 else ""
    return Finding(
        summary=f"{hazard.of}: {hazard.kind}{more}",
        expected=_EXPECTED[hazard.kind],
        found=hazard.consequence,
        fix=Fix(
            kind="sql",
            text=hazard.fix if hazard.fix.startswith("--") else f"{hazard.fix};",
            needs=_NEEDS.get(hazard.kind, "the object's owner"),
            database=facts.database,
        )
        if hazard.fix
        else None,
    )
