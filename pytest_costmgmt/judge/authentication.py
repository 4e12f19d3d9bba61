"""Authentication: who offers nothing is not let in, nor a wrong password, and SCRAM is used."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts, Rule, Session
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.attempt import Attempt

PASSWORDLESS = frozenset({"cert", "gss", "sspi", "peer", "ident", "none-asked", "trust"})
"Methods by which a login gives no password."

# What stands before the server may speak TLS alone, and break off or be silent without it: that
# stays so. These are as likely with TLS, and pass.
_PASSES = frozenset({"starting", "stopping", "full"})


def unseen(what: str, *, who: str, how: str) -> Judgement:
    """Return the Judgement that this login may not see it."""
    return judgement((), unverified=[Unverified(what=what, who=who, how=how)])


def trust(facts: AccessFacts) -> Judgement:
    """Judge that nobody is let in who offers nothing, with TLS or without."""
    own = facts.application
    findings, unverified, asked = [], [], []
    if not facts.without:
        asked.append(f"login of role {own.role}")
    tried = [*((seen, False) for seen in facts.without), *((seen, True) for seen in facts.in_plain)]
    for seen, plain in tried:
        if seen.outcome == "failed" and not (plain and seen.kind not in _PASSES):
            raise FactUnavailable(f"a login that offers nothing: {seen.message}", hint=seen.hint)
        method = bare_method(seen, facts)
        asked.append(
            f"role {seen.role} on database {seen.database}, offering nothing"
            + ", without TLS" * plain
        )
        if seen.outcome == "failed":
            unverified.append(_not_spoken(seen))
        elif method == "trust":
            findings.append(_trusted(seen, facts, plain=plain))
        elif method == "none-asked":
            unverified.append(_not_told(seen))
    proved = "" if facts.without else f"the login is proved by {own.method}"
    refused = "who offers nothing is not let in"
    return judgement(asked, findings, unverified=unverified, summary=proved or refused)


def _not_told(seen: Attempt) -> Unverified:
    return Unverified(
        what=f"whether role {seen.role} is trusted or identified without a password",
        who="a superuser, or whoever runs the pooler in front of the server",
        how="give --costmgmt-admin-dsn, or look at pg_hba.conf (the pooler's if any)",
    )


def _not_spoken(seen: Attempt) -> Unverified:
    return Unverified(
        what=f"whether role {seen.role} is let in without TLS and without a password:"
        f" {seen.message}",
        who="who may read pg_hba.conf",
        how="look for lines of host and hostnossl with method trust",
    )


def bare_method(seen: Attempt, facts: AccessFacts) -> str:
    """Return what let the login in, from pg_hba.conf where the server does not say it."""
    if not seen.accepted:
        return "refused"
    session = facts.session
    if seen.method != "none-asked" or session is None or not session.local or session.pooled:
        return seen.method
    groups = facts.groups.get(seen.role)
    return local_method(facts.local_rules, seen.role, seen.database, groups) or "none-asked"


def local_method(
    rules: Sequence[Rule], role: str, database: str, groups: Sequence[str] | None = None
) -> str | None:
    """Return the method of the first rule that matches, or None if that cannot be told.

    ``groups`` are the roles, itself included, that ``role`` is a member of, if that is known.

    >>> rules = [Rule(("all",), ("postgres",), "peer"), Rule(("all",), ("all",), "trust")]
    >>> local_method(rules, "postgres", "koku"), local_method(rules, "koku", "koku")
    ('peer', 'trust')
    >>> staff = [Rule(("all",), ("+staff",), "trust"), *rules]
    >>> local_method(staff, "koku", "koku") is None
    True
    >>> local_method(staff, "postgres", "koku", ["postgres"])
    'peer'
    >>> local_method(staff, "postgres", "koku", ["postgres", "staff"])
    'trust'
    """
    for rule in rules:
        sides = (_database(rule.databases, database, role, groups), _role(rule.roles, role, groups))
        if all(sides):
            return rule.method
        if False not in sides:
            return None
    return None


def _role(names: Sequence[str], role: str, groups: Sequence[str] | None) -> bool | None:
    """Say whether a rule's roles cover ``role``; None if that cannot be told."""
    named = {name[1:] for name in names if name.startswith("+")}
    if "all" in names or role in names or (groups and not named.isdisjoint(groups)):
        return True
    return None if _unclear(names) or (named and groups is None) else False


def _database(
    names: Sequence[str], database: str, role: str, groups: Sequence[str] | None
) -> bool | None:
    """Say whether a rule's databases cover ``database``; None if that cannot be told."""
    by_role = not {"samerole", "samegroup"}.isdisjoint(names)
    if "all" in names or database in names or (database == role and "sameuser" in names):
        return True
    if by_role and database in (groups or ()):
        return True
    return None if _unclear(names) or (by_role and groups is None) else False


def _unclear(names: Sequence[str]) -> bool:
    """Say whether there are patterns or included files, which the server alone can read."""
    return any(name[:1] in {"/", "@"} for name in names)


def _trusted(seen: Attempt, facts: AccessFacts, *, plain: bool = False) -> Finding:
    session = facts.session
    pooled = session is not None and session.pooled
    where = "the pooler's auth_type or hba file" if pooled else "pg_hba.conf"
    return Finding(
        summary=f"anybody can be role {seen.role} on database {seen.database}: no password asked"
        + " without TLS" * plain,
        expected="a login that offers nothing is refused",
        found=f"it was let in{' without TLS' * plain} (method trust in {where})",
        fix=_by_the_pooler() if pooled else _by_the_server(session),
    )


def _by_the_pooler() -> Fix:
    return Fix(
        kind="values",
        text="# in the pooler's configuration, and then have it reload (PgBouncer: RELOAD):\n"
        "auth_type = scram-sha-256\n"
        "# with what the server keeps of each password (pg_authid.rolpassword) in its auth_file",
        needs="whoever runs the pooler",
    )


def _by_the_server(session: Session | None) -> Fix:
    local = session is not None and session.local
    return Fix(
        kind="shell",
        text="# As the server's account, and not before every role has a password:\n"
        "hba=$(psql -X -At -d postgres -c 'SHOW hba_file')\n"
        f"sed -i.before -E '/^[[:space:]]*{'local' if local else 'host'}/"
        's/[[:space:]]trust([[:space:]]|$)/ scram-sha-256\\1/\' "$hba"\n'
        "psql -X -d postgres -c 'SELECT pg_catalog.pg_reload_conf()'",
        needs="an administrator of the server's files",
    )


def scram(facts: AccessFacts) -> Judgement:
    """Judge that passwords are proved by SCRAM, so that no listener can replay them."""
    seen = facts.application
    examined = [f"method of role {seen.role}'s login"]
    if (method := bare_method(seen, facts)) in PASSWORDLESS:
        return not_supported(f"the login asks for no password (method {method})")
    if not facts.method_provable:
        return unseen(
            "by which method the server asks for the password",
            who="a client with libpq 16 or newer",
            how="install psycopg with its binary extra, which brings one",
        )
    if seen.method == "scram-sha-256":
        return judgement(examined, summary="SCRAM-SHA-256, proved by require_auth")
    role = ident(seen.role)
    found = Finding(
        summary=f"role {seen.role}'s password is asked for by {seen.method}",
        expected="scram-sha-256",
        found=f"{seen.method}{'' if seen.encrypted else ', over a connection without TLS'}",
        fix=Fix(
            kind="sql",
            text="ALTER SYSTEM SET password_encryption = 'scram-sha-256';\n"
            "SELECT pg_catalog.pg_reload_conf();\n"
            # A comment: without a terminal \password would take the role's password away.
            f"-- Enter the same password again, in psql: \\password {role}\n"
            "-- It is then stored as a SCRAM verifier. Replace md5 and password by scram-sha-256\n"
            "-- in pg_hba.conf and reload again.",
            needs="superuser",
            database="postgres",
        ),
    )
    return judgement(examined, [found])


def wrong_password(facts: AccessFacts) -> Judgement:
    """Judge that a wrong password is refused, between two logins that are not."""
    seen, own = facts.wrong, facts.application
    method = bare_method(own, facts)
    if method in PASSWORDLESS - {"trust"}:
        return not_supported(f"the login asks for no password (method {method})")
    if seen is None:
        return unseen(
            "whether a wrong password is refused",
            who="who may cause a failed login on this server",
            how="--costmgmt-failed-logins=1 tries one",
        )
    if seen.outcome == "failed":
        raise FactUnavailable(f"a wrong password was tried: {seen.message}", hint=seen.hint)
    if facts.again is None or not facts.again.accepted:
        last = "nothing" if facts.again is None else facts.again.message
        raise FactUnavailable(
            f"the login of role {seen.role} worked, but not again after a wrong password: {last}",
            hint="If the server locks roles out after failed logins, unlock it; then run again.",
        )
    examined = [f"login of role {seen.role} with a random password"]
    if not seen.accepted:
        return judgement(examined, summary=f"a wrong password is refused ({seen.sqlstate})")
    return judgement(examined, [_trusted(seen, facts)])
