"""Connection: what answers, who is let in and by what, and whether the server can be written to.

What cannot be reached or authenticated raises FactUnavailable: an error, never a failed check.
"""

from __future__ import annotations

from collections.abc import Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts, Session
from pytest_costmgmt.judge import wraparound
from pytest_costmgmt.judge.authentication import unseen
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement, not_supported
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.postgres.attempt import Attempt
from pytest_costmgmt.requirements.model import Requirements

# Set for one role or database they are a finding of the server group's.
_OF_THE_SERVER = frozenset({"configuration file", "command line", "environment variable", "global"})


def reach(facts: AccessFacts) -> Judgement:
    """Judge that a PostgreSQL answers; raise what kept it from answering."""
    seen = facts.reach
    if not seen.answered:
        raise FactUnavailable(f"{seen.label}: {seen.message}", hint=seen.hint)
    return judgement([seen.label], summary=f"PostgreSQL answers at {seen.label}")


def own_database(facts: AccessFacts, requirements: Requirements) -> Judgement:
    """Judge that the application's login opens its own database as itself."""
    seen = facts.application
    role, database = seen.role, seen.database
    found = _unopened(seen, requirements)
    if found is None and not seen.accepted:
        raise FactUnavailable(f"{facts.reach.label}: {seen.message}", hint=seen.hint)
    if seen.accepted and (seen.current_user, seen.current_database) != (role, database):
        found = _somebody_else(seen)
    through = ", through a pooler" if facts.session and facts.session.pooled else ""
    return judgement(
        [f"login of role {role}"],
        [found] if found else (),
        summary=f"role {role} opened database {database} ({seen.method}{through})",
    )


def _unopened(seen: Attempt, requirements: Requirements) -> Finding | None:
    """Return what the server said after it knew who it is: then the login is no error."""
    if seen.kind == "no-database":
        return _missing(seen.role, seen.database, requirements)
    if seen.kind == "no-connect-privilege":
        return _may_not_connect(seen.role, seen.database)
    if seen.kind == "closed-database":
        return _closed(seen.database)
    return None


def _closed(database: str) -> Finding:
    return Finding(
        summary=f"database {database} does not accept connections",
        expected=f"database {database} with ALLOW_CONNECTIONS true",
        found="the server answered 55000: it is closed, or what a DROP DATABASE left that was"
        " interrupted",
        fix=Fix(
            kind="sql",
            text=f"ALTER DATABASE {ident(database)} ALLOW_CONNECTIONS true;",
            needs=f"owner of database {database}, or superuser",
            database="postgres",
        ),
    )


def _missing(role: str, database: str, requirements: Requirements) -> Finding:
    text = (
        f"CREATE DATABASE {ident(database)} OWNER {ident(role)} TEMPLATE template0"
        f" ENCODING {literal(requirements.server.encoding)};"
    )
    return Finding(
        summary=f"database {database} does not exist",
        expected=f"database {database}, owned by role {role}",
        found="the server answered 3D000 (no such database)",
        fix=Fix(kind="sql", text=text, needs="superuser, or CREATEDB", database="postgres"),
    )


def _may_not_connect(role: str, database: str) -> Finding:
    text = f"GRANT CONNECT ON DATABASE {ident(database)} TO {ident(role)};"
    return Finding(
        summary=f"role {role} may not connect to database {database}",
        expected=f"CONNECT on database {database} for role {role}",
        found="the server answered 42501 (no privilege CONNECT)",
        fix=Fix(
            kind="sql",
            text=text,
            needs=f"owner of database {database}, or superuser",
            database="postgres",
        ),
    )


def _somebody_else(seen: Attempt) -> Finding:
    if seen.current_user != seen.role:
        text = (
            f"ALTER ROLE {ident(seen.role)} RESET role;\n"
            f"ALTER ROLE {ident(seen.role)} IN DATABASE {ident(seen.database)} RESET role;\n"
            f"ALTER DATABASE {ident(seen.database)} RESET role;"
        )
        fix = Fix(kind="sql", text=text, needs="superuser", database="postgres")
    else:
        text = f"# in the pooler's configuration: send database {seen.database} to itself"
        fix = Fix(kind="values", text=text, needs="whoever runs the pooler")
    return Finding(
        summary=f"a login as {seen.role} on {seen.database} ends up somewhere else",
        expected=f"current_user {seen.role}, current_database() {seen.database}",
        found=f"current_user {seen.current_user}, current_database() {seen.current_database}",
        fix=fix,
    )


def primary(facts: AccessFacts) -> Judgement:
    """Judge that the server is a primary, not read-only as a whole, and that commits return."""
    session = _session(facts)
    return judgement(
        [
            "pg_is_in_recovery()",
            "default_transaction_read_only",
            "synchronous_standby_names",
            "age(datfrozenxid)",
        ],
        [
            *_read_only(session, facts.reach.label),
            *_waiting(session),
            *wraparound.at_its_end(*session.oldest, major=session.server_version // 10000),
        ],
        summary="the server is a primary and writable",
    )


def _read_only(session: Session, label: str) -> Iterator[Finding]:
    if session.in_recovery:
        yield Finding(
            summary="the server is a standby",
            expected="a primary: pg_is_in_recovery() is false",
            found="pg_is_in_recovery() is true, so nothing can be written",
            fix=Fix(
                kind="values",
                text=f"# {label} is a replica. Name its primary instead; the replica knows it:\n"
                "# psql -c 'TABLE pg_stat_wal_receiver' there: sender_host, sender_port",
                needs="whoever chose the target",
            ),
        )
    default = session.settings.get("default_transaction_read_only")
    if default is not None and default.value == "on" and default.source in _OF_THE_SERVER:
        yield Finding(
            summary="the server is read-only by its configuration",
            expected="default_transaction_read_only off",
            found=f"on ({default.source}); managed servers set it when their disk is full",
            fix=_writable(default.source),
        )


def _writable(source: str) -> Fix:
    """Return what ends it where it is set."""
    if source in {"command line", "environment variable"}:
        text = f"# default_transaction_read_only is set by the server's {source}: start it without"
        return Fix(kind="shell", text=text, needs="an administrator of the server's machine")
    text = "ALTER SYSTEM RESET default_transaction_read_only;\nSELECT pg_catalog.pg_reload_conf();"
    if source == "global":
        # It may reach the administrator's session, too.
        text = "BEGIN READ WRITE;\nALTER ROLE ALL RESET default_transaction_read_only;\nCOMMIT;"
    return Fix(kind="sql", text=text, needs="superuser", database="postgres")


def _waiting(session: Session) -> Iterator[Finding]:
    """Tell of commits that wait for a standby when there is none at all.

    Whether those that are there will do is the standbys' affair; where nobody can be sent the
    WAL (max_wal_senders 0) no commit waits.
    """
    names = session.setting("synchronous_standby_names")
    waits = session.setting("synchronous_commit") not in {"off", "local"}
    sends = session.setting("max_wal_senders") != "0"
    if session.in_recovery or session.replicas or not (names.strip() and waits and sends):
        return
    source = session.settings["synchronous_standby_names"].source
    if source in {"command line", "environment variable"}:
        text = f"# synchronous_standby_names is set by the server's {source}: start it without"
        fix = Fix(kind="shell", text=text, needs="an administrator of the server's machine")
    else:
        text = (
            "-- Or bring the standby back, if there is to be one.\n"
            "ALTER SYSTEM SET synchronous_standby_names = '';\nSELECT pg_catalog.pg_reload_conf();"
        )
        fix = Fix(kind="sql", text=text, needs="superuser", database="postgres")
    yield Finding(
        summary="every commit waits for a standby, and none is connected",
        expected="synchronous_standby_names empty, or a standby in pg_stat_replication",
        found=f"synchronous_standby_names = {names}, synchronous_commit ="
        f" {session.setting('synchronous_commit')}, no row in pg_stat_replication",
        fix=fix,
    )


def hive_login(facts: AccessFacts, requirements: Requirements) -> Judgement:
    """Judge that hive opens its own database by its own credentials."""
    needs = requirements.hive
    if needs.policy != "required":
        return not_supported(f"{requirements.name} forbids {needs.role}")
    seen = facts.hive
    if seen is None:
        return unseen(
            f"whether role {needs.role} can log in",
            who="who has its password",
            how="give it by --costmgmt-hive-password-file",
        )
    name = f"login of role {needs.role}"
    if seen.outcome == "failed":
        raise FactUnavailable(f"{name}: {seen.message}", hint=seen.hint)
    findings = []
    if not seen.accepted:
        findings.append(_unopened(seen, requirements) or _hive_refused(seen))
    elif (seen.current_user, seen.current_database) != (seen.role, seen.database):
        findings.append(_somebody_else(seen))
    summary = f"role {seen.role} opened database {seen.database}"
    return judgement([name], findings, summary=summary)


def _hive_refused(seen: Attempt) -> Finding:
    role = ident(seen.role)
    hint = f"# {seen.hint}\n" if seen.kind == "not-admitted" else ""
    return Finding(
        summary=f"role {seen.role} is not let in by its own password",
        expected=f"role {seen.role} opens database {seen.database}",
        found=seen.message,
        fix=Fix(
            # Not for fix.sql: without a terminal \password would set an empty password.
            kind="shell",
            text=f"{hint}In psql, connected to database postgres:\n    ALTER ROLE {role} LOGIN;\n"
            f"    \\password {role}",
            needs="superuser, or CREATEROLE with ADMIN on the role",
        ),
    )


def tls(facts: AccessFacts, *, mode: str = "external") -> Judgement:
    """Judge that a connection over the network is encrypted; ``mode`` is the context's."""
    session = _session(facts)
    if session.local:
        return not_supported("a Unix socket stays on this machine and has no TLS")
    if session.encrypted:
        return judgement(["ssl_in_use"], summary=session.tls_version or "TLS")
    found = Finding(
        summary="the connection is not encrypted",
        expected="TLS between the application and the server",
        found="plain text: passwords' proofs and all data can be read on the way",
        fix=_tls_by_the_chart() if mode == "release" else _tls_by_the_server(),
    )
    return judgement(["ssl_in_use"], [found])


def _tls_by_the_server() -> Fix:
    return Fix(
        kind="sql",
        text="-- after server.crt and server.key (0600) were put into the data folder:\n"
        "ALTER SYSTEM SET ssl = on;\nSELECT pg_catalog.pg_reload_conf();\n"
        "-- and for the application: DATABASE_SERVICE_CERT, or PGSSLMODE=verify-full",
        needs="superuser, and an administrator of the server's files",
        database="postgres",
    )


def _tls_by_the_chart() -> Fix:
    """A release's pod takes its files from its values: what is put into it by hand goes with it."""
    return Fix(
        kind="values",
        text="# A certificate for the Service's name, in a Secret, made first:\n"
        "#   kubectl -n NAMESPACE create secret tls postgres-tls --cert=tls.crt --key=tls.key\n"
        "postgresql:\n  tls:\n    secretName: postgres-tls\n"
        "# Who signed it, for the application's migrations (a Secret with ca.crt):\n"
        "migration:\n  tls:\n    caSecretName: postgres-ca",
        needs="who installs the chart: helm upgrade --install RELEASE"
        " charts/cost-management-infrastructure --reuse-values -f FILE; the pod is replaced",
    )


def intrusion(facts: AccessFacts, requirements: Requirements) -> Judgement:
    """Judge by a real login that hive cannot enter the application's database.

    The other way round is koku's own: its migration 0039 grants its role CONNECT on hive.
    """
    needs = requirements.hive
    if needs.policy != "required":
        return not_supported(f"{requirements.name} forbids {needs.role}")
    if not facts.cross:
        return unseen(
            f"whether role {needs.role} can log in to database {facts.application.database}",
            who=f"who has the password of role {needs.role}",
            how="give it by --costmgmt-hive-password-file (the privileges are judged anyway)",
        )
    seen = next(cross for cross in facts.cross if cross.role == needs.role)
    if seen.kind == "no-answer" and facts.session is not None and facts.session.pooled:
        return _held_back(seen)
    if seen.outcome == "failed":
        raise FactUnavailable(f"role {seen.role} on {seen.database}: {seen.message}")
    examined = [f"login of role {seen.role} to database {seen.database}"]
    if not seen.accepted:
        summary = f"role {seen.role} is refused by database {seen.database} ({seen.sqlstate})"
        return judgement(examined, summary=summary)
    database = ident(seen.database)
    found = Finding(
        summary=f"role {seen.role} can log in to database {seen.database}",
        expected=f"role {seen.role} is refused there",
        found="it was let in",
        fix=Fix(
            kind="sql",
            text=f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC, {ident(seen.role)};\n"
            f"GRANT CONNECT ON DATABASE {database} TO {ident(facts.application.role)};",
            needs=f"owner of database {seen.database}, or superuser",
            database="postgres",
        ),
    )
    return judgement(examined, [found])


def _held_back(seen: Attempt) -> Judgement:
    """Return that a pooler, which an earlier run had refuse this login, is silent on it."""
    return unseen(
        f"whether role {seen.role} can log in to database {seen.database}: the pooler gave no"
        " answer; it holds logins back for a while after the server refused one",
        who="who runs this again when that while is over (PgBouncer: server_login_retry, 15 s),"
        " or without the pooler",
        how="run it again, or name the server itself (the privileges are judged anyway)",
    )


def administrator(facts: AccessFacts) -> Judgement:
    """Judge that the administrator's login, if one was given, is one to the same server."""
    seen = facts.administrator
    if seen is None:
        return not_supported("no administrator's login was given")
    if not seen.accepted:
        raise FactUnavailable(f"the administrator's login: {seen.message}", hint=seen.hint)
    ours = facts.session.identifier if facts.session else ""
    theirs = facts.administrator_identifier
    if not ours or not theirs:
        return unseen(
            "whether both logins lead to the same server",
            who="roles that may execute pg_control_system()",
            how="compare SELECT system_identifier FROM pg_control_system() of both",
        )
    found = Finding(
        summary="the administrator's login leads to another server than the application's",
        expected=f"system identifier {ours}",
        found=f"system identifier {theirs}",
        fix=Fix(
            kind="values",
            text="# give --costmgmt-dsn and --costmgmt-admin-dsn the same host and port",
            needs="whoever runs this",
        ),
    )
    return judgement(
        ["system_identifier"], [found] * (ours != theirs), summary="both lead to the same server"
    )


def _session(facts: AccessFacts) -> Session:
    if facts.session is None:
        raise FactUnavailable(
            facts.session_problem or "the application's session could not be looked at"
        )
    return facts.session
