"""A public sample database, on each version and from one to another: proven, and a change named."""

from __future__ import annotations

import secrets
from contextlib import ExitStack
from pathlib import Path

import pytest

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.backup.restore import restore
from pytest_costmgmt.postgres.clients import choose
from pytest_costmgmt.postgres.connect import connect
from tests import postgres_versions, sample_chinook
from tests.faults.backup.bed import mutate


@pytest.mark.parametrize(("older", "newer"), [(15, 15), (13, 15), (15, 16), (16, 18), (18, 18)])
def test_chinook_comes_back(older: int, newer: int, tmp_path: Path) -> None:
    """Every row of it is proven; of a track that costs a cent more, the key is told."""
    with ExitStack() as stack:
        source = stack.enter_context(postgres_versions.server(older)).superuser
        target = source
        if newer != older:
            target = stack.enter_context(postgres_versions.server(newer)).superuser
        with connect(source, deadline=10) as one, connect(target, deadline=10) as other:
            one.execute("CREATE DATABASE chinook TEMPLATE template0")
            numbers = one.info.server_version, other.info.server_version
        sample_chinook.build(source.on("chinook"))
        bindir = postgres_versions.bindir(newer)
        clients = choose(
            numbers[0], restore_into=numbers[1], bindir=bindir, cache=tmp_path, environ={}
        )
        run_id = secrets.token_hex(4)
        folder = tmp_path / "made"
        manifest = backup(source.on("chinook"), folder, clients=clients, run_id=run_id)
        done = restore(folder, target, "again", clients=clients, run_id=run_id)
        assert done.proof.equal, done.proof.differences
        assert done.proof.compared["rows"] == sample_chinook.ROWS
        again = target.on("again")
        mutate(again, "UPDATE track SET unit_price = unit_price + 0.01 WHERE id = 1024")
        (found,) = prove(
            manifest, folder / ARCHIVE, again, clients=clients, jobs=2, source=source.on("chinook")
        ).differences
        assert found.of == "table public.track"
        assert (found.keys, found.more_keys) == (("(id)=(1024) changed",), 0)
