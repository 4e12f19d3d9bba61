"""Differences that are right as they are: data, each with its reason, told whenever it is used."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Literal

import msgspec

from pytest_costmgmt.backup.model import Allowance, Difference

NOTHING = "nothing"
"What is expected or found where there is no such object."
DEFAULT = "the default"
"What is expected or found where a property was not told."


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One sort of difference that a right restore makes.

    ``of``, ``name``, ``expected`` and ``found`` are regular expressions that must match wholly;
    ``canonical`` names a form in which both values must be equal. ``source`` and ``target`` are
    server_version_num, from (inclusive) and below (exclusive).
    """

    id: str
    reason: str
    of: str
    name: str = ".*"
    expected: str = ".*"
    found: str = ".*"
    canonical: str = ""
    servers: Literal["any", "differ", "majors differ"] = "any"
    source: tuple[int, int] = (0, 99_00_00)
    target: tuple[int, int] = (0, 99_00_00)

    def allows(self, difference: Difference, source: int, target: int) -> bool:
        """Say whether this difference is of this sort, between servers of these versions."""
        return self.between(source, target) and self._matches(difference)

    def between(self, source: int, target: int) -> bool:
        """Say whether the rule is for servers of these versions."""
        if self.servers == "differ" and source == target:
            return False
        if self.servers == "majors differ" and source // 10000 == target // 10000:
            return False
        return self._within(self.source, source) and self._within(self.target, target)

    @staticmethod
    def _within(bounds: tuple[int, int], number: int) -> bool:
        return bounds[0] <= number < bounds[1]

    def _matches(self, difference: Difference) -> bool:
        said = (difference.of, difference.name, difference.expected, difference.found)
        wanted = (self.of, self.name, self.expected, self.found)
        if not all(re.fullmatch(w, s, re.DOTALL) for w, s in zip(wanted, said, strict=True)):
            return False
        if not self.canonical:
            return True
        form = CANONICAL[self.canonical]
        return form(difference.expected) == form(difference.found)


def _array_casts(text: str) -> str:
    """Return an expression in which the cast of an array is that of its elements.

    >>> a = "((s)::text = ANY ((ARRAY['a'::character varying, 'b'::character varying])::text[]))"
    >>> b = "((s)::text = ANY (ARRAY[('a'::character varying)::text,"
    >>> b += " ('b'::character varying)::text]))"
    >>> _array_casts(a) == _array_casts(b)
    True
    >>> _array_casts(a) == _array_casts(b.replace("'b'", "'c'"))
    False
    """
    text = re.sub(r"\(('(?:[^']|'')*'::[a-z ]+)\)::text", r"\1", text)
    return re.sub(r"\((ARRAY\[[^][]*\])\)::text\[\]", r"\1", text)


def _unqualified(text: str) -> str:
    """Return a view's text without the tables before its columns, and the spaces between words."""
    text = re.sub(r'(?<![\w".])(?:\w+|"(?:[^"]|"")+")\.(?=[\w"])', "", text)
    return " ".join(text.split())


_ACL_ITEM = re.compile(
    r'((?:"(?:[^"]|"")*"|[^"=, ])*)=([a-zA-Z*]*)/((?:"(?:[^"]|"")*"|[^", ])+)', re.DOTALL
)


def _without_maintain(text: str) -> str:
    """Return ACL items without MAINTAIN, which a server before 17 does not know.

    >>> _without_maintain("a=arwdDxtm/a, b=rm/a"), _without_maintain("a=m/a")
    ('a=arwdDxt/a, b=r/a', 'none')
    """
    left = []
    for grantee, privileges, grantor in _ACL_ITEM.findall(text):
        known = privileges.replace("m*", "").replace("m", "")
        left += [f"{grantee}={known}/{grantor}"] if known else []
    return ", ".join(left) or "none"


def _without_multirange(text: str) -> str:
    """Return a range type's definition without the name of its multirange type."""
    return re.sub(r"\n\s*multirange_type_name = [^\n]*?,?(?=\n)", "", text)


def _column_order(text: str) -> str:
    r"""Return the definition of a table that inherits with its lines in one order.

    >>> a = "CREATE TABLE s.t (\n    b text,\n    a text\n)\nINHERITS (s.p);"
    >>> b = "CREATE TABLE s.t (\n    a text,\n    b text\n)\nINHERITS (s.p);"
    >>> _column_order(a) == _column_order(b)
    True
    >>> _column_order(a.replace("INHERITS", "WITH")) == _column_order(b.replace("INHERITS", "WITH"))
    False
    """
    if "\n)\nINHERITS (" not in text:
        return text
    head, _, rest = text.partition(" (\n")
    columns, _, tail = rest.partition("\n)\nINHERITS (")
    return "\n".join((head, *sorted(f"{c.removesuffix(',')}," for c in columns.split("\n")), tail))


CANONICAL: dict[str, Callable[[str], str]] = {
    "array casts": _array_casts,
    "column order": _column_order,
    "unqualified": _unqualified,
    "without MAINTAIN": _without_maintain,
    "without multirange": _without_multirange,
}

RULES: tuple[Rule, ...] = (
    Rule(
        id="extension-version",
        reason="Each server ships its own versions of the extensions; the target has its own.",
        of="extension .*",
        name="version|members|functions",
        servers="differ",
    ),
    Rule(
        id="extension-comment",
        reason="An extension's comment comes with its files, and the target has its own.",
        of="COMMENT EXTENSION .*",
        servers="differ",
    ),
    Rule(
        id="public-owner",
        reason="Since PostgreSQL 15 schema public belongs to pg_database_owner.",
        of="schema public|SCHEMA public",
        name="owner|definition",
        servers="majors differ",
        source=(0, 15_00_00),
        target=(15_00_00, 99_00_00),
    ),
    Rule(
        id="invalid-index",
        reason="pg_dump leaves an invalid index out: it served no query (hazard invalid-index).",
        of="index .*",
        name="valid",
        expected="no",
        found=DEFAULT,
    ),
    Rule(
        id="constraint-trigger",
        reason="pg_dump does not carry that a constraint's own trigger is disabled: the restored"
        " one checks (hazard disabled trigger of a constraint).",
        of="trigger .* of constraint .*",
        name="enabled",
        expected="disabled|always|replica",
        found=DEFAULT,
    ),
    Rule(
        id="subscription-enabled",
        reason="A restored subscription stays disabled until somebody connects it.",
        of="subscription .*",
        name="enabled",
        expected="yes",
        found=DEFAULT,
    ),
    Rule(
        id="array-cast",
        reason="PostgreSQL moves the cast of IN's list to its elements when it reads its own text.",
        of=".*",
        name="definition|partition bound|comment",
        canonical="array casts",
    ),
    Rule(
        id="inherited-order",
        reason="A table made with INHERITS has its parent's columns first; one that was attached"
        " later had an order of its own (hazard inherited columns in another order).",
        of="TABLE .*",
        name="definition",
        canonical="column order",
    ),
    Rule(
        id="view-qualification",
        reason="Since PostgreSQL 16 a view's text leaves out tables where a column is clear.",
        of="(VIEW|MATERIALIZED VIEW|RULE|FUNCTION|PROCEDURE) .*",
        name="definition",
        canonical="unqualified",
        servers="majors differ",
        source=(0, 16_00_00),
        target=(16_00_00, 99_00_00),
    ),
    Rule(
        id="creator-is-member",
        reason="Since PostgreSQL 16 whoever creates a role without being superuser administers it.",
        of="membership of .* in .*",
        name="existence",
        expected=NOTHING,
        found="admin: yes, inherit: no, set: no",
        servers="differ",
        target=(16_00_00, 99_00_00),
    ),
    Rule(
        id="multirange",
        reason="Since PostgreSQL 14 every range type has a multirange type.",
        of="TYPE .*",
        name="definition",
        canonical="without multirange",
        servers="majors differ",
        source=(0, 14_00_00),
        target=(14_00_00, 99_00_00),
    ),
    Rule(
        id="maintain",
        reason="Since PostgreSQL 17 all privileges on a table include MAINTAIN.",
        of="(table|view|materialized view|foreign table) .*",
        name="ACL",
        canonical="without MAINTAIN",
        servers="majors differ",
        source=(0, 17_00_00),
        target=(17_00_00, 99_00_00),
    ),
    Rule(
        id="maintain-text",
        reason="How MAINTAIN is left out of a list of privileges; they are compared one by one.",
        of=r"ACL (?!pg_catalog\.|information_schema\.).*TABLE .*",
        name="definition",
        servers="majors differ",
        source=(0, 17_00_00),
        target=(17_00_00, 99_00_00),
    ),
)


def sorted_out(
    differences: Iterable[Difference], source: int, target: int
) -> tuple[list[Difference], list[Allowance]]:
    """Return the differences that no rule allows, and those that one does, with its reason."""
    rules = [rule for rule in RULES if rule.between(source, target)]
    left: list[Difference] = []
    allowed: list[Allowance] = []
    for difference in differences:
        rule = next((rule for rule in rules if rule.allows(difference, source, target)), None)
        if rule is None:
            left.append(difference)
        else:
            allowed.append(Allowance(difference=difference, rule=rule.id, reason=rule.reason))
    return left, allowed
