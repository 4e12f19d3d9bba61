"""Judge whether text is still sorted as it was when indexes were built."""

from __future__ import annotations

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.server import CollationVersion, ServerFacts
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement, not_supported
from pytest_costmgmt.judge.rebuild import rebuilt
from pytest_costmgmt.judge.sqltext import ident, qualified
from pytest_costmgmt.requirements.model import Requirements

# Before, a database did not record the version of its default collation.
_RECORDED_SINCE = 15
_TEMPLATE = "template1"


def databases(server: ServerFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge the default collations of the application's databases."""
    names = {context.database}
    if requirements.hive.policy == "required":
        names.add(requirements.hive.database)
    ours = [v for v in server.collations if v.kind == "database" and v.name in names]
    if not ours and server.major < _RECORDED_SINCE:
        return not_supported(
            f"PostgreSQL {server.major} does not record the version of a database's collation"
        )
    findings = [_database(v, server, requirements) for v in ours if _differs(v)]
    return judgement(
        [f"collation version of database {v.name}" for v in ours],
        findings,
        summary=", ".join(f"{v.name}: {v.actual or 'without versions'}" for v in ours),
    )


def others(server: ServerFacts, requirements: Requirements, context: Context) -> Judgement:
    """Judge template1, from which databases are created, and collations that objects use."""
    judged = {context.database, requirements.hive.database}
    seen = [v for v in server.collations if v.kind == "collation" or v.name not in judged]
    findings = [
        _database(v, server, requirements)
        if v.kind == "database"
        else _collation(v, server, requirements, context)
        for v in seen
        if _differs(v)
    ]
    return judgement(
        [_TEMPLATE, "collations that objects use", *(_label(v) for v in seen)],
        findings,
        summary=f"{len(seen)} looked at",
    )


def _differs(version: CollationVersion) -> bool:
    return version.recorded is not None and version.recorded != version.actual


def _label(version: CollationVersion) -> str:
    if version.kind == "database":
        return f"database {version.name}"
    return f"collation {qualified(version.schema, version.name)}"


def _finding(version: CollationVersion, fix: Fix) -> Finding:
    return Finding(
        summary=f"{_label(version)} was sorted by version {version.recorded} of its collation,"
        f" the server now sorts by {version.actual or 'a provider without versions'}",
        expected=f"version {version.recorded}, or indexes built anew",
        found=version.actual or "no version",
        fix=fix,
    )


def _database(
    version: CollationVersion, server: ServerFacts, requirements: Requirements
) -> Finding:
    if version.actual is None:
        return _finding(version, _without_versions(version, server, requirements))
    name = ident(version.name)
    return _finding(
        version,
        Fix(
            kind="sql",
            text=f"REINDEX DATABASE {name};\nALTER DATABASE {name} REFRESH COLLATION VERSION;",
            needs=f"owner of database {version.name} or superuser",
            database=version.name,
        ),
    )


def _without_versions(
    version: CollationVersion, server: ServerFacts, requirements: Requirements
) -> Fix:
    """REFRESH refuses: only a provider with versions has one to record."""
    if version.name != _TEMPLATE:
        return rebuilt(version.name, requirements.role.name, server.encoding)
    return Fix(
        kind="sql",
        text="""-- What was added to template1 must be added again.
ALTER DATABASE template1 IS_TEMPLATE false;
DROP DATABASE template1;
CREATE DATABASE template1 TEMPLATE template0 IS_TEMPLATE true;""",
        needs="superuser",
        database="postgres",
    )


def _collation(
    version: CollationVersion,
    server: ServerFacts,
    requirements: Requirements,
    context: Context,
) -> Finding:
    if version.actual is None:
        fix = rebuilt(context.database, requirements.role.name, server.encoding)
        return _finding(version, fix)
    return _finding(
        version,
        Fix(
            kind="sql",
            text=f"REINDEX DATABASE {ident(context.database)};\n"
            f"ALTER COLLATION {qualified(version.schema, version.name)} REFRESH VERSION;",
            needs="superuser",
            database=context.database,
        ),
    )
