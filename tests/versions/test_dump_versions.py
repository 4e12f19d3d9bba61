"""Each version is backed up by programs that fit it."""

from __future__ import annotations

import os
import secrets
from contextlib import closing
from pathlib import Path

import pytest

from pytest_costmgmt.backup import archive, dump
from pytest_costmgmt.postgres import clients as programs_of_clients
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.servers.embedded_folders import cache_folder
from tests import postgres_versions
from tests.backup_torture import build as torture


@pytest.mark.parametrize("major", postgres_versions.MAJORS)
def test_each_version(major: int, tmp_path: Path) -> None:
    """The torture database of each version is backed up, whole, by programs that fit it."""
    with postgres_versions.server(major) as server:
        torture_login = torture.create(server.superuser)
        with closing(connect(torture_login, deadline=10)) as connection:
            number = connection.info.server_version
        # The oldest comes without clients: the next one's go into the next one.
        into = number if major > min(postgres_versions.MAJORS) else (major + 1) * 10000
        clients = programs_of_clients.choose(
            number,
            restore_into=into,
            bindir=postgres_versions.bindir(into // 10000),
            cache=cache_folder(None, os.environ),
            environ=os.environ,
        )
        out = tmp_path / "backup"
        made = dump.backup(torture_login, out, clients=clients, run_id=secrets.token_hex(4))
        assert archive.verify(out, clients=clients) == made
        assert made.server_number // 10000 == major
        assert made.compression == ("lz4" if into // 10000 >= 16 else "none")
