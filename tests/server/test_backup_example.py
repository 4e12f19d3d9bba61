"""The application's own data comes back: three tenants, their partitions, triggers, sequences."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.backup.dump import backup
from pytest_costmgmt.backup.model import ARCHIVE
from pytest_costmgmt.backup.proof import prove
from pytest_costmgmt.backup.restore import restore
from pytest_costmgmt.postgres.clients import choose
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.servers import embedded

pytest.importorskip("django_tenants")

from tests.server.test_example_project import Application

TENANTS = ("acct1000001", "org1000002", "org1000003")
PARTITION = """
SELECT c.relname::text FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'org1000003.reporting_costline'::regclass AND c.relkind = 'r'
   AND pg_relation_size(c.oid) > 0 ORDER BY 1 LIMIT 1
"""


@pytest.fixture
def application(programs: Programs) -> Iterator[Application]:
    """Yield the example with three tenants, on a server of this test's own."""
    instance = embedded.start(run_id=f"example-{secrets.token_hex(4)}", programs=programs)
    try:
        made = Application(instance.superuser)
        made.prepare()
        made.ok("migrate")
        made.ok("create_tenants", *TENANTS)
        yield made
    finally:
        instance.stop()


def test_three_tenants_come_back_and_one_changed_row_is_named(
    application: Application, tmp_path: Path
) -> None:
    """All is proven equal; then one partition's row is changed behind it, and told by its key."""
    superuser = application.superuser
    with connect(superuser, deadline=20) as connection:
        number = connection.info.server_version
    clients = choose(number, cache=tmp_path, environ=os.environ)
    source, folder = superuser.on(application.name), tmp_path / "backup"
    manifest = backup(source, folder, clients=clients, run_id=secrets.token_hex(4))
    done = restore(folder, superuser, "restored", clients=clients, run_id=secrets.token_hex(4))
    assert done.whole
    assert done.proof.equal
    rows = {
        tenant: sum(each.rows for each in manifest.relations if each.schema == tenant)
        for tenant in TENANTS
    }
    assert min(rows.values()) > 0
    assert done.proof.compared["relations"] == len(manifest.relations)
    assert done.proof.compared["sequences"] == len(manifest.sequences) > 3 * len(TENANTS)
    copy = superuser.on("restored")
    with connect(copy, deadline=20) as connection:
        found = connection.execute(PARTITION.encode()).fetchone()
        assert found is not None
        table = f"org1000003.{found[0]}"
        changed = connection.execute(
            f"UPDATE {table} SET cost = cost + 0.000000000000001"  # noqa: S608 - from the catalog
            f" WHERE ctid = (SELECT min(ctid) FROM {table}) RETURNING id".encode()
        ).fetchone()
        assert changed is not None
    proof = prove(manifest, folder / ARCHIVE, copy, clients=clients, jobs=2, source=source)
    told = [each for each in proof.differences if each.of == f"table {table}"]
    assert [each.name for each in told] == ["content"]
    assert any(str(changed[0]) in key for key in told[0].keys)
    # The summary is a trigger's, which saw the change.
    summary = "table org1000003.reporting_costsummary"
    assert {each.of for each in proof.differences} <= {told[0].of, summary}
