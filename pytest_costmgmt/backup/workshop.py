"""A backup made a database again, in a place of its own, and proven there: for whoever needs one.

Every step raises at the first error of any statement; the place is removed by its owner
(:func:`site.site`).
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup import collations
from pytest_costmgmt.backup import restore_extensions as extensions
from pytest_costmgmt.backup import restore_roles as roles
from pytest_costmgmt.backup.acl import grantees
from pytest_costmgmt.backup.deed import Deed, do_all, unexplained
from pytest_costmgmt.backup.leftover import mark
from pytest_costmgmt.backup.model import ARCHIVE, Difference, Extension, Manifest, Proof
from pytest_costmgmt.backup.occupied import Powers
from pytest_costmgmt.backup.progress import Progress, Sizes, Told
from pytest_costmgmt.backup.restore_database import WHOLE, missing_tablespaces, settlements
from pytest_costmgmt.backup.scratch import CONNECT
from pytest_costmgmt.backup.site import Site, spreads
from pytest_costmgmt.errors import BackupFailed, CostMgmtError
from pytest_costmgmt.postgres.clients import ClientFailed, Clients
from pytest_costmgmt.postgres.command import Stop
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login

if TYPE_CHECKING:
    from psycopg import Connection

NAME = "pytest-costmgmt restore"
ERRORS_TOLD = 12
LIMIT = "connection limit"

Choose = Callable[[int, int], Clients]
"The clients that read an archive of one server version for another."


class NotEqual(CostMgmtError, AssertionError):
    """What was restored is not what the backup says; ``proof`` tells each difference."""

    def __init__(self, proof: Proof, wrong: tuple[Difference, ...]) -> None:
        lines = [each.line for each in wrong] or ["nothing was compared"]
        super().__init__(
            "the restored database is not what the backup says:\n"
            + "\n".join(f"  {line}" for line in lines[:20])
            + (f"\n  and {len(lines) - 20} more" if len(lines) > 20 else "")  # noqa: PLR2004
        )
        self.proof, self.wrong = proof, wrong


class Crew(msgspec.Struct, frozen=True, kw_only=True):
    """With what it is done, by whom it is heard, and until when."""

    clients: Clients
    jobs: int
    told: Told
    stop: Stop
    deadline: float


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What is restored where, and what the server says about it."""

    folder: Path
    manifest: Manifest
    powers: Powers
    roles: dict[str, bool]
    extensions: dict[str, bool]

    @property
    def archive(self) -> Path:
        """The folder that pg_dump wrote."""
        return (self.folder / ARCHIVE).absolute()


def survey(
    connection: Connection[Any], folder: Path, manifest: Manifest, powers: Powers
) -> tuple[Job, list[str]]:
    """Return the job, and why this login cannot do it on this server: before anything is made."""
    job = Job(
        folder=folder,
        manifest=manifest,
        powers=powers,
        roles=roles.on_server(connection),
        extensions=extensions.available(connection, manifest),
    )
    said = extensions.missing(manifest, job.extensions)
    said += missing_tablespaces(connection, manifest)
    return job, said + _not_ours(job)


def _not_ours(job: Job) -> list[str]:
    """Return the refusals for owners that the login cannot act for."""
    if job.powers.superuser:
        return []
    said = []
    for owner in sorted(roles.owners(job.manifest)):
        if owner not in job.roles and not job.powers.createrole:
            said.append(
                f"role {owner}, which owns something in the backup, is not on the server, and role"
                f" {job.powers.role} may not create it: it has not CREATEROLE"
            )
        elif not job.roles.get(owner, True):
            said.append(
                f"role {job.powers.role} may not act for role {owner}, which owns something in the"
                " backup: restore as that role, as one that was granted it, or as a superuser"
            )
    granted = {*grantees(job.manifest)} - roles.owners(job.manifest) - {*job.roles}
    if granted and not job.powers.createrole:
        said.append(
            f"roles that something in the backup is granted to are not on the server:"
            f" {', '.join(sorted(granted))}; CREATE ROLE each of them first"
        )
    return said


def build(site: Site, job: Job, crew: Crew) -> tuple[Deed, ...]:
    """Make the database as it was; return the deeds that the login may not do."""
    owner = job.manifest.database.owner
    spread = spreads(array("q", (each.bytes for each in job.manifest.relations)), crew.jobs)
    with closing(connect(site.login, deadline=CONNECT)) as connection:
        left = _make_roles(site, connection, job)
        crew.told(Progress(stage="creating", about=site.name))
        site.create(connection, job.manifest.database, owner=owner, spread=spread)
    collations.must_be_there(site.login.on(site.name), job.manifest.collations)
    unmade = extensions.forbidden(job.manifest, job.extensions)
    _load(site, job, crew, unmade)
    # Another connection: one that was silent for hours may be one that is gone.
    with closing(connect(site.login, deadline=CONNECT)) as connection:
        site.give_back(connection)
        left += list(do_all(connection, _settlements(site, job)))
    return (*left, *(extensions.deed(each, site.name) for each in unmade))


def _settlements(site: Site, job: Job) -> tuple[Deed, ...]:
    return settlements(job.manifest, site.name, {*job.roles, *site.roles})


def _make_roles(site: Site, connection: Connection[Any], job: Job) -> list[Deed]:
    """Make the roles that are missing, before anything is given to them."""
    left: list[Deed] = []
    missing = [role.name for role in job.manifest.roles if role.name not in job.roles]
    owners = roles.owners(job.manifest)
    for role, deed in zip(missing, roles.creations(job.manifest, job.roles), strict=True):
        if not site.make_role(connection, deed, role):
            if role in owners:
                raise BackupFailed(
                    f"role {role}, which owns something in the backup, could not be created",
                    hint="\n".join(("An administrator must run:", *deed.sql)),
                )
            left.append(deed)
        elif role in owners and not job.powers.superuser:
            site.borrow(connection, role)
    done = set(site.roles)
    number = job.powers.server_number
    adornments = roles.adornments(job.manifest, job.roles, number)
    return [*left, *(do_all(connection, adornments) if done else adornments)]


def _load(site: Site, job: Job, crew: Crew, without: Iterable[Extension]) -> None:
    """Run pg_restore. Raises BackupFailed with the first errors that it told."""
    heard = _Heard(job.manifest, crew.told)
    with extensions.listing(crew.clients, job.archive, without, stop=crew.stop) as entries:
        with entries.open("rb") as lines:
            heard.total = sum(1 for line in lines if line[:1].isdigit())
        arguments = [
            "--format=directory", "--exit-on-error", "--verbose", f"--jobs={crew.jobs}",
            f"--use-list={entries}", "--", str(job.archive),
        ]  # fmt: skip
        try:
            crew.clients.run(
                "pg_restore",
                arguments,
                site.login.on(site.name),
                deadline=crew.deadline,
                heard=heard,
                stop=crew.stop,
                name=NAME,
            )
        except ClientFailed:
            if not heard.errors:
                raise
            raise BackupFailed(
                "pg_restore failed, and what it made was removed:\n" + "\n".join(heard.errors),
            ) from None


class _Heard:
    """What pg_restore says while it works: how far it is, and its errors."""

    def __init__(self, manifest: Manifest, told: Told) -> None:
        self.told = told
        self.errors: list[str] = []
        self.total = self.done = self.bytes = 0
        # A name may be in several schemas; the sum is right when all are done.
        self.sizes = Sizes((each.name, each.bytes) for each in manifest.relations)

    def __call__(self, line: str) -> None:
        """Take one line, or the piece of one that is not ended yet."""
        if (": error: " in line or line.startswith(("Command was:", "DETAIL:", "HINT:"))) and (
            len(self.errors) < ERRORS_TOLD and line not in self.errors
        ):
            self.errors.append(line)
        _, finished, what = line.partition("pg_restore: finished item ")
        if finished:
            self._finished(what)

    def _finished(self, what: str) -> None:
        self.done += 1
        _, data, name = what.partition(" TABLE DATA ")
        if data:
            self.bytes += self.sizes.take(name) or 0
        self.told(
            Progress(
                stage="restoring",
                done=self.done,
                total=self.total,
                bytes=self.bytes,
                total_bytes=self.sizes.total,
                about=name if data else "",
            )
        )


def proven(
    site: Site, job: Job, crew: Crew, left: tuple[Deed, ...], *, source: Login | None = None
) -> tuple[Proof, tuple[Difference, ...], tuple[Deed, ...]]:
    """Return the proof, what in it awaits an administrator, and all that he must run.

    Raises NotEqual for any difference that nobody is told to end.
    """
    from pytest_costmgmt.backup.proof import prove  # noqa: PLC0415 - what needs no proof goes on

    proof = prove(
        _visible(job, crew.told),
        job.archive,
        site.login.on(site.name),
        clients=crew.clients,
        jobs=crew.jobs,
        source=source,
        aside=True,
        told=lambda said: crew.told(
            said if isinstance(said, Progress) else Progress(stage="proving", about=said)
        ),
        stop=crew.stop,
        deadline=crew.deadline,
    )
    # Limit and comment are given with the name: the one would keep the proof's own sessions out,
    # the other says until then that it is half made.
    differences = tuple(
        each
        for each in proof.differences
        if each.of != WHOLE
        or (each.name != LIMIT and (each.name, each.found) != ("comment", mark(site.name)))
    )
    proof = msgspec.structs.replace(proof, differences=differences)
    wrong, pending = unexplained(differences, left)
    theirs = roles.differing(job.manifest, wrong, job.powers.server_number)
    wrong, also = unexplained(wrong, theirs)
    if wrong or proof.compared.get("schema entries", 0) <= 0:
        raise NotEqual(proof, wrong)
    return proof, (*pending, *also), (*left, *theirs)


def _visible(job: Job, told: Told) -> Manifest:
    """Return the manifest without what this login may not see: roles' verifiers."""
    if job.powers.superuser or all(role.verifier is None for role in job.manifest.roles):
        return job.manifest
    about = "roles' passwords are not compared: only a superuser sees their verifiers"
    told(Progress(stage="proving", about=about))
    seen = tuple(msgspec.structs.replace(role, verifier=None) for role in job.manifest.roles)
    return msgspec.structs.replace(job.manifest, roles=seen)


def cores() -> int:
    """Return how many jobs at once this machine is good for."""
    return max(1, min(len(os.sched_getaffinity(0)), 16))
