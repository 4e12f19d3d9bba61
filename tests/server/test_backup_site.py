"""The database that a restore fills: what is set for it alone, and what others have chosen."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from pytest_costmgmt.backup.model import Database
from pytest_costmgmt.backup.progress import Progress, nobody
from pytest_costmgmt.backup.site import Site, site
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident
from pytest_costmgmt.servers import embedded
from tests.server.backup_bed import until
from tests.server.restore_bed import RestoreBed

CONF = ("autovacuum_naptime = 1s",)
WORKERS = """
SELECT a.pid FROM pg_stat_activity AS a JOIN pg_stat_progress_vacuum AS p USING (pid)
 WHERE a.datname = %s AND a.backend_type = 'autovacuum worker' AND p.heap_blks_total > 1000"""
VACUUMED = "SELECT last_autovacuum IS NOT NULL FROM pg_stat_user_tables WHERE relname = 'filled'"
# More pages than autovacuum reads in a minute with the restore's limit; without it, in a second.
FILL = """
CREATE TABLE filled AS
  SELECT g, repeat(md5(g::text), 20) FROM generate_series(1, 60000) AS g"""


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server whose autovacuum looks every second."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=CONF)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> Iterator[RestoreBed]:
    """An owner and names of this test's own."""
    made = RestoreBed(server.superuser)
    yield made
    made.close()


SET = """
SELECT setting FROM pg_db_role_setting, unnest(setconfig) AS setting
 WHERE setdatabase = %s AND setrole = 0 AND setting LIKE 'default_toast_compression=%%'"""
HAS_LZ4 = """
SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"""


def like(name: str, *settings: str) -> Database:
    """A database that has these settings."""
    return Database(
        name=name, owner="postgres", encoding="UTF8", collate="C", ctype="C", settings=settings
    )


def compressed_by(bed: RestoreBed, *settings: str) -> list[tuple[str]]:
    """Return what a site of a database with these settings has for its large values."""
    told: list[Progress] = []
    with site(bed.owner, f"chosen {bed.tag}", told=told.append) as made:
        with closing(connect(made.login, deadline=10)) as connection:
            made.create(connection, like(made.name, *settings), owner=None, spread=False)
        found = bed.rows(SET, made.oid)
        assert bool(found) == any("lz4" in each.about for each in told)
        with closing(connect(made.login, deadline=10)) as connection:
            made.give_back(connection)
        assert not bed.rows(SET, made.oid)
    return found


def test_large_values_are_compressed_by_lz4_where_the_server_has_it(bed: RestoreBed) -> None:
    """Until the database is filled, and where nobody chose otherwise."""
    [(has,)] = bed.rows(HAS_LZ4) or [(False,)]
    assert compressed_by(bed) == [("default_toast_compression=lz4",)] * has


def test_what_the_database_chose_for_its_values_is_heeded(bed: RestoreBed) -> None:
    """It is of the backup, and comes with its other settings."""
    assert compressed_by(bed, "default_toast_compression=pglz") == []


def test_what_the_role_chose_for_its_values_is_heeded(bed: RestoreBed) -> None:
    """As what the server's file or the database that it logs in to says."""
    if not bed.rows(HAS_LZ4):
        return  # before 14 there is nothing to choose
    bed.run(f"ALTER ROLE {ident(bed.role)} SET default_toast_compression = 'pglz'")
    assert compressed_by(bed) == []


@pytest.fixture
def place(bed: RestoreBed) -> Iterator[Site]:
    """A filled site of the superuser's, on which autovacuum is at work."""
    with site(bed.superuser.on("postgres"), f"filled {bed.tag}", told=nobody) as made:
        with closing(connect(made.login, deadline=10)) as connection:
            made.create(connection, like(made.name), owner=None, spread=False)
        bed.run(FILL, on=made.name)
        until(lambda: bool(bed.rows(WORKERS, made.name)))
        yield made


def test_autovacuum_is_still_at_a_filled_table_when_it_is_sent_away(
    bed: RestoreBed, place: Site
) -> None:
    """Autovacuum gets nowhere in a database that is filled, and is gone when it is told to go."""
    [(worker,)] = bed.rows(WORKERS, place.name)
    time.sleep(3)  # three times what it needs without the restore's limit, a tenth of it with
    with closing(connect(place.login, deadline=10)) as connection:
        place.send_autovacuum_away(connection)
    gone = "SELECT 1 FROM pg_stat_activity WHERE pid = %s"
    until(lambda: not bed.rows(gone, worker))
    assert bed.rows(VACUUMED, on=place.name) == [(False,)]


def test_autovacuum_comes_again_with_the_databases_own_limit(bed: RestoreBed, place: Site) -> None:
    """What was set for the filling alone is gone with it: autovacuum ends its work."""
    with closing(connect(place.login, deadline=10)) as connection:
        place.give_back(connection)
        place.send_autovacuum_away(connection)
    until(lambda: bed.rows(VACUUMED, on=place.name) == [(True,)])


def test_who_may_not_send_autovacuum_away_leaves_it(bed: RestoreBed, place: Site) -> None:
    """A login that is no superuser goes on without a word: a rename sends it away too."""
    with closing(connect(bed.owner, deadline=10)) as connection:
        place.send_autovacuum_away(connection)
    assert bed.rows(WORKERS, place.name)
