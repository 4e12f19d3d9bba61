"""A login as other programs want to read it; here its password becomes plain text, on request.

For a user's own tests: drivers, ORMs and subprocesses that know nothing of our types.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from pytest_costmgmt.postgres.dsn import effective_password
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.secret import Secret

# libpq's variables for the parameters that a login usually has.
_VARIABLES = {
    "host": "PGHOST",
    "hostaddr": "PGHOSTADDR",
    "port": "PGPORT",
    "service": "PGSERVICE",
    "passfile": "PGPASSFILE",
    "sslmode": "PGSSLMODE",
    "sslrootcert": "PGSSLROOTCERT",
    "sslcert": "PGSSLCERT",
    "sslkey": "PGSSLKEY",
    "sslcrl": "PGSSLCRL",
    "channel_binding": "PGCHANNELBINDING",
    "gssencmode": "PGGSSENCMODE",
    "krbsrvname": "PGKRBSRVNAME",
}


def url(login: Login, *, scheme: str = "postgresql") -> str:
    """Return the login as a URI, *with* its password, everything percent-encoded.

    A socket's folder stands in the query, as libpq, asyncpg and SQLAlchemy read it.

    >>> url(Login(role="Kök u", database="d/b", where={"host": "/run/p g", "port": "5432"}))
    'postgresql://K%C3%B6k%20u@/d%2Fb?host=%2Frun%2Fp%20g&port=5432'
    """
    __tracebackhide__ = True
    where = dict(login.where)
    authority = ""
    if (host := where.get("host", "")) and not host.startswith(("/", "@")):
        authority = f"[{host}]" if ":" in host else quote(host, safe="")
        if port := where.pop("port", ""):
            authority += f":{port}"
        del where["host"]
    secret = "" if login.password is None else ":" + quote(login.password.reveal(), safe="")
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in where.items() if value)
    who = quote(login.role, safe="") + secret
    return f"{scheme}://{who}@{authority}/{quote(login.database, safe='')}" + f"?{query}" * bool(
        query
    )


def conninfo(login: Login) -> str:
    """Return the login as libpq's ``name=value`` text, *with* its password."""
    __tracebackhide__ = True
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415 - heavy

    secret: dict[str, Any] = {}
    if login.password is not None:
        secret["password"] = login.password.reveal()
    return make_conninfo("", **login.where, user=login.role, dbname=login.database, **secret)


def libpq_environment(login: Login) -> dict[str, str]:
    """Return the PG* variables by which psql and every libpq program reach the database."""
    __tracebackhide__ = True
    found = {_VARIABLES[name]: value for name, value in login.where.items() if name in _VARIABLES}
    found |= {"PGUSER": login.role, "PGDATABASE": login.database}
    if login.password is not None:
        found["PGPASSWORD"] = login.password.reveal()
    return found


def django_database(login: Login) -> dict[str, Any]:
    """Return an entry of Django's DATABASES, *with* the password."""
    __tracebackhide__ = True
    options = {name: v for name, v in login.where.items() if name not in {"host", "port"} and v}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": login.database,
        "USER": login.role,
        "PASSWORD": "" if login.password is None else login.password.reveal(),
        "HOST": login.where.get("host", ""),
        "PORT": login.where.get("port", ""),
        "OPTIONS": options,
    }


def settled_password(login: Login) -> Secret | None:
    """Return the login's password, its own or the one that libpq finds for it."""
    return effective_password(login)
