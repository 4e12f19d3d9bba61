"""Read what the operator wrote: a URI or conninfo, with a password only where one may stand."""

from __future__ import annotations

import shlex
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres.connect import parameters, settled
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import WAYS, Refusal
from pytest_costmgmt.secret import Secret

# Secrets that may stand nowhere: ``where`` is printed, and libpq has files for them.
_SECRETS = frozenset({"sslpassword", "oauth_client_secret", "scram_client_key", "scram_server_key"})
_REFUSED = {
    "options": "a pooler refuses it, or hands it on to the application: use ALTER ROLE ... SET",
    "replication": "that is not how the application connects",
    "target_session_attrs": "whether the server is a primary is what a check says",
}
_HIGHEST_PORT = 65535
_LONGEST = 4096
"Bytes of a password file; a longer one is another kind of file."
_FORMS = "postgresql://ROLE@HOST:5432/DATABASE or host=... port=... user=... dbname=..."

_QUOTE = "In a URI, @ / : % # ? in a name or password are written as %40 %2F %3A %25 %23 %3F."


class Parsed(NamedTuple):
    """A login, and the password that stood in its text."""

    login: Login
    password: Secret | None


def parse_login(
    text: str | Secret, *, what: str, source: str, beside: Login | None = None
) -> Parsed:
    """Return the login that ``text`` (a URI or conninfo) describes.

    ``what`` names the setting as the operator wrote it, ``source`` is one of settings.Source: only
    in the environment may a password stand. Role, database, host and port that ``text`` leaves
    out are libpq's: PGUSER, PGDATABASE, PGHOST, a service file, its defaults; with ``beside``,
    host and port are that login's. Raises UsageProblem, which never repeats the text.
    """
    __tracebackhide__ = True
    given = _parsed(text.reveal() if isinstance(text, Secret) else text, what)
    password = given.pop("password", None)
    if password is not None and source != "environment":
        raise UsageProblem(
            f"{what} holds a password, and a password never stands on a command line or in a"
            " configuration file, where others can read it.",
            hint=f"Take it out and give it by {WAYS}.",
        )
    if password == "":
        raise UsageProblem(f"{what} holds an empty password: fill it in or leave it out.")
    for name in sorted(given):
        if name in _SECRETS:
            raise UsageProblem(f"{what} holds the secret {name}: leave it to libpq's files.")
        if name in _REFUSED:
            raise UsageProblem(f"{what} holds the parameter {name}: {_REFUSED[name]}.")
    if beside is not None and not given.keys() & {"host", "hostaddr", "service"}:
        given = {**_shared(beside), **given}
    secret = None if password is None else Secret(password)
    return Parsed(login_of(given, what=what, password=secret), secret)


def _shared(login: Login) -> dict[str, str]:
    """Return how to reach and trust the login's server, without what is about its role."""
    personal = {"service", "servicefile", "passfile", "sslcert", "sslkey"}
    return {name: value for name, value in login.where.items() if name not in personal}


def login_of(given: Mapping[str, str], *, what: str, password: Secret | None = None) -> Login:
    """Return the login that these parameters, and libpq's own defaults, describe."""
    found = parameters(given)
    if isinstance(found, Refusal):
        # Without a role libpq takes the name of this process's user, who may have none.
        if isinstance(parameters({"user": "x", **given}), Refusal):
            raise UsageProblem(f"{what}: {found.summary}.", hint=found.hint)
        raise UsageProblem(f"{what} names no role: add user=... or set PGUSER.")
    host, port = found["host"], found["port"]
    if any("," in found.get(name, "") for name in ("host", "hostaddr", "port")):
        raise UsageProblem(f"{what} names several servers: one is judged at a time, name one.")
    if not port.isdecimal() or not 0 < int(port) <= _HIGHEST_PORT:
        # Not repeated: in postgresql://role:password/db, without a host, it is the password.
        raise UsageProblem(f"{what} names a port that is no number from 1 to 65535.", hint=_QUOTE)
    if not found.get("user"):
        raise UsageProblem(f"{what} names no role: add user=... or set PGUSER.")
    where = {name: value for name, value in given.items() if name not in {"user", "dbname"}}
    # Said outright, so that a worker or another role reaches the same server.
    where |= {"host": host, "port": port}
    if found.get("hostaddr"):
        where["hostaddr"] = found["hostaddr"]
    database = found.get("dbname") or found["user"]
    return Login(role=found["user"], database=database, where=where, password=password)


def effective_password(login: Login) -> Secret | None:
    """Return the login's password, its own or the one that libpq finds; no server is asked.

    libpq looks in PGPASSWORD, the service file and the password file, in this order.
    """
    return login.password if login.password is not None else _found(login, {})


def password_in_passfile(login: Login) -> Secret | None:
    """Return what libpq's password file says for the login, without PGPASSWORD or a service."""
    # An empty value keeps libpq from the first two, but not from the file.
    return _found(login, {"password": ""})


def _found(login: Login, extra: Mapping[str, str]) -> Secret | None:
    pgconn = settled({**login.where, "user": login.role, "dbname": login.database, **extra})
    if isinstance(pgconn, Refusal) or not pgconn.password:
        return None
    return Secret(pgconn.password.decode("utf-8", "replace"))


def read_password_file(path: Path, *, what: str) -> Secret:
    """Return the password in a file that others cannot read: its content but one final newline."""
    __tracebackhide__ = True
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise UsageProblem(f"{what} names {str(path)!r}, which is not a regular file.")
        if status.st_mode & 0o077:
            raise UsageProblem(
                f"{what} names {str(path)!r}, which others can read (mode"
                f" {stat.S_IMODE(status.st_mode):04o}).",
                hint=f"chmod 600 {shlex.quote(str(path))}",
            )
        content = path.read_bytes()[: _LONGEST + 1]
        text = content.decode()
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise UsageProblem(f"{what} names {str(path)!r}, which cannot be read: {why}.") from None
    except UnicodeDecodeError:
        raise UsageProblem(f"{what} names {str(path)!r}, which is not UTF-8 text.") from None
    if len(content) > _LONGEST or "\0" in text:
        raise UsageProblem(f"{what} names {str(path)!r}, which holds more than a password.")
    password = Secret(text.removesuffix("\n"))
    if not password:
        raise UsageProblem(f"{what} names {str(path)!r}, which is empty.")
    return password


def _parsed(text: str, what: str) -> dict[str, str]:
    __tracebackhide__ = True
    import psycopg  # noqa: PLC0415 - heavy
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    scheme, separator, _ = text.partition("://")
    if separator and scheme.isidentifier() and scheme not in {"postgresql", "postgres"}:
        raise UsageProblem(f"{what} is a URI of another kind: it begins with postgresql://.")
    if "\0" in text:
        raise UsageProblem(f"{what} holds a NUL character.")
    try:
        given = conninfo_to_dict(text)
    except psycopg.Error:
        # libpq's message repeats the part that it could not read, which may be a password's.
        raise UsageProblem(
            f"{what} cannot be read (it is not repeated here: it might hold a password).",
            hint=f"Write it as {_FORMS}. {_QUOTE}",
        ) from None
    if separator and any("@" in str(given.get(name) or "") for name in ("host", "dbname")):
        # What stands before it is the rest of a password that held an unquoted @ or /.
        raise UsageProblem(f"{what} holds an @ or / that is not quoted.", hint=_QUOTE)
    return {name: str(value) for name, value in given.items() if value is not None}
