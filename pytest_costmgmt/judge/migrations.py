"""Migrations: the exact set of the application against what every schema records.

All judges take the facts, the requirements and the run's context. In preflight an empty database
is right: nothing was installed yet. A half-migrated one never is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.migrations import Expected, MigrationFacts, Recorded
from pytest_costmgmt.judge import migration_words as words
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement
from pytest_costmgmt.judge.migration_history import History, Plan
from pytest_costmgmt.judge.migration_words import counted, named, schemas, verb
from pytest_costmgmt.judge.sqltext import ident, qualified
from pytest_costmgmt.requirements.model import MigrationNeeds, Requirements

_ASK = (
    '--costmgmt-manage="python manage.py" asks the application;'
    " --costmgmt-migrations=FILE reads what `costmgmt migrations export` wrote"
)
_NOTHING_YET = "nothing is installed yet: the database is empty, as it should be before an install"

Problem = Callable[[Recorded, History, Expected], Finding | None]


def recorded(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that every schema of the application records its migrations, and can go on to."""
    if (nothing := _nothing_yet(facts, context)) is not None:
        return nothing
    needs = requirements.migrations
    should = [
        name
        for name in _of_application(facts, needs)
        if name in facts.schemas or name == needs.tenant_schema
    ]
    without = [s for s in should if s not in facts.recording and s not in facts.unreadable]
    empty = [s for g in facts.recorded if not g.applied for s in g.schemas if s in should]
    findings = [
        *_no_table(facts, without, needs),
        *_no_rows(facts, empty, needs),
        *_behind(facts, [name for name in facts.behind if name in should], needs),
        *_unnumbered(facts, [name for name in facts.unnumbered if name in should], needs),
        *_no_entry(facts, needs, context),
    ]
    return judgement(
        should,
        findings,
        unverified=_unseen(facts, needs),
        summary=f"{counted(should)}: each records its migrations",
    )


def _no_table(
    facts: MigrationFacts, without: Sequence[str], needs: MigrationNeeds
) -> list[Finding]:
    if not without:
        return []
    instead = f"{schemas(without)} without it"
    fix = words.migrate(facts, without)
    if needs.tenant_schema in without and facts.public_tables:
        instead = f"other tables in {needs.tenant_schema}: {named(facts.public_tables)}"
        text = (
            "# Something else lives here, or a backup was restored in part. Use an empty database,"
            f" or\n# restore all of the backup; then:\n{fix.text}"
        )
        fix = Fix(kind="shell", text=text, needs=fix.needs)
    return [
        Finding(
            summary=f"{schemas(without)} {verb(without, 'has', 'have')} no table {needs.table}",
            expected=f"table {needs.table}, in which the application records its migrations",
            found=instead,
            fix=fix,
        )
    ]


def _no_rows(facts: MigrationFacts, empty: Sequence[str], needs: MigrationNeeds) -> list[Finding]:
    if not empty:
        return []
    return [
        Finding(
            summary=f"{schemas(empty)} {verb(empty, 'records', 'record')} no migration at all",
            expected=f"a row in {needs.table} for each applied migration",
            found="a table without rows: migrating was interrupted, or its content was lost",
            fix=words.migrate(facts, empty),
        )
    ]


def _behind(facts: MigrationFacts, late: Sequence[str], needs: MigrationNeeds) -> list[Finding]:
    if not late:
        return []
    return [
        Finding(
            summary=f"{schemas(late)} cannot record the next migration: its id is taken",
            expected=f"a sequence that is past the ids in {needs.table}",
            found="a sequence that is behind: rows were copied without it (logical replication,"
            " a migration service, a dump of the data alone), and the other tables' likely too",
            fix=words.move_sequences(facts, late),
        )
    ]


def _unnumbered(
    facts: MigrationFacts, names: Sequence[str], needs: MigrationNeeds
) -> list[Finding]:
    if not names:
        return []
    return [
        Finding(
            summary=f"{schemas(names)} cannot record the next migration: nothing gives it an id",
            expected=f"an identity, or a default from a sequence, for the id in {needs.table}",
            found="neither: the tables were made anew without what numbers their rows (a migration"
            " service, CREATE TABLE AS), and the other tables likely too",
            fix=words.number_again(facts, names, needs),
        )
    ]


def _no_entry(facts: MigrationFacts, needs: MigrationNeeds, context: Context) -> list[Finding]:
    """Find what the application itself may not read: not unseen by us only, it does not work."""
    if facts.reader != context.role:
        return []
    barred = [name for name in _of_application(facts, needs) if name in facts.unreadable]
    if not barred:
        return []
    return [
        Finding(
            summary=f"the application's role {context.role!r} may not read"
            f" {needs.table} of {schemas(barred)}",
            expected="a role that may read its own schemas",
            found="; ".join(sorted({facts.unreadable[name] for name in barred})),
            fix=words.grant(facts, barred, context.role),
        )
    ]


def missing(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that every schema has all of the application's migrations."""
    needs = requirements.migrations

    def problem(group: Recorded, history: History, expected: Expected) -> Finding | None:
        if not (gone := history.missing):
            return None
        return Finding(
            summary=f"{schemas(group.schemas)} {verb(group.schemas, 'lacks', 'lack')}"
            f" {counted(gone, 'migration')}: {named(gone)}",
            expected=f"every migration of {expected.label}",
            found=f"not applied: {', '.join(gone)}",
            fix=words.record_again(facts, group.schemas, history.lost, needs)
            if history.lost
            else words.migrate(facts, group.schemas),
        )

    return _each(facts, needs, context, problem, "every migration is applied")


def ahead(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that no schema was migrated by a newer application than the one that was asked."""

    def problem(group: Recorded, history: History, expected: Expected) -> Finding | None:
        if not (newer := history.ahead):
            return None
        return Finding(
            summary=f"{schemas(group.schemas)} {verb(group.schemas, 'is', 'are')} ahead of the"
            f" application, which does not know {named(newer)}",
            expected=f"no migration that {expected.label} does not have",
            found=f"applied after all that it knows: {', '.join(newer)}",
            fix=Fix(
                kind="shell",
                text="# Deploy the version of the application that has these migrations, or restore"
                " the backup\n# that was taken before them: an older application cannot undo them.",
                needs="whoever deploys the application",
            ),
        )

    return _each(
        facts, requirements.migrations, context, problem, "nothing is ahead of the application"
    )


def inconsistent(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that nothing is applied before what it depends on, as Django itself would."""
    needs = requirements.migrations

    def problem(group: Recorded, history: History, expected: Expected) -> Finding | None:
        if not history.inconsistent:
            return None
        pairs = [f"{name} before {parent}" for name, parent in history.inconsistent]
        return Finding(
            summary=f"{schemas(group.schemas)} {verb(group.schemas, 'has', 'have')} migrations"
            f" applied before what they depend on: {named(pairs)}",
            expected=f"each after its dependencies, or {expected.label} refuses to migrate",
            found="; ".join(pairs),
            fix=words.record_again(facts, group.schemas, history.lost, needs),
        )

    return _each(facts, needs, context, problem, "everything came after what it depends on")


def leftovers(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that no schema records migrations that the application once had and gave up."""

    def problem(group: Recorded, history: History, expected: Expected) -> Finding | None:
        if not (old := history.leftover):
            return None
        apps = sorted({name.partition(".")[0] for name in old})
        lines = [f"{words.command(facts)} migrate_schemas {app} --prune" for app in apps]
        return Finding(
            summary=f"{schemas(group.schemas)} {verb(group.schemas, 'has', 'have')}"
            f" {counted(old, 'record')} that the application no longer knows: {named(old)}",
            expected=f"no record that {expected.label} does not know",
            found=f"followed by migrations that it knows: {', '.join(old)}",
            fix=Fix(kind="shell", text="\n".join(lines), needs=words.OPERATOR),
        )

    return _each(facts, requirements.migrations, context, problem, "every record is known")


def tenants(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that every row of the tenant table has its schema, and no part of it is missing.

    A schema that records what the template does has all of its tables, keys and triggers.
    """
    if (nothing := _nothing_yet(facts, context)) is not None:
        return nothing
    needs = requirements.migrations
    table = qualified(needs.tenant_schema, needs.tenant_table)
    if facts.tenants is None:
        return _without_tenant_table(facts, needs)
    findings = [
        Finding(
            summary=f"tenant {name!r} has no schema",
            expected=f"schema {ident(name)}, as {table} has a row for it",
            found="no such schema",
            fix=words.restore_tenant(facts, name),
        )
        for name in facts.tenants
        if name not in facts.schemas
    ]
    findings += [
        Finding(
            summary=f"the schema of tenant {lost.schema!r} lacks"
            f" {counted(range(lost.count), 'object')}: {', '.join(lost.examples)}"
            + (" ..." if lost.count > len(lost.examples) else ""),
            expected=f"every table, key and trigger of {ident(needs.template_schema)}: both"
            " record the same migrations",
            found="recorded as made, and gone: dropped, or a restore went on after an error",
            fix=words.restore_tables(lost.schema),
        )
        for lost in facts.lacking
        if lost.schema in facts.tenants
    ]
    return judgement(
        [f"table {table}", *facts.tenants],
        findings,
        summary=f"{counted(facts.tenants, 'tenant')}, each with its schema",
    )


def template(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that the schema from which tenants are made is there, once there are tenants."""
    if (nothing := _nothing_yet(facts, context)) is not None:
        return nothing
    needs = requirements.migrations
    if facts.tenants is None:
        return judgement([], unverified=[_tenants_unseen(facts, needs)])
    name = needs.template_schema
    there = name in facts.schemas
    mine = _customers(facts, needs)
    finding = Finding(
        summary=f"there are tenants, but no schema {name!r} to make the next one from",
        expected=f"schema {ident(name)}",
        found=f"{counted(mine, 'tenant')}, and no such schema",
        fix=Fix(
            kind="shell", text=words.create_schema(facts, name, row=True), needs=words.OPERATOR
        ),
    )
    return judgement(
        [f"schema {name}"],
        [finding] if mine and not there else [],
        summary=f"schema {name} is there" if there else "there are no tenants yet",
    )


def orphans(facts: MigrationFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge that every schema that records migrations belongs to the application."""
    if (nothing := _nothing_yet(facts, context)) is not None:
        return nothing
    needs = requirements.migrations
    if facts.tenants is None:
        return judgement([], unverified=[_tenants_unseen(facts, needs)])
    having = sorted(facts.recording | set(facts.unreadable))
    belong = {needs.tenant_schema, needs.template_schema, *facts.tenants}
    table = qualified(needs.tenant_schema, needs.tenant_table)
    findings = [
        Finding(
            summary=f"schema {name!r} records migrations, but no tenant has it",
            expected=f"a row in {table}, or no such schema",
            found="a schema that the application neither serves nor migrates",
            fix=words.adopt(facts, name),
        )
        for name in having
        if name not in belong
    ]
    return judgement(
        [f"table {table}", *having], findings, summary=f"{counted(having)}, each in use"
    )


def _each(
    facts: MigrationFacts,
    needs: MigrationNeeds,
    context: Context,
    problem: Problem,
    right: str,
) -> Judgement:
    """Judge each group of schemas that record the same, against the expected set."""
    if (nothing := _nothing_yet(facts, context)) is not None:
        return nothing
    expected = facts.expected
    if expected is None:
        what = "which migrations the application has is not known"
        return judgement([], unverified=[Unverified(what=what, who=words.OPERATOR, how=_ASK)])
    if not expected.migrations:
        # Everything meets an empty set: whoever read it should have raised.
        raise ValueError(f"the set of migrations from {expected.label} is empty")
    plan = Plan(expected)
    groups = [group for group in facts.recorded if _is_ours(group, facts, needs)]
    found = (problem(group, plan.history(group.applied), expected) for group in groups)
    examined = [schema for group in groups for schema in group.schemas]
    return judgement(
        examined,
        [finding for finding in found if finding is not None],
        unverified=_unseen(facts, needs),
        summary=f"{right}: {counted(examined)}, {counted(range(plan.size), 'migration')}",
    )


def _nothing_yet(facts: MigrationFacts, context: Context) -> Judgement | None:
    if context.profile == "preflight" and facts.empty:
        return judgement([f"database {facts.database}"], summary=_NOTHING_YET)
    return None


def _customers(facts: MigrationFacts, needs: MigrationNeeds) -> list[str]:
    own = {needs.tenant_schema, needs.template_schema}
    return [name for name in facts.tenants or () if name not in own]


def _of_application(facts: MigrationFacts, needs: MigrationNeeds) -> list[str]:
    """Return the schemas that should record migrations, the shared one first."""
    named_by_rule = [needs.tenant_schema]
    if needs.template_schema in facts.schemas:
        named_by_rule.append(needs.template_schema)
    return list(dict.fromkeys([*named_by_rule, *(facts.tenants or ())]))


def _is_ours(group: Recorded, facts: MigrationFacts, needs: MigrationNeeds) -> bool:
    """Say whether these records are the application's.

    Its own schemas' and its tenants' are, whatever is left of them; another schema's are if its
    tenant table's app is among them, as every schema of the application records all its
    migrations: another Django application with a schema of its own is none of ours. Records of
    nothing are :func:`recorded`'s to tell.
    """
    if needs.tenant_schema in group.schemas:
        return True
    if group.applied and not set(_of_application(facts, needs)).isdisjoint(group.schemas):
        return True
    apps = {name.partition(".")[0] for name in group.applied}
    return any(needs.tenant_table.startswith(f"{app}_") for app in apps)


def _unseen(facts: MigrationFacts, needs: MigrationNeeds) -> list[Unverified]:
    ours = _of_application(facts, needs)
    unseen = [
        Unverified(
            what=f"role {facts.reader!r} may not read {qualified(schema, needs.table)}: {why}",
            who="the schema's owner or a superuser",
            how="give a login that may by --costmgmt-admin-dsn",
        )
        for schema, why in sorted(facts.unreadable.items())
        if schema in ours
    ]
    if facts.tenants_unreadable:
        unseen.append(_tenants_unseen(facts, needs))
    return unseen


def _tenants_unseen(facts: MigrationFacts, needs: MigrationNeeds) -> Unverified:
    table = qualified(needs.tenant_schema, needs.tenant_table)
    why = facts.tenants_unreadable or "there is no such table"
    return Unverified(
        what=f"the tenants are not known: role {facts.reader!r} cannot read {table}: {why}",
        who="the table's owner or a superuser",
        how="give a login that may by --costmgmt-admin-dsn",
    )


def _without_tenant_table(facts: MigrationFacts, needs: MigrationNeeds) -> Judgement:
    if facts.tenants_unreadable:
        return judgement([], unverified=[_tenants_unseen(facts, needs)])
    table = qualified(needs.tenant_schema, needs.tenant_table)
    finding = Finding(
        summary=f"the tenant table {table} is missing",
        expected=f"table {table} with a column {needs.tenant_column}",
        found="no such table",
        fix=words.migrate(facts),
    )
    return judgement([f"table {table}"], [finding])
