"""Judge what a backup of this database would lose, or could not restore."""

from __future__ import annotations

import msgspec

from pytest_costmgmt.facts.hazards import Hazard, HazardFacts, Kind
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement

READ: tuple[Kind, ...] = ("unreadable", "row security")
WHOLE: tuple[Kind, ...] = (
    "invalid index",
    "unvalidated constraint",
    "unpopulated materialized view",
    "stale materialized view",
    "disabled trigger of a constraint",
    "inherited columns in another order",
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
    "stale materialized view": "a materialized view that holds what its query gives",
    "disabled trigger of a constraint": "a constraint whose triggers check every row",
    "inherited columns in another order": "a table whose columns come in the order that INHERITS"
    " gives them",
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
    "disabled trigger of a constraint": "a superuser",
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
    """Judge that every object comes back as it is.

    >>> view = Hazard(kind="materialized view not compared", of="materialized view a.b",
    ...               consequence="it calls random()", fix="REFRESH MATERIALIZED VIEW a.b")
    >>> seen = {"materialized views": 1}
    >>> facts = HazardFacts(role="a", database="b", looked=seen, found={}, hazards=(view,))
    >>> whole(facts).unverified[0].what
    'materialized view a.b: it calls random()'
    """
    judged = _judged(facts, WHOLE, f"{_looked(facts)}: each can come back as it is")
    unknown = tuple(map(_unknown, facts.of("materialized view not compared")))
    summary = "" if unknown else judged.summary
    return msgspec.structs.replace(judged, unverified=unknown, summary=summary)


def _unknown(hazard: Hazard) -> Unverified:
    return Unverified(
        what=f"{hazard.of}: {hazard.consequence}",
        who="whoever knows its query",
        how=f"{hazard.fix} before the backup, if it may be out of date",
    )


def inside(facts: HazardFacts) -> Judgement:
    """Judge that the data is in the backup, and say what else needs to be kept.

    >>> role = Hazard(kind="role outside the dump", of="role koku", consequence="")
    >>> facts = HazardFacts(role="a", database="b", looked={"tables": 1}, found={}, hazards=(role,))
    >>> inside(facts).summary
    'all rows are in it; role koku: the manifest has it, pg_dump has no roles'
    """
    said = "all rows are in it"
    if others := [hazard.of for hazard in facts.of("other database")]:
        said += f"; {', '.join(others)} need{'s' * (len(others) == 1)} a backup of its own"
    if roles := [hazard.of for hazard in facts.of("role outside the dump")]:
        said += f"; {', '.join(roles)}: the manifest has {'it' if len(roles) == 1 else 'them'},"
        said += " pg_dump has no roles"
    return _judged(facts, INSIDE, said)


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
