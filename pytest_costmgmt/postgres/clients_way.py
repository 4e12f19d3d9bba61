"""How a client program finds the server that a login means: a conninfo and an environment."""

from __future__ import annotations

import os

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres.connect import NO_PASSWORD, parameters
from pytest_costmgmt.postgres.dsn import effective_password
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import Refusal

# What would steer libpq or the words of a program; LC_ALL=C takes their place.
_STEERS = ("PG", "LC_", "LANG", "POSTGRES", "COSTMGMT_")

# What pg_dump does not settle and a role's or a server's setting could: how names, literals, times
# and money are written, and what NULL is when it is read. (No pooler passes a pg_dump through.)
_SHAPES = (
    "quote_all_identifiers=off",
    "standard_conforming_strings=on",
    "transform_null_equals=off",
    "array_nulls=on",
    "lc_monetary=C",
)
# To compile the queries for thousands of relations takes longer than they do, and what several of
# the server's processes would share there is its smallest part.
_OF_DUMPS = ("jit=off", "max_parallel_workers_per_gather=0")

_STRICT = frozenset({"require", "verify-ca", "verify-full"})

# Said otherwise, or by the environment; a service's parameters are settled, its name says no more.
_LEFT_OUT = frozenset(
    {"user", "dbname", "password", "passfile", "service", "servicefile", "options", "replication",
     "client_encoding", "application_name", "fallback_application_name", "target_session_attrs"}
)  # fmt: skip


def conninfo(login: Login, *, name: str) -> str:
    """Return the login's conninfo for a program's argument list: without a password.

    Every parameter is as our libpq settles it, of an older libpq too: what is said nowhere and is
    no more than the default is left out.
    """
    from psycopg import pq  # noqa: PLC0415 - heavy
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    given = {"user": login.role, "dbname": login.database}
    found = parameters({**login.where, **given})
    if isinstance(found, Refusal):
        raise UsageProblem(f"{login.label}: {found.summary}.", hint=found.hint)
    defaults = {
        option.keyword.decode(): (option.compiled or b"").decode()
        for option in pq.Conninfo.get_defaults()
    }
    wanted = {
        key: value
        for key, value in found.items()
        if key not in _LEFT_OUT and (key in login.where or value != defaults.get(key, ""))
    }
    wanted |= {key: found[key] for key in ("host", "port") if found.get(key)}
    # Strict parameters that parameters() cannot show: it settles by way of this one.
    if binding := login.where.get("channel_binding") or os.environ.get("PGCHANNELBINDING"):
        wanted["channel_binding"] = binding
    return make_conninfo("", **{**wanted, **given, "application_name": name})


def strict_tls(login: Login) -> bool:
    """Say whether the login goes no way but by TLS."""
    found = parameters({**login.where, "user": login.role})
    return not isinstance(found, Refusal) and found.get("sslmode") in _STRICT


def environment(login: Login | None, *, dumps: bool = False) -> dict[str, str]:
    """Return a program's environment, *with* the login's password; pg_dump's if it ``dumps``."""
    __tracebackhide__ = True
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_STEERS)}
    kept["LC_ALL"] = "C"
    # Whatever is not given here must not be found in a file that ours did not look into.
    kept["PGPASSFILE"] = NO_PASSWORD["passfile"]
    if login is not None:
        settings = _SHAPES + _OF_DUMPS * dumps
        kept |= {"PGTZ": "UTC", "PGOPTIONS": " ".join(f"-c {setting}" for setting in settings)}
    if login is not None and (password := effective_password(login)) is not None:
        kept["PGPASSWORD"] = password.reveal()
    return kept
