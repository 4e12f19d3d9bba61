"""A server that others run: the logins that the operator named, resolved, not yet connected."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.options import BY_NAME
from pytest_costmgmt.postgres.dsn import (
    Parsed,
    login_of,
    parse_login,
    password_in_passfile,
    read_password_file,
)
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import Server
from pytest_costmgmt.settings import Settings, spelling


def external_server(
    settings: Settings, requirements: Requirements, environ: Mapping[str, str] = os.environ
) -> Server:
    """Return the server that the settings name; nothing is connected to.

    Raises UsageProblem for what the operator wrote wrongly: exit 4. What libpq knows (PGHOST...,
    a service, password files) is read from this process, whose environment ``environ`` is.
    """
    application = _application(settings, environ)
    return Server(
        mode="external",
        label=f"{application.label}, database {application.database}",
        ours=False,
        application=application,
        administrator=_administrator(settings, application),
        hive=_hive(settings, requirements, application),
    )


def _application(settings: Settings, environ: Mapping[str, str]) -> Login:
    if settings.dsn is not None:
        parsed = parse_login(settings.dsn, what=_name(settings, "dsn"), source=_of(settings, "dsn"))
        return _with_password(settings, parsed, "dsn", "password-file")
    if settings.service is not None:
        what = _name(settings, "service")
        parsed = Parsed(login_of({"service": settings.service}, what=what), None)
        return _with_password(settings, parsed, "service", "password-file")
    given = next((n for n in ("PGSERVICE", "PGHOSTADDR", "PGHOST") if environ.get(n)), "PGHOST")
    what = f"The server that {given} names"
    return _with_password(settings, Parsed(login_of({}, what=what), None), "dsn", "password-file")


def _administrator(settings: Settings, application: Login) -> Login | None:
    if settings.admin_dsn is None:
        if settings.admin_password_file is not None:
            raise UsageProblem(
                f"{_name(settings, 'admin-password-file')} has no login to go with it: give"
                " --costmgmt-admin-dsn too."
            )
        return None
    parsed = parse_login(
        settings.admin_dsn,
        what=_name(settings, "admin-dsn"),
        source=_of(settings, "admin-dsn"),
        beside=application,
    )
    login = _with_password(settings, parsed, "admin-dsn", "admin-password-file")
    if login.password is None:
        # PGPASSWORD, which libpq prefers, is the application's: offered to the administrator's
        # role it would count as a failed login.
        found = password_in_passfile(login)
        return login if found is None else msgspec.structs.replace(login, password=found)
    return login


def _hive(settings: Settings, requirements: Requirements, application: Login) -> Login | None:
    needs = requirements.hive
    if needs.policy == "forbidden":
        if settings.hive_password_file is not None:
            raise UsageProblem(
                f"{_name(settings, 'hive-password-file')} contradicts the requirement set"
                f" {requirements.name}, which forbids role {needs.role}: leave one of them out."
            )
        return None
    login = application.acting_as(needs.role, None, database=needs.database)
    password = _file(settings, "hive-password-file") or password_in_passfile(login)
    return None if password is None else msgspec.structs.replace(login, password=password)


def _with_password(settings: Settings, parsed: Parsed, dsn: str, file: str) -> Login:
    from_file = _file(settings, file)
    if from_file is None:
        return parsed.login
    if parsed.password is not None:
        raise UsageProblem(
            f"{_name(settings, dsn)} and {_name(settings, file)} both give a password: leave one"
            " of them out."
        )
    return msgspec.structs.replace(parsed.login, password=from_file)


def _file(settings: Settings, option: str) -> Secret | None:
    path: Path | None = getattr(settings, BY_NAME[option].attribute)
    return None if path is None else read_password_file(path, what=_name(settings, option))


def _name(settings: Settings, option: str) -> str:
    return spelling(BY_NAME[option], settings.source(option))


def _of(settings: Settings, option: str) -> str:
    return settings.source(option)
