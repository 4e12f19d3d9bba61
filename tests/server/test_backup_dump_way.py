"""The way to a server that is backed up: TLS with a name that is checked."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup import dump
from pytest_costmgmt.engine.backup_way import Way
from pytest_costmgmt.errors import ConnectFailed
from pytest_costmgmt.postgres import clients as programs_of_clients
from pytest_costmgmt.postgres.clients_way import conninfo, strict_tls
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.secret import Secret
from tests.server.access_server import OwnServer, own_server
from tests.server.backup_bed import Gate

HBA = ("local all all scram-sha-256", "hostssl all all 127.0.0.1/32 scram-sha-256")
PASSWORD = "strict p@ss/w:rd#1%"


@pytest.fixture(scope="module")
def own(programs: Programs) -> Iterator[OwnServer]:
    """A server that lets nobody in by TCP but encrypted, for localhost by its certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl to make a certificate")
    with own_server(programs, hba=HBA) as server:
        if server.sql("SHOW ssl_library")[0][0] == "":
            pytest.skip("these programs were built without TLS")
        certificate, key = server.data / "server.crt", server.data / "server.key"
        words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost"
        words += f" -addext subjectAltName=DNS:localhost -keyout {key} -out {certificate}"
        subprocess.run(["openssl", *shlex.split(words)], check=True, capture_output=True)
        server.write("data/server.key", key.read_text())
        server.write("data/server.crt", certificate.read_text())
        server.sql(
            "ALTER SYSTEM SET ssl = on",
            "SELECT pg_reload_conf()",
            f"CREATE ROLE strict LOGIN SUPERUSER PASSWORD '{PASSWORD}'",
            "CREATE TABLE t AS SELECT 1 AS a",
        )
        server.wait(login(server))
        yield server


def login(own: OwnServer, **where: str) -> Login:
    """Return the way in over TCP that checks whom it talks to."""
    there = {
        "host": "localhost",
        "port": own.port,
        "sslmode": "verify-full",
        "sslrootcert": str(own.data / "server.crt"),
        **where,
    }
    return Login(role="strict", database="postgres", where=there, password=Secret(PASSWORD))


def test_tls_with_a_checked_name(own: OwnServer, tmp_path: Path) -> None:
    """pg_dump goes the way that we go: encrypted, and it checks the server's name as we do."""
    way = Way(login(own), bindir=None, environ=os.environ, deadline=10)
    assert way.tls
    gate = Gate(way.clients(way.number), tmp_path)
    gate.open()
    made = dump.backup(login(own), tmp_path / "backup", clients=gate.clients, run_id="tls")
    assert [each.rows for each in made.relations] == [1]
    (told,) = [word for word in gate.argv if word.startswith("--dbname=")]
    assert "sslmode=verify-full" in told
    assert f"sslrootcert={own.data / 'server.crt'}" in told
    assert "p@ss" not in told


def test_another_name_is_refused(own: OwnServer) -> None:
    """A server whose certificate is another's gets no password, neither from us nor pg_dump."""
    wrong = login(own, host="127.0.0.1")
    with pytest.raises(ConnectFailed):
        Way(wrong, bindir=None, environ=os.environ, deadline=10)
    way = Way(login(own), bindir=None, environ=os.environ, deadline=10)
    clients = way.clients(way.number)
    with pytest.raises(programs_of_clients.ClientFailed, match="certificate"):
        clients.run("pg_dump", ["--schema-only"], wrong, deadline=30)


def test_what_the_environment_says_is_settled(
    own: OwnServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PGSSLMODE and the like reach the programs as parameters; a named host stays the host."""
    plain = Login(role="strict", database="a b", where={"host": "localhost", "port": own.port})
    monkeypatch.setenv("PGSSLMODE", "verify-ca")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    told = conninfo(plain, name="x y")
    assert "sslmode=verify-ca" in told
    assert "192.0.2.1" not in told
    assert "p@ss" not in told
    assert "dbname='a b'" in told
    assert "application_name='x y'" in told
    assert strict_tls(plain)
