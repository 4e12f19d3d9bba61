"""Extensions: installable, present, in their schema, and usable by the application's login."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from pytest_costmgmt.facts.extensions import ExtensionCatalog, Installed
from pytest_costmgmt.facts.server import EventTrigger
from pytest_costmgmt.facts.usability import Counting, UsabilityFacts, Use
from pytest_costmgmt.facts.used_privileges import UsedPrivileges
from pytest_costmgmt.judge import extensions_tried as tried
from pytest_costmgmt.judge.extensions_fixes import PACKAGES, PRELOAD, allow
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.sqltext import ident, literal, qualified
from pytest_costmgmt.requirements.model import ExtensionNeeds, Requirements

WITH_TENANTS = frozenset({"pg_trgm"})
"Created by migrations of tenant schemas only (koku reporting.0300), not by those of public."

STATEMENTS = "pg_stat_statements"


def installable(
    catalog: ExtensionCatalog,
    requirements: Requirements,
    used: UsedPrivileges | None = None,
    triggers: Sequence[EventTrigger] = (),
) -> Judgement:
    """Judge that each extension is there, or can be created by whoever is to create it.

    Where it was tried (``used``), use decides: the catalogs do not say whether a library loads.
    """
    findings: list[Finding] = []
    unverified: list[Unverified] = []
    for need in requirements.extensions:
        if catalog.of(need.name) is not None:
            continue
        obstacles = list(_obstacles(catalog, requirements, need))
        findings += obstacles
        attempt = tried.creation(used, triggers, need)
        if attempt is None or obstacles:
            continue
        if (unclear := tried.unclear(attempt)) is not None:
            unverified.append(unclear)
        else:
            by_hand = _create(requirements, need, trusted=_trusted(catalog, need.name))
            findings.append(tried.refused(attempt, by_hand))
    names = [need.name for need in requirements.extensions]
    return judgement(
        _examined(names),
        findings,
        unverified=unverified,
        summary="all are there or can be created",
    )


def prepared(catalog: ExtensionCatalog, requirements: Requirements) -> Judgement:
    """Judge that the extensions which only an administrator may create are there."""
    needs = [need for need in requirements.extensions if need.created_by == "administrator"]
    if not needs:
        return not_supported(f"{requirements.name} needs no extension of an administrator's")
    return _present(catalog, requirements, needs)


def migrated(catalog: ExtensionCatalog, requirements: Requirements) -> Judgement:
    """Judge that the extensions are there which migrations that ran have created.

    They are recorded as applied, so the application will not create them again.
    """
    needs = [
        need
        for need in requirements.extensions
        if need.created_by == "application" and _has_run(catalog, need)
    ]
    if not needs:
        return not_supported("no migration that creates an extension has run yet")
    return _present(catalog, requirements, needs)


def schemas(catalog: ExtensionCatalog, requirements: Requirements, *, created_by: str) -> Judgement:
    """Judge that those of his that are there are in the schema where they are looked for."""
    there = [
        (need, installed)
        for need in requirements.extensions
        if need.created_by == created_by and (installed := catalog.of(need.name)) is not None
    ]
    if not there:
        return not_supported(f"no required extension of the {created_by}'s is installed yet")
    findings = [
        Finding(
            summary=f"extension {need.name} is in schema {installed.schema}",
            expected=f"schema {need.schema}",
            found=f"schema {installed.schema}",
            fix=_moved(requirements, need, installed),
        )
        for need, installed in there
        if installed.schema != need.schema
    ]
    return judgement(_examined(n.name for n, _ in there), findings, summary="each in its schema")


def usable(
    catalog: ExtensionCatalog, usability: UsabilityFacts, requirements: Requirements, name: str
) -> Judgement:
    """Judge that the application's login used the extension and got right answers."""
    need = next((need for need in requirements.extensions if need.name == name), None)
    if need is None:
        return not_supported(f"{requirements.name} does not ask for extension {name}")
    installed, use = catalog.of(name), usability.of(name)
    if installed is None and need.created_by == "application" and not _has_run(catalog, need):
        return not_supported(
            f"extension {name} is not installed yet: the application's migrations create it"
        )
    if installed is None:
        return _present(catalog, requirements, [need])
    if use is None:
        return judgement(())  # It came between the snapshot and its use: no evidence.
    findings = list(_misuse(requirements, usability.role, use))
    return judgement([f"{name} used by role {usability.role}"], findings, summary="answers right")


def counted(usability: UsabilityFacts, requirements: Requirements) -> Judgement:
    """Judge that pg_stat_statements counted the calls of a query of ours."""
    if STATEMENTS not in {need.name for need in requirements.extensions}:
        return not_supported(f"{requirements.name} does not ask for extension {STATEMENTS}")
    counting = usability.counting
    if counting is None:
        unseen = Unverified(
            what=f"role {usability.role} may not call the function pg_stat_statements(boolean)",
            who="a superuser",
            how="SHOW pg_stat_statements.track must not say none",
        )
        return judgement([f"calls of a query of role {usability.role}"], unverified=[unseen])
    return judgement(
        [f"calls of a query of role {usability.role}, by {counting.by}"],
        _uncounted(counting, usability.role, requirements.database.name),
        summary=f"counted {counting.after - counting.before} calls of {counting.runs}",
    )


def uuid_is_right(answers: Sequence[str]) -> bool:
    """Say whether these are two different random UUIDs (version 4).

    >>> uuid_is_right(["9c8df3b4-5c0e-4f0e-9d5c-0a4f0d9f2f11",
    ...                "0b1fd6ce-9f4e-4e0b-8a55-6f1ab0a9f6a7"])
    True
    >>> uuid_is_right(["9c8df3b4-5c0e-4f0e-9d5c-0a4f0d9f2f11"] * 2)
    False
    """
    try:
        found = {uuid.UUID(answer) for answer in answers}
    except ValueError:
        return False
    # version is None unless the variant is RFC 4122's.
    return len(found) == len(answers) == 2 and all(one.version == 4 for one in found)  # noqa: PLR2004


def trigrams_are_right(answers: Sequence[str]) -> bool:
    """Say whether equal texts are alike, and texts without a common trigram are not.

    >>> trigrams_are_right(["1", "0", "true"]), trigrams_are_right(["1", "1", "true"])
    (True, False)
    """
    return list(answers) == ["1", "0", "true"]


def statements_are_right(answers: Sequence[str]) -> bool:
    """Say whether the view answered with a number of statements, which may be none.

    >>> statements_are_right(["0"]), statements_are_right([])
    (True, False)
    """
    return len(answers) == 1 and answers[0].isdecimal()


class _Usage(NamedTuple):
    """What right answers are, in words and as a test, and what the application calls."""

    expected: str
    right: Callable[[Sequence[str]], bool]
    functions: tuple[str, ...]
    relations: tuple[str, ...] = ()


_USAGES = {
    "uuid-ossp": _Usage(
        "uuid_generate_v4() gives a new random UUID at each call",
        uuid_is_right,
        ("uuid_generate_v4()",),
    ),
    "pg_trgm": _Usage(
        "similarity() is 1 for equal texts and 0 for texts with nothing in common",
        trigrams_are_right,
        ("similarity(text, text)", "similarity_op(text, text)"),
    ),
    STATEMENTS: _Usage(
        "the view pg_stat_statements answers a query",
        statements_are_right,
        ("pg_stat_statements(boolean)",),
        ("pg_stat_statements",),
    ),
}


def _examined(names: Iterator[str] | Sequence[str]) -> list[str]:
    return [f"extension {name}" for name in names]


def _has_run(catalog: ExtensionCatalog, need: ExtensionNeeds) -> bool:
    if need.name in WITH_TENANTS:
        return catalog.migrated_tenants > 0
    return catalog.migrated


def _present(
    catalog: ExtensionCatalog, requirements: Requirements, needs: Sequence[ExtensionNeeds]
) -> Judgement:
    findings = [
        Finding(
            summary=f"extension {need.name} is not installed",
            expected=f"extension {need.name} in database {requirements.database.name}",
            found="the server has its files, the database lacks it"
            if catalog.offered(need.name)
            else "the server does not have its files",
            fix=_create(requirements, need, trusted=_trusted(catalog, need.name)),
        )
        for need in needs
        if catalog.of(need.name) is None
    ]
    return judgement(_examined([need.name for need in needs]), findings, summary="installed")


def _trusted(catalog: ExtensionCatalog, name: str) -> bool:
    offered = catalog.offered(name)
    return offered is not None and (offered.trusted or not offered.superuser)


def _create(requirements: Requirements, need: ExtensionNeeds, *, trusted: bool) -> Fix:
    database = requirements.database.name
    return Fix(
        kind="sql",
        text=f"CREATE EXTENSION IF NOT EXISTS {ident(need.name)}"
        f" WITH SCHEMA {ident(need.schema)} CASCADE;",
        needs=f"superuser, or owner of database {database}" if trusted else "superuser",
        database=database,
    )


def _obstacles(
    catalog: ExtensionCatalog, requirements: Requirements, need: ExtensionNeeds
) -> Iterator[Finding]:
    offered = catalog.offered(need.name)
    lacking = [need.name] if offered is None else list(offered.requires_missing)
    if lacking:
        yield Finding(
            summary=f"extension {need.name} cannot be installed on this server",
            expected=f"the files of extension {need.name} and of what it builds on",
            found=f"no files of {', '.join(lacking)} (pg_available_extensions)",
            fix=Fix(kind="shell", text=PACKAGES, needs="an administrator of the server's machine"),
        )
    elif catalog.allowed is not None and need.name.lower() not in catalog.allowed:
        yield Finding(
            summary=f"this server's provider lets nobody create extension {need.name}",
            expected=f"{need.name} among the extensions that {catalog.allowed_by} allows",
            found=f"{catalog.allowed_by} allows {', '.join(catalog.allowed) or 'none'}",
            fix=allow(catalog.allowed_by, catalog.allowed, requirements),
        )
    elif need.created_by == "application" and not _may_create(catalog, need.name):
        role, database = requirements.role.name, requirements.database.name
        trusted = _trusted(catalog, need.name)
        yield Finding(
            summary=f"role {role} may not create extension {need.name}",
            expected=f"the migrations of role {role} can create it, or it is there",
            found=f"it is trusted, but role {role} lacks CREATE on database {database}"
            if trusted
            else "this server lets only a superuser create it",
            fix=_create(requirements, need, trusted=trusted),
        )


def _may_create(catalog: ExtensionCatalog, name: str) -> bool:
    return catalog.role_superuser or (_trusted(catalog, name) and bool(catalog.role_creates))


def _moved(requirements: Requirements, need: ExtensionNeeds, installed: Installed) -> Fix | None:
    if not installed.relocatable:
        return None  # Only DROP and CREATE would, and DROP takes along what depends on it.
    return Fix(
        kind="sql",
        text=f"ALTER EXTENSION {ident(need.name)} SET SCHEMA {ident(need.schema)};",
        needs=f"superuser, or role {installed.owner} with CREATE on schema {need.schema}",
        database=requirements.database.name,
    )


def _misuse(requirements: Requirements, role: str, use: Use) -> Iterator[Finding]:
    usage = _USAGES[use.extension]
    if use.sqlstate:
        yield Finding(
            summary=f"extension {use.extension} is installed, but does not answer",
            expected=usage.expected,
            found=f"{use.message} (SQLSTATE {use.sqlstate})",
            fix=_repair(requirements, role, use, usage),
        )
    elif not usage.right(use.answers):
        yield Finding(
            summary=f"extension {use.extension} answers wrongly",
            expected=usage.expected,
            found=f"it answered {', '.join(use.answers)}",
            fix=Fix(
                kind="sql",
                text=f"-- What was put in the place of its functions? See:\n"
                f"SELECT proname, prosrc, probin FROM pg_catalog.pg_proc"
                f" WHERE pronamespace = {literal(ident(use.schema))}::regnamespace;",
                needs="superuser",
                database=requirements.database.name,
            ),
        )


def _repair(requirements: Requirements, role: str, use: Use, usage: _Usage) -> Fix:
    if use.sqlstate == "55000" and use.extension == STATEMENTS:
        return Fix(kind="sql", text=PRELOAD, needs="superuser, and a restart of the server")
    database = requirements.database.name
    if use.sqlstate == "42501":
        text = "\n".join(_grants(use, usage, ident(role)))
        return Fix(kind="sql", text=text, needs="superuser", database=database)
    if use.sqlstate in {"42883", "42P01"}:
        text = f"ALTER EXTENSION {ident(use.extension)} UPDATE;"
        return Fix(kind="sql", text=text, needs="owner of the extension", database=database)
    return Fix(kind="shell", text=PACKAGES, needs="an administrator of the server's machine")


def _grants(use: Use, usage: _Usage, grantee: str) -> Iterator[str]:
    schema = ident(use.schema)
    if use.shut:
        yield f"GRANT USAGE ON SCHEMA {schema} TO {grantee};"
        return
    for function in usage.functions:
        yield f"GRANT EXECUTE ON FUNCTION {schema}.{function} TO {grantee};"
    for relation in usage.relations:
        yield f"GRANT SELECT ON {qualified(use.schema, relation)} TO {grantee};"


def _uncounted(counting: Counting, role: str, database: str) -> Iterator[Finding]:
    if counting.grew:
        return
    found, fix = "its calls did not grow, and no setting tells why", None
    if counting.query_id == "off":
        found = f"compute_query_id = off (set by: {counting.query_id_source})"
        fix = _set("compute_query_id", "auto", counting.query_id_source, role, database)
    if counting.track == "none":
        found = f"pg_stat_statements.track = none (set by: {counting.track_source})"
        fix = _set("pg_stat_statements.track", "top", counting.track_source, role, database)
    yield Finding(
        summary="pg_stat_statements counts nothing for the application's role",
        expected=f"{counting.runs} more calls of a query that ran {counting.runs} times",
        found=found,
        fix=fix,
    )


def _set(name: str, value: str, source: str, role: str, database: str) -> Fix:
    """Set it where it is set now: a broader place would not be seen."""
    where = {
        "database": f"DATABASE {ident(database)}",
        "user": f"ROLE {ident(role)}",
        "database user": f"ROLE {ident(role)} IN DATABASE {ident(database)}",
        "global": "ROLE ALL",
    }.get(source, "SYSTEM")
    reload = "\nSELECT pg_catalog.pg_reload_conf();" if where == "SYSTEM" else ""
    text = f"ALTER {where} SET {name} = {literal(value)};{reload}"
    return Fix(kind="sql", text=text, needs="superuser")
