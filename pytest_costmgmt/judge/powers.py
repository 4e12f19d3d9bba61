"""Powers that no role of the application needs: attributes, files, programs; by membership too.

The application's role is judged, and hive's where it is required: whoever has the password of
either would have the power.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import msgspec

from pytest_costmgmt.facts.roles import (
    PUBLIC,
    FileGrant,
    Membership,
    ParameterGrant,
    Role,
    RoleFacts,
)
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement
from pytest_costmgmt.judge.reach import Hold, holds, revoke
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.requirements.model import Requirements

PROVIDERS = {
    "alloydbsuperuser": "AlloyDB",
    "azure_pg_admin": "Azure",
    "cloudsqlsuperuser": "Cloud SQL",
    "neon_superuser": "Neon",
    "rds_superuser": "RDS and Aurora",
}
"""Roles that a managed service gives its administrators in place of SUPERUSER, and whose they are.

They may have no attribute at all: the service's own code looks at the membership.
"""

FILE_ROLES = {
    "pg_execute_server_program": "runs programs on the server",
    "pg_read_server_files": "reads the server's files",
    "pg_write_server_files": "writes the server's files",
}


class _Power(NamedTuple):
    """``word`` is the attribute; ``has`` says whether a role bears it."""

    word: str
    has: Callable[[Role], bool]


_SUPERUSER = _Power("SUPERUSER", lambda role: role.superuser)
_CREATEROLE = _Power("CREATEROLE", lambda role: role.createrole)
_CREATEDB = _Power("CREATEDB", lambda role: role.createdb)
_BYPASSRLS = _Power("BYPASSRLS", lambda role: role.bypassrls)
_REPLICATION = _Power("REPLICATION", lambda role: role.replication)


def superusers(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no role of the application is, or can become, a superuser.

    A managed service's own kind of superuser is one too.
    """
    judged = _attributes(facts, requirements, _SUPERUSER)
    findings = list(judged.findings)
    for subject in subjects_of(facts, requirements):
        reached = (hold for hold in holds(facts.memberships, subject.name))
        telling = {
            hold: f"the superuser of {PROVIDERS[hold.role]}"
            for hold in reached
            if hold.role in PROVIDERS
        }
        findings += _through(facts, subject, telling)
    return msgspec.structs.replace(judged, findings=tuple(findings))


def creators(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no role of the application can create roles or databases."""
    return _attributes(facts, requirements, _CREATEROLE, _CREATEDB)


def row_security(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no role of the application passes by row level security."""
    return _attributes(facts, requirements, _BYPASSRLS)


def replication(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no role of the application can copy the whole server."""
    return _attributes(facts, requirements, _REPLICATION)


def server_files(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no role of the application reaches the server's files or programs.

    By a predefined role, by EXECUTE on one of the functions that do it, or by a privilege on a
    setting: of the server's file (ALTER SYSTEM), or that a session itself loads code by (SET).
    """
    subjects = subjects_of(facts, requirements)
    names = {PUBLIC, *(subject.name for subject in subjects)}
    here = requirements.database.name
    findings = [_by_function(g, here) for g in facts.file_grants if g.grantee in names]
    findings += [_by_parameter(g) for g in facts.parameter_grants if g.grantee in names]
    for subject in subjects:
        reached = {h: _file_power(facts, h) for h in holds(facts.memberships, subject.name)}
        findings += _through(facts, subject, {h: power for h, power in reached.items() if power})
    return judgement(
        _examined(subjects), findings, summary="no way to the server's files or programs"
    )


def names_of(requirements: Requirements) -> list[str]:
    """Return the names of the application's role, and of hive's where it is required."""
    names = [requirements.role.name]
    if requirements.hive.policy == "required":
        names.append(requirements.hive.role)
    return list(dict.fromkeys(names))


def subjects_of(facts: RoleFacts, requirements: Requirements) -> list[Role]:
    """Return these roles, as far as they exist."""
    found = (facts.role(name) for name in names_of(requirements))
    return [role for role in found if role is not None]


def _examined(subjects: list[Role]) -> list[str]:
    return [f"role {role.name} and its memberships" for role in subjects]


def _attributes(facts: RoleFacts, requirements: Requirements, *powers: _Power) -> Judgement:
    subjects = subjects_of(facts, requirements)
    findings: list[Finding] = []
    for subject in subjects:
        findings += [_attribute(subject, power.word) for power in powers if power.has(subject)]
        telling: dict[Hold, str] = {}
        # Attributes are never inherited: only who can SET ROLE gets them.
        for hold in (h for h in holds(facts.memberships, subject.name) if h.becomes):
            role = facts.role(hold.role)
            words = [power.word for power in powers if role is not None and power.has(role)]
            if words:
                telling[hold] = f"{' and '.join(words)} by SET ROLE"
        findings += _through(facts, subject, telling)
    named = " or ".join(power.word for power in powers)
    return judgement(_examined(subjects), findings, summary=f"no role has or can get {named}")


def _attribute(role: Role, word: str) -> Finding:
    if word == "SUPERUSER" and role.bootstrap:
        # The role that initdb made cannot lose it (16 refuses; before, no superuser may be left).
        fix = Fix(
            kind="values",
            text="DATABASE_USER: koku\n# a role of its own, made by `costmgmt bootstrap`",
            needs="whoever deploys the application",
        )
    else:
        fix = _superuser_must(f"ALTER ROLE {ident(role.name)} NO{word};")
    return Finding(
        summary=f"role {role.name} has {word}",
        expected=f"role {role.name} without {word}",
        found=word,
        fix=fix,
    )


def _superuser_must(text: str, database: str = "") -> Fix:
    return Fix(kind="sql", text=text, needs="superuser", database=database)


def _through(facts: RoleFacts, subject: Role, telling: Mapping[Hold, str]) -> Iterator[Finding]:
    """Tell, once for each membership of ``subject``, which powers it leads to."""
    by_first: dict[Membership, list[str]] = {}
    for hold, power in telling.items():
        by_first.setdefault(hold.first, []).append(f"{hold.shown}: {power}")
    for first, ways in by_first.items():
        yield Finding(
            summary=f"role {subject.name} has too much power as a member of {first.role}",
            expected=f"no membership of role {subject.name} that leads there",
            found="; ".join(ways),
            fix=_superuser_must(revoke(facts.version, first)),
        )


def _file_power(facts: RoleFacts, hold: Hold) -> str:
    functions = [grant.function for grant in facts.file_grants if grant.grantee == hold.role]
    settings = [
        f"{grant.privilege} on {grant.parameter}"
        for grant in facts.parameter_grants
        if grant.grantee == hold.role
    ]
    told = [
        f"executes {', '.join(functions)}" if functions else "",
        f"has {', '.join(dict.fromkeys(settings))}" if settings else "",
    ]
    return FILE_ROLES.get(hold.role, " and ".join(filter(None, told)))


def _grantee(name: str) -> tuple[str, str]:
    """Return a grantee as people and as statements name it."""
    return ("every role", "PUBLIC") if name == PUBLIC else (f"role {name}", ident(name))


def _by_function(grant: FileGrant, database: str) -> Finding:
    who, grantee = _grantee(grant.grantee)
    return Finding(
        summary=f"{who} may execute {grant.function}, which reaches the server's files",
        expected="EXECUTE for superusers only",
        found=f"EXECUTE is granted to {grantee}",
        fix=_superuser_must(
            f"REVOKE EXECUTE ON FUNCTION pg_catalog.{grant.function} FROM {grantee};", database
        ),
    )


def _by_parameter(grant: ParameterGrant) -> Finding:
    who, grantee = _grantee(grant.grantee)
    if grant.privilege == "SET":
        leads = f"may SET {grant.parameter}, by which sessions load code or run programs"
    else:
        leads = f"may ALTER SYSTEM SET {grant.parameter}, which writes the server's configuration"
    name = ".".join(map(ident, grant.parameter.split(".")))
    # What it granted on would else forbid the REVOKE.
    onward = " CASCADE" if grant.grantable else ""
    revoke_it = f"REVOKE {grant.privilege} ON PARAMETER {name} FROM {grantee}{onward};"
    if grant.grantor:
        # A superuser revokes only what superusers granted.
        revoke_it = (
            "-- Another role granted it on: this ends whatever that role granted.\n"
            f"REVOKE GRANT OPTION FOR {grant.privilege} ON PARAMETER {name}"
            f" FROM {ident(grant.grantor)} CASCADE;"
        )
    return Finding(
        summary=f"{who} {leads}",
        expected=f"{grant.privilege} on it for superusers only",
        found=f"{grant.privilege} on {grant.parameter} is granted to {grantee}",
        fix=_superuser_must(revoke_it),
    )
