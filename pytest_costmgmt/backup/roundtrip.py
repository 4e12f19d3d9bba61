"""Does this backup become the same database again? Tried on a server, in a database of ours."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import msgspec

from pytest_costmgmt.backup import archive, disk, leftover
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.deed import Deed
from pytest_costmgmt.backup.model import Difference, Proof
from pytest_costmgmt.backup.occupied import powers
from pytest_costmgmt.backup.progress import Progress, Told, nobody
from pytest_costmgmt.backup.restore import DAYS, Refused, able, chosen
from pytest_costmgmt.backup.scratch import CONNECT, maintenance
from pytest_costmgmt.backup.site import site
from pytest_costmgmt.backup.workshop import Choose, Crew, build, cores, proven, survey
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login


class Roundtrip(msgspec.Struct, frozen=True, kw_only=True):
    """A restore that was proven and removed.

    ``pending`` are the proof's differences that only an administrator could have avoided, by
    ``fixes``.
    """

    proof: Proof
    pending: tuple[Difference, ...] = ()
    fixes: tuple[Deed, ...] = ()


def scratch_name(run_id: str) -> str:
    """Return the name of a run's scratch database."""
    return f"{leftover.SCRATCH}{run_id}"


def roundtrip(
    folder: Path,
    target: Login,
    *,
    clients: Clients | Choose,
    run_id: str,
    source: Login | None = None,
    accept_disk_risk: bool = False,
    jobs: int | None = None,
    told: Told = nobody,
    stop: Stop = never,
    deadline: float = DAYS,
) -> Roundtrip:
    """Restore into a scratch database of this run, prove it, and remove it in any case.

    ``source``, the database that was backed up, serves only to name rows that differ.
    Raises as :func:`restore.restore` does.
    """
    manifest = manifests.read(folder)
    name = scratch_name(run_id)
    login = maintenance(target, avoid=name)
    with closing(connect(login, deadline=CONNECT)) as connection:
        rights = powers(connection)
        job, said = survey(connection, folder, manifest, rights)
        if refusals := (*able(rights, manifest), *said):
            raise Refused("the restore into a scratch database", refusals)
        leftover.sweep(connection, login, leftover.rehearsals, told)
        room = disk.require(connection, manifest, accepted=accept_disk_risk)
        told(Progress(stage="disk", about=room))
    crew = Crew(
        clients=chosen(clients, manifest, rights),
        jobs=jobs or cores(),
        told=told,
        stop=stop,
        deadline=deadline,
    )
    archive.verify(folder, clients=crew.clients, told=told, stop=stop)
    with site(login, name, told=told) as place:
        left = build(place, job, crew)
        proof, pending, fixes = proven(place, job, crew, left, source=source)
    return Roundtrip(proof=proof, pending=pending, fixes=fixes)
