"""Copies of a healthy server: one for each fault, so that no fault meets another."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import Server, embedded
from tests.faults.harness import Bed, outcomes
from tests.faults.model import Fault


class Beds:
    """Copies of the healthy server, and what the suite says of an unharmed one."""

    def __init__(self, data: Path, server: Server, programs: Programs, folder: Path) -> None:
        self.data, self.server, self.programs, self.folder = data, server, programs, folder
        self._baselines: dict[tuple[Any, ...], dict[str, Any]] = {}

    @contextmanager
    def copy(
        self, folder: Path, conf: Sequence[str] = (), hba: Sequence[str] = ()
    ) -> Iterator[Bed]:
        """Start a copy of the healthy server; it is gone afterwards."""
        administrator = self.server.administrator
        assert administrator is not None
        with self._started(self.data, administrator, folder, conf, hba) as bed:
            yield bed

    @contextmanager
    def restarted(self, bed: Bed, hba: Sequence[str]) -> Iterator[Bed]:
        """Restart a bed's server, without the lines that were planted in its pg_hba.conf."""
        bed.instance.stop(keep=True)
        kept = bed.instance.data
        lines = (kept / "pg_hba.conf").read_text().splitlines()
        (kept / "pg_hba.conf").write_text("".join(f"{x}\n" for x in lines if x not in hba))
        try:
            with self._started(kept, bed.instance.superuser, bed.folder, (), ()) as again:
                yield again
        finally:
            remove(bed.instance)

    @contextmanager
    def _started(
        self,
        data: Path,
        administrator: Login,
        folder: Path,
        conf: Sequence[str],
        hba: Sequence[str],
    ) -> Iterator[Bed]:
        instance = embedded.start(
            run_id=f"fault-{secrets.token_hex(4)}",
            programs=self.programs,
            template=data,
            superuser_password=administrator.password,
            conf=conf,
            hba_first=hba,
        )
        try:
            yield Bed(
                server=self._moved(instance.superuser),
                programs=self.programs.bindir,
                folder=folder,
                instance=instance,
            )
        finally:
            instance.stop()

    def _moved(self, superuser: Login) -> Server:
        where = superuser.where

        def there(login: Login | None) -> Login | None:
            return None if login is None else msgspec.structs.replace(login, where=where)

        application = there(self.server.application)
        assert application is not None
        return msgspec.structs.replace(
            self.server,
            application=application,
            administrator=superuser,
            hive=there(self.server.hive),
        )

    def baseline(self, fault: Fault) -> dict[str, Any]:
        """Return the report of an unharmed copy under the same options, made once."""
        key = (fault.profile, fault.as_admin, fault.requirements, fault.options, *fault.environ)
        if key not in self._baselines:
            place = self.folder / f"baseline-{len(self._baselines)}"
            place.mkdir()
            with self.copy(place) as bed:
                self._baselines[key] = bed.check(fault)
                assert "blocked" not in outcomes(self._baselines[key]).values(), self._baselines[
                    key
                ]["said"]
        return self._baselines[key]


def remove(instance: embedded.Instance) -> None:
    """Remove what a server that was kept left."""
    for left in {instance.run_folder, instance.socket_dir}:
        shutil.rmtree(left, ignore_errors=True)
