"""Judge what the application's role may do in its database, and who owns what is in it."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_costmgmt.facts.privileges import ForeignObjects, PrivilegeFacts
from pytest_costmgmt.facts.server import EventTrigger
from pytest_costmgmt.facts.used_privileges import DATABASE, PUBLIC, TEMPORARY, Attempted
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.judge.used import INSUFFICIENT_PRIVILEGE, refusing_trigger, told
from pytest_costmgmt.requirements.model import Requirements

# Since PostgreSQL 15 PUBLIC may no longer create in schema public.
_PUBLIC_CLOSED = 150000
# One transaction that changes the owner of more would exhaust the table of locks.
_ONE_TRANSACTION = 1000
# Functions and their triggers are the language's check.
_OF_LANGUAGE = ("function", "trigger", "procedure")


def create_on_database(facts: PrivilegeFacts, triggers: Iterable[EventTrigger]) -> Judgement:
    """Judge whether the role may create schemas: every tenant is one."""
    tried = _Tried(facts, DATABASE, triggers)
    findings = []
    if not facts.create_on_database:
        findings.append(
            Finding(
                summary=f"role {facts.role} may not create schemas in database {facts.database}",
                expected=f"CREATE on database {facts.database}",
                found=tried.found("schema", f"no CREATE; the owner is {facts.database_owner}"),
                fix=_grant(
                    facts,
                    f"CREATE ON DATABASE {ident(facts.database)}",
                    f"owner of database {facts.database} ({facts.database_owner}) or superuser",
                ),
            )
        )
    else:
        findings += tried.findings(f"database {facts.database}")
    return judgement(
        [f"CREATE on database {facts.database} for role {facts.role}", *tried.examined],
        findings,
        unverified=tried.unverified,
        summary=f"role {facts.role} creates schemas {tried.how}",
    )


def create_on_public(facts: PrivilegeFacts, triggers: Iterable[EventTrigger]) -> Judgement:
    """Judge whether the role may use schema public and create in it."""
    tried = _Tried(facts, PUBLIC, triggers)
    granted = facts.create_on_public and facts.usage_on_public
    findings = []
    if not granted:
        findings.append(
            Finding(
                summary=f"role {facts.role} may not create tables in schema public",
                expected="USAGE and CREATE on schema public",
                found=tried.found("table", _lack_on_public(facts)),
                fix=_fix_public(facts),
            )
        )
    else:
        findings += tried.findings("schema public")
    return judgement(
        [f"USAGE and CREATE on schema public for role {facts.role}", *tried.examined],
        findings,
        unverified=tried.unverified,
        summary=f"role {facts.role} creates in schema public {tried.how}",
    )


def temporary_tables(facts: PrivilegeFacts, triggers: Iterable[EventTrigger]) -> Judgement:
    """Judge whether the role may create temporary tables."""
    tried = _Tried(facts, TEMPORARY, triggers)
    findings = []
    if not facts.temporary_on_database:
        findings.append(
            Finding(
                summary=f"role {facts.role} may not create temporary tables",
                expected=f"TEMPORARY on database {facts.database}",
                found=tried.found("temporary table", "no TEMPORARY"),
                fix=_grant(
                    facts,
                    f"TEMPORARY ON DATABASE {ident(facts.database)}",
                    f"owner of database {facts.database} ({facts.database_owner}) or superuser",
                ),
            )
        )
    else:
        findings += tried.findings(f"database {facts.database}")
    return judgement(
        [f"TEMPORARY on database {facts.database} for role {facts.role}", *tried.examined],
        findings,
        unverified=tried.unverified,
        summary=f"role {facts.role} creates temporary tables {tried.how}",
    )


def language(facts: PrivilegeFacts) -> Judgement:
    """Judge whether the role may write functions in plpgsql."""
    findings = []
    if not facts.usage_on_plpgsql:
        missing = not facts.plpgsql_exists
        text = "CREATE EXTENSION IF NOT EXISTS plpgsql SCHEMA pg_catalog;"
        if not missing:
            text = f"GRANT USAGE ON LANGUAGE plpgsql TO {ident(facts.role)};"
        findings.append(
            Finding(
                summary=f"role {facts.role} cannot create functions in plpgsql",
                expected="the language plpgsql, and USAGE on it",
                found="the language does not exist in this database" if missing else "no USAGE",
                fix=Fix(kind="sql", text=text, needs="superuser", database=facts.database),
            )
        )
    return judgement(
        [f"language plpgsql for role {facts.role}"],
        findings,
        summary="functions and triggers can be written in plpgsql",
    )


def ownership(facts: PrivilegeFacts, requirements: Requirements) -> Judgement:
    """Judge whether the application can alter what is in its schemas: only an owner can."""
    findings = []
    if facts.foreign:
        count = sum(group.count for group in facts.foreign)
        what = f"{count} objects of the application belong"
        if count == 1:
            what = "1 object of the application belongs"
        findings.append(
            Finding(
                summary=f"{what} to another role",
                expected=f"schemas, tables, sequences and functions owned by role {facts.role}"
                " (or by a role whose rights it has)",
                found="; ".join(map(_told_group, facts.foreign)),
                fix=Fix(
                    kind="sql",
                    text=_own_everything(facts, requirements, commit=count > _ONE_TRANSACTION),
                    needs="superuser",
                    database=facts.database,
                ),
            )
        )
    where = f"{facts.schemas} schemas with a table of migrations"
    return judgement(
        [f"owners in database {facts.database}: {where}"],
        findings,
        summary=f"role {facts.role} can alter everything in {where}",
    )


class _Tried:
    """What use adds to the catalogs' word, without what event triggers refused."""

    def __init__(self, facts: PrivilegeFacts, place: str, triggers: Iterable[EventTrigger]) -> None:
        self.used = facts.used
        self.database = facts.database
        self.attempts = () if facts.used is None else facts.used.at(place)
        all_triggers = tuple(triggers)
        refused = [
            attempt
            for attempt in self.attempts
            if attempt.sqlstate and refusing_trigger(attempt, all_triggers) is None
        ]
        denied = [a for a in refused if a.sqlstate == INSUFFICIENT_PRIVILEGE]
        self.denied = {attempt.what: attempt for attempt in denied}
        self.examined = [f"{attempt.what} used" for attempt in self.attempts]
        self.how = "(used, rolled back)" if self.attempts else "(judged from catalogs)"
        self.unverified = [_unclear(a) for a in refused if a.sqlstate != INSUFFICIENT_PRIVILEGE]
        if self.used is not None and self.used.problem:
            self.unverified.append(_not_tried(self.used.problem))

    def found(self, what: str, otherwise: str) -> str:
        """Return what the server said to the attempt, else what the catalogs say."""
        attempt = self.denied.get(what)
        return otherwise if attempt is None else f"{otherwise}; used: {told(attempt)}"

    def findings(self, where: str) -> list[Finding]:
        """Return what was denied although the catalogs grant it."""
        return [
            _denied(attempt, where)
            for what, attempt in self.denied.items()
            if what not in _OF_LANGUAGE
        ]


def _denied(attempt: Attempted, where: str) -> Finding:
    return Finding(
        summary=f"{attempt.what} in {where} was denied",
        expected=f"what migrations do in {where} is allowed",
        found=told(attempt),
    )


def _unclear(attempt: Attempted) -> Unverified:
    return Unverified(
        what=f"{attempt.what} could not be tried: {told(attempt)}",
        who="an administrator of the server",
        how="end what the message names, then run this again",
    )


def _not_tried(problem: str) -> Unverified:
    return Unverified(
        what=f"the privileges could not be used: {problem}",
        who="the application's login",
        how="run this again when the server is less busy",
    )


def _grant(facts: PrivilegeFacts, what: str, needs: str) -> Fix:
    return Fix(
        kind="sql",
        text=f"GRANT {what} TO {ident(facts.role)};",
        needs=needs,
        database=facts.database,
    )


def _lack_on_public(facts: PrivilegeFacts) -> str:
    if not facts.public_exists:
        return "schema public does not exist"
    rights = (("USAGE", facts.usage_on_public), ("CREATE", facts.create_on_public))
    lacking = " and no ".join(name for name, there in rights if not there)
    found = f"no {lacking}; its owner is {facts.public_owner}" if lacking else "granted"
    if lacking and facts.create_on_database and facts.version_num >= _PUBLIC_CLOSED:
        found += (
            f". GRANT ALL ON DATABASE {facts.database} does not reach into schemas: since"
            " PostgreSQL 15 only the database's owner may create in public"
        )
    return found


def _fix_public(facts: PrivilegeFacts) -> Fix:
    if facts.public_exists:
        owner = facts.public_owner
        if owner == "pg_database_owner":
            owner = facts.database_owner
        return _grant(
            facts,
            "USAGE, CREATE ON SCHEMA public",
            f"owner of schema public ({owner}) or superuser",
        )
    return Fix(
        kind="sql",
        text=f"CREATE SCHEMA IF NOT EXISTS public AUTHORIZATION {ident(facts.role)};",
        needs="superuser",
        database=facts.database,
    )


def _told_group(group: ForeignObjects) -> str:
    more = group.count - len(group.examples)
    rest = f" and {more} more" if more > 0 else ""
    noun = group.kind if group.count == 1 else f"{group.kind}s"
    return f"{group.count} {noun} of role {group.owner}: {', '.join(group.examples)}{rest}"


_OWN = """DO $own$
DECLARE
  one record;
BEGIN
  PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
  FOR one IN
    WITH ours AS (
      SELECT n.oid, n.nspname, n.nspowner FROM pg_catalog.pg_namespace n
       WHERE n.nspname = {template}
          OR EXISTS (SELECT FROM pg_catalog.pg_class c
                      WHERE c.relnamespace = n.oid AND c.relname = {table})
    ), objects AS (
      SELECT 'SCHEMA' AS kind, pg_catalog.quote_ident(o.nspname) AS name, o.nspowner AS owner,
             o.oid, 'pg_catalog.pg_namespace'::pg_catalog.regclass AS class
        FROM ours o WHERE o.nspname <> 'public'
      UNION ALL
      SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
             pg_catalog.format('%I.%I', o.nspname, c.relname), c.relowner,
             c.oid, 'pg_catalog.pg_class'::pg_catalog.regclass
        FROM pg_catalog.pg_class c JOIN ours o ON o.oid = c.relnamespace
       WHERE c.relkind IN ('r', 'p', 'S')
         AND NOT (c.relkind = 'S' AND EXISTS (SELECT FROM pg_catalog.pg_depend d
              WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
                AND d.objid = c.oid AND d.deptype IN ('a', 'i')))
      UNION ALL
      SELECT 'ROUTINE', pg_catalog.format('%I.%I(%s)', o.nspname, p.proname,
             pg_catalog.pg_get_function_identity_arguments(p.oid)), p.proowner,
             p.oid, 'pg_catalog.pg_proc'::pg_catalog.regclass
        FROM pg_catalog.pg_proc p JOIN ours o ON o.oid = p.pronamespace
       WHERE p.prokind <> 'a'
         AND p.prorettype <> 'pg_catalog.event_trigger'::pg_catalog.regtype
    )
    SELECT x.kind, x.name FROM objects x
     WHERE NOT pg_catalog.pg_has_role({role}::pg_catalog.name, x.owner, 'USAGE')
       AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
            WHERE d.classid = x.class AND d.objid = x.oid AND d.deptype = 'e')
  LOOP
    EXECUTE pg_catalog.format('ALTER %s %s OWNER TO %I', one.kind, one.name,
                              {role}::pg_catalog.text);{commit}
  END LOOP;
END
$own$;"""


def _own_everything(facts: PrivilegeFacts, requirements: Requirements, *, commit: bool) -> str:
    text = _OWN.format(
        template=literal(requirements.migrations.template_schema),
        table=literal(requirements.migrations.table),
        role=literal(facts.role),
        # Each ALTER keeps its lock until the transaction ends; only outside of one can DO commit.
        commit="\n    COMMIT;" if commit else "",
    )
    return (
        text
        if "$own$" not in facts.role
        else text.replace("DO $own$", "DO $o$").replace("\n$own$;", "\n$o$;")
    )
