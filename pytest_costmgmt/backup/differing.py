"""Which rows differ: asked of what was dumped or of the archive, added to what a proof found."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import msgspec

from pytest_costmgmt.backup import keys, keys_archived
from pytest_costmgmt.backup.compare import qualified
from pytest_costmgmt.backup.model import Difference, Manifest, Relation
from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.postgres.login import Login

RELATIONS = 10
"Of how many relations the differing rows are looked for."

Look = Callable[[Relation], tuple[tuple[str, ...], int]]
"Returns the keys of a relation's differing rows, and how many more there are."


def in_source(source: Login, target: Login) -> Look:
    """Look at what was dumped."""
    return lambda relation: keys.differing_rows(source, target, relation)


def in_archive(archive: keys_archived.Archive, target: Login) -> Look:
    """Look at what the archive holds: in a table aside, so nothing is told where that fails."""

    def look(relation: Relation) -> tuple[tuple[str, ...], int]:
        # That they differ is known, and is not to be lost by this.
        with contextlib.suppress(CostMgmtError):
            return keys_archived.differing_rows(archive, target, relation)
        return (), 0

    return look


def with_keys(
    differences: tuple[Difference, ...], manifest: Manifest, look: Look
) -> Iterator[Difference]:
    """Add to differing rows which they are, where the relation has a key."""
    rows = {each.of for each in differences if each.name in {"rows", "content"}}
    named = {
        of: each
        for each in (manifest.relations if rows else ())
        if (of := f"{each.kind} {qualified(each.schema, each.name)}") in rows
    }
    left = RELATIONS
    for each in differences:
        relation = named.get(each.of) if each.name in {"rows", "content"} else None
        if relation is None or left == 0:
            yield each
            continue
        left -= 1
        found, more = look(relation)
        yield msgspec.structs.replace(each, keys=tuple(found), more_keys=more)
