"""A database's ways in, as other programs read them back; and what never shows a password."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg.conninfo import conninfo_to_dict

from pytest_costmgmt.engine.user_fixtures_database import Credentials, Database
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.secret import Secret

NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40)
PLACES = st.sampled_from(
    [
        {"host": "/dev/shm/a folder,1", "port": "5432"},  # noqa: S108 - a socket's folder
        {"host": "db.example", "port": "6432", "sslmode": "verify-full"},
        {"host": "::1", "port": "5432"},
    ]
)


def database(role: str, name: str, password: str, where: dict[str, str]) -> Database:
    """Return a database that nobody has made."""
    return Database(Login(role=role, database=name, where=where, password=Secret(password)))


@settings(deadline=None)  # the first example imports a driver
@given(role=NAMES, name=NAMES, password=NAMES, where=PLACES)
def test_libpq_reads_back_what_was_written(
    role: str, name: str, password: str, where: dict[str, str]
) -> None:
    """Whatever is in role, name and password: URI and conninfo mean the same login."""
    made = database(role, name, password, where)
    wanted = {**where, "user": role, "dbname": name, "password": password}
    assert conninfo_to_dict(made.conninfo) == wanted
    assert conninfo_to_dict(made.url) == wanted


@settings(deadline=None)  # the first example imports a driver
@given(role=NAMES, name=NAMES, password=NAMES, where=PLACES)
def test_sqlalchemy_reads_back_what_was_written(
    role: str, name: str, password: str, where: dict[str, str]
) -> None:
    """SQLAlchemy's own parser finds the same role, database, password and place."""
    sqlalchemy = pytest.importorskip("sqlalchemy")
    url = sqlalchemy.engine.make_url(database(role, name, password, where).dsn)
    assert (url.username, url.password) == (role, password)
    assert url.drivername == "postgresql+psycopg"
    assert (url.host or url.query["host"]) == where["host"]
    assert str(url.port or url.query["port"]) == where["port"]


@settings(deadline=None)
@given(rest=st.text(st.characters(codec="utf-8"), max_size=200))
def test_no_repr_shows_the_password(rest: str) -> None:
    """Neither the database nor the credentials print it."""
    password = f"tr0ub4dor{rest}"
    made = database("koku", "costmgmt_1", password, {"host": "db"})
    credentials = Credentials(role="koku", password=Secret(password))
    assert "tr0ub4dor" not in f"{made!r} {made} {vars(made)} {credentials!r} {credentials}"


def test_the_environment_is_kokus_and_libpqs() -> None:
    """A subprocess finds the database by DATABASE_* and by PG*."""
    found = database("koku", "costmgmt_1", "p@ss/w:rd#1%", {"host": "db", "port": "6432"}).environ()
    assert found["DATABASE_SERVICE_HOST"] == found["PGHOST"] == "db"
    assert found["DATABASE_SERVICE_PORT"] == found["PGPORT"] == "6432"
    assert found["DATABASE_NAME"] == found["PGDATABASE"] == "costmgmt_1"
    assert found["DATABASE_USER"] == found["PGUSER"] == "koku"
    assert found["DATABASE_PASSWORD"] == found["PGPASSWORD"] == "p@ss/w:rd#1%"
    assert "PROMETHEUS_MULTIPROC_DIR" not in found


def test_django_gets_a_complete_entry() -> None:
    """An entry of DATABASES, whose test database is the same one."""
    entry = database("koku", "costmgmt_1", "pw", {"host": "db", "sslmode": "require"}).django()
    assert entry["NAME"] == entry["TEST"]["NAME"] == "costmgmt_1"
    assert entry["OPTIONS"] == {"sslmode": "require"}
    assert entry["TEST"]["MIRROR"] is None
