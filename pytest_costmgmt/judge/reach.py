"""What a role can reach by its memberships: whose privileges it has, and what it can become."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from pytest_costmgmt.facts.roles import Membership
from pytest_costmgmt.judge.sqltext import ident

_GRANTED_BY = 160000
"Since PostgreSQL 16 a grant belongs to its grantor, and REVOKE must name another's."


class Hold(NamedTuple):
    """``path`` leads from a role by ``first``, one of its own memberships, to ``role``.

    ``becomes``: it can SET ROLE there, so that attributes count too, which are never inherited.
    """

    role: str
    first: Membership
    path: tuple[str, ...]
    becomes: bool

    @property
    def shown(self) -> str:
        """The path as people read it."""
        return " -> ".join(self.path)


def holds(memberships: Sequence[Membership], subject: str) -> tuple[Hold, ...]:
    """Return every role that ``subject`` can reach, once for each first step that leads there.

    A grant without INHERIT and SET (PostgreSQL 16) gives nothing; one with ADMIN gives
    everything, since its holder may grant the rest to itself.

    >>> chain = [Membership(member="koku", role="team"), Membership(member="team", role="dba")]
    >>> [hold.shown for hold in holds(chain, "koku")]
    ['koku -> team', 'koku -> team -> dba']
    >>> holds([Membership(member="koku", role="dba", inherit=False, set_role=False)], "koku")
    ()
    """
    found: list[Hold] = []
    for first in (edge for edge in memberships if edge.member == subject):
        found += _from(memberships, first)
    return tuple(found)


def inherited(memberships: Iterable[Membership], subject: str) -> frozenset[str]:
    """Return the roles whose privileges ``subject`` has at once, without a SET ROLE; itself too.

    >>> sorted(inherited([Membership(member="koku", role="team"),
    ...                   Membership(member="team", role="dba", inherit=False)], "koku"))
    ['koku', 'team']
    """
    edges = [edge for edge in memberships if edge.inherit]
    reached = {subject}
    while step := {edge.role for edge in edges if edge.member in reached} - reached:
        reached |= step
    return frozenset(reached)


def revoke(version: int, edge: Membership) -> str:
    """Return the SQL that ends a membership.

    >>> revoke(150000, Membership(member="koku", role="team", grantor="postgres"))
    'REVOKE "team" FROM "koku";'
    >>> revoke(160000, Membership(member="koku", role="team", grantor="postgres", admin=True))
    'REVOKE "team" FROM "koku" GRANTED BY "postgres" CASCADE;'
    """
    named = version >= _GRANTED_BY and edge.grantor
    by = f" GRANTED BY {ident(edge.grantor)}" if named else ""
    # What it granted on with its ADMIN OPTION would else forbid the REVOKE.
    onward = " CASCADE" if edge.admin else ""
    return f"REVOKE {ident(edge.role)} FROM {ident(edge.member)}{by}{onward};"


def _from(memberships: Sequence[Membership], first: Membership) -> Iterable[Hold]:
    best: dict[str, Hold] = {}
    start = Hold(first.member, first, (first.member,), becomes=True)
    waiting = [(start, first)]
    while waiting:
        at, edge = waiting.pop(0)
        becomes = edge.admin or (edge.set_role and at.becomes)
        known = best.get(edge.role)
        useless = not (becomes or edge.inherit)
        if useless or (known is not None and (known.becomes or not becomes)):
            continue
        hold = Hold(edge.role, first, (*at.path, edge.role), becomes)
        best[edge.role] = hold
        waiting += [(hold, onward) for onward in memberships if onward.member == edge.role]
    return best.values()
