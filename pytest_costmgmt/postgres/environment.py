"""The application's environment, as koku reads it: here a password becomes plain text.

Source: koku's koku/configurator.py, koku/database.py and koku/settings.py. It is for the
management command's process alone, never for argv, a log or ours.
"""

from __future__ import annotations

from pathlib import Path

from pytest_costmgmt.postgres.connect import parameters
from pytest_costmgmt.postgres.dsn import effective_password
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import Refusal
from pytest_costmgmt.secret import Secret

SERVICE = "database"
"DATABASE_SERVICE_NAME: koku upper-cases it into the prefix of the variables of host and port."

# What says how to reach and to trust the server; koku passes none of them on, libpq reads them.
_TLS = (
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "sslcrl",
    "sslcrldir",
    "sslcertmode",
    "sslnegotiation",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
    "channel_binding",
    "require_auth",
    "gssencmode",
    "krbsrvname",
)


def application_environment(
    application: Login, hive: Login | None, *, onprem: bool, scratch_folder: Path
) -> dict[str, str]:
    """Return the variables that the management command needs, *with* passwords.

    A password that the login leaves to libpq is resolved as libpq does. Without ``hive`` no
    HIVE_* is set. ``scratch_folder`` must be writable.
    """
    __tracebackhide__ = True
    given = {"user": application.role, "dbname": application.database}
    found = parameters({**application.where, **given})
    settled = {} if isinstance(found, Refusal) else found
    environment = {
        "DATABASE_SERVICE_NAME": SERVICE,
        "DATABASE_ENGINE": "postgresql",
        "DATABASE_SERVICE_HOST": settled.get("host") or application.where.get("host", ""),
        "DATABASE_SERVICE_PORT": settled.get("port") or application.where.get("port", "5432"),
        "DATABASE_NAME": application.database,
        "DATABASE_USER": application.role,
        "DATABASE_PASSWORD": _plain(effective_password(application)),
        "ONPREM": str(onprem),
        "DJANGO_SECRET_KEY": Secret.generate().reveal(),
        "PROMETHEUS_MULTIPROC_DIR": str(scratch_folder),
        # Always said: a PGHOSTADDR of our own environment would be another server.
        "PGHOSTADDR": settled.get("hostaddr", ""),
        **_trust(application, settled),
    }
    if hive is not None:
        environment |= {"HIVE_DATABASE_USER": hive.role, "HIVE_DATABASE_NAME": hive.database}
        if hive.password is not None:
            environment["HIVE_DATABASE_PASSWORD"] = hive.password.reveal()
    return environment


def _plain(password: Secret | None) -> str:
    return "" if password is None else password.reveal()


def _trust(application: Login, settled: dict[str, str]) -> dict[str, str]:
    """Return what makes koku's connection as strict as ours: never less TLS than was asked for."""
    wanted = {name: settled[name] for name in _TLS if settled.get(name)}
    if binding := application.where.get("channel_binding"):
        wanted["channel_binding"] = binding
    environment = {}
    for name, (variable, default) in _variables().items():
        # Our libpq's own default may not be the application's libpq's: only what was said counts.
        if name in wanted and (wanted[name] != default or name in application.where):
            environment[variable] = wanted[name]
    if wanted.get("sslmode") == "verify-full" and wanted.get("sslrootcert"):
        # koku's own way: any text in the first, and it demands verify-full by the second.
        environment["DATABASE_SERVICE_CERT"] = wanted["sslrootcert"]
        environment["DATABASE_SERVICE_CERTFILE"] = wanted["sslrootcert"]
    return environment


def _variables() -> dict[str, tuple[str, str]]:
    """Return libpq's own table: which variable sets a parameter, and the parameter's default."""
    from psycopg import pq  # noqa: PLC0415 - heavy

    return {
        option.keyword.decode(): (option.envvar.decode(), (option.compiled or b"").decode())
        for option in pq.Conninfo.get_defaults()
        if option.envvar
    }
