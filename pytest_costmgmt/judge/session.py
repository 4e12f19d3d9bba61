"""Judge the settings that the application's sessions begin with."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.server import AppliedSetting, ServerFacts
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement
from pytest_costmgmt.judge.sqltext import ident, literal

_MS = {"us": 0.001, "ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_TIME = re.compile(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(us|ms|s|min|h|d)?\s*")
_TRUE = ("on", "true", "tru", "tr", "t", "yes", "ye", "y", "1")


class Rule(NamedTuple):
    """What a setting must be: ``wrong`` returns what a value breaks, or nothing."""

    expected: str
    good: str
    wrong: Callable[[str, ServerFacts, str], str]


def milliseconds(value: str) -> float | None:
    """Return a time setting's milliseconds, or None if it is not one.

    >>> milliseconds("5s"), milliseconds("250"), milliseconds("0.5 min"), milliseconds("soon")
    (5000.0, 250.0, 30000.0, None)
    """
    match = _TIME.fullmatch(value)
    return None if match is None else float(match[1]) * _MS[match[2] or "ms"]


def search_path(value: str) -> tuple[str, ...]:
    """Return the names in a search_path, as PostgreSQL folds them.

    >>> search_path('"$user", Public, "Kök-u db"')
    ('$user', 'public', 'Kök-u db')
    """
    parts = re.findall(r'"((?:[^"]|"")*)"|([^",\s]+)', value)
    return tuple(quoted.replace('""', '"') if quoted else bare.lower() for quoted, bare in parts)


def is_on(value: str) -> bool:
    """Return whether a setting that is on or off is on, as PostgreSQL reads it.

    >>> is_on("Yes"), is_on("off")
    (True, False)
    """
    return value.strip().lower() in _TRUE


def _is(good: str, breaks: str) -> Callable[[str, ServerFacts, str], str]:
    def wrong(value: str, _server: ServerFacts, _role: str) -> str:
        return "" if is_on(value) is (good == "on") else breaks

    return wrong


def _one_of(values: tuple[str, ...], breaks: str) -> Callable[[str, ServerFacts, str], str]:
    def wrong(value: str, _server: ServerFacts, _role: str) -> str:
        return "" if " ".join(value.lower().split()) in values else breaks

    return wrong


def _at_least(seconds: int, breaks: str) -> Callable[[str, ServerFacts, str], str]:
    def wrong(value: str, _server: ServerFacts, _role: str) -> str:
        limit = milliseconds(value)
        return breaks if limit is None or 0 < limit < seconds * 1000 else ""

    return wrong


def _creates_in_public(value: str, server: ServerFacts, role: str) -> str:
    exists = {*server.schemas, "public", "pg_catalog", "pg_temp"}
    named = [role if name == "$user" else name for name in search_path(value)]
    target = next((name for name in named if name in exists), None)
    if target == "public":
        return ""
    where = "nowhere" if target is None else f"in schema {target}"
    return f"what migrations create and call without a schema is looked for {where}, not in public"


def _same_role(value: str, _server: ServerFacts, role: str) -> str:
    plain = value.strip().strip("'\"")
    if plain in (role, "") or plain.lower() in ("none", "default"):
        return ""
    return f"sessions act as role {plain}: what they create is not the application's"


def _may_create_in(value: str, server: ServerFacts, _role: str) -> str:
    name = value.strip().strip("'\"")
    if name in server.denied_tablespaces:
        return f"the role may not create in tablespace {name}: every CREATE TABLE is refused"
    if name == server.own_tablespace:
        return (
            f"{name} is the database's own tablespace, and to name it is enough: every CREATE TABLE"
            " of a partitioned table is refused (SQLSTATE 0A000)"
        )
    return ""


# A tenant's schema is cloned by one statement in one transaction, 86 to 106 s on two cores.
_CLONE = 300
_TOO_SHORT = "creating a tenant's schema is one statement of some 100 s, and would be cancelled"
_LOCKS = "migrations wait for locks of the running application, and would be cancelled"
_IDLE = "migrations compute between two statements, and would be disconnected"

_READ_ONLY = "default_transaction_read_only"

RULES: Mapping[str, Rule] = {
    _READ_ONLY: Rule("off", "off", _is("off", "every write is refused (SQLSTATE 25006)")),
    "standard_conforming_strings": Rule(
        "on", "on", _is("on", "backslashes in texts change their meaning, and data with it")
    ),
    "search_path": Rule(
        "public before any other schema that the role may use",
        '"$user", public',
        _creates_in_public,
    ),
    "default_transaction_isolation": Rule(
        "read committed",
        "read committed",
        _one_of(
            ("read committed", "read uncommitted"),
            "concurrent workers meet serialization failures, which koku does not retry",
        ),
    ),
    "session_replication_role": Rule(
        "origin", "origin", _one_of(("origin", "local"), "triggers and foreign keys do not fire")
    ),
    "role": Rule("none", "none", _same_role),
    "session_authorization": Rule("default", "default", _same_role),
    "default_tablespace": Rule(
        "empty, or not the database's own and one in which the role may create",
        "",
        _may_create_in,
    ),
    "statement_timeout": Rule(f"0 or at least {_CLONE} s", "0", _at_least(_CLONE, _TOO_SHORT)),
    "transaction_timeout": Rule(f"0 or at least {_CLONE} s", "0", _at_least(_CLONE, _TOO_SHORT)),
    "lock_timeout": Rule("0 or at least 30 s", "0", _at_least(30, _LOCKS)),
    "idle_in_transaction_session_timeout": Rule("0 or at least 60 s", "0", _at_least(60, _IDLE)),
    "idle_session_timeout": Rule("0 or at least 60 s", "0", _at_least(60, _IDLE)),
}


def values(access: AccessFacts) -> dict[str, str]:
    """Return what a fresh session of the application's role has, each value with its unit.

    What this machine's environment set (PGTZ, PGDATESTYLE) is left out: it is not the server's.
    """
    if access.session is None:
        return {}
    return {
        name: setting.value + setting.unit
        for name, setting in access.session.settings.items()
        if setting.source != "client"
    }


_UNSEEN = Unverified(
    what="what the server's own configuration sets: the application's session could not be looked"
    " at",
    who="the application's role",
    how="SHOW ALL in a session of the application's",
)


_SHARED = Unverified(
    what="whether SET search_path, by which each request chooses its tenant, holds until the query"
    " that follows: the pooler in front of the server gives a session to another client between two"
    " transactions, and a tenant may then read another's data",
    who="whoever runs the pooler",
    how="have it keep sessions for this database (PgBouncer: pool_mode = session; with PostgreSQL"
    " 18 also track_extra_parameters = search_path, and this stays so), or name the server itself",
)


def session_settings(
    server: ServerFacts, session: Mapping[str, str], context: Context, *, shared: bool = False
) -> Judgement:
    """Judge what ALTER ROLE, ALTER DATABASE and the server's files set for the application.

    ``session`` holds what a fresh session of the application's own login sees; ``shared``: what
    the application sets by itself, a pooler may not keep. Some do (Amazon's notices a SET), and to
    try it would leave the setting in the pool.
    """
    seen = {name.lower(): value for name, value in session.items()}
    findings = []
    for name, rule in RULES.items():
        applied = [setting for setting in server.settings if setting.name.lower() == name]
        winner = next((setting for setting in applied if setting.wins), None)
        if winner is not None and (why := rule.wrong(winner.value, server, context.role)):
            bad = [s for s in applied if rule.wrong(s.value, server, context.role)]
            findings.append(_applied(name, winner, bad, why, context))
        elif name in seen and (why := rule.wrong(seen[name], server, context.role)):
            fix = _outside(name, winner, context)
            source = "" if winner else " (the server's configuration)"
            findings.append(_configured(f"{name} = {seen[name]}{source}", name, why, fix))
    return judgement(
        [f"{name} of the application's sessions" for name in RULES],
        findings,
        unverified=[*([] if session else [_UNSEEN]), *([_SHARED] if shared else [])],
        summary=f"none of {len(RULES)} settings that break the application is in its way",
    )


def _applied(
    name: str, winner: AppliedSetting, bad: list[AppliedSetting], why: str, context: Context
) -> Finding:
    resets = "\n".join(f"{alter(setting, context)} RESET {name};" for setting in bad)
    if name == _READ_ONLY:
        # It may reach the administrator's session, too.
        resets = f"BEGIN READ WRITE;\n{resets}\nCOMMIT;"
    return Finding(
        summary=f"{name} is {winner.value!r} by a setting of {place(winner, context)}: {why}",
        expected=f"{name}: {RULES[name].expected}",
        found=f"{name} = {winner.value} ({place(winner, context)})",
        fix=Fix(
            kind="sql",
            text=f"{resets}\n-- Sessions that exist keep the old value: reconnect, or restart the"
            " pooler.",
            needs=_needs(bad, context),
            database=context.database,
        ),
    )


def _configured(found: str, name: str, why: str, fix: Fix) -> Finding:
    return Finding(
        summary=f"{found}, in the application's sessions: {why}",
        expected=f"{name}: {RULES[name].expected}",
        found=found,
        fix=fix,
    )


def _outside(name: str, winner: AppliedSetting | None, context: Context) -> Fix:
    if winner is not None:
        return Fix(
            kind="shell",
            text="# The catalogs say otherwise than the application's sessions: restart the"
            " connection\n# pooler between them, whose sessions are older.",
            needs="an administrator of the connection pooler",
        )
    return Fix(
        kind="sql",
        text=f"ALTER SYSTEM SET {name} = {_value(name)};\nSELECT pg_catalog.pg_reload_conf();",
        needs="superuser (on a managed service: the provider's parameters)",
        database=context.database,
    )


def _value(name: str) -> str:
    good = RULES[name].good
    # A list: quoted as one text it would be one name.
    return good if name == "search_path" else literal(good)


def place(setting: AppliedSetting, context: Context) -> str:
    """Return whose setting it is, for people."""
    return {
        "role in database": f"role {context.role} in database {context.database}",
        "role": f"role {context.role}",
        "database": f"database {context.database}",
        "all roles": "all roles",
    }[setting.scope]


def alter(setting: AppliedSetting, context: Context) -> str:
    """Return the command that sets and resets it, without what it does."""
    role, database = ident(context.role), ident(context.database)
    return {
        "role in database": f"ALTER ROLE {role} IN DATABASE {database}",
        "role": f"ALTER ROLE {role}",
        "database": f"ALTER DATABASE {database}",
        "all roles": "ALTER ROLE ALL",
    }[setting.scope]


def _needs(settings: list[AppliedSetting], context: Context) -> str:
    scopes = {setting.scope for setting in settings}
    if "all roles" in scopes or any(s.name == "session_replication_role" for s in settings):
        return "superuser"
    if scopes == {"database"}:
        return f"owner of database {context.database} or superuser"
    return f"role {context.role} itself, or a role that may alter it"
