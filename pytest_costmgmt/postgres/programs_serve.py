"""What a data folder needs to be served by us: configuration, command line, the first login."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pytest_costmgmt.errors import ProvisionFailed, ServerNotReady
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs_initdb import SUPERUSER
from pytest_costmgmt.postgres.programs_run import tail
from pytest_costmgmt.secret import Secret

PORT = "5432"
POLL_SECONDS = 0.004
_READY = "ready"

_SETTINGS = {
    "listen_addresses": "",
    "port": PORT,
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "max_locks_per_transaction": "128",
    # No POSIX shared memory: a killed server would leave it in /dev/shm.
    "dynamic_shared_memory_type": "mmap",
    "huge_pages": "off",
    # Nothing here outlives the run.
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_init_zero": "off",
    "max_wal_size": "512MB",
    "jit": "off",
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "datestyle": "iso, mdy",
    "default_text_search_config": "pg_catalog.english",
    "lc_messages": "C",
    "lc_monetary": "C",
    "lc_numeric": "C",
    "lc_time": "C",
    "log_destination": "stderr",
    # Each copy and each removal of a database asks for one or two.
    "log_checkpoints": "off",
    "logging_collector": "off",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}

_HBA = (
    "local all all scram-sha-256",
    "local replication all scram-sha-256",
    "host all all all scram-sha-256",
    "host replication all all scram-sha-256",
)


def configure(
    data: Path,
    *,
    socket_dir: Path,
    preload: bool,
    standin: Path | None,
    conf: Sequence[str],
    hba_first: Sequence[str],
) -> None:
    """Write the whole configuration of the stopped server in ``data``."""
    settings = dict(_SETTINGS, unix_socket_directories=str(socket_dir))
    if preload:
        settings["shared_preload_libraries"] = "pg_stat_statements"
    if standin is not None:
        settings["extension_control_path"] = f"{standin}:$system"
    lines = [f"{name} = {_quoted(value)}" for name, value in settings.items()]
    _write(data / "postgresql.conf", [*lines, *conf])
    _write(data / "pg_hba.conf", [*hba_first, *_HBA])
    # A template's ALTER SYSTEM would go before all that.
    _write(data / "postgresql.auto.conf", [])


def command(bindir: Path, data: Path) -> list[str]:
    """Return the postmaster's argument list."""
    return [str(bindir / "postgres"), "-D", str(data)]


def superuser(socket_dir: Path, password: Secret) -> Login:
    """Return the superuser's login to the server whose socket is in ``socket_dir``."""
    where = {"host": str(socket_dir), "port": PORT}
    return Login(role=SUPERUSER, database="postgres", where=where, password=password)


def until_ready(
    login: Login, *, data: Path, log: Path, ended: Callable[[float], str], deadline: float
) -> None:
    """Return when the server accepts connections.

    ``ended`` waits for so many seconds and returns what became of the postmaster, if it has
    ended: that ends the wait at once, with the log's last lines. Raises ServerNotReady.
    """
    start = time.monotonic()
    while (seen := _status(data)) != _READY:
        if why := ended(POLL_SECONDS):
            raise ProvisionFailed(f"The embedded server ended while starting: {why}.\n{said(log)}")
        if (waited := time.monotonic() - start) > deadline:
            raise ServerNotReady(
                f"The embedded server ({login.label})", waited, seen, hint=said(log)
            )


def _status(data: Path) -> str:
    """Return what the postmaster says of itself in the last line of postmaster.pid."""
    try:
        lines = (data / "postmaster.pid").read_text(encoding="ascii", errors="replace").split("\n")
    except FileNotFoundError:
        return "no process yet"
    return lines[7].strip() if len(lines) > 7 and lines[7].strip() else "starting"  # noqa: PLR2004


def said(log: Path) -> str:
    """Return the end of the server's log, as a sentence's continuation."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return f"Its log cannot be read: {error}"
    return f"Its log ends with:\n{tail(text)}" if text.strip() else "Its log is empty."


def change_password(login: Login, new: Secret, *, deadline: float) -> Login:
    """Give the superuser a password of this run's own; return the login with it."""
    from psycopg import sql  # noqa: PLC0415 - slow to import

    from pytest_costmgmt.postgres.connect import connect  # noqa: PLC0415

    with connect(login, deadline=deadline) as connection:
        verifier = connection.pgconn.encrypt_password(
            new.reveal().encode(), login.role.encode(), b"scram-sha-256"
        )
        # One round trip, and not for pg_stat_statements to keep.
        text = sql.SQL(
            "BEGIN; SET LOCAL pg_stat_statements.track_utility = off;"
            " ALTER ROLE {} PASSWORD {}; COMMIT"
        ).format(sql.Identifier(login.role), sql.Literal(verifier.decode()))
        connection.execute(text)
    return login.acting_as(login.role, new, database=login.database)


def write_passfile(path: Path, logins: Iterable[Login]) -> None:
    """Write the logins' passwords as a libpq password file, for us only."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as out:
        for login in logins:
            if login.password is not None:
                role = _escaped(login.role)
                out.write(f"*:{PORT}:*:{role}:{_escaped(login.password.reveal())}\n")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace(":", "\\:")


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _write(path: Path, lines: Sequence[str]) -> None:
    # The file exists and belongs to the server's user: only its content is replaced.
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
