"""What Django's own loader would make of a schema's records, as pure functions over data.

The rules are those of ``MigrationLoader.build_graph`` and ``check_consistent_history``: a squashed
migration stands for those that it replaces if all or none of them are recorded, else they stand
for it; it counts as applied if all of them are, whatever its own row says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

from pytest_costmgmt.facts.migrations import Expected, Migration

Parents = Mapping[str, frozenset[str]]


class History(NamedTuple):
    """What is wrong with the records of one schema: nothing, if all are empty.

    ``inconsistent`` are pairs: a migration, and the one that it depends on and that is not applied.
    ``ahead`` are unknown to the application and were applied after all that it knows; ``leftover``
    were followed by known ones: they were removed from it, or squashed, long ago. ``lost`` are the
    records without which Django refuses to migrate at all.
    """

    missing: tuple[str, ...]
    ahead: tuple[str, ...]
    leftover: tuple[str, ...]
    inconsistent: tuple[tuple[str, str], ...]
    lost: tuple[str, ...]


class Plan:
    """The application's migrations, ready to be held against records."""

    def __init__(self, expected: Expected) -> None:
        self.migrations: Mapping[str, Migration] = {m.name: m for m in expected.migrations}

    @cached_property
    def replacing(self) -> Mapping[str, tuple[str, ...]]:
        """The squashed migrations, and what each replaces."""
        return {m.name: m.replaces for m in self.migrations.values() if m.replaces}

    @cached_property
    def size(self) -> int:
        """How many migrations a new schema gets: squashed ones count, not what they replace."""
        return len(_graph(self, frozenset()))

    @cached_property
    def known(self) -> frozenset[str]:
        """All names that a record may have."""
        replaced = {name for names in self.replacing.values() for name in names}
        return frozenset(self.migrations) | replaced

    def history(self, applied: Sequence[str]) -> History:
        """Judge the records of a schema, in the order in which they were applied."""
        recorded = frozenset(applied)
        graph = _graph(self, recorded)
        effective = set(recorded)
        for squashed, replaced in self.replacing.items():
            if recorded.issuperset(replaced):
                effective.add(squashed)
            else:
                effective.discard(squashed)
        ahead, leftover = _unknown(self, applied)
        inconsistent = tuple(
            (name, parent)
            for name in sorted(recorded & graph.keys())
            for parent in sorted(graph[name])
            if parent not in recorded and parent not in effective
        )
        return History(
            missing=tuple(sorted(graph.keys() - effective)),
            ahead=ahead,
            leftover=leftover,
            inconsistent=inconsistent,
            lost=tuple(sorted(self._rows({parent for _, parent in inconsistent}) - recorded)),
        )

    def _rows(self, names: Iterable[str]) -> frozenset[str]:
        """Return the records that make these migrations applied."""
        return frozenset(row for name in names for row in self.replacing.get(name, (name,)))


def _graph(plan: Plan, recorded: frozenset[str]) -> Parents:
    """Return the migrations that count for these records, each with those it depends on."""
    graph = {name: set(m.dependencies) for name, m in plan.migrations.items()}
    for squashed, replaced in plan.replacing.items():
        if squashed not in graph:
            continue
        done = recorded.intersection(replaced)
        if done and len(done) < len(set(replaced)):
            _stand_in(graph, squashed, replaced, done)
        else:
            _replace(graph, squashed, frozenset(replaced))
    return {name: frozenset(parents) for name, parents in graph.items()}


def _replace(graph: dict[str, set[str]], squashed: str, replaced: frozenset[str]) -> None:
    """Put ``squashed`` in the place of all that it replaces."""
    for name in replaced:
        graph[squashed] |= graph.pop(name, set())
    graph[squashed] -= replaced | {squashed}
    for name, parents in graph.items():
        if name != squashed and parents & replaced:
            parents.difference_update(replaced)
            parents.add(squashed)


def _stand_in(
    graph: dict[str, set[str]], squashed: str, replaced: tuple[str, ...], done: frozenset[str]
) -> None:
    """Put the last of the replaced migrations in the place of ``squashed``.

    If the file of one that is not done is gone, nothing can: the squashed one stays, as missing.
    """
    if not done.union(graph).issuperset(replaced):
        return
    members = {name for name in replaced if name in graph}
    last = members - {parent for name in members for parent in graph[name]}
    del graph[squashed]
    for parents in graph.values():
        if squashed in parents:
            parents.discard(squashed)
            parents.update(last)


def _unknown(plan: Plan, applied: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the records that the application does not know: those ahead of it, and leftovers.

    Only what comes after says which: ids grow, and a newer application's migrations depend on
    those that this one knows. (A squashed migration's own row proves nothing: it is written late.)
    """
    ahead: list[str] = []
    leftover: list[str] = []
    followed: set[str] = set()
    for name in reversed(applied):
        app = name.partition(".")[0]
        if name in plan.known:
            if name not in plan.replacing:
                followed.update((app, ""))
        elif app in followed or ("" in followed and not _has(plan, app)):
            leftover.append(name)
        else:
            ahead.append(name)
    return tuple(reversed(ahead)), tuple(reversed(leftover))


def _has(plan: Plan, app: str) -> bool:
    return any(name.startswith(f"{app}.") for name in plan.known)
