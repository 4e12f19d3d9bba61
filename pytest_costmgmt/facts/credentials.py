"""What is known of the credentials without showing them: shapes, files' modes, arguments."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.facts.access import Logins
from pytest_costmgmt.options import BY_NAME
from pytest_costmgmt.postgres.appraise import Appraisal, appraise, in_arguments
from pytest_costmgmt.postgres.connect import parameters
from pytest_costmgmt.postgres.dsn import effective_password
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqlstate import Refusal
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.settings import Settings

_PASSWORD_LINE = re.compile(rb"^\s*(password|sslpassword)\s*=\s*\S", re.MULTILINE)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """One role's password: ``shape`` is None if it is not known here."""

    who: str
    role: str
    shape: Appraisal | None = None
    shown_by: tuple[str, ...] | None = ()
    "Processes of ours that have it in their arguments; None where the system hides them."


class PasswordFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that holds a password, and its mode's bits."""

    what: str
    path: str
    mode: int

    @property
    def open_to_others(self) -> bool:
        """Whether the group or everybody has any access."""
        return bool(self.mode & 0o077)


class CredentialFacts(msgspec.Struct, frozen=True, kw_only=True):
    """Credentials of the roles application and hive, and administrator if one was given."""

    credentials: tuple[Credential, ...]
    files: tuple[PasswordFile, ...] = ()
    same: bool = False
    "Whether the application's and hive's are equal."

    def of(self, who: str) -> Credential | None:
        """Return the credential of "application", "hive" or "administrator"."""
        return next((found for found in self.credentials if found.who == who), None)


def collect(
    server: Logins,
    settings: Settings,
    environ: Mapping[str, str],
    requirements: Requirements | None = None,
) -> CredentialFacts:
    """Return what may be told; nothing is connected to."""
    needs = requirements or load(settings.requirements)
    application = effective_password(server.application)
    hive = None if server.hive is None else server.hive.password
    admin = None if server.administrator is None else effective_password(server.administrator)
    known = {"application": application, "hive": hive, "administrator": admin}
    secrets = {who: secret for who, secret in known.items() if secret is not None}
    shown = in_arguments(secrets, os.getpid())
    names = {
        server.application.role,
        server.application.database,
        needs.role.name,
        needs.database.name,
        needs.hive.role,
        needs.hive.database,
    }
    roles = {"application": server.application.role}
    if needs.hive.policy == "required":
        roles["hive"] = needs.hive.role
    if server.administrator is not None:
        roles["administrator"] = server.administrator.role
        names = {*names, server.administrator.role}
    return CredentialFacts(
        credentials=tuple(
            Credential(
                who=who,
                role=role,
                shape=_shape(secrets.get(who), names, needs, who),
                shown_by=None if shown is None else shown.get(who, ()),
            )
            for who, role in roles.items()
        ),
        files=tuple(_files(server, settings, environ)),
        same=application is not None and application == hive,
    )


def _shape(
    secret: Secret | None, names: set[str], needs: Requirements, who: str
) -> Appraisal | None:
    if secret is None:
        return None
    forbidden = needs.hive.forbidden_passwords if who == "hive" else ()
    return appraise(secret, names=names, forbidden=forbidden)


def _files(
    server: Logins, settings: Settings, environ: Mapping[str, str]
) -> Iterator[PasswordFile]:
    for option in ("password-file", "admin-password-file", "hive-password-file"):
        if (path := getattr(settings, BY_NAME[option].attribute)) is not None:
            yield from _file(f"--costmgmt-{option}", path)
    for path in dict.fromkeys(_passfiles(server, environ)):
        yield from _file("libpq's password file", Path(path))
    for path in dict.fromkeys(_service_files(server, environ)):
        yield from _service_file(path)


def _file(what: str, path: Path) -> Iterator[PasswordFile]:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
    except OSError:
        return  # it is not there, so it holds nothing
    yield PasswordFile(what=what, path=str(path), mode=mode)


def _passfiles(server: Logins, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the password file of each login: what it says itself goes before the environment."""
    for login in (server.application, server.administrator):
        if login is not None:
            given = login.where.get("passfile") or environ.get("PGPASSFILE")
            if (path := given or _default_passfile(login)) is not None:
                yield path


def _default_passfile(login: Login) -> str | None:
    found = parameters({**login.where, "user": login.role, "dbname": login.database})
    return None if isinstance(found, Refusal) else found.get("passfile")


def _service_files(server: Logins, environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the service files that libpq reads for each login that names a service."""
    for login in (server.application, server.administrator):
        if login is None or not (login.where.get("service") or environ.get("PGSERVICE")):
            continue
        if given := login.where.get("servicefile") or environ.get("PGSERVICEFILE"):
            yield Path(given)
        else:
            yield Path("~/.pg_service.conf").expanduser()
        if folder := environ.get("PGSYSCONFDIR"):
            yield Path(folder) / "pg_service.conf"


def _service_file(path: Path) -> Iterator[PasswordFile]:
    """Yield a service file if it holds a password: without one, others may read it."""
    try:
        if not path.is_file() or not _PASSWORD_LINE.search(path.read_bytes()):
            return
    except OSError:
        return
    yield from _file("libpq's service file", path)
