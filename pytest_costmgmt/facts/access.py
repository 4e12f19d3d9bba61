"""What real logins show: who is let in, by what, and what the application's session sees.

Everything that fails is data. When the first connection does not come about, nothing else is
tried: one root cause, told at once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.shared_sessions import shared
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.attempt import Attempt, attempt, enter, is_local, without_tls
from pytest_costmgmt.postgres.connect import parameters, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import Refusal
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret

SCRAM = "scram-sha-256"
_WEAKER = ("md5", "password")

_SESSION = """
SELECT pg_catalog.pg_is_in_recovery(),
       pg_catalog.current_setting('server_version_num')::pg_catalog.int4,
       pg_catalog.pg_backend_pid(),
       pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()),
       pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE'),
       (SELECT s.version FROM pg_catalog.pg_stat_ssl AS s
         WHERE s.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()),
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_replication),
       o.datname::pg_catalog.text, o.age
  FROM (SELECT d.datname, pg_catalog.age(d.datfrozenxid) AS age FROM pg_catalog.pg_database AS d
         WHERE d.datconnlimit OPERATOR(pg_catalog.<>) -2
         ORDER BY 2 DESC, 1 LIMIT 1) AS o
"""

# reset_val, not setting: this transaction's own SET LOCAL is not what the application sees.
_SETTINGS = """
SELECT s.name, s.reset_val, coalesce(s.unit, ''), s.source
  FROM pg_catalog.pg_settings AS s
 WHERE s.name OPERATOR(pg_catalog.=) ANY (ARRAY[
       'default_transaction_read_only', 'search_path', 'standard_conforming_strings',
       'statement_timeout', 'lock_timeout', 'idle_in_transaction_session_timeout',
       'idle_session_timeout', 'transaction_timeout', 'TimeZone', 'default_transaction_isolation',
       'client_encoding', 'server_encoding', 'row_security', 'session_replication_role', 'role',
       'default_tablespace', 'synchronous_standby_names', 'synchronous_commit',
       'max_wal_senders'])
"""

# A clone of the server's files (a snapshot, a standby) has its identifier, but a start of its own.
_IDENTIFIER = """
SELECT system_identifier::pg_catalog.text, pg_catalog.to_char(
       pg_catalog.timezone('UTC', pg_catalog.pg_postmaster_start_time()),
       'YYYY-MM-DD HH24:MI:SS.US')
  FROM pg_catalog.pg_control_system()
"""

_LOCAL_RULES = """
SELECT coalesce(r.database, '{}'), coalesce(r.user_name, '{}'), r.auth_method
  FROM pg_catalog.pg_hba_file_rules AS r
 WHERE r.type OPERATOR(pg_catalog.=) 'local' AND r.auth_method IS NOT NULL
 ORDER BY r.line_number
"""


# Every role counts as a member of itself, and of what its groups are members of.
_GROUPS = """
WITH RECURSIVE reached(member, oid) AS (
  SELECT r.rolname, r.oid FROM pg_catalog.pg_roles r
   WHERE r.rolname OPERATOR(pg_catalog.=) ANY (%s::pg_catalog.name[])
  UNION
  SELECT reached.member, m.roleid FROM pg_catalog.pg_auth_members m
    JOIN reached ON m.member OPERATOR(pg_catalog.=) reached.oid
)
SELECT reached.member::pg_catalog.text, pg_catalog.array_agg(r.rolname::pg_catalog.text)
  FROM reached JOIN pg_catalog.pg_roles r ON r.oid OPERATOR(pg_catalog.=) reached.oid
 GROUP BY reached.member
"""


class Rule(msgspec.Struct, frozen=True):
    """A line of pg_hba.conf for the local socket; the first that matches decides."""

    databases: tuple[str, ...]
    roles: tuple[str, ...]
    method: str


class Setting(msgspec.Struct, frozen=True):
    """One setting as a new session of the application has it; ``source`` is pg_settings'."""

    value: str
    unit: str
    source: str


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What the application's own session sees.

    ``clock_skew`` is the server's clock minus ours in seconds, known up to
    ``clock_uncertainty``. ``pooled``: the process that answers is not the one that was connected
    to; ``shared``: it serves others between two transactions.
    ``identifier`` is the server's system identifier and its start's time, or "". ``replicas``
    counts who receives the server's WAL now: anybody may count them, if not see who they are.
    ``oldest`` is the database whose transaction ids are not frozen for longest, and their age.
    """

    server_version: int
    in_recovery: bool
    pooled: bool
    shared: bool = False
    local: bool
    encrypted: bool
    tls_version: str
    clock_skew: float
    clock_uncertainty: float
    settings: dict[str, Setting]
    identifier: str
    replicas: int
    oldest: tuple[str, int]

    def setting(self, name: str) -> str:
        """Return a setting's value, or "" if this server does not know it."""
        found = self.settings.get(name)
        return "" if found is None else found.value


class Reach(msgspec.Struct, frozen=True, kw_only=True):
    """The root cause: whether a PostgreSQL ``answered``, and the application was ``accepted``."""

    label: str
    answered: bool
    accepted: bool
    kind: str
    sqlstate: str | None
    message: str
    hint: str
    seconds: float


class AccessFacts(msgspec.Struct, frozen=True, kw_only=True):
    """All logins of a run.

    ``application`` and ``hive`` are the logins by their own credentials; the method of the first
    is proved by require_auth where libpq can. ``without`` offered nothing at all; ``in_plain``
    did so without TLS, where the application's own login has it, for who was not let in by trust
    already. ``wrong`` stands between two accepted logins, ``application`` and ``again``.
    ``guessed`` tried the passwords that hive must not have. ``cross`` are logins into the other
    role's database.
    ``local_rules`` are pg_hba.conf's lines for the local socket, where they may be read, and
    ``groups`` the roles, itself included, that each of the application's is a member of.
    """

    reach: Reach
    application: Attempt
    session: Session | None = None
    session_problem: str = ""
    without: tuple[Attempt, ...] = ()
    in_plain: tuple[Attempt, ...] = ()
    wrong: Attempt | None = None
    again: Attempt | None = None
    hive: Attempt | None = None
    guessed: tuple[Attempt, ...] = ()
    cross: tuple[Attempt, ...] = ()
    administrator: Attempt | None = None
    administrator_identifier: str = ""
    local_rules: tuple[Rule, ...] = ()
    groups: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    method_provable: bool = True


class Logins(Protocol):
    """The ways into one server; ``servers.Server`` has them."""

    @property
    def application(self) -> Login: ...  # noqa: D102
    @property
    def administrator(self) -> Login | None: ...  # noqa: D102
    @property
    def hive(self) -> Login | None: ...  # noqa: D102


def collect(
    server: Logins, requirements: Requirements, context: Context, *, deadline: float
) -> AccessFacts:
    """Return what logins show; each takes at most ``deadline`` seconds, only the first retries."""
    tour = _Tour(server, requirements, context, deadline)
    facts = tour.first()
    if facts.reach.answered:
        facts = tour.administrator(facts)
    if facts.reach.accepted:
        facts = tour.others(facts)
    return facts


class _Tour:
    """One walk through all doors, in an order in which no login hides another's outcome."""

    def __init__(
        self, server: Logins, requirements: Requirements, context: Context, deadline: float
    ) -> None:
        self.server, self.needs, self.context = server, requirements, context
        self.deadline = deadline
        self.relayed = context.relayed

    def first(self) -> AccessFacts:
        """Log in once, proving SCRAM on the way; if it is another method, find out which."""
        login = self.server.application
        outcome, connection = enter(
            login, offered="own", deadline=self.deadline, require_auth=SCRAM, retry=True
        )
        provable = outcome.kind != "old-libpq"
        if outcome.kind in {"other-method", "old-libpq"}:
            outcome, connection = enter(login, offered="own", deadline=self.deadline, retry=True)
            if provable and outcome.accepted and outcome.method == "unknown":
                outcome = msgspec.structs.replace(outcome, method=self._weaker(login))
        outcome = self._over_tcp(outcome)
        session, problem = self._look(connection)
        return AccessFacts(
            reach=_reach(login, outcome),
            application=outcome,
            session=session,
            session_problem=problem,
            method_provable=provable,
        )

    def _weaker(self, login: Login) -> str:
        for method in _WEAKER:
            if self._try(login, "own", require_auth=method).accepted:
                return method
        return "unknown"

    def _look(self, connection: Any) -> tuple[Session | None, str]:
        if connection is None:
            return None, ""
        with connection:
            try:
                compared = self.server.administrator is not None
                seen = _session(connection, self.deadline, identify=compared)
                if seen.pooled:
                    alike = shared(connection, self.server.application, deadline=self.deadline)
                    seen = msgspec.structs.replace(seen, shared=alike)
                return msgspec.structs.replace(seen, local=seen.local and not self.relayed), ""
            except CostMgmtError as error:
                return None, str(error)

    def administrator(self, facts: AccessFacts) -> AccessFacts:
        """Add the administrator's login, and what it may read of pg_hba.conf."""
        if self.server.administrator is None:
            return facts
        outcome, connection = enter(
            self.server.administrator, offered="own", deadline=self.deadline, retry=True
        )
        facts = msgspec.structs.replace(facts, administrator=outcome)
        if connection is None:
            return facts
        roles = [self.server.application.role, self.needs.hive.role]
        with connection:
            rules, groups = _local_rules(connection, self.deadline, roles)
            return msgspec.structs.replace(
                facts,
                administrator_identifier=_identifier(connection, self.deadline),
                local_rules=rules,
                groups=groups,
            )

    def others(self, facts: AccessFacts) -> AccessFacts:
        """Add the logins that only make sense once the application's own is accepted."""
        # Encryption as it was agreed on: with sslmode=prefer a refused login is tried twice, and
        # the server counts two.
        self.application = _as_encrypted(self.server.application, facts.application)
        own_hive = self._own_hive()
        facts = msgspec.structs.replace(facts, without=self._without(facts), hive=own_hive)
        facts = msgspec.structs.replace(facts, in_plain=self._in_plain(facts), cross=self._cross())
        budget = self.context.failed_logins
        if budget is None or budget > 0:
            wrong = self._try(self.application, "wrong")
            again = self._try(self.application, "own")
            facts = msgspec.structs.replace(facts, wrong=wrong, again=again)
        if self._hive_required() and not (own_hive and own_hive.accepted):
            left = None if budget is None else max(0, budget - 1)
            facts = msgspec.structs.replace(facts, guessed=self._guesses(left))
        return facts

    def _without(self, facts: AccessFacts) -> tuple[Attempt, ...]:
        if facts.application.method in {"cert", "gss", "peer"}:
            return ()  # who they are is proved; the server would count a failed login
        return tuple(self._try(login, "none") for login in self._named())

    def _in_plain(self, facts: AccessFacts) -> tuple[Attempt, ...]:
        """Try without TLS who was not let in with it: pg_hba.conf has lines for each."""
        if not facts.application.encrypted:
            return ()
        known = {seen.role for seen in facts.without if seen.method == "trust"}
        logins = [without_tls(login) for login in self._named() if login.role not in known]
        return tuple(self._try(login, "none") for login in logins)

    def _named(self) -> list[Login]:
        """Return the logins of all roles that are needed."""
        if not self._hive_required():
            return [self.application]
        needs = self.needs.hive
        hive = self.application.acting_as(needs.role, None, database=needs.database)
        return [self.application, hive]

    def _own_hive(self) -> Attempt | None:
        if self.server.hive is None or not self._hive_required():
            return None
        return self._try(self.server.hive, "own")

    def _cross(self) -> tuple[Attempt, ...]:
        if self.server.hive is None or not self._hive_required():
            return ()
        return (
            self._try(self.server.hive.on(self.application.database), "own"),
            self._try(self.application.on(self.needs.hive.database), "own"),
        )

    def _guesses(self, left: int | None) -> tuple[Attempt, ...]:
        needs = self.needs.hive
        guesses = needs.forbidden_passwords if left is None else needs.forbidden_passwords[:left]
        return tuple(
            self._try(
                self.application.acting_as(needs.role, Secret(guess), database=needs.database),
                "guess",
            )
            for guess in guesses
        )

    def _hive_required(self) -> bool:
        return self.needs.hive.policy == "required"

    def _try(self, login: Login, offered: Any, *, require_auth: str | None = None) -> Attempt:
        seen = attempt(login, offered=offered, deadline=self.deadline, require_auth=require_auth)
        return self._over_tcp(seen)

    def _over_tcp(self, seen: Attempt) -> Attempt:
        """Return the attempt as TCP shows it: there only trust lets in whom nobody asked."""
        if not self.relayed or seen.method != "none-asked":
            return seen
        return msgspec.structs.replace(seen, method="trust")


def _as_encrypted(login: Login, own: Attempt) -> Login:
    """Return the login with the encryption that was negotiated, unless it insists on its own."""
    # A service file and PGSSLMODE insist too: what they ask for is not taken less strictly.
    settled = parameters({"user": login.role, **login.where})
    if isinstance(settled, Refusal) or settled.get("sslmode") not in {"prefer", "allow"}:
        return login
    where = {**login.where, "sslmode": "require" if own.encrypted else "disable"}
    return msgspec.structs.replace(login, where=where)


def _reach(login: Login, outcome: Attempt) -> Reach:
    return Reach(
        label=login.label,
        answered=outcome.outcome != "failed",
        accepted=outcome.accepted,
        kind=outcome.kind,
        sqlstate=outcome.sqlstate,
        message=outcome.message,
        hint=outcome.hint,
        seconds=outcome.seconds,
    )


def _session(connection: Any, deadline: float, *, identify: bool) -> Session:
    with asking("looking around in the application's session"):
        with read_only(connection, timeout=deadline) as cursor:
            asked, began = time.time(), time.perf_counter()
            cursor.execute(_SESSION)
            took = time.perf_counter() - began
            row = cursor.fetchone()
            cursor.execute(_SETTINGS)
            settings = {name: Setting(str(v or ""), u, source) for name, v, u, source in cursor}
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        recovering, version, backend, clock, may_control, tls, replicas, *oldest = row
    identifier = _identifier(connection, deadline) if identify and may_control else ""
    return Session(
        server_version=version,
        in_recovery=recovering,
        pooled=backend != connection.pgconn.backend_pid,
        local=is_local(connection.pgconn),
        encrypted=bool(connection.pgconn.ssl_in_use),
        tls_version=tls or "",
        # The answer was made somewhere between asking and hearing it.
        clock_skew=clock - (asked + took / 2),
        clock_uncertainty=took / 2,
        settings=settings,
        identifier=identifier,
        replicas=replicas,
        oldest=(oldest[0], oldest[1]),
    )


def _identifier(connection: Any, deadline: float) -> str:
    """Return the server's identifier and when it started, or "" if this login may not see it."""
    try:
        with (
            asking("asking for the system identifier"),
            read_only(connection, timeout=deadline) as cursor,
        ):
            row = cursor.execute(_IDENTIFIER).fetchone()
    except CostMgmtError:
        return ""
    return "" if row is None else f"{row[0]}, started at {row[1]} UTC"


def _local_rules(
    connection: Any, deadline: float, roles: Sequence[str]
) -> tuple[tuple[Rule, ...], dict[str, tuple[str, ...]]]:
    """Return pg_hba.conf's lines for the local socket, and the groups that ``roles`` are in.

    Nothing if this login may not see the lines.
    """
    try:
        with (
            asking("reading pg_hba.conf's rules"),
            read_only(connection, timeout=deadline) as cursor,
        ):
            cursor.execute(_LOCAL_RULES)
            rules = tuple(Rule(tuple(names), tuple(who), method) for names, who, method in cursor)
            cursor.execute(_GROUPS, [list(roles)])
            return rules, {member: tuple(sorted(groups)) for member, groups in cursor}
    except CostMgmtError:
        return (), {}
