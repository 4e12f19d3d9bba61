"""Who offers nothing comes without TLS too, where the application comes with it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest
from psycopg import pq

from pytest_costmgmt.facts import access
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.judge import authentication as auth
from pytest_costmgmt.postgres.attempt import attempt, without_tls
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers import Server
from tests.server.access_server import OwnServer, own_server

LOCAL = "local all all scram-sha-256"
TLS = "hostssl all all 127.0.0.1/32 scram-sha-256"
CONTEXT = Context(
    mode="external", profile="preflight", ours=False, writable=False, role="koku", database="koku",
    has_administrator=False, failed_logins=0, application="", run_id="test", today="2026-11-30",
)  # fmt: skip


@pytest.fixture(scope="module")
def own(programs: Programs) -> Iterator[OwnServer]:
    """A server with a certificate, and the application's role and database."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    with own_server(programs, hba=(LOCAL, TLS)) as server:
        if server.sql("SHOW ssl_library")[0][0] == "":
            pytest.skip("these programs were built without TLS")
        key, certificate = (server.write(f"data/server.{end}", "") for end in ("key", "crt"))
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
             "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True,
        )  # fmt: skip
        server.sql(
            "CREATE ROLE koku LOGIN PASSWORD 'the-applications-own'",
            "CREATE ROLE hive LOGIN PASSWORD 'the-metastores-own'",
            "CREATE DATABASE koku OWNER koku",
            "CREATE DATABASE hive OWNER hive",
            "ALTER SYSTEM SET ssl = on",
        )
        server.sql("SELECT pg_reload_conf()")
        server.wait(server.login("koku", "the-applications-own", "koku", sslmode="require"))
        yield server


def look(own: OwnServer, *hba: str, **where: str) -> AccessFacts:
    """Return what logins show under these lines of pg_hba.conf."""
    own.write("data/pg_hba.conf", "\n".join((LOCAL, *hba)) + "\n")
    own.sql("SELECT pg_reload_conf()")
    login = own.login("koku", "the-applications-own", "koku", **where)
    own.wait(login)
    server = Server(mode="external", label="test", ours=False, application=login)
    return access.collect(server, load("koku-hive"), CONTEXT, deadline=10)


def test_a_server_that_speaks_tls_alone_refuses_whoever_comes_without(own: OwnServer) -> None:
    """No line of pg_hba.conf is for them: both roles were tried, and not let in."""
    facts = look(own, TLS)
    assert [(seen.role, seen.kind) for seen in facts.in_plain] == [
        ("koku", "not-admitted"),
        ("hive", "not-admitted"),
    ]
    judged = auth.trust(facts)
    assert (judged.findings, judged.unverified) == ((), ())
    assert "role hive on database hive, offering nothing, without TLS" in judged.examined


@pytest.mark.parametrize(
    "where",
    [
        pytest.param({}, id="as-agreed-on"),
        pytest.param({"sslmode": "require"}, id="asked-for"),
        pytest.param({"channel_binding": "require"}, id="bound"),
    ],
)
def test_trust_without_tls_is_found(own: OwnServer, where: dict[str, str]) -> None:
    """The application's own login has TLS and SCRAM; whoever comes without is asked nothing."""
    facts = look(own, TLS, "hostnossl all koku 127.0.0.1/32 trust", **where)
    assert facts.application.encrypted
    (found,) = auth.trust(facts).findings
    assert "role koku" in found.summary
    assert "without TLS" in found.found


def test_what_libpq_allows_with_tls_alone_hinders_no_login_without(own: OwnServer) -> None:
    """The system's authorities and TLS from the first byte: neither is asked for without TLS."""
    look(own, TLS)
    where = {"sslmode": "verify-full", "sslrootcert": "system", "channel_binding": "require"}
    if pq.version() >= 170000:
        where["sslnegotiation"] = "direct"
    seen = attempt(without_tls(own.login("koku", None, **where)), offered="none", deadline=10)
    assert seen.kind == "not-admitted"


def test_no_password_goes_without_tls(own: OwnServer) -> None:
    """A password that stands anywhere stays there, though the server asks for it in clear."""
    login = own.login("koku", "the-applications-own", "koku", sslmode="require")
    look(own, TLS, "hostnossl all all 127.0.0.1/32 password")
    bare = without_tls(login)
    assert bare.password is None
    assert attempt(bare, offered="none", deadline=10).kind == "password-missing"


def test_trust_beside_tls_alone_is_told_once(own: OwnServer) -> None:
    """Who is let in with TLS is not tried again without."""
    facts = look(own, "host all hive 127.0.0.1/32 trust", TLS)
    assert [seen.role for seen in facts.in_plain] == ["koku"]
    assert len(auth.trust(facts).findings) == 1


def test_bound_channels_hide_no_trust(own: OwnServer) -> None:
    """A login that offers nothing binds nothing: what the DSN insists on is not insisted on."""
    facts = look(own, "host all hive 127.0.0.1/32 trust", TLS, channel_binding="require")
    assert len(auth.trust(facts).findings) == 1
