"""What proves a password by SCRAM without deriving it again: libpq 18 takes it (docs/decisions).

A login costs its client 4096 rounds of hashing, whose result is the same each time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.secret import Secret

if TYPE_CHECKING:
    from psycopg import Connection

_VERIFIER = re.compile(r"SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):(.+)")
_STORED = """
SELECT a.rolpassword FROM pg_catalog.pg_authid AS a
 WHERE a.rolname OPERATOR(pg_catalog.=) %(role)s
"""


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """A password's keys for one verifier. Who has them can log in: they never print either."""

    client: Secret
    server: Secret

    def parameters(self) -> dict[str, str]:
        """Return what libpq takes."""
        return {
            "scram_client_key": self.client.reveal(),
            "scram_server_key": self.server.reveal(),
        }


def keys_of(connection: Connection[Any], role: str, password: Secret) -> Keys | None:
    """Return the keys of a role's password; ``connection`` is a superuser's, whom nobody watches.

    None where its password is stored in another way, or is another one.
    """
    __tracebackhide__ = True
    found = connection.execute(_STORED.encode(), {"role": role}).fetchone()
    return keys(Secret(found[0]), password) if found and found[0] else None


def keys(verifier: Secret, password: Secret) -> Keys | None:
    """Return the keys of the password of which ``verifier`` is one, else None."""
    __tracebackhide__ = True
    parts = _VERIFIER.fullmatch(verifier.reveal())
    if parts is None:
        return None
    iterations, salt, stored, _ = parts.groups()
    # A password that SASLprep would change is not proved by this, and is seen below.
    derived = hashlib.pbkdf2_hmac(
        "sha256", password.reveal().encode(), base64.b64decode(salt), int(iterations)
    )
    client = hmac.digest(derived, b"Client Key", "sha256")
    if base64.b64encode(hashlib.sha256(client).digest()).decode() != stored:
        return None
    server = hmac.digest(derived, b"Server Key", "sha256")
    return Keys(client=_secret(client), server=_secret(server))


def _secret(key: bytes) -> Secret:
    return Secret(base64.b64encode(key).decode())
