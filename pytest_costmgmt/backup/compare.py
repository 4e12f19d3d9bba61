"""What a manifest says against what was seen: every difference by object and property."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple, TypeVar

import msgspec

from pytest_costmgmt.backup.allowed import DEFAULT, NOTHING, sorted_out
from pytest_costmgmt.backup.listing import by_name
from pytest_costmgmt.backup.model import (
    Allowance,
    Database,
    Difference,
    Extension,
    LargeObject,
    Manifest,
    Membership,
    Property,
    Relation,
    Role,
    SequenceValue,
)
from pytest_costmgmt.backup.packed import itself, ordered
from pytest_costmgmt.backup.schema_text import Unmatched

SHOWN = 400
"Characters of a definition that are told."
OF_DATABASE = ("owner", "encoding", "collate", "ctype", "provider", "locale", "icu_rules",
               "connection_limit", "comment", "tablespace", "template")  # fmt: skip
# Their options may hold a password: that they differ is told, never how.
_SECRETIVE = ("USER MAPPING ", "SUBSCRIPTION ", "SERVER ")
_HAVE_DEFAULTS = frozenset({
    "ACL", "access method", "clustered on", "compression", "enabled", "enforced",
    "foreign options", "options", "persistence", "populated", "replica identity", "row security",
    "statistics target", "storage", "tablespace", "toast options", "valid", "validated",
})  # fmt: skip
_NO_SUCH_LINE = "no such line"
_UNTOLD = "another definition, untold: it may hold a password"

_T = TypeVar("_T", bound=msgspec.Struct)


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a database, in the words of the manifest."""

    server_number: int
    database: Database
    roles: tuple[Role, ...]
    memberships: tuple[Membership, ...]
    extensions: tuple[Extension, ...]
    relations: Sequence[Relation]
    sequences: Sequence[SequenceValue]
    large_objects: Sequence[LargeObject]
    properties: Sequence[Property]


class Schema(NamedTuple):
    """How two schemas' texts compare: how many entries were expected, and which do not match."""

    entries: int
    unmatched: list[Unmatched]


def compare(
    manifest: Manifest, observed: Observed, schema: Schema
) -> tuple[tuple[Difference, ...], tuple[Allowance, ...]]:
    """Return the differences, and those that are right as they are, each with the rule.

    The database's name is not compared: a restore gives it another.
    """
    found = [
        *_database(manifest.database, observed.database),
        *_extensions(manifest.extensions, observed.extensions),
        *_roles(manifest.roles, observed.roles),
        *_memberships(manifest, observed.memberships),
        *_relations(manifest.relations, observed.relations),
        *_sequences(manifest.sequences, observed.sequences),
        *_large_objects(manifest.large_objects, observed.large_objects),
        *_properties(manifest.properties, observed.properties),
        *_texts(schema.unmatched),
    ]
    left, allowed = sorted_out(found, manifest.server_number, observed.server_number)
    return tuple(map(_shown, left)), tuple(
        msgspec.structs.replace(each, difference=_shown(each.difference)) for each in allowed
    )


def compared(manifest: Manifest, schema: Schema) -> dict[str, int]:
    """Return how many of each there are to compare."""
    return {
        "schema entries": schema.entries,
        "relations": len(manifest.relations),
        "rows": sum(relation.rows for relation in manifest.relations),
        "sequences": len(manifest.sequences),
        "large objects": len(manifest.large_objects),
        "properties": len(manifest.properties),
        "roles": len(manifest.roles),
        "memberships": len(manifest.memberships),
        "extensions": len(manifest.extensions),
        "database properties": len(OF_DATABASE) + 2,
    }


def difference(of: str, name: str, expected: object, found: object) -> Difference:
    """Return a difference with both values as text."""
    return Difference(of=of, name=name, expected=str(expected), found=str(found))


def _paired(
    expected: Sequence[_T], found: Sequence[_T], key: Callable[[_T], Any]
) -> Iterator[tuple[Any, _T | None, _T | None]]:
    """Yield what is not the same on both sides, by key and in its order.

    Of very many, few are in memory at once. A second one of the same key is another.

    >>> nine, ten = (Extension(name="a", version=each, schema="s") for each in "90")
    >>> [(a, b and b.version, c and c.version)
    ...  for a, b, c in _paired([nine, ten], [nine], lambda each: each.name)]
    [('a', '0', None)]
    """
    return _merged(iter(ordered(expected, key)), iter(ordered(found, key)), key)


def _merged(
    was: Iterator[_T], now: Iterator[_T], key: Callable[[_T], Any]
) -> Iterator[tuple[Any, _T | None, _T | None]]:
    before, after = next(was, None), next(now, None)
    while before is not None or after is not None:
        first: Any = None if before is None else key(before)
        second: Any = None if after is None else key(after)
        if after is None or (before is not None and first < second):
            yield first, before, None
            before = next(was, None)
        elif before is None or second < first:
            yield second, None, after
            after = next(now, None)
        else:
            if before != after:
                yield first, before, after
            before, after = next(was, None), next(now, None)


def _fields(
    of: str, was: Any, now: Any, fields: Iterable[str], names: Iterable[str] = ()
) -> Iterator[Difference]:
    """Yield a difference for each field that differs; or one if either is not there at all."""
    if was is None or now is None:
        yield difference(of, "existence", *(NOTHING if x is None else "there" for x in (was, now)))
        return
    words = dict(zip(fields, names, strict=False))
    for field in fields:
        before, after = getattr(was, field), getattr(now, field)
        if before != after:
            yield difference(
                of, words.get(field, field.replace("_", " ")), _word(before), _word(after)
            )


def _word(value: Any) -> str:
    if value in ("", None):
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def qualified(schema: str, name: str) -> str:
    """Return a name as SQL has it, quoted where it must be."""
    return f"{_ident(schema)}.{_ident(name)}"


def _ident(name: str) -> str:
    plain = name.isascii() and name.replace("_", "a").isalnum() and name == name.lower()
    return name if plain and not name[:1].isdigit() else '"' + name.replace('"', '""') + '"'


def _database(was: Database, now: Database) -> Iterator[Difference]:
    yield from _fields("the database", was, now, OF_DATABASE)
    if was.acl != now.acl:
        yield difference("the database", "ACL", *(_items(x.acl) for x in (was, now)))
    yield from _set("the database", "setting", was.settings, now.settings)


def _items(acl: tuple[str, ...]) -> str:
    return DEFAULT if acl == ("",) else ", ".join(acl) or "none"


def _set(of: str, name: str, was: Iterable[str], now: Iterable[str]) -> Iterator[Difference]:
    """Yield what differs between lists of ``name=value``."""
    told: dict[str, tuple[list[str], list[str]]] = {}
    for side, items in enumerate((set(was) - set(now), set(now) - set(was))):
        for item in sorted(items):
            key, _, value = item.partition("=")
            told.setdefault(key, ([], []))[side].append(value)
    for key, (before, after) in sorted(told.items()):
        values = (", ".join(x) if x else NOTHING for x in (before, after))
        yield difference(of, f"{name} {key}", *values)


def _extensions(was: Sequence[Extension], now: Sequence[Extension]) -> Iterator[Difference]:
    for name, before, after in _paired(was, now, lambda each: each.name):
        yield from _fields(f"extension {_ident(name)}", before, after, ("version", "schema"))


def _roles(was: Iterable[Role], now: Iterable[Role]) -> Iterator[Difference]:
    """Compare the backup's roles; whoever else is on the target's server is no affair of it."""
    there = {role.name: role for role in now}
    for role in was:
        of, after = f"role {_ident(role.name)}", there.get(role.name)
        if after is None:
            yield difference(of, "existence", "there", NOTHING)
            continue
        for name in sorted({*role.attributes, *after.attributes}):
            values = [each.attributes.get(name, "") or "none" for each in (role, after)]
            if values[0] != values[1]:
                yield difference(of, name, *values)
        yield from _set(of, "setting", role.settings, after.settings)
        yield from _fields(of, role, after, ("comment",))
        if None not in (role.verifier, after.verifier) and role.verifier != after.verifier:
            expected = "as in the backup" if role.verifier else "none"
            yield difference(of, "password", expected, "another" if after.verifier else "none")


def _memberships(manifest: Manifest, now: Iterable[Membership]) -> Iterator[Difference]:
    """Compare what both versions have, of the backup's roles."""
    was, known = manifest.memberships, {role.name for role in manifest.roles}
    grantors = all(each.grantor for each in (*was, *now))
    before, after = (_granted(each, grantors=grantors) for each in (was, now))
    for key in sorted({*before, *(k for k in after if k[0] in known or k[1] in known)}):
        role, member, grantor = key
        of = f"membership of {_ident(member)} in {_ident(role)}"
        of += f" granted by {_ident(grantor)}" if grantor else ""
        first, second = before.get(key), after.get(key)
        if first is None or second is None:
            yield difference(of, "existence", _options(first), _options(second))
            continue
        for name in ("admin", "inherit", "set"):
            values = first[name], second[name]
            if None not in values and values[0] != values[1]:
                yield difference(of, name, *map(_word, values))


def _options(options: dict[str, bool | None] | None) -> str:
    if options is None:
        return NOTHING
    return ", ".join(f"{k}: {_word(v)}" for k, v in options.items() if v is not None)


def _granted(
    memberships: Iterable[Membership], *, grantors: bool
) -> dict[tuple[str, str, str], dict[str, bool | None]]:
    """Return what each membership allows; without grantors, what all grants of it do together."""
    found: dict[tuple[str, str, str], dict[str, bool | None]] = {}
    for each in memberships:
        options = found.setdefault((each.role, each.member, each.grantor if grantors else ""), {})
        for name in ("admin", "inherit", "set"):
            value = getattr(each, name)
            options[name] = value if options.get(name) is None else (options[name] or value)
    return found


def _relations(was: Sequence[Relation], now: Sequence[Relation]) -> Iterator[Difference]:
    for (schema, name), before, after in _paired(was, now, by_name):
        of = f"{(before or after).kind} {qualified(schema, name)}"  # type: ignore[union-attr]
        # Other rows are another content, too: the number says it better.
        fields = ["kind", "populated", "rows"]
        if before is not None and after is not None and before.rows == after.rows:
            fields.append("content")
        yield from _fields(of, before, after, fields)


def _sequences(was: Sequence[SequenceValue], now: Sequence[SequenceValue]) -> Iterator[Difference]:
    for (schema, name), before, after in _paired(was, now, by_name):
        of = f"sequence {qualified(schema, name)}"
        yield from _fields(of, before, after, ("last_value", "is_called"))


def _large_objects(was: Sequence[LargeObject], now: Sequence[LargeObject]) -> Iterator[Difference]:
    for oid, before, after in _paired(was, now, lambda each: each.oid):
        fields = ("bytes", "content", "owner", "acl", "comment")
        names = ("bytes", "content", "owner", "ACL", "comment")
        yield from _fields(f"large object {oid}", before, after, fields, names)


def _properties(was: Sequence[Property], now: Sequence[Property]) -> Iterator[Difference]:
    key: Callable[[Property], tuple[str, str]] = lambda each: (each.of, each.name)  # noqa: E731
    for (of, name), before, after in _merged(_gathered(was), _gathered(now), key):
        absent = DEFAULT if name in _HAVE_DEFAULTS else NOTHING
        yield difference(
            of, name, *(absent if each is None else each.value for each in (before, after))
        )


def _gathered(properties: Sequence[Property]) -> Iterator[Property]:
    """Yield properties by object and name; two that are called alike count as one with both."""
    found = groupby(ordered(properties, itself), lambda each: (each.of, each.name))
    for (of, name), each in found:
        yield Property(of=of, name=name, value=", ".join(one.value for one in each))


def _texts(unmatched: Iterable[Unmatched]) -> Iterator[Difference]:
    for key, expected, found in unmatched:
        if expected is None or found is None:
            yield difference(
                key,
                "existence",
                *("there" if x is not None else NOTHING for x in (expected, found)),
            )
        elif key.startswith(_SECRETIVE):
            yield difference(key, "definition", "as in the backup", _UNTOLD)
        else:
            yield difference(key, "definition", expected, found)


def _shown(whole: Difference) -> Difference:
    """Return a difference fit to be read: of long texts, the lines that differ."""
    values = whole.expected, whole.found
    if max(map(len, values)) <= SHOWN and "\n" not in "".join(values):
        return whole
    was, now = (value.splitlines() for value in values)
    parts = [line for line in was if line not in now], [line for line in now if line not in was]
    if not any(parts):  # the same lines in another order or number, or another white space
        told = tuple(repr(value) for value in values)
    else:
        told = tuple(" ".join(map(str.strip, part)) or _NO_SUCH_LINE for part in parts)
    expected, found = map(_cut, told)
    return msgspec.structs.replace(whole, expected=expected, found=found)


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}… ({len(text)} characters)"
