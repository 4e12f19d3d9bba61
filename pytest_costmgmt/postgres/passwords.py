"""Passwords on their way to a server: as SCRAM verifiers, never plain.

A plain password in a statement reaches the server's log as soon as the statement fails, is slow,
or is logged by log_statement; a verifier lets nobody in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.secret import Secret

if TYPE_CHECKING:
    from psycopg import Connection


def verifier(connection: Connection[Any], role: str, password: Secret) -> str:
    """Return the SCRAM-SHA-256 verifier of ``password``, computed here by libpq."""
    __tracebackhide__ = True
    # The algorithm is named: None would ask the server, whose password_encryption may be md5.
    return connection.pgconn.encrypt_password(
        password.reveal().encode(), role.encode(), b"scram-sha-256"
    ).decode()


def read_or_create(path: Path) -> tuple[Secret, bool]:
    """Return the password in the file ``path``, and whether it was generated and written just now.

    A new file has mode 0600 and is complete or absent; two runs at once agree on one password.
    """
    __tracebackhide__ = True
    try:
        created = False
        if not path.exists():
            created = _write_once(path, Secret.generate())
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageProblem(f"The password file {path.name} cannot be used: {why}.") from None
    password = Secret(text.removesuffix("\n").removesuffix("\r"))
    if not password:
        raise UsageProblem(
            f"The password file {path.name} is empty: write the password into it, or remove it and"
            " a new password is generated."
        )
    return password, created


def _write_once(path: Path, password: Secret) -> bool:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(password.reveal() + "\n")
        os.link(temporary, path)  # unlike a rename it does not replace another run's file
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    return True
