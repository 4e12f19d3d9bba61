"""Read what a release holds that no upgrade may change."""

from __future__ import annotations

from pytest_costmgmt.facts.upgrades import Held
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.secret_objects import secret_facts
from pytest_costmgmt.postgres.attempt import attempt
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.kept_row import KeptRow
from pytest_costmgmt.postgres.login import Login

_ROLES = "SELECT r.rolname::pg_catalog.text FROM pg_catalog.pg_roles AS r ORDER BY 1"
_EXTENSIONS = "SELECT e.extname::pg_catalog.text FROM pg_catalog.pg_extension AS e ORDER BY 1"


def held(
    reader: Reader,
    row: KeptRow,
    administrator: Login,
    application: Login,
    *,
    claim: str,
    secret: tuple[str, str],
    key: bytes,
    deadline: float,
) -> Held:
    """Return what is there now; ``secret`` is the password's Secret and key."""
    said, server = row.read()
    found = secret_facts(reader.api, reader.namespace, secret[0], key=key)
    part = None if found is None else found.key(secret[1])
    volume = reader.claim(claim)
    with (
        connect(administrator.on(application.database), deadline=deadline) as connection,
        read_only(connection, timeout=deadline) as cursor,
    ):
        roles = tuple(name for (name,) in cursor.execute(_ROLES.encode()))
        extensions = tuple(name for (name,) in cursor.execute(_EXTENSIONS.encode()))
    return Held(
        row=said,
        server=server,
        claim="" if volume is None else volume.meta.uid,
        secret="" if part is None else part.digest,
        opens=attempt(application, offered="own", deadline=deadline, retry=True).accepted,
        roles=roles,
        extensions=extensions,
    )
