"""Findings about many schemas in words, and the fixes that they share."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Sequence

from pytest_costmgmt.facts.migrations import MigrationFacts
from pytest_costmgmt.judge.finding import Fix
from pytest_costmgmt.judge.sqltext import ident, literal, qualified
from pytest_costmgmt.requirements.model import MigrationNeeds

OPERATOR = "whoever runs the application's management command"
_NAMED = 5


def named(names: Sequence[str]) -> str:
    """Name some, count the rest.

    >>> named(["a", "b"]), named(list("abcdefgh"))
    ('a, b', 'a, b, c, d, e and 3 more')
    """
    rest = len(names) - _NAMED
    told = ", ".join(names[:_NAMED])
    return f"{told} and {rest:,} more" if rest > 0 else told


def counted(things: Sequence[object], word: str = "schema") -> str:
    """Count them.

    >>> counted(["a"]), counted(range(1200), "tenant")
    ('1 schema', '1,200 tenants')
    """
    return f"{len(things):,} {word}{'' if len(things) == 1 else 's'}"


def schemas(names: Sequence[str]) -> str:
    """Begin a sentence about schemas.

    >>> schemas(["acct1"]), schemas(["acct1", "org2"])
    ("schema 'acct1'", '2 schemas (acct1, org2)')
    """
    return f"schema {names[0]!r}" if len(names) == 1 else f"{counted(names)} ({named(names)})"


def verb(names: Sequence[str], one: str, many: str) -> str:
    """Return the verb's form for so many."""
    return one if len(names) == 1 else many


def command(facts: MigrationFacts) -> str:
    """Return how the application's management command is typed."""
    return (facts.expected.command if facts.expected else "") or "python manage.py"


def migrate(facts: MigrationFacts, names: Iterable[str] = ()) -> Fix:
    """Have the application migrate: public and all tenants, and ``names`` beside them."""
    lines = [f"{command(facts)} migrate_schemas"]
    others = sorted(set(names) - {"public", *(facts.tenants or ())})
    lines += [f"{lines[0]} --schema {shlex.quote(name)}" for name in others]
    return Fix(kind="shell", text="\n".join(lines), needs=OPERATOR)


def record_again(
    facts: MigrationFacts, names: Sequence[str], absent: Sequence[str], needs: MigrationNeeds
) -> Fix:
    """Write lost records back: Django refuses to run at all while they are missing.

    What depends on them was applied, which Django does only after them: they were there.
    """
    rows = [
        f"    ({', '.join(map(literal, (app, name)))})"
        for app, _, name in (migration.partition(".") for migration in absent)
    ]
    lines = [
        "-- These were applied, or Django had not applied what depends on them: the records were",
        "-- lost. If their tables are gone too, restore the schema from the last backup instead.",
    ]
    for schema in names:
        table = qualified(schema, needs.table)
        lines += [
            f"INSERT INTO {table} (app, name, applied)",
            "SELECT lost.app, lost.name, now() FROM (VALUES",
            ",\n".join(rows),
            ") AS lost (app, name)",
            f"WHERE NOT EXISTS (SELECT FROM {table} AS m",
            "    WHERE m.app = lost.app AND m.name = lost.name);",
        ]
    needed = "the owner of the schema or a superuser"
    return Fix(kind="sql", text="\n".join(lines), needs=needed, database=facts.database)


_MOVE = """DO $costmgmt$
DECLARE
  one record;
BEGIN
  FOR one IN
    SELECT q.oid::pg_catalog.regclass AS sequence, c.oid::pg_catalog.regclass AS of, a.attname
    FROM pg_catalog.pg_class q
    JOIN pg_catalog.pg_depend d ON d.objid = q.oid AND d.deptype IN ('a', 'i')
     AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
     AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
    JOIN pg_catalog.pg_class c ON c.oid = d.refobjid
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE q.relkind = 'S' AND n.nspname IN ({schemas})
  LOOP
    -- Forward only.
    EXECUTE pg_catalog.format('SELECT pg_catalog.setval(%L, m.id) FROM (SELECT pg_catalog.max(%I)'
      ' AS id FROM %s) m, %s s WHERE m.id > s.last_value - CASE WHEN s.is_called THEN 0 ELSE 1 END',
      one.sequence, one.attname, one.of, one.sequence);
  END LOOP;
END
$costmgmt$;"""


def move_sequences(facts: MigrationFacts, names: Sequence[str]) -> Fix:
    """Move every sequence of these schemas past the ids that it gave."""
    text = _MOVE.replace("{schemas}", ", ".join(map(literal, names)))
    needed = "the owner of the schemas or a superuser"
    return Fix(kind="sql", text=text, needs=needed, database=facts.database)


def number_again(facts: MigrationFacts, names: Sequence[str], needs: MigrationNeeds) -> Fix:
    """Give the ids of the records an identity again, which goes on after those that are there."""
    lines = [
        "-- Likely every table is so: restore a backup of the application's own instead, if any."
    ]
    for name in names:
        table = qualified(name, needs.table)
        lines += [
            f"ALTER TABLE {table} ALTER COLUMN id SET NOT NULL,",
            "    ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY;",
        ]
    moved = move_sequences(facts, names)
    return Fix(
        kind="sql",
        text="\n".join([*lines, moved.text]),
        needs=moved.needs,
        database=facts.database,
    )


def create_schema(facts: MigrationFacts, name: str, *, row: bool) -> str:
    """Return the command that makes a tenant's schema; with ``row`` its row too."""
    which = f"(schema_name={json.dumps(name, ensure_ascii=False)})"
    found = f"get_or_create{which}[0]" if row else f"get{which}"
    code = (
        "from django_tenants.utils import get_tenant_model;"
        f" get_tenant_model().objects.{found}.create_schema(check_if_exists=True)"
    )
    return f"{command(facts)} shell -c {shlex.quote(code)}"


def restore_tenant(facts: MigrationFacts, name: str) -> Fix:
    """Bring a tenant's schema back."""
    text = (
        f"# Restore schema {ident(name)} from the last backup: its data went with it.\n"
        "# Only for a tenant that never had data, make an empty one:\n"
        f"{create_schema(facts, name, row=False)}"
    )
    return Fix(kind="shell", text=text, needs=OPERATOR)


def restore_tables(name: str) -> Fix:
    """Bring back what a tenant's schema lost."""
    text = (
        "# No migration makes them again. What the last backup has of this schema:\n"
        f"pg_restore --list ARCHIVE | grep -F {shlex.quote(name)}\n"
        "# Restore the schema from it as a whole: keys, indexes and rows may be gone as well.\n"
        "# A key alone: ALTER TABLE ... ADD ..., as the template's has it (psql: \\d), once no row"
        " breaks it.\n"
        "# A trigger that is only disabled: ALTER TABLE ... ENABLE TRIGGER ...; what it should have"
        "\n# done meanwhile (partitions) was not done."
    )
    return Fix(kind="shell", text=text, needs=OPERATOR)


def adopt(facts: MigrationFacts, name: str) -> Fix:
    """Give a schema its tenant back, or take it away."""
    text = (
        "# If the tenant's row was lost, write it again; the schema stays as it is:\n"
        f"{create_schema(facts, name, row=True)}\n"
        f"# If nobody needs schema {ident(name)}, dump it, then drop it."
    )
    return Fix(kind="shell", text=text, needs=OPERATOR)


def grant(facts: MigrationFacts, names: Sequence[str], role: str) -> Fix:
    """Let the application into its own schemas."""
    lines = [
        f"{statement} {ident(name)} TO {ident(role)};"
        for name in names
        for statement in (
            "GRANT USAGE, CREATE ON SCHEMA",
            "GRANT ALL ON ALL TABLES IN SCHEMA",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA",
        )
    ]
    note = "-- To migrate, the role must own them: ALTER ... OWNER TO, or restore with the owners."
    text = "\n".join([note, *lines])
    return Fix(kind="sql", text=text, needs="the schema's owner", database=facts.database)
