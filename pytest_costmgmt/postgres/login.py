"""A way into a server: where it is, who asks, with what, for which database."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from pytest_costmgmt.postgres.scram import Keys
from pytest_costmgmt.secret import Secret


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """One role's way into one database of one server.

    ``where`` holds libpq's connection parameters (host, hostaddr, port, sslmode, service,
    passfile, ...) without user, password and dbname. ``password`` None leaves it to libpq
    (PGPASSWORD, PGPASSFILE, service file). ``named`` is where the server is, where libpq's
    parameters lead only to a door of ours. ``keys`` prove the password at less cost, where libpq
    knows how; they stay in this process.
    """

    role: str
    database: str
    where: dict[str, str]
    password: Secret | None = None
    named: str = ""
    keys: Keys | None = None

    def on(self, database: str) -> Login:
        """Return the same login for another database."""
        return msgspec.structs.replace(self, database=database)

    def acting_as(self, role: str, password: Secret | None, *, database: str) -> Login:
        """Return another role's login to the same server."""
        return Login(
            role=role, database=database, where=self.where, password=password, named=self.named
        )

    @property
    def label(self) -> str:
        """Where the server is, in words that a person knows it by."""
        if self.named:
            return self.named
        if (host := self.where.get("host") or self.where.get("hostaddr")) is None:
            if (service := self.where.get("service")) is not None:
                return f"service {service}"
            host = "the local socket"
        if host.startswith("/"):
            return f"socket in {host}"
        return f"{host}:{self.where.get('port', '5432')}"


def pack(login: Login | None) -> dict[str, Any] | None:
    """Return ``login`` as plain data, *with* its password, for the pipe to a worker only."""
    if login is None:
        return None
    return {
        "role": login.role,
        "database": login.database,
        "where": dict(login.where),
        "password": None if login.password is None else login.password.reveal(),
        "named": login.named,
    }


def unpack(data: Mapping[str, Any] | None) -> Login | None:
    """Return the login that :func:`pack` packed."""
    if data is None:
        return None
    password = data["password"]
    return Login(
        role=data["role"],
        database=data["database"],
        where=dict(data["where"]),
        password=None if password is None else Secret(password),
        named=data["named"],
    )
