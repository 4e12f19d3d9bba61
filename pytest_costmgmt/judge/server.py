"""Judge the server as a whole: version, encoding, clock, limits, libraries, event triggers."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_costmgmt.facts.access import Session
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.server import PRELOAD_WITNESS, EventTrigger, ServerFacts
from pytest_costmgmt.facts.support_table import END_OF_LIFE, TAKEN, end_of_life
from pytest_costmgmt.facts.used_privileges import EXTENSIONS, Attempted, UsedPrivileges
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement
from pytest_costmgmt.judge.rebuild import rebuilt
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.judge.used import (
    INSUFFICIENT_PRIVILEGE,
    is_trouble,
    refusing_trigger,
    told,
)
from pytest_costmgmt.requirements.model import Requirements

LARGEST_SKEW = 5.0
"Seconds."

_UTC = frozenset({"utc", "etc/utc", "uct", "etc/uct", "universal", "etc/universal", "zulu"}) | {
    "etc/zulu",
    "gmt",
    "etc/gmt",
}
_SUPERUSER = "superuser (on a managed service: the provider's parameters)"
_RESTART = "-- Then restart the server: this setting is read at its start only."

_UPGRADE = """# Have a backup that was restored once. Install the new version's programs beside
# the old ones, initdb NEW_DATA with the same encoding and locale, stop both; as their owner:
pg_upgrade --check -b "$OLD_BIN" -B "$NEW_BIN" -d "$OLD_DATA" -D "$NEW_DATA"
pg_upgrade -b "$OLD_BIN" -B "$NEW_BIN" -d "$OLD_DATA" -D "$NEW_DATA"
# In a sclorg image: use the next version's image with POSTGRESQL_UPGRADE=copy, one version at a
# time. On a managed service: the provider's upgrade to a new major version."""


def version_floor(server: ServerFacts, requirements: Requirements) -> Judgement:
    """Judge the server's major version against the oldest that the application runs on."""
    floor = requirements.server.minimum_major
    findings = []
    if server.major < floor:
        findings.append(
            Finding(
                summary=f"PostgreSQL {server.major} is older than {floor}",
                expected=f"PostgreSQL {floor} or newer ({requirements.name})",
                found=f"PostgreSQL {server.version}",
                fix=Fix(kind="shell", text=_UPGRADE, needs="an administrator of the server"),
            )
        )
    return judgement(
        ["server_version_num"], findings, summary=f"PostgreSQL {server.version}, at least {floor}"
    )


def supported(server: ServerFacts, context: Context) -> Judgement:
    """Judge whether PostgreSQL's community still corrects this major version."""
    day = end_of_life(server.major)
    if day is None:
        summary = f"PostgreSQL {server.major} is newer than the table taken on {TAKEN}"
        return judgement(["server_version_num"], summary=summary)
    findings = []
    if context.today >= day:
        living = [str(major) for major, end in END_OF_LIFE.items() if context.today < end]
        findings.append(
            Finding(
                summary=f"PostgreSQL {server.major} reached its end of life on {day}",
                expected=f"a supported major version ({', '.join(living) or 'a newer one'};"
                f" table taken on {TAKEN})",
                found=f"PostgreSQL {server.version}, which gets no security fixes any more",
                fix=Fix(kind="shell", text=_UPGRADE, needs="an administrator of the server"),
            )
        )
    return judgement(
        ["server_version_num"],
        findings,
        summary=f"PostgreSQL {server.major} is supported until {day} (table taken on {TAKEN})",
    )


def encoding(server: ServerFacts, requirements: Requirements) -> Judgement:
    """Judge the encoding of the application's database."""
    needed = requirements.server.encoding
    findings = []
    if server.encoding.upper() != needed.upper():
        findings.append(
            Finding(
                summary=f"database {server.database} is encoded in {server.encoding}, not {needed}",
                expected=f"encoding {needed}",
                found=server.encoding,
                fix=rebuilt(server.database, requirements.role.name, needed),
            )
        )
    return judgement([f"encoding of database {server.database}"], findings, summary=server.encoding)


def time_zone(
    server: ServerFacts, session: Mapping[str, str], requirements: Requirements, context: Context
) -> Judgement:
    """Judge the time zone that a fresh session of the application sees."""
    zone = {name.lower(): value for name, value in session.items()}.get("timezone")
    what = "TimeZone of the application's sessions"
    if zone is None:
        unseen = Unverified(
            what="the application's session did not tell its time zone (PGTZ in this machine's"
            " environment hides it)",
            who="the application's role",
            how="SHOW TimeZone;",
        )
        return judgement([what], unverified=[unseen])
    needed = requirements.server.timezone
    same = zone.lower() == needed.lower() or {zone.lower(), needed.lower()} <= _UTC
    findings = [] if same else [_zone_finding(server, zone, needed, context)]
    return judgement([what], findings, summary=zone)


def _zone_finding(server: ServerFacts, zone: str, needed: str, context: Context) -> Finding:
    role, database = ident(context.role), ident(context.database)
    applied = [s for s in server.settings if s.name.lower() == "timezone"]
    alter = {
        "role in database": f"ALTER ROLE {role} IN DATABASE {database}",
        "role": f"ALTER ROLE {role}",
        "database": f"ALTER DATABASE {database}",
        "all roles": "ALTER ROLE ALL",
    }
    lines = [f"{alter[s.scope]} SET timezone = {literal(needed)};" for s in applied if s.wins]
    lines = lines or [
        f"ALTER SYSTEM SET timezone = {literal(needed)};",
        "SELECT pg_catalog.pg_reload_conf();",
    ]
    return Finding(
        summary=f"the application's sessions are in time zone {zone}, not {needed}",
        expected=f"TimeZone {needed}",
        found=zone,
        fix=Fix(kind="sql", text="\n".join(lines), needs=_SUPERUSER, database=context.database),
    )


def clock(session: Session | None) -> Judgement:
    """Judge how far the server's clock is from this machine's."""
    what = "the server's clock against this machine's"
    if session is None:
        unseen = Unverified(
            what="the server's clock was not read",
            who="any role",
            how="SELECT pg_catalog.clock_timestamp();",
        )
        return judgement([what], unverified=[unseen])
    skew = session.clock_skew
    findings = []
    if abs(skew) - session.clock_uncertainty > LARGEST_SKEW:
        findings.append(
            Finding(
                summary=f"the server's clock and this machine's differ by {abs(skew):.1f} s",
                expected=f"at most {LARGEST_SKEW:.0f} s",
                found=f"{abs(skew):.1f} s {'ahead of' if skew > 0 else 'behind'} this machine",
                fix=Fix(
                    kind="shell",
                    text="chronyc makestep   # on the machine whose clock is wrong; else:"
                    " timedatectl set-ntp true",
                    needs="root on the machine whose clock is wrong",
                ),
            )
        )
    return judgement([what], findings, summary=f"{abs(skew):.1f} s apart")


def connection_headroom(
    server: ServerFacts, requirements: Requirements, context: Context
) -> Judgement:
    """Judge whether the connections that the application opens at once are there for it.

    Its own sessions are not counted as used: they are what the requirement is about.
    """
    at, needed = server.connections, requirements.server.connections
    limits = [(at.maximum - at.reserved - at.used_by_others, _more_connections(server, needed))]
    found = [
        f"{at.maximum} at most, {at.reserved} reserved, {at.used_by_others} used by other roles"
    ]
    # Neither limit holds for a superuser.
    if at.database_limit >= 0 and not server.role_is_superuser:
        text = f"ALTER DATABASE {ident(context.database)} CONNECTION LIMIT -1;"
        who = f"owner of database {context.database} or superuser"
        fix = Fix(kind="sql", text=text, needs=who, database=context.database)
        limits.append((at.database_limit - at.used_by_others_here, fix))
        found.append(
            f"database {context.database} is limited to {at.database_limit},"
            f" {at.used_by_others_here} of them used by other roles"
        )
    if at.role_limit >= 0 and not server.role_is_superuser:
        text = f"ALTER ROLE {ident(context.role)} CONNECTION LIMIT -1;"
        fix = Fix(kind="sql", text=text, needs="superuser or CREATEROLE", database=context.database)
        limits.append((at.role_limit, fix))
        found.append(f"role {context.role} is limited to {at.role_limit}")
    findings = [
        Finding(
            summary=f"{max(free, 0)} connections are there for role {context.role}; it opens"
            f" {needed}",
            expected=f"{needed} connections at once",
            found=seen,
            fix=fix,
        )
        for (free, fix), seen in zip(limits, found, strict=True)
        if free < needed
    ]
    return judgement(
        ["max_connections and reserved connections", "limits of role and database"],
        findings,
        summary=f"{min(free for free, _ in limits)} connections for {needed} that it opens",
    )


def _more_connections(server: ServerFacts, needed: int) -> Fix:
    at = server.connections
    if "max_connections" in server.pending_restart:
        return _restart_only("max_connections")
    least = at.reserved + at.used_by_others + needed
    enough = max(100, -(-least * 5 // 4 // 10) * 10)
    return _at_start(f"ALTER SYSTEM SET max_connections = {enough};", server.database)


def _at_start(statement: str, database: str) -> Fix:
    return Fix(kind="sql", text=f"{statement}\n{_RESTART}", needs=_SUPERUSER, database=database)


def _restart_only(setting: str) -> Fix:
    return Fix(
        kind="shell",
        text=f'pg_ctl restart -m fast -D "$PGDATA"   # {setting} has a new value that waits for it',
        needs="an administrator of the server",
    )


def lock_table(server: ServerFacts, requirements: Requirements) -> Judgement:
    """Judge the size of the table of locks, in which a whole tenant's schema must fit."""
    needed = requirements.server.locks_per_transaction
    found = server.locks_per_transaction
    name = "max_locks_per_transaction"
    findings = []
    if found < needed:
        fix = _at_start(f"ALTER SYSTEM SET {name} = {needed};", server.database)
        findings.append(
            Finding(
                summary=f"{name} is {found}, below {needed}",
                expected=f"{name} of {needed} or more",
                found=str(found),
                fix=_restart_only(name) if name in server.pending_restart else fix,
            )
        )
    sessions = server.connections.maximum + server.prepared_transactions
    return judgement(
        [name], findings, summary=f"{found} for each of {sessions}: {found * sessions} locks"
    )


def preloaded(server: ServerFacts, requirements: Requirements) -> Judgement:
    """Judge whether the libraries that the application needs were loaded at the server's start.

    Where shared_preload_libraries is hidden, a library's own settings witness for it.
    """
    findings, unverified = [], []
    for library in requirements.server.preload:
        witness = PRELOAD_WITNESS.get(library)
        if server.preload is not None:
            loaded = library in server.preload
        elif witness is not None:
            loaded = witness in server.witnesses
        else:
            unverified.append(_hidden_library(library, server))
            continue
        if not loaded:
            findings.append(_not_loaded(library, server))
    return judgement(
        [f"preloaded library {library}" for library in requirements.server.preload]
        or ["no library is required"],
        findings,
        unverified=unverified,
        summary=f"loaded: {', '.join(requirements.server.preload) or 'none is required'}",
    )


def _hidden_library(library: str, server: ServerFacts) -> Unverified:
    return Unverified(
        what=f"role {server.seen_by} may not see whether {library} is preloaded:"
        f" {server.hidden.get('shared_preload_libraries', 'it is hidden')}",
        who="a superuser or a member of pg_read_all_settings",
        how="SHOW shared_preload_libraries;",
    )


def _not_loaded(library: str, server: ServerFacts) -> Finding:
    name = "shared_preload_libraries"
    others = () if server.preload is None else server.preload
    libraries = ", ".join(literal(each) for each in (*others, library))
    keep = "" if server.preload is not None else f"-- Keep what SHOW {name}; lists, and add:\n"
    fix = _at_start(f"{keep}ALTER SYSTEM SET {name} = {libraries};", server.database)
    return Finding(
        summary=f"{library} is not preloaded",
        expected=f"{library} in {name}",
        found=f"{name} = {', '.join(others) or 'nothing'}"
        if server.preload is not None
        else f"no setting {PRELOAD_WITNESS[library]}, which the library defines",
        fix=_restart_only(name) if name in server.pending_restart else fix,
    )


COMMANDS = frozenset(
    f"{verb} {thing}"
    for verb in ("CREATE", "ALTER", "DROP")
    for thing in (
        *("SCHEMA", "TABLE", "INDEX", "SEQUENCE", "FUNCTION", "PROCEDURE", "TRIGGER", "TYPE"),
        *("VIEW", "MATERIALIZED VIEW"),
    )
) | {"CREATE EXTENSION", "COMMENT", "GRANT", "REVOKE", "SELECT INTO", "CREATE TABLE AS"}
"What the application's migrations give: a trigger for none of these is harmless."


def event_triggers(server: ServerFacts, used: UsedPrivileges | None, context: Context) -> Judgement:
    """Judge whether event triggers let the application define its tables.

    What a trigger does cannot be read from its code; where the DDL was used, use decides.
    """
    relevant = tuple(
        t for t in server.event_triggers if not t.tags or COMMANDS.intersection(t.tags)
    )
    examined = [f"event trigger {t.name}" for t in relevant]
    if not relevant:
        none = f"no event trigger fires on data definition in database {server.database}"
        return judgement([f"event triggers of database {server.database}"], summary=none)
    if used is None or not used.attempts:
        foreign = [t for t in relevant if not t.extension]
        return judgement(
            examined,
            unverified=[_may_forbid(t) for t in foreign],
            summary="only extensions' own event triggers",
        )
    refused = [a for a in used.attempts if a.sqlstate and _by_trigger(a, relevant)]
    findings = [_forbids(refused, relevant, context)] if refused else []
    tried = {attempt.command for attempt in used.attempts}
    unclear = [
        _may_forbid(t)
        for t in relevant
        if used.problem or not COMMANDS.intersection(t.tags) <= tried
    ]
    return judgement(
        examined,
        findings,
        unverified=unclear,
        summary=f"{len(used.attempts)} statements passed {len(relevant)} event triggers",
    )


def _by_trigger(attempt: Attempted, triggers: tuple[EventTrigger, ...]) -> bool:
    if refusing_trigger(attempt, triggers) is not None:
        return True
    if attempt.place == EXTENSIONS:  # which has reasons of its own to fail
        return False
    # One in C leaves no call stack; a missing privilege or a server in trouble is none.
    return attempt.sqlstate != INSUFFICIENT_PRIVILEGE and not is_trouble(attempt)


def _may_forbid(trigger: EventTrigger) -> Unverified:
    return Unverified(
        what=f"whether event trigger {trigger.name} (function {trigger.function}, of role"
        f" {trigger.owner}) lets the application define tables",
        who="who may write to this server",
        how="run again with --costmgmt-allow=scratch: the statements are tried and rolled back",
    )


def _forbids(
    refused: list[Attempted], triggers: tuple[EventTrigger, ...], context: Context
) -> Finding:
    named = {t.name for a in refused if (t := refusing_trigger(a, triggers)) is not None}
    names = sorted(named or {t.name for t in triggers})
    first = refused[0]
    return Finding(
        summary=f"event trigger {', '.join(names)} forbids the application's data definition",
        expected="event triggers let migrations create, alter and drop",
        found=f"{len(refused)} statements refused; first: {first.what} ({first.place}):"
        f" {told(first)}",
        fix=Fix(
            kind="sql",
            text="\n".join(f"ALTER EVENT TRIGGER {ident(name)} DISABLE;" for name in names),
            needs="owner of the event trigger, a superuser",
            database=context.database,
        ),
    )
