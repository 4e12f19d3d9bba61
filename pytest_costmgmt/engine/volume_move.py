"""Move data that is off the volume onto it: backup, copy, upgrade, proof, or the way back."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import msgspec

from pytest_costmgmt.backup import dump
from pytest_costmgmt.backup import manifest as manifests
from pytest_costmgmt.backup.model import ARCHIVE, Difference
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.engine.backup_shown import shown
from pytest_costmgmt.engine.backup_way import Way
from pytest_costmgmt.errors import BackupFailed, CostMgmtError, StepFailed
from pytest_costmgmt.initialize import deploy_volume as volume
from pytest_costmgmt.initialize.deploy import superuser
from pytest_costmgmt.initialize.deploy_site import POD, SET, Site, at, merged
from pytest_costmgmt.initialize.deploy_volume import STEP, Moving
from pytest_costmgmt.kubernetes.shapes import Pod, StatefulSet
from pytest_costmgmt.postgres.login import Login

NOTE = "volume"


class Move:
    """One move; made anew by each run, its state is the Lease's note."""

    def __init__(
        self, site: Site, *, folder: Path | None, environ: Mapping[str, str], connect: float
    ) -> None:
        self.site, self.environ, self.connect = site, environ, connect
        self.folder = folder
        self.moving = self._noted()

    def _noted(self) -> Moving | None:
        assert self.site.lease is not None  # noqa: S101 - a dry run has no move
        text = self.site.lease.notes.get(NOTE)
        return msgspec.json.decode(text, type=Moving) if text else None

    def _note(self, moving: Moving | None) -> None:
        assert self.site.lease is not None  # noqa: S101
        text = None if moving is None else msgspec.json.encode(moving).decode()
        self.site.lease.note(NOTE, text)
        self.moving = moving

    def prepare(self) -> Site:
        """Copy the data into the claim, unless that is done; return the site for the upgrade."""
        there = self.site.reader.stateful_set(SET)
        mount = volume.place(there)
        if mount is None:
            told = "a run before moved it: to be proven" if self.moving else "the data is on it"
            self.site.done(STEP, "present", told)
            return self._upgradable() if self.moving else self.site
        assert there is not None  # noqa: S101 - it has a place
        if not mount:
            raise StepFailed(
                STEP,
                f"StatefulSet {SET} has no claim at all: there is no volume to move to",
                hint="costmgmt backup --namespace, then install anew, and costmgmt restore.",
            )
        pod = self._pod()
        self._again()
        with superuser(self.site) as login, self._undone(login):
            self._copied(login, there, pod, mount)
        return self._upgradable()

    def _pod(self) -> Pod:
        pod = self.site.reader.pod(POD)
        if pod is None or not pod.ready:
            raise StepFailed(
                STEP,
                f"pod {POD} is not ready, and the only copy of the data is in it",
                hint=f"See kubectl -n {self.site.namespace} describe pod {POD}; do not delete it.",
            )
        return pod

    def _again(self) -> None:
        """Undo what a killed run had begun: what it copied is not what the server has now."""
        if self.moving is None:
            return
        volume.take_word_back(self.site)
        with superuser(self.site) as login:
            volume.thaw(login, self.moving.roles, deadline=self.connect)
        self.site.done(STEP, "changed", "a run before was killed: its copy is begun anew")
        self._note(None)

    @contextmanager
    def _undone(self, login: Login) -> Iterator[None]:
        """Let everybody write again if the copy fails; nothing else was changed by then."""
        try:
            yield
        except BaseException:
            if self.moving is not None:
                try:
                    volume.take_word_back(self.site)
                    volume.thaw(login, self.moving.roles, deadline=self.connect)
                    self._note(None)
                except CostMgmtError as error:
                    self.site.say(f"  the roles stay read-only until the next run: {error.message}")
            raise

    def _copied(self, login: Login, there: StatefulSet, pod: Pod, mount: str) -> None:
        site, connect = self.site, self.connect
        server = volume.ask(login, deadline=connect)
        volume.alone(login, deadline=connect)
        claim = volume.Claim(site, pod, mount)
        claim.check(server)
        backup = self._backup_folder()
        last = site.helm.status(there.meta.release) if there.meta.release else None
        moving = Moving(
            system=server.system,
            backup=str(backup),
            databases=server.databases,
            roles=volume.to_freeze(login, deadline=connect),
            release=there.meta.release,
            revision=last.revision if last is not None else 0,
            image=next(c.image for c in pod.template.containers if c.name == "postgresql"),
            application=volume.application(site, there),
        )
        for name in server.databases:
            self._back_up(login.on(name), backup / name)
        self._note(moving)
        volume.freeze(login, moving.roles, deadline=connect)
        site.done(STEP, "changed", f"read-only until it is proven: {', '.join(moving.roles)}")
        volume.alone(login, deadline=connect)
        # What was written between the backup and the freeze would be in the copy alone.
        try:
            self._prove(login, backup)
        except BackupFailed as error:
            raise StepFailed(
                STEP,
                f"somebody wrote during the backup: {error.message}",
                hint="Stop the application, and run it again: nothing was changed.",
            ) from None
        site.begin("volume copy")
        claim.copy(server)
        site.done(STEP, "changed", f"copied into {claim.data} of the claim")
        volume.alone(login, deadline=connect)
        site.lease_check()
        volume.give_word(site, there)

    def _backup_folder(self) -> Path:
        stamp = f"{datetime.now(timezone.utc):%Y%m%d%H%M%S}"
        name = f"costmgmt-before-move-{self.site.namespace}-{stamp}"
        folder = ((self.folder or Path()) / name).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _back_up(self, login: Login, out: Path) -> None:
        dump.must_be_free(out)
        way = Way(login, bindir=None, environ=self.environ, deadline=self.connect)
        with shown(sys.stderr) as told:
            dump.backup(
                login,
                out,
                clients=way.clients(way.number),
                with_role_passwords=True,
                told=told,
                run_id=self.site.run,
            )
        self.site.done(f"backup of {login.database}", "created", str(out))

    def _prove(self, login: Login, backup: Path) -> None:
        """Raise BackupFailed unless every database is what its backup says."""
        assert self.moving is not None  # noqa: S101
        for name in self.moving.databases:
            manifest = manifests.read(backup / name)
            way = Way(login.on(name), bindir=None, environ=self.environ, deadline=self.connect)
            with shown(sys.stderr) as told:
                proof = prove(
                    manifest,
                    backup / name / ARCHIVE,
                    login.on(name),
                    clients=way.clients(way.number),
                    jobs=len(os.sched_getaffinity(0)),
                    told=told,
                )
            role = self.moving.application
            found = [each for each in proof.differences if not _expected(each, role)]
            if found:
                told_ = "; ".join(
                    f"{d.of}: {d.name} is {d.found}, was {d.expected}" for d in found[:5]
                )
                raise BackupFailed(f"database {name} is not what its backup says: {told_}")

    def _upgradable(self) -> Site:
        """Return the site with the image that the data is of: another one is a later step."""
        assert self.moving is not None  # noqa: S101
        image = {"postgresql": {"image": volume.image_values(self.moving.image)}}
        wanted = self.site.wanted
        if (said := at(wanted.values, "postgresql", "image")) is not None:
            self.site.say(f"  the values' image ({said}) waits for a later run: the data first")
        values = merged(wanted.values, image)
        return msgspec.structs.replace(
            self.site, wanted=msgspec.structs.replace(wanted, values=values)
        )

    def finish(self) -> None:
        """Prove that the new pod serves the same data, let everybody write, and name the traps."""
        moving, site = self.moving, self.site
        if moving is None:
            return
        site.begin("volume proof")
        backup = self._kept(moving)
        with superuser(site) as login:
            server = volume.ask(login, deadline=self.connect)
            try:
                if server.system != moving.system:
                    raise BackupFailed(f"the new pod serves {server.system}, not {moving.system}")
                self._prove(login, backup)
            except CostMgmtError as error:
                raise StepFailed(STEP, error.message, hint=_way_back(site, moving)) from None
            volume.thaw(login, moving.roles, deadline=self.connect)
        volume.unmark(site)
        self._note(None)
        told = f"system_identifier {moving.system}, and every row as in the backup"
        site.done(STEP, "changed", f"the data is on it: {told}")
        site.say(f"  the backup stays in {backup}")
        if moving.revision:
            site.say(
                f"  never helm rollback {moving.release} to revision {moving.revision} or before:"
                " there the volume is mounted elsewhere, and a rollback asks nobody"
            )

    def _kept(self, moving: Moving) -> Path:
        backup = Path(moving.backup)
        if self.folder is not None:
            backup = self.folder / backup.name
        if all((backup / name).is_dir() for name in moving.databases):
            return backup
        raise StepFailed(
            STEP,
            f"the backup that the move is proven by is not in {backup} on {socket.gethostname()}",
            hint="Run it where that was made, or name the folder by --backup-to.",
        )


def _expected(difference: Difference, role: str) -> bool:
    """Say whether it is of our making, or of the image's, which sets ``role``'s password anew."""
    frozen = volume.FROZEN in f"{difference.name} {difference.expected} {difference.found}"
    return frozen or (difference.of == f"role {role}" and difference.name == "password")


def _way_back(site: Site, moving: Moving) -> str:
    lines = [
        "The roles stay read-only. The data as it was before is in the backup; to bring it back:",
        *(
            f"    costmgmt restore {moving.backup}/{name} --namespace {site.namespace}"
            f" --database {name} --replace --accept-lost-writes"
            for name in moving.databases
            if name != "postgres"
        ),
    ]
    lines += [f"    ALTER ROLE {role} RESET {volume.FROZEN};" for role in moving.roles]
    return "\n".join(lines)
