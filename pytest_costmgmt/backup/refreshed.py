"""Materialized views that a restore refreshes: what came back is judged by their query.

The dump has no rows of a view. One that was out of date when it was backed up comes back otherwise,
and rightly so, if it holds what its query gives on the rows that are proven.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import closing

from pytest_costmgmt.backup.model import Allowance, Difference, Manifest
from pytest_costmgmt.facts import stale_views
from pytest_costmgmt.facts.hazards import NOT_COMPARED, STALE, Hazard
from pytest_costmgmt.facts.stale_views import Looked
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login

CONNECT = 30.0
PATIENCE = 600.0
"Seconds that all views that came back otherwise may be compared with their queries."

VIEW = "materialized view "
_NAMES = re.compile(rf'{VIEW}("(?:[^"]|"")*"|[^".]+)\.("(?:[^"]|"")*"|[^".]+)', re.DOTALL)


def sorted_out(
    differences: tuple[Difference, ...], manifest: Manifest, target: Login
) -> tuple[tuple[Difference, ...], tuple[Allowance, ...]]:
    """Return the differences that are none of a refresh's, and the others with their reason.

    Only views that the manifest names as hazards may differ; ``target`` is asked about them.
    """
    known = {
        _names(each.of): each for each in manifest.hazards if each.kind in {STALE, NOT_COMPARED}
    }
    suspects = {
        each: known[_names(each.of)]
        for each in differences
        if each.name in {"rows", "content"} and _names(each.of) in known and _names(each.of)
    }
    if not suspects:
        return differences, ()
    seen = {_names(each.view): each for each in _looked(target, suspects.values())}
    allowed = {
        each: reason
        for each, hazard in suspects.items()
        if (reason := _reason(hazard, seen.get(_names(each.of))))
    }
    return tuple(each for each in differences if each not in allowed), tuple(
        Allowance(difference=each, rule="refreshed-view", reason=reason)
        for each, reason in allowed.items()
    )


def _looked(target: Login, hazards: Iterable[Hazard]) -> tuple[Looked, ...]:
    names = [(schema, name) for each in hazards for schema, name in _names(each.of)]
    with (
        closing(connect(target, deadline=CONNECT)) as connection,
        asking("what the restored materialized views hold"),
        read_only(connection, timeout=PATIENCE) as cursor,
    ):
        return stale_views.look(cursor, each=PATIENCE, together=PATIENCE, only=names)


def _reason(hazard: Hazard, seen: Looked | None) -> str:
    """Return why a view may differ, or nothing."""
    if seen is None or seen.state == "stale":
        return ""
    was = "It was out of date when it was backed up"
    if hazard.kind == NOT_COMPARED:
        was = "Whether it was up to date when it was backed up is not known"
    if seen.state == "current":
        return f"{was}; the restore refreshed it, and it holds what its query gives."
    return f"{was}; the restore refreshed it, and more cannot be told: {seen.why}."


def _names(of: str) -> tuple[tuple[str, str], ...]:
    """Return schema and name of a materialized view, however they are quoted.

    >>> _names('materialized view a."b "" c"'), _names('materialized view "a"."b "" c"')
    ((('a', 'b " c'),), (('a', 'b " c'),))
    >>> _names("table a.b")
    ()
    """
    found = _NAMES.fullmatch(of)
    return ((_plain(found[1]), _plain(found[2])),) if found else ()


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
