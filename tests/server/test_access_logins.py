"""What real logins show, on a server whose pg_hba.conf holds every method."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator

import msgspec
import pytest

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts import credentials
from pytest_costmgmt.facts.release_seen import network
from pytest_costmgmt.judge import authentication as auth
from pytest_costmgmt.judge import connection as judge
from pytest_costmgmt.judge import credentials as judge_credentials
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import Refused, connect, read_only
from pytest_costmgmt.postgres.programs import Programs
from tests.server.access_looks import (
    DATABASE,
    HIVE_PASSWORD,
    KOKU,
    KOKU_PASSWORD,
    NEEDS,
    look,
    outcome,
    outcomes,
)
from tests.server.access_server import OwnServer, own_server


@pytest.fixture(scope="module")
def own(programs: Programs) -> Iterator[OwnServer]:
    """A server with the application's and hive's roles and databases, and one role a method."""
    with own_server(programs) as server:
        koku, database = ident(KOKU), ident(DATABASE)
        server.sql(
            f"CREATE ROLE {koku} LOGIN PASSWORD '{KOKU_PASSWORD}'",
            f"CREATE ROLE hive LOGIN PASSWORD '{HIVE_PASSWORD}'",
            f"CREATE DATABASE {database} OWNER {koku}",
            "CREATE DATABASE hive OWNER hive",
            f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC",
            "CREATE ROLE trusted LOGIN",
            "CREATE ROLE peer_by_map LOGIN",
            "CREATE ROLE in_clear LOGIN PASSWORD 'in-clear-on-the-wire'",
            "CREATE ROLE stranger LOGIN PASSWORD 'may-connect-nowhere'",
            "CREATE ROLE groupless PASSWORD 'may-not-log-in'",
            "SET password_encryption = 'md5'; CREATE ROLE by_md5 LOGIN PASSWORD 'an-md5-verifier'",
        )
        yield server


HEALTHY = {
    "reach": "passed",
    "own": "passed",
    "primary": "passed",
    "hive": "passed",
    "trust": "passed",
    "scram": "passed",
    "wrong": "passed",
    "tls": "failed",  # it has no certificate
    "intrusion": "passed",
    "administrator": "passed",
}


def test_a_healthy_server_passes(own: OwnServer) -> None:
    """Names that need quoting, SCRAM, and every login as it should be."""
    assert outcomes(look(own)) == HEALTHY


def test_a_socket_has_no_tls_to_judge(own: OwnServer) -> None:
    """Over a Unix socket encryption is not supported, and all else is the same."""
    facts = look(own, own.login(KOKU, KOKU_PASSWORD, DATABASE, **own.where))
    assert outcomes(facts) == {**HEALTHY, "tls": "not-supported"}


def test_without_leave_no_login_fails(own: OwnServer) -> None:
    """With --costmgmt-failed-logins=0 the server's log shows no failed login, and we say so."""
    before = (own.folder / "log").stat().st_size
    facts = look(own, failed_logins=0, hive=None)
    said = (own.folder / "log").read_bytes()[before:].decode()
    assert "FATAL" not in said
    assert (facts.wrong, facts.guessed) == (None, ())
    expected = {"wrong": "unverifiable", "hive": "unverifiable", "intrusion": "unverifiable"}
    assert outcomes(facts) == {**HEALTHY, **expected}


def test_one_failed_login_is_one(own: OwnServer) -> None:
    """With --costmgmt-failed-logins=1 the server counts exactly one."""
    before = (own.folder / "log").stat().st_size
    facts = look(own, failed_logins=1, hive=None)
    said = (own.folder / "log").read_bytes()[before:].decode()
    assert said.count("FATAL") == 1
    assert facts.wrong is not None
    assert (facts.wrong.sqlstate, facts.guessed) == ("28P01", ())


@pytest.mark.parametrize(
    ("role", "password", "method", "expected"),
    [
        pytest.param(
            "trusted", None, ("trust", "none-asked"),
            {"trust": "failed", "scram": "not-supported"}, id="trust",
        ),
        pytest.param("by_md5", "an-md5-verifier", ("md5",), {"scram": "failed"}, id="md5"),
        pytest.param(
            "in_clear", "in-clear-on-the-wire", ("password",), {"scram": "failed"}, id="password"
        ),
    ],
)  # fmt: skip
def test_the_method_is_seen_by_logins(
    own: OwnServer,
    role: str,
    password: str | None,
    method: tuple[str, ...],
    expected: dict[str, str],
) -> None:
    """What pg_hba.conf asks for is told from outside, on any version."""
    facts = look(own, own.login(role, password), failed_logins=0)
    assert facts.application.method in method
    seen = {"trust": outcome(auth.trust(facts)), "scram": outcome(auth.scram(facts))}
    assert seen == {"trust": "passed", "scram": "passed", **expected}


def test_trust_lets_a_wrong_password_in(own: OwnServer) -> None:
    """Where a wrong password is let in, the check on it fails too, or asks no password at all."""
    facts = look(own, own.login("trusted", None), hive=None)
    assert facts.wrong is not None
    assert facts.wrong.accepted
    assert outcome(auth.wrong_password(facts)) in {"failed", "not-supported"}


@pytest.mark.parametrize("database", [DATABASE, "postgres"])
def test_trust_for_the_superuser_is_seen_in_any_database(own: OwnServer, database: str) -> None:
    """A rule may name his own database alone, which no application asks for."""
    rules = (own.data / "pg_hba.conf").read_text()
    trust = f"host {ident(database)} postgres 127.0.0.1/32 trust\n"
    nothing = own.login("postgres", None, database)
    own.write("data/pg_hba.conf", trust + rules)
    try:
        own.sql("SELECT pg_catalog.pg_reload_conf()")
        own.wait(nothing)
        told = network(
            own.login(KOKU, KOKU_PASSWORD, DATABASE),
            superuser="postgres",
            way="here",
            unprobed="",
            deadline=10,
        )
    finally:
        own.write("data/pg_hba.conf", rules)
        own.sql("SELECT pg_catalog.pg_reload_conf()")
        while attempt(nothing, offered="none", deadline=10).accepted:
            time.sleep(0.05)
    assert told.opened.accepted
    assert {seen.database for seen in told.superuser if seen.accepted} == {database}


@pytest.mark.parametrize(("role", "expected"), [("trusted", "failed"), ("peer_by_map", "passed")])
def test_peer_is_not_trust(own: OwnServer, role: str, expected: str) -> None:
    """On a socket, who is let in without a password may be known by the system's account."""
    facts = look(own, own.login(role, None, **own.where), failed_logins=0, hive=None)
    assert facts.application.accepted
    assert outcome(auth.trust(facts)) == expected


def test_no_password_from_the_environment_is_offered(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A login that offers nothing offers neither PGPASSWORD nor a password file's."""
    passfile = own.folder / "client.pgpass"
    passfile.write_text(f"*:*:*:*:{KOKU_PASSWORD}\n")
    passfile.chmod(0o600)
    bare = own.login(KOKU, None, DATABASE)
    monkeypatch.setenv("PGPASSFILE", str(passfile))
    assert attempt(bare, offered="own", deadline=60).accepted
    assert attempt(bare, offered="none", deadline=60).kind == "password-missing"
    monkeypatch.setenv("PGPASSWORD", KOKU_PASSWORD)
    assert attempt(bare, offered="none", deadline=60).kind == "password-missing"


def test_a_wrong_password_is_an_error_not_a_failure(own: OwnServer) -> None:
    """Who cannot authenticate knows nothing of the server: an error, and nothing else is tried."""
    facts = look(own, own.login(KOKU, "not-the-password", DATABASE))
    assert (facts.application.sqlstate, facts.without, facts.cross) == ("28P01", (), ())
    assert outcome(judge.reach(facts)) == "passed"
    with pytest.raises(FactUnavailable, match="refused the password"):
        judge.own_database(facts, NEEDS)


def test_a_role_that_may_not_connect_is_told_the_grant(own: OwnServer) -> None:
    """42501 comes after authentication: the requirement is unmet, and the fix is one statement."""
    facts = look(own, own.login("stranger", "may-connect-nowhere", DATABASE))
    judged = judge.own_database(facts, NEEDS)
    assert judged.findings[0].fix is not None
    assert judged.findings[0].fix.text == f'GRANT CONNECT ON DATABASE "{DATABASE}" TO "stranger";'


def test_a_missing_database_is_told_how_to_make_it(own: OwnServer) -> None:
    """3D000 comes after authentication too."""
    facts = look(own, own.login(KOKU, KOKU_PASSWORD, "no such database"))
    judged = judge.own_database(facts, NEEDS)
    assert judged.findings[0].fix is not None
    assert judged.findings[0].fix.text == (
        f'CREATE DATABASE "no such database" OWNER "{KOKU}" TEMPLATE template0 ENCODING \'UTF8\';'
    )


def test_a_role_without_login_is_an_error(own: OwnServer) -> None:
    """28000 says that nobody was authenticated."""
    with pytest.raises(FactUnavailable, match="28000"):
        judge.own_database(look(own, own.login("groupless", "may-not-log-in")), NEEDS)


def test_a_role_that_becomes_another_is_seen(own: OwnServer) -> None:
    """The login must end up as the role that it names."""
    own.sql(f"GRANT stranger TO {ident(KOKU)}", f"ALTER ROLE {ident(KOKU)} SET role = 'stranger'")
    try:
        judged = judge.own_database(look(own), NEEDS)
    finally:
        own.sql(f"ALTER ROLE {ident(KOKU)} RESET role", f"REVOKE stranger FROM {ident(KOKU)}")
    assert judged.findings[0].found == f"current_user stranger, current_database() {DATABASE}"


def test_hive_in_the_applications_database_is_seen_by_its_login(own: OwnServer) -> None:
    """The privilege is used, not read."""
    own.sql(f"GRANT CONNECT ON DATABASE {ident(DATABASE)} TO hive")
    try:
        judged = judge.intrusion(look(own), NEEDS)
        fix = judged.findings[0].fix
        assert fix is not None
        own.sql(*fix.text.split(";\n"))
        assert outcome(judge.intrusion(look(own), NEEDS)) == "passed"
    finally:
        own.sql(f"REVOKE CONNECT ON DATABASE {ident(DATABASE)} FROM hive")


@pytest.mark.parametrize("known", [None, HIVE_PASSWORD], ids=["unknown", "known-wrongly"])
def test_hives_default_password_is_found_by_trying(own: OwnServer, known: str | None) -> None:
    """Where hive's password is not known, or is another, koku's default is tried."""
    own.sql("ALTER ROLE hive PASSWORD 'hive'")
    try:
        facts = look(own, hive=known)
    finally:
        own.sql(f"ALTER ROLE hive PASSWORD '{HIVE_PASSWORD}'")
    none = credentials.CredentialFacts(credentials=())
    assert outcome(judge_credentials.hive_default(none, facts, NEEDS)) == "failed"
    healthy = look(own, hive=None)
    assert outcome(judge_credentials.hive_default(none, healthy, NEEDS)) == "passed"


def test_no_connections_left_is_an_error_that_waits(own: OwnServer) -> None:
    """53300 is tried again until the deadline, and reaches nothing."""
    own.sql(f"ALTER ROLE {ident(KOKU)} CONNECTION LIMIT 0")
    try:
        with pytest.raises(Refused) as caught:
            connect(own.login(KOKU, KOKU_PASSWORD, DATABASE), deadline=4)
    finally:
        own.sql(f"ALTER ROLE {ident(KOKU)} CONNECTION LIMIT -1")
    assert caught.value.sqlstate == "53300"
    assert caught.value.attempts > 1


def test_max_connections_is_told(own: OwnServer) -> None:
    """A full server is full in our words, whatever its own are."""
    login = own.login(KOKU, KOKU_PASSWORD, DATABASE)
    held = []
    try:
        with pytest.raises(Refused) as caught:
            while True:
                held.append(connect(login, deadline=4))
                assert len(held) < 20
    finally:
        for connection in held:
            connection.close()
    assert (caught.value.kind, caught.value.sqlstate) == ("full", "53300")


def test_a_read_only_configuration_is_not_writable(own: OwnServer) -> None:
    """A whole server that is read-only by its configuration is no primary to write to."""
    own.sql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    try:
        own.wait(own.admin)
        judged = judge.primary(look(own, own.login(KOKU, KOKU_PASSWORD, DATABASE)))
        fix = judged.findings[0].fix
        assert fix is not None
        own.sql(*fix.text.split("\n"))
    finally:
        own.sql("ALTER SYSTEM RESET default_transaction_read_only", "SELECT pg_reload_conf()")
    assert outcome(judge.primary(look(own))) == "passed"


def test_a_server_without_transaction_ids_is_not_writable(own: OwnServer) -> None:
    """Of all databases the oldest counts, though the application may not enter it."""
    frozen = "UPDATE pg_catalog.pg_database SET datfrozenxid = '{}' WHERE datname = 'hive'"
    ((was, now),) = own.sql(
        "SELECT datfrozenxid::text, pg_catalog.pg_snapshot_xmax(pg_catalog.pg_current_snapshot())"
        "::text::int8 FROM pg_catalog.pg_database WHERE datname = 'hive'"
    )
    try:
        # As old as it can be: one more, and it would be one that is yet to come.
        own.sql(frozen.format((now - 2**31 + 1000) % 2**32))
        (finding,) = judge.primary(look(own)).findings
    finally:
        own.sql(frozen.format(was))
    assert "database hive" in finding.summary
    assert outcome(judge.primary(look(own))) == "passed"


def test_a_standby_fails_and_says_so(own: OwnServer) -> None:
    """A hot standby answers every login, and is not what koku can write to."""
    copy = OwnServer(own.bindir, own.folder / "standby", own.account)
    own.run("pg_basebackup", "-D", str(copy.data), "-R", "-c", "fast", "-X", "stream",
            "-h", "127.0.0.1", "-p", own.port, "-U", "postgres")  # fmt: skip
    try:
        copy.start()
        facts = look(copy)
        assert outcomes(facts) == {**HEALTHY, "primary": "failed"}
        elsewhere = look(own, administrator=copy.admin)
        # Its catalogs are the primary's; its settings, sessions and pg_hba.conf are not.
        assert outcome(judge.administrator(elsewhere)) == "failed"
        own.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        own.wait(own.admin)
        assert outcome(judge.primary(look(own))) == "passed"
        copy.stop()
        assert_waits(own)
    finally:
        copy.stop()
        own.sql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")


def assert_waits(own: OwnServer) -> None:
    """Assert that a commit does not return, that the application's login shows why, and the fix."""
    until = time.monotonic() + 20
    while not (found := judge.primary(look(own)).findings) and time.monotonic() < until:
        time.sleep(0.1)
    assert found[0].fix is not None
    with connect(own.admin, deadline=10) as committing:
        committing.pgconn.send_query(b"CREATE ROLE waits")
        time.sleep(1)
        committing.pgconn.consume_input()
        assert committing.pgconn.is_busy()
        own.sql(*found[0].fix.text.split("\n")[1:])
        while committing.pgconn.is_busy():
            assert time.monotonic() < until
            time.sleep(0.1)
            committing.pgconn.consume_input()
        while committing.pgconn.get_result():
            pass
    own.sql("DROP ROLE waits")
    assert outcome(judge.primary(look(own))) == "passed"


def test_an_administrator_of_another_server_is_seen(own: OwnServer, programs: Programs) -> None:
    """Two servers have two system identifiers."""
    with own_server(programs) as other:
        judged = judge.administrator(look(own, administrator=other.admin))
    assert judged.findings[0].found.startswith("system identifier ")


def test_tls_is_seen_and_a_wrong_authority_refused(own: OwnServer) -> None:
    """An encrypted connection passes; a certificate of nobody known is a TLS error."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    key, certificate = own.data / "server.key", own.data / "server.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
        check=True, capture_output=True,
    )  # fmt: skip
    for path in (key, certificate):
        path.chmod(0o600)
        if own.account:
            shutil.chown(path, own.account["user"], own.account["group"])
    if own.sql("SHOW ssl_library")[0][0] == "":
        pytest.skip("these programs were built without TLS")
    own.sql("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    try:
        own.wait(own.login("trusted", None, sslmode="require"))
        assert outcomes(look(own)) == {**HEALTHY, "tls": "passed"}
        strict = own.login(KOKU, KOKU_PASSWORD, DATABASE, sslmode="verify-ca", sslrootcert="system")
        strict = msgspec.structs.replace(strict, where={**strict.where, "sslmode": "verify-full"})
        assert attempt(strict, offered="own", deadline=60).kind == "tls"
    finally:
        own.sql("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")


def test_a_server_in_another_language_is_understood(own: OwnServer) -> None:
    """German texts change nothing."""
    own.stop()
    try:
        own.start("lc_messages=C.UTF-8", LANGUAGE="de")
        facts = look(own, own.login(KOKU, "not-the-password", DATABASE))
        said = (own.folder / "log").read_text()
    finally:
        own.stop()
        own.start()
    if "fehlgeschlagen" not in said:
        pytest.skip("these programs have no German texts")
    assert facts.application.sqlstate == "28P01"
    assert "fehlgeschlagen" not in facts.application.message


def test_read_only_leaves_the_session_as_it_was(own: OwnServer) -> None:
    """The transaction refuses writes and is gone with all its settings, also after an error."""
    with connect(own.admin, deadline=60) as connection:
        with read_only(connection, timeout=20) as cursor:
            cursor.execute("SELECT current_setting('search_path'), now()")
            assert cursor.execute("SHOW statement_timeout").fetchone() == ("20s",)
        with pytest.raises(Exception, match="read-only"), read_only(connection, timeout=20) as c:
            c.execute("CREATE TABLE public.nothing ()")
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert connection.info.transaction_status.name == "IDLE"
