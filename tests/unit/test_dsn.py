"""What the operator may write as a target, and what is never repeated."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres.dsn import effective_password, parse_login, read_password_file
from pytest_costmgmt.postgres.environment import application_environment
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.external import external_server
from pytest_costmgmt.settings import resolve
from tests.nameless import nameless, needs_root

PASSWORD = "never-repeat-me"


@pytest.fixture(autouse=True)
def no_libpq_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Libpq finds nothing in this process's environment but what a test puts there."""
    for name in ("HOST", "HOSTADDR", "PORT", "USER", "DATABASE", "PASSWORD", "SERVICE",
                 "SERVICEFILE", "SSLMODE", "OPTIONS"):  # fmt: skip
        monkeypatch.delenv(f"PG{name}", raising=False)
    monkeypatch.setenv("PGPASSFILE", "/nonexistent")


@pytest.mark.parametrize("source", ["command line", "ini"])
@pytest.mark.parametrize(
    "text",
    [
        f"postgresql://koku:{PASSWORD}@db/koku",
        f"postgres://db/koku?user=koku&password={PASSWORD}",
        f"host=db user=koku password={PASSWORD}",
        f"host=db user=koku password = '{PASSWORD}'",
    ],
)
def test_a_password_on_the_command_line_is_refused_without_repeating_it(
    text: str, source: str
) -> None:
    """Every place of a password is found, and the ways that work are listed."""
    with pytest.raises(UsageProblem) as caught:
        parse_login(text, what="--costmgmt-dsn", source=source)
    assert PASSWORD not in str(caught.value)
    for way in ("PGPASSWORD", "PGPASSFILE", "service file", "COSTMGMT_DSN", "password-file"):
        assert way in str(caught.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param(f"postgresql://koku:p@ss/{PASSWORD}#1%@db/koku", "cannot be read", id="uri"),
        pytest.param(f"host=db password=a {PASSWORD}", "cannot be read", id="blank-in-conninfo"),
        pytest.param(f"host=db {PASSWORD}=x", "cannot be read", id="unknown-keyword"),
        pytest.param(f"mysql://koku:{PASSWORD}@db", "another kind", id="other-scheme"),
        pytest.param("host=db\0", "NUL", id="nul"),
        pytest.param("host=a,b user=koku", "several servers", id="several-hosts"),
        pytest.param("user=koku host=a,b hostaddr=::1,::1", "several", id="several-addresses"),
        pytest.param(f"postgresql://koku:{PASSWORD}/koku", "port", id="no-host"),
        pytest.param(f"postgresql://koku:a@{PASSWORD}@db/koku", "not quoted", id="at"),
        pytest.param(f"postgresql://koku:12/{PASSWORD}@db/koku", "not quoted", id="slash"),
        pytest.param("host=a port=0 user=koku", "port", id="port-zero"),
        pytest.param("host=a port=70000 user=koku", "port", id="port-too-high"),
        pytest.param("host=a options=-csearch_path=x", "options", id="options"),
        pytest.param("host=a replication=database", "replication", id="replication"),
        pytest.param(f"host=a sslpassword={PASSWORD}", "sslpassword", id="another-secret"),
        pytest.param("service=no-such-service", "service", id="unknown-service"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_problem(text: str, word: str) -> None:
    """The message names the setting and the trouble, and never a part of a password."""
    with pytest.raises(UsageProblem) as caught:
        parse_login(text, what="COSTMGMT_DSN", source="environment")
    assert word in str(caught.value)
    assert "COSTMGMT_DSN" in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_password_in_the_environment_becomes_a_secret() -> None:
    """COSTMGMT_DSN may hold it; nothing printed does."""
    parsed = parse_login(
        Secret(f"postgresql://K%C3%B6k-u:{PASSWORD}@db:6000/K%C3%B6k-u%20db"),
        what="COSTMGMT_DSN",
        source="environment",
    )
    login = parsed.login
    assert (login.role, login.database) == ("Kök-u", "Kök-u db")
    assert login.where == {"host": "db", "port": "6000"}
    assert parsed.password == Secret(PASSWORD) == login.password
    assert PASSWORD not in repr(parsed)


def test_what_is_left_out_is_libpqs(monkeypatch: pytest.MonkeyPatch) -> None:
    """PGUSER, PGDATABASE and PGPORT fill in; a host that is named is not replaced."""
    monkeypatch.setenv("PGUSER", "somebody")
    monkeypatch.setenv("PGPORT", "6001")
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")
    login = parse_login("host=db", what="x", source="command line").login
    assert (login.role, login.database) == ("somebody", "somebody")
    assert login.where == {"host": "db", "port": "6001"}


@needs_root
def test_a_user_without_a_name_names_the_role() -> None:
    """Where libpq has no name to fall back on, as in a container, the role is what is missing."""
    parse_login("host=db user=koku", what="x", source="command line")
    with nameless():
        with pytest.raises(UsageProblem, match="x names no role: add user"):
            parse_login("host=db", what="x", source="command line")
        assert parse_login("host=db user=a", what="x", source="command line").login.role == "a"


def test_a_service_is_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host and role are known before a connection, and its password stays libpq's."""
    services = tmp_path / "services"
    services.write_text(f"[prod]\nhost=db\nport=6002\nuser=koku\npassword={PASSWORD}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    server = external({"service": "prod"})
    assert server.application.label == "db:6002"
    assert server.application.password is None
    assert effective_password(server.application) == Secret(PASSWORD)
    assert PASSWORD not in repr(server)


def external(
    command_line: Mapping[str, Any],
    environ: Mapping[str, str] = {},
    requirements: str = "koku-hive",
) -> Server:
    """Return the server that settings name."""
    settings = resolve(command_line, environ, lambda _: None)
    return external_server(settings, load(requirements), environ)


def private(path: Path, text: str) -> str:
    """Write a file that others cannot read."""
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_password_file_gives_the_password(tmp_path: Path) -> None:
    """One final newline is the editor's; all else is the password's."""
    file = private(tmp_path / "file", f"{PASSWORD} \n")
    server = external({"dsn": "host=db user=koku", "password-file": file})
    assert server.application.password == Secret(f"{PASSWORD} ")


@pytest.mark.parametrize(
    ("content", "mode", "word"),
    [
        pytest.param(b"x", 0o644, "others can read", id="readable"),
        pytest.param(b"", 0o600, "empty", id="empty"),
        pytest.param(b"\n", 0o600, "empty", id="newline-only"),
        pytest.param(b"\xff\xfe", 0o600, "UTF-8", id="binary"),
        pytest.param(b"a\0b", 0o600, "more than a password", id="nul"),
        pytest.param(b"a" * 5000, 0o600, "more than a password", id="long"),
    ],
)
def test_a_password_file_that_cannot_be_one_is_refused(
    tmp_path: Path, content: bytes, mode: int, word: str
) -> None:
    """The message names file and trouble."""
    file = tmp_path / "file"
    file.write_bytes(content)
    file.chmod(mode)
    with pytest.raises(UsageProblem, match=word):
        read_password_file(file, what="--costmgmt-password-file")
    with pytest.raises(UsageProblem, match="not a regular file"):
        read_password_file(tmp_path, what="--costmgmt-password-file")
    with pytest.raises(UsageProblem, match="cannot be read"):
        read_password_file(tmp_path / "none", what="--costmgmt-password-file")


def test_two_passwords_are_one_too_many(tmp_path: Path) -> None:
    """A DSN's and a file's contradict."""
    file = private(tmp_path / "file", PASSWORD)
    environ = {"COSTMGMT_DSN": "postgresql://koku:another-one@db/koku"}
    with pytest.raises(UsageProblem, match="both give a password"):
        external({"password-file": file}, environ)


def test_a_hive_password_where_hive_is_forbidden_is_refused(tmp_path: Path) -> None:
    """Requirement set and option contradict."""
    given = {"dsn": "host=db user=koku", "hive-password-file": private(tmp_path / "file", PASSWORD)}
    assert external(given).hive is not None
    with pytest.raises(UsageProblem, match="forbids"):
        external(given, requirements="koku-onprem")


def test_the_administrator_is_on_the_same_server() -> None:
    """A login without a host shares the application's; with one it has its own."""
    server = external(
        {"dsn": "host=db port=6003 user=koku sslmode=require", "admin-dsn": "user=postgres"}
    )
    assert server.administrator is not None
    assert server.administrator.where == server.application.where
    other = external({"dsn": "host=db user=koku", "admin-dsn": "host=elsewhere user=postgres"})
    assert other.administrator is not None
    assert other.administrator.label == "elsewhere:5432"


def test_pgpassword_is_not_offered_to_another_role(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The password file's line for a role goes before PGPASSWORD, which is the application's."""
    lines = "db:5432:*:postgres:the-administrators\ndb:5432:*:hive:the-metastores\n"
    monkeypatch.setenv("PGPASSFILE", private(tmp_path / "pgpass", lines))
    monkeypatch.setenv("PGPASSWORD", PASSWORD)
    server = external({"dsn": "host=db user=koku", "admin-dsn": "user=postgres"})
    assert effective_password(server.application) == Secret(PASSWORD)
    assert server.administrator is not None
    assert server.administrator.password == Secret("the-administrators")
    assert server.hive is not None
    assert server.hive.password == Secret("the-metastores")


def test_the_applications_environment_is_kokus(tmp_path: Path) -> None:
    """Names, TLS and password arrive as koku reads them; another server's address does not."""
    dsn = "postgresql://koku@db:6004/koku?sslmode=verify-full&sslrootcert=/etc/ca.pem"
    server = external({"dsn": dsn, "password-file": private(tmp_path / "file", PASSWORD)})
    app = server.application
    hive = app.acting_as("hive", Secret("the-metastores"), database="hive")
    found = application_environment(app, hive, onprem=False, scratch_folder=tmp_path)
    assert len(found.pop("DJANGO_SECRET_KEY")) >= 32
    assert found == {
        "DATABASE_SERVICE_NAME": "database",
        "DATABASE_ENGINE": "postgresql",
        "DATABASE_SERVICE_HOST": "db",
        "DATABASE_SERVICE_PORT": "6004",
        "DATABASE_NAME": "koku",
        "DATABASE_USER": "koku",
        "DATABASE_PASSWORD": PASSWORD,
        "DATABASE_SERVICE_CERT": "/etc/ca.pem",
        "DATABASE_SERVICE_CERTFILE": "/etc/ca.pem",
        "HIVE_DATABASE_USER": "hive",
        "HIVE_DATABASE_NAME": "hive",
        "HIVE_DATABASE_PASSWORD": "the-metastores",
        "ONPREM": "False",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "PGHOSTADDR": "",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/etc/ca.pem",
    }


def test_onprem_has_no_hive(tmp_path: Path) -> None:
    """Without hive no variable of it is set, and a password that libpq has is resolved."""
    app = external({"dsn": "host=/run/x user=koku"}).application
    found = application_environment(app, None, onprem=True, scratch_folder=tmp_path)
    assert found["ONPREM"] == "True"
    assert found["DATABASE_SERVICE_HOST"] == "/run/x"
    assert not [name for name in found if name.startswith("HIVE")]


@given(st.text(max_size=9), st.text(max_size=9), st.sampled_from(["command line", "environment"]))
def test_no_text_breaks_the_reader(before: str, behind: str, source: str) -> None:
    """Whatever is written is a login or a UsageProblem that does not repeat a password."""
    text = f"postgresql://koku:{before}{PASSWORD}{behind}@db/koku"
    try:
        parse_login(text, what="x", source=source)
    except UsageProblem as problem:
        assert PASSWORD not in str(problem)
