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


def create_password_file(path: Path) -> bool:
    """Write a generated password into ``path`` unless it exists; say whether it was written.

    A new file has mode 0600 and is complete or absent; two runs at once agree on one password.
    """
    __tracebackhide__ = True
    try:
        return not path.exists() and _write_once(path, Secret.generate())
    except OSError as error:
        raise UsageProblem(
            f"The password file {path.name} does not exist and cannot be made: {error.strerror}."
        ) from None


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
