"""Copies of a healthy server: one for each fault, so that no fault meets another."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from pytest_costmgmt.postgres import programs_pack as packs
from pytest_costmgmt.postgres import programs_serve as serving
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import Server, embedded
from tests.faults.forked import Runs
from tests.faults.harness import Bed, outcomes
from tests.faults.model import Fault

HEALTHY = Fault(id="none", check="")

KEEPS = ("fsync = on",)
"What a customer's server has, and an embedded one goes without: nothing of it outlives the run."


class Beds:
    """Copies of the healthy server, and what the suite says of an unharmed one."""

    def __init__(self, data: Path, server: Server, programs: Programs, folder: Path) -> None:
        self.data, self.server, self.programs, self.folder = data, server, programs, folder
        self.runs = Runs()
        self._baselines: dict[tuple[object, ...], dict[str, Any]] = {}

    @contextmanager
    def copy(self, folder: Path, fault: Fault = HEALTHY) -> Iterator[Bed]:
        """Start a copy of the healthy server under the fault's files; it is gone afterwards."""
        assert self.server.administrator is not None
        if fault.network:
            self._certify()
        data = self._ahead(fault.next_transaction) if fault.next_transaction else self.data
        pack = _packed(data)
        with self._started(pack, self.server.administrator, folder, fault, fault.conf) as bed:
            for sql in fault.given:
                bed.execute(sql)
            if not fault.elsewhere:
                yield bed
                return
            folder = folder / "elsewhere"
            folder.mkdir()
            data = self.data if fault.elsewhere == "clone" else self._other_identity()
            pack = _packed(data)
            with self._started(pack, self.server.administrator, folder, HEALTHY, ()) as other:
                bed.elsewhere = other
                yield bed

    @contextmanager
    def restarted(self, bed: Bed, fault: Fault) -> Iterator[Bed]:
        """Restart a bed's server, which makes its files anew: without the lines that were planted.

        Those of postgresql.conf stay where the report's fix, which is then in
        postgresql.auto.conf, must overrule them.
        """
        bed.instance.stop(keep=True)
        kept = bed.instance.data
        altered = (kept / "postgresql.auto.conf").read_text().splitlines()
        conf = (*fault.conf, *altered) if fault.fix == "report" else ()
        try:
            unharmed = replace(fault, hba=())
            with self._started(kept, bed.instance.superuser, bed.folder, unharmed, conf) as again:
                yield again
        finally:
            remove(bed.instance)

    @contextmanager
    def _started(
        self, template: Path, administrator: Login, folder: Path, fault: Fault, conf: Sequence[str]
    ) -> Iterator[Bed]:
        port = str(_free_port()) if fault.network else serving.PORT
        network = (f"port = {port}", "listen_addresses = '127.0.0.1'", "ssl = on")
        # The socket's name holds the port: the first login must know it too.
        with mock.patch.object(serving, "PORT", port):
            instance = embedded.start(
                run_id=f"fault-{secrets.token_hex(4)}",
                programs=self.programs,
                template=template,
                superuser_password=administrator.password,
                conf=(*KEEPS, *(network if fault.network else ()), *conf),
                hba_first=fault.hba,
            )
        superuser = instance.superuser
        if fault.network:
            where = {"host": "127.0.0.1", "port": port}
            superuser = msgspec.structs.replace(superuser, where=where)
        try:
            yield Bed(
                server=self._moved(superuser),
                programs=self.programs.bindir,
                folder=folder,
                instance=instance,
                runs=self.runs,
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
        """Return the report of an unharmed copy under the same circumstances, made once.

        By the command, as a customer has it: the others are compared with it.
        """
        key = fault.circumstances
        if key not in self._baselines:
            place = self.folder / f"baseline-{secrets.token_hex(4)}"
            place.mkdir()
            unharmed = replace(fault, conf=(), hba=(), next_transaction=0, elsewhere="")
            with self.copy(place, unharmed) as bed:
                self._baselines[key] = bed.check(fault, by_command=True)
                assert "blocked" not in outcomes(self._baselines[key]).values(), self._baselines[
                    key
                ]["said"]
        return self._baselines[key]

    def _certify(self) -> None:
        """Give the copies a certificate; skip where these programs have no TLS."""
        key, certificate = self.data / "server.key", self.data / "server.crt"
        if certificate.exists():
            return
        library = subprocess.run(
            [self.programs.bindir / "postgres", "-C", "ssl_library", "-D", self.data],
            capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        if not library.stdout.strip():
            pytest.skip("these programs were built without TLS")
        if shutil.which("openssl") is None:
            pytest.skip("no openssl to make a certificate")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
             "/CN=localhost", "-keyout", str(key), "-out", str(certificate)],
            check=True, capture_output=True, timeout=60,
        )  # fmt: skip
        key.chmod(0o600)
        self.programs.user.own(key, certificate)
        _pack(self.data).unlink(missing_ok=True)

    def _other_identity(self) -> Path:
        """Return the healthy data as another server's: with a system identifier of its own."""
        other = self.data.with_name("elsewhere")
        if other.exists():
            return other
        shutil.copytree(self.data, other, symlinks=True)
        with (other / "global" / "pg_control").open("r+b") as control:
            control.write(secrets.token_bytes(7) + b"\x01")  # its first field
        self._reset(other, "-f")
        return other

    def _ahead(self, transaction: int) -> Path:
        """Return the healthy data as of a server whose next transaction has this id."""
        ahead = self.data.with_name(f"ahead-{transaction}")
        if ahead.exists():
            return ahead
        shutil.copytree(self.data, ahead, symlinks=True)
        # What became of the transactions about there: two bits each, 2^20 a file (pg_resetwal).
        (ahead / "pg_xact" / f"{transaction >> 20:04X}").write_bytes(bytes(1 << 18))
        self._reset(ahead, "-x", str(transaction))
        return ahead

    def _reset(self, data: Path, *options: str) -> None:
        """Run pg_resetwal as the server's user, to whom all in ``data`` is given."""
        user = self.programs.user
        user.own(data, *data.rglob("*"))
        account: dict[str, Any] = {}
        if user.switch:
            account = {"user": user.uid, "group": user.gid, "extra_groups": ()}
        subprocess.run(
            [self.programs.bindir / "pg_resetwal", *options, "-D", data],
            cwd="/", check=True, capture_output=True, timeout=60, **account,
        )  # fmt: skip


def _pack(data: Path) -> Path:
    return data.with_name(f"{data.name}.pack")


def _packed(data: Path) -> Path:
    """Return a data folder's pack, made once: it is written out sooner than the folder copied."""
    if not (pack := _pack(data)).exists():
        packs.write(data, pack, {})
    return pack


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def remove(instance: embedded.Instance) -> None:
    """Remove what a server that was kept left."""
    for left in {instance.run_folder, instance.socket_dir}:
        shutil.rmtree(left, ignore_errors=True)
