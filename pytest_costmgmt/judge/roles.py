"""Databases and roles: who exists, who owns, who may enter, and how passwords are kept."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator

from pytest_costmgmt.facts.roles import PUBLIC, Database, Role, RoleFacts
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.powers import names_of, subjects_of
from pytest_costmgmt.judge.reach import holds, inherited, revoke
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.requirements.model import Requirements

SYSTEM_DATABASES = frozenset({"postgres", "template0", "template1"})
EXPIRES_SOON = 30
"Days before its end in which a password's validity is worth a warning."


def login_roles(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that the application's role, and hive's where it is required, exist and may log in."""
    names = names_of(requirements)
    return judgement(
        [f"role {name}" for name in names],
        [finding for name in names for finding in _login(facts, name)],
        summary=f"{' and '.join(names)} may log in",
    )


def own_database(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that the application's database exists and is neither PostgreSQL's own nor a template.

    >>> from pytest_costmgmt.requirements.reader import load
    >>> lost = RoleFacts(reader="koku", version=150000, roles=(), memberships=(), databases=(
    ...     Database(name="postgres", owner="koku"),))
    >>> misplaced = load().named(role="koku", database="postgres")
    >>> own_database(lost, misplaced).findings[0].found
    "database postgres, which is the server's own"
    """
    name = requirements.database.name
    database = facts.database(name)
    findings = []
    if database is None:
        findings.append(_no_database(name, requirements.role.name))
    elif name in SYSTEM_DATABASES:
        findings.append(
            Finding(
                summary=f"the application lives in database {name}",
                expected="a database of its own",
                found=f"database {name}, which is the server's own",
                fix=Fix(
                    kind="values",
                    text="DATABASE_NAME: koku\n# made by `costmgmt bootstrap`; move what is in"
                    f" {name} there with pg_dump and pg_restore",
                    needs="whoever deploys the application",
                ),
            )
        )
    elif database.template:
        findings.append(
            Finding(
                summary=f"database {name} is a template",
                expected=f"database {name} is no template",
                found="whoever may create databases may copy it, and it cannot be dropped",
                fix=_sql(f"ALTER DATABASE {ident(name)} IS_TEMPLATE false;", f"owner of {name}"),
            )
        )
    return judgement([f"database {name}"], findings, summary=f"database {name} is its own")


def database_owner(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that the application's role owns its database, itself or by inheritance."""
    database, role = requirements.database.name, requirements.role.name
    found = facts.database(database)
    if found is None:
        return judgement((), ())
    return judgement(
        [f"owner of database {database}"],
        _owner(facts, found, role),
        summary=f"database {database} is owned by {found.owner}",
    )


def strangers(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that the application's role and hive cannot enter each other's databases."""
    hive = requirements.hive
    if hive.policy != "required":
        return not_supported(
            f"{requirements.name} has no hive: CM-ROL-010 judges who may enter the database"
        )
    if hive.database == requirements.database.name:
        one = Finding(
            summary=f"the application and hive share database {hive.database}",
            expected="a database for each",
            found="one name for both in the requirements",
        )
        return judgement([f"database {hive.database}"], [one])
    sides = (
        (requirements.role.name, hive.database, hive.role),
        (hive.role, requirements.database.name, requirements.role.name),
    )
    examined: list[str] = []
    findings: list[Finding] = []
    for intruder, name, rightful in sides:
        role, database = facts.role(intruder), facts.database(name)
        if role is not None and database is not None:
            examined.append(f"{intruder} on database {name}")
            # koku's 0039 grants its own role CONNECT on hive's database, where it is let.
            by_koku = {requirements.role.name} if intruder == requirements.role.name else set()
            findings += _entries(facts, role, database, rightful, ignored=by_koku)
    return judgement(examined, findings, summary="no role enters a database that is not for it")


def public_entry(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge, where there is no hive, that not every role may enter the application's database."""
    if requirements.hive.policy == "required":
        return not_supported("hive is required: CM-ROL-009 judges who may enter which database")
    database = facts.database(requirements.database.name)
    if database is None:
        return judgement((), ())
    findings = []
    if PUBLIC in database.connect:
        findings.append(_open_to_all(database, requirements.role.name))
    return judgement([f"CONNECT on database {database.name}"], findings, summary="not for PUBLIC")


def hive_database(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that database hive exists, is hive's and accepts connections, where it is required."""
    hive = requirements.hive
    if hive.policy != "required":
        return not_supported(
            f"{requirements.name} forbids hive: CM-ROL-012 judges that it is absent"
        )
    database = facts.database(hive.database)
    if database is None:
        findings = [_no_database(hive.database, hive.role)]
    else:
        findings = [*_owner(facts, database, hive.role), *_closed(database)]
    return judgement(
        [f"database {hive.database}"],
        findings,
        summary=f"database {hive.database} is owned by {database.owner if database else ''}",
    )


def hive_absent(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that neither role nor database hive exists, where they are forbidden."""
    hive = requirements.hive
    if hive.policy == "required":
        return not_supported(f"{requirements.name} requires hive: CM-ROL-001 and CM-ROL-011 judge")
    findings = []
    database = facts.database(hive.database)
    if database is not None:
        quoted = shlex.quote(hive.database)
        findings.append(
            Finding(
                summary=f"database {hive.database} exists",
                expected="no database of this name",
                found=f"it is there, owned by {database.owner}",
                fix=Fix(
                    kind="shell",
                    text=f"pg_dump --format=custom --file=hive.dump {quoted} && dropdb {quoted}",
                    needs="superuser, after a look at what is in it",
                ),
            )
        )
    if facts.role(hive.role) is not None:
        drop = f"DROP ROLE IF EXISTS {ident(hive.role)};"
        shell = Fix(
            kind="shell",
            text=f"dropuser --if-exists {shlex.quote(hive.role)}",
            needs="superuser, after the database is gone",
        )
        findings.append(
            Finding(
                summary=f"role {hive.role} exists",
                expected="no role of this name",
                found="it is there",
                fix=shell if database is not None else _sql(drop, "superuser"),
            )
        )
    examined = [f"role {hive.role}", f"database {hive.database}"]
    return judgement(examined, findings, summary="neither role nor database")


def verifiers(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that passwords are stored as SCRAM verifiers, where the login may see them."""
    names = [role.name for role in subjects_of(facts, requirements)]
    examined = [f"verifier of role {name}" for name in names]
    if facts.verifiers is None:
        listed = ", ".join(map(literal, names))
        unseen = Unverified(
            what=f"role {facts.reader} may not see how passwords are stored (pg_authid)",
            who="a superuser: give --costmgmt-admin-dsn",
            how="SELECT rolname, left(rolpassword, 13)"  # noqa: S608 - shown, not run
            f" FROM pg_catalog.pg_authid WHERE rolname IN ({listed})",
        )
        return judgement(examined, unverified=[unseen])
    weak = [v for v in facts.verifiers if v.role in names and v.kind in {"md5", "unknown"}]
    findings = [
        Finding(
            summary=f"the password of role {verifier.role} is not stored as SCRAM",
            expected="a scram-sha-256 verifier",
            found=verifier.kind,
            fix=Fix(
                kind="shell",
                text="psql -c \"SET password_encryption = 'scram-sha-256'\" -c "
                + shlex.quote(f"\\password {ident(verifier.role)}"),
                needs=f"role {verifier.role} or a superuser; psql asks for the password",
            ),
        )
        for verifier in weak
    ]
    return judgement(examined, findings, summary="no md5 verifier")


def expired(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no password's validity has ended."""
    return _validity(facts, requirements, lambda role: role.expired, "has ended")


def expiring(facts: RoleFacts, requirements: Requirements) -> Judgement:
    """Judge that no password's validity ends within :data:`EXPIRES_SOON` days."""

    def soon(role: Role) -> bool:
        return not role.expired and role.valid_days is not None and role.valid_days < EXPIRES_SOON

    return _validity(facts, requirements, soon, f"ends within {EXPIRES_SOON} days")


def _sql(text: str, needs: str) -> Fix:
    return Fix(kind="sql", text=text, needs=needs)


def _login(facts: RoleFacts, name: str) -> Iterator[Finding]:
    role = facts.role(name)
    quoted = ident(name)
    # A superuser is let in all the same.
    if role is not None and role.connection_limit == 0 and not role.superuser:
        yield Finding(
            summary=f"role {name} may have no session",
            expected=f"role {name} without CONNECTION LIMIT 0",
            found="CONNECTION LIMIT 0: every login is refused (53300)",
            fix=_sql(f"ALTER ROLE {quoted} CONNECTION LIMIT -1;", "superuser or CREATEROLE"),
        )
    if role is not None and role.login:
        return
    create = (
        "DO $costmgmt$\nBEGIN\n"
        f"  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = {literal(name)}) THEN\n"
        f"    CREATE ROLE {quoted};\n  END IF;\nEND\n$costmgmt$;\n"
        f"ALTER ROLE {quoted} LOGIN;\n"
        f"-- Its password stands in no file; in psql: \\password {quoted}"
    )
    yield Finding(
        summary=f"role {name} does not exist" if role is None else f"role {name} may not log in",
        expected=f"role {name} with LOGIN",
        found="no such role" if role is None else "NOLOGIN",
        fix=_sql(create, "superuser or CREATEROLE"),
    )


def _no_database(name: str, owner: str) -> Finding:
    create = f"CREATE DATABASE {ident(name)} OWNER {ident(owner)}"
    return Finding(
        summary=f"database {name} does not exist",
        expected=f"database {name}, owned by {owner}",
        found="no such database",
        fix=_sql(
            f"SELECT {literal(create)}\n"  # noqa: S608 - shown, not run
            f"WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_database WHERE datname = {literal(name)})"
            f" \\gexec\n{_private(name, owner)}",
            "superuser",
        ),
    )


def _private(database: str, role: str) -> str:
    return (
        f"REVOKE CONNECT ON DATABASE {ident(database)} FROM PUBLIC;\n"
        f"GRANT CONNECT ON DATABASE {ident(database)} TO {ident(role)};"
    )


def _owner(facts: RoleFacts, database: Database, role: str) -> Iterator[Finding]:
    if database.owner not in inherited(facts.memberships, role):
        yield Finding(
            summary=f"database {database.name} is not owned by role {role}",
            expected=f"owner {role}, or a role whose privileges {role} inherits",
            found=f"owner {database.owner}",
            fix=_sql(
                f"ALTER DATABASE {ident(database.name)} OWNER TO {ident(role)};",
                f"superuser, or role {database.owner} if it may SET ROLE to {role} and CREATEDB",
            ),
        )


def _closed(database: Database) -> Iterator[Finding]:
    if not database.allows_connections or database.connection_limit == 0:
        limit = "ALLOW_CONNECTIONS true" if not database.allows_connections else ""
        limit = limit or "CONNECTION LIMIT -1"
        yield Finding(
            summary=f"database {database.name} accepts no connections",
            expected="a database that can be connected to",
            found="ALLOW_CONNECTIONS false"
            if not database.allows_connections
            else "CONNECTION LIMIT 0",
            fix=_sql(f"ALTER DATABASE {ident(database.name)} {limit};", "superuser or its owner"),
        )


def _entries(
    facts: RoleFacts, role: Role, database: Database, rightful: str, *, ignored: set[str]
) -> Iterator[Finding]:
    """Tell each way by which ``role`` enters ``database``, which is ``rightful``'s.

    Grants by name to the roles in ``ignored`` are meant.
    """
    ways = set(inherited(facts.memberships, role.name)) - ignored
    for grantee in database.connect:
        if grantee == PUBLIC:
            yield _open_to_all(database, rightful, intruder=role.name)
        elif grantee in ways:
            yield _granted(facts, role.name, database, grantee, rightful)


def _open_to_all(database: Database, rightful: str, *, intruder: str = "any role") -> Finding:
    return Finding(
        summary=f"{intruder} may enter database {database.name}",
        expected=f"CONNECT on database {database.name} for {rightful}, not for PUBLIC",
        found="CONNECT is granted to PUBLIC (PostgreSQL's default)",
        fix=_sql(
            f"-- Others who need it (backup, monitoring) then need a GRANT of their own.\n"
            f"{_private(database.name, rightful)}",
            f"superuser, or owner of database {database.name}",
        ),
    )


def _granted(
    facts: RoleFacts, intruder: str, database: Database, grantee: str, rightful: str
) -> Finding:
    """Tell of a grant by name: it goes, unless it is the rightful role's; then membership does."""
    leading = [h.first for h in holds(facts.memberships, intruder) if h.role == grantee]
    if leading and grantee in {rightful, database.owner}:
        found = f"{intruder} is a member of {grantee}, which has CONNECT"
        fix = _sql("\n".join(revoke(facts.version, edge) for edge in leading), "superuser")
    else:
        found = f"CONNECT is granted to {grantee}"
        fix = _sql(
            f"REVOKE CONNECT ON DATABASE {ident(database.name)} FROM {ident(grantee)};",
            f"superuser, or owner of database {database.name}",
        )
    return Finding(
        summary=f"{intruder} may enter database {database.name}",
        expected=f"no CONNECT on database {database.name} for {intruder}",
        found=found,
        fix=fix,
    )


def _validity(
    facts: RoleFacts, requirements: Requirements, bad: Callable[[Role], bool], what: str
) -> Judgement:
    subjects = subjects_of(facts, requirements)
    findings = [
        Finding(
            summary=f"the validity of role {role.name}'s password {what}",
            expected="no end, or one that is far enough away",
            found=f"VALID UNTIL {role.valid_until}",
            fix=_sql(
                f"ALTER ROLE {ident(role.name)} VALID UNTIL 'infinity';",
                "superuser, or CREATEROLE with ADMIN OPTION on the role",
            ),
        )
        for role in subjects
        if bad(role)
    ]
    examined = [f"validity of role {role.name}" for role in subjects]
    return judgement(examined, findings, summary="passwords stay valid")
