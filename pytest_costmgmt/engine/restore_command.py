"""The bodies of ``costmgmt restore`` and of ``costmgmt verify`` with a server."""

from __future__ import annotations

import os
import secrets
import shlex
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.deed import Deed, script
from pytest_costmgmt.backup.model import Difference, Manifest, Proof
from pytest_costmgmt.backup.restore import DAYS, Restored, restore
from pytest_costmgmt.backup.roundtrip import roundtrip, scratch_name
from pytest_costmgmt.backup.scratch import maintenance
from pytest_costmgmt.engine.backup_shown import shown
from pytest_costmgmt.engine.backup_way import Way, interruptible
from pytest_costmgmt.engine.release_way import reached
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres.clients import Clients, version_number
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.servers.cluster import Place

Echo = Callable[[str], None]

DONE, NOT_AS_IT_MUST_BE, NOT_KNOWN = 0, 1, 8
FIX = "fix.sql"
TOLD = 20


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a command that restores was asked for; without ``database`` it only tries."""

    folder: Path
    target: str
    place: Place | None = None
    database: str = ""
    replace: bool = False
    disconnect: bool = False
    drop_old: bool = False
    accept_lost_writes: bool = False
    accept_disk_risk: bool = False
    fix: Path | None = None
    password_file: Path | None = None
    bindir: Path | None = None
    jobs: int | None = None
    timeout: float = DAYS
    connect_timeout: float = 10.0


def run(wanted: Wanted, environ: Mapping[str, str], *, echo: Echo) -> int:
    """Restore a backup under a name; say what was proven, and what is left to do."""
    run_id = secrets.token_hex(4)
    with interruptible(), reached(wanted.target, wanted.password_file, wanted.place) as login:
        manifest = manifests.read(wanted.folder)
        target = maintenance(login, avoid=wanted.database, deadline=wanted.connect_timeout)
        clients = _clients(wanted, manifest, target, environ)
        echo(f"restore of {_whence(manifest)} as database {wanted.database} on {target.label}")
        del manifest  # it may be large, and what restores reads its own
        with shown(sys.stderr) as told:
            done = restore(
                wanted.folder,
                target,
                wanted.database,
                clients=clients,
                run_id=run_id,
                replace=wanted.replace,
                disconnect=wanted.disconnect,
                drop_old=wanted.drop_old,
                accept_lost_writes=wanted.accept_lost_writes,
                accept_disk_risk=wanted.accept_disk_risk,
                jobs=wanted.jobs,
                told=told,
                deadline=wanted.timeout,
            )
        _tell_name(done, echo)
        _tell_proof(done.proof, done.pending, echo)
        if not done.fixes:
            return DONE
        path = _write_fix(wanted.fix, done.fixes, f"restore of database {done.database}", run_id)
    _tell_fixes(done.fixes, path, echo)
    return NOT_AS_IT_MUST_BE


def verify(wanted: Wanted, environ: Mapping[str, str], *, echo: Echo) -> int:
    """Restore into a scratch database, prove it, remove it; say what came of it."""
    run_id = secrets.token_hex(4)
    with interruptible(), reached(wanted.target, wanted.password_file, wanted.place) as login:
        manifest = manifests.read(wanted.folder)
        avoid = scratch_name(run_id)
        target = maintenance(login, avoid=avoid, deadline=wanted.connect_timeout)
        clients = _clients(wanted, manifest, target, environ)
        echo(f"{_whence(manifest)}, restored into {scratch_name(run_id)} on {target.label}")
        del manifest  # it may be large, and what restores reads its own
        with shown(sys.stderr) as told:
            done = roundtrip(
                wanted.folder,
                target,
                clients=clients,
                run_id=run_id,
                accept_disk_risk=wanted.accept_disk_risk,
                jobs=wanted.jobs,
                told=told,
                deadline=wanted.timeout,
            )
    _tell_proof(done.proof, done.pending, echo)
    echo("The scratch database is removed.")
    if not done.pending:
        return DONE
    echo("Not proven by this login; a superuser's would prove it:")
    for each in done.pending[:TOLD]:
        echo(f"  {each.line}")
    return NOT_KNOWN


def _clients(
    wanted: Wanted, manifest: Manifest, target: Login, environ: Mapping[str, str]
) -> Clients:
    way = Way(target, bindir=wanted.bindir, environ=environ, deadline=wanted.connect_timeout)
    # The proof dumps the target's schema: the programs must be as new as that server.
    return way.clients(
        way.number,
        written_by=version_number(manifest.client),
        compression=manifest.compression,
    )


def _whence(manifest: Manifest) -> str:
    return (
        f"database {manifest.database.name} of PostgreSQL {manifest.server}, backed up"
        f" {manifest.created}"
    )


def _tell_name(done: Restored, echo: Echo) -> None:
    if not done.swap_seconds:
        return
    echo(f"database {done.database} is in its place after {done.swap_seconds * 1000:.0f} ms")
    if done.old_name:
        echo(f"the old one is kept as {done.old_name}; when nobody needs it any more:")
        echo(f"    DROP DATABASE {ident(done.old_name)};")


def _tell_proof(proof: Proof, pending: tuple[Difference, ...], echo: Echo) -> None:
    """Say what was compared, and what is right although it differs."""
    counted = ", ".join(f"{count} {what}" for what, count in proof.compared.items() if count)
    equal = "equal" if not pending else f"equal but for {len(pending)} things"
    echo(f"proven {equal} in {proof.seconds:.1f} s: {counted}")
    for each in proof.allowed[:TOLD]:
        echo(f"allowed ({each.rule}): {each.difference.line}: {each.reason}")
    if (left := len(proof.allowed) - TOLD) > 0:
        echo(f"allowed: {left} more")


def _tell_fixes(fixes: tuple[Deed, ...], path: Path, echo: Echo) -> None:
    echo(f"What this login may not do is in {path}, for an administrator:")
    for deed in fixes[:TOLD]:
        echo(f"  {' '.join(deed.what.split())} (needs {deed.needs})")
    if (left := len(fixes) - TOLD) > 0:
        echo(f"  and {left} more")
    echo(f"    psql -v ON_ERROR_STOP=1 -f {shlex.quote(str(path))} 'dbname=postgres user=...'")


def _write_fix(wanted: Path | None, fixes: tuple[Deed, ...], title: str, run_id: str) -> Path:
    """Write fix.sql; without a wish for its name, no file that exists is replaced."""
    text = script(fixes, title=title)
    path, flags = wanted or Path(FIX), os.O_WRONLY | os.O_CREAT
    if wanted is None and os.path.lexists(path):
        path = Path(f"fix-{run_id}.sql")
    flags |= os.O_TRUNC if wanted is not None else os.O_EXCL
    try:
        with os.fdopen(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageProblem(
            f"{path} could not be written: {error.strerror}. The restore is done; what is left:",
            hint=text,
        ) from None
    return path
