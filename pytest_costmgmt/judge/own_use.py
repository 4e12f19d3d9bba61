"""Judge whether the application may use what it owns: an owner can be kept from it, too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pytest_costmgmt.facts.privileges import PrivilegeFacts, ShutObjects
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement
from pytest_costmgmt.judge.migration_words import counted
from pytest_costmgmt.judge.sqltext import ident, literal

Groups = Sequence[ShutObjects]

_USED = (
    "SELECT, INSERT, UPDATE and DELETE on its tables, USAGE on its sequences, EXECUTE on its"
    " functions, USAGE and CREATE on its schemas"
)


def own_use(facts: PrivilegeFacts) -> Judgement:
    """Judge that no REVOKE, row security, rule or default privilege is in the owner's way."""
    tell: dict[str, Callable[[PrivilegeFacts, Groups], Finding]] = {
        "privilege": _revoked,
        "row security": _hidden,
        "rule": _instead,
        "default": _lost_at_birth,
    }
    groups = {why: [group for group in facts.shut if group.why == why] for why in tell}
    where = f"{facts.schemas} schemas with a table of migrations"
    return judgement(
        [
            f"what role {facts.role} owns in database {facts.database}: {where}",
            f"default privileges of role {facts.role} in database {facts.database}",
        ],
        [tell[why](facts, found) for why, found in groups.items() if found],
        summary=f"role {facts.role} may use all that it owns in {where}",
    )


def _revoked(facts: PrivilegeFacts, groups: Groups) -> Finding:
    return Finding(
        summary=f"role {facts.role} may not use {_count(groups)} of its own objects",
        expected=_USED,
        found="; ".join(f"no {group.lacking} on {_named(group)}" for group in groups),
        fix=_fix(facts, _open_again(facts, groups)),
    )


def _hidden(facts: PrivilegeFacts, groups: Groups) -> Finding:
    return Finding(
        summary=f"row level security hides rows of {_tables(groups)} from role {facts.role},"
        " which owns them",
        expected="row level security that is not forced upon the owner, or a policy for it",
        found="; ".join(
            f"FORCE ROW LEVEL SECURITY, and no policy for {group.lacking}, on {_named(group)}"
            for group in groups
        ),
        fix=_fix(
            facts,
            [
                "-- For the owner only: the policies hold for the other roles as before.",
                _each_table(
                    "NO FORCE ROW LEVEL SECURITY",
                    "c.relrowsecurity AND c.relforcerowsecurity",
                    groups,
                ),
            ],
        ),
    )


def _instead(facts: PrivilegeFacts, groups: Groups) -> Finding:
    return Finding(
        summary=f"rules do something else instead of what role {facts.role} asks of"
        f" {_tables(groups)}",
        expected="no rule with DO INSTEAD: the application has none of its own",
        found="; ".join(
            f"a rule instead of {group.lacking} on {_named(group)}" for group in groups
        ),
        fix=_fix(
            facts,
            [
                "-- Whoever made them may need them: see pg_rules first. ENABLE RULE undoes it.",
                _each_table(
                    "DISABLE RULE %I",
                    "w.is_instead AND w.ev_enabled IN ('O', 'A')",
                    groups,
                    rules=True,
                ),
            ],
        ),
    )


def _lost_at_birth(facts: PrivilegeFacts, groups: Groups) -> Finding:
    role = ident(facts.role)
    return Finding(
        summary=f"role {facts.role} may not use what it will create: its default privileges leave"
        f" it out",
        expected="default privileges that leave the owner its own",
        found="; ".join(f"no {group.lacking} on each new {group.kind}" for group in groups),
        fix=_fix(
            facts,
            [
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT ALL ON {group.kind.upper()}S"
                f" TO {role};"
                for group in groups
            ],
        ),
    )


def _fix(facts: PrivilegeFacts, lines: Sequence[str]) -> Fix:
    return Fix(
        kind="sql",
        text="\n".join(lines),
        needs=f"role {facts.role}, which owns them, or superuser",
        database=facts.database,
    )


def _count(groups: Groups) -> int:
    return sum(group.count for group in groups)


def _tables(groups: Groups) -> str:
    return counted(range(_count(groups)), "table")


def _schemas(groups: Groups) -> list[str]:
    return sorted({schema for group in groups for schema in group.schemas})


def _named(group: ShutObjects) -> str:
    more = group.count - len(group.examples)
    rest = f" and {more} more" if more > 0 else ""
    return f"{counted(range(group.count), group.kind)}: {', '.join(group.examples)}{rest}"


def _open_again(facts: PrivilegeFacts, groups: Groups) -> list[str]:
    role = ident(facts.role)
    functions = {s for group in groups if group.kind == "function" for s in group.schemas}

    def lines() -> Iterator[str]:
        for schema in _schemas(groups):
            if schema != "public":
                yield f"GRANT ALL ON SCHEMA {ident(schema)} TO {role};"
            yield f"GRANT ALL ON ALL TABLES IN SCHEMA {ident(schema)} TO {role};"
            yield f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {ident(schema)} TO {role};"
            if schema in functions:
                yield f"GRANT EXECUTE ON ALL ROUTINES IN SCHEMA {ident(schema)} TO {role};"

    return list(lines())


_EACH = """DO $costmgmt$
DECLARE
  one record;
BEGIN
  FOR one IN
    SELECT n.nspname, c.relname{name} FROM pg_catalog.pg_class c
      JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace{join}
     WHERE n.nspname IN ({schemas}) AND c.relkind IN ('r', 'p') AND {condition}
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %I.%I {action}', one.nspname, one.relname{value});
  END LOOP;
END
$costmgmt$;"""


def _each_table(action: str, condition: str, groups: Groups, *, rules: bool = False) -> str:
    parts = {
        "name": ", w.rulename" if rules else "",
        "join": "\n      JOIN pg_catalog.pg_rewrite w ON w.ev_class = c.oid" if rules else "",
        "value": ", one.rulename" if rules else "",
        "schemas": ", ".join(map(literal, _schemas(groups))),
    }
    return _EACH.format(action=action, condition=condition, **parts)
