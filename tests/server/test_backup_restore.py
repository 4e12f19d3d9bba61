"""A restore gives back what was backed up, or refuses, or removes all that it made."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_costmgmt.backup import disk, workshop
from pytest_costmgmt.backup.restore import Refused
from pytest_costmgmt.backup.roundtrip import roundtrip
from pytest_costmgmt.backup.site import Site
from pytest_costmgmt.backup.workshop import NotEqual
from pytest_costmgmt.errors import ArchiveFault, BackupFailed, UsageProblem
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.postgres.sqltext import ident, literal
from pytest_costmgmt.servers import embedded
from tests.backup_torture import build as torture
from tests.server.restore_bed import RestoreBed
from tests.server.restore_source import DATABASE, Source

CONF = ("wal_level = logical", "max_prepared_transactions = 4", "autovacuum = off")
REPLACE: dict[str, Any] = {"replace": True, "accept_lost_writes": True, "accept_disk_risk": True}


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server for this module."""
    instance = embedded.start(run_id=secrets.token_hex(4), programs=programs, conf=CONF)
    yield instance
    instance.stop()


@pytest.fixture
def bed(server: embedded.Instance) -> Iterator[RestoreBed]:
    """An owner and names of this test's own; the roles of the server are as before in the end."""
    made = RestoreBed(server.superuser)
    yield made
    made.close()


@pytest.fixture
def source(bed: RestoreBed, tmp_path: Path) -> Source:
    """A database of the owner's, not backed up yet."""
    return Source(bed, tmp_path)


def test_an_owner_gets_back_what_he_had(bed: RestoreBed, source: Source) -> None:
    """Contents, settings, privileges, limit, comment and template come back, and are proven."""
    source.dressed().backed_up()
    # The login may name the database that is to be: another is entered.
    done = source.restored(by=bed.owner.on(bed.name))
    assert done.whole
    assert done.proof.equal
    assert done.proof.compared["rows"] == 1
    assert bed.mark(bed.name) == "backed up"
    assert bed.rows(DATABASE, bed.name) == bed.rows(DATABASE, source.name)
    assert bed.databases() == {source.name, bed.name}


def test_the_torture_database_comes_back(bed: RestoreBed, source: Source) -> None:
    """Every kind of object, type and name is proven equal, by a superuser."""
    tortured = torture.create(bed.superuser, rows=50)
    try:
        bed.run(f"ALTER DATABASE {ident(tortured.database)} RENAME TO {ident(source.name + 't')}")
        source.name += "t"
        done = source.backed_up(by=bed.superuser).restored(by=bed.superuser.on("postgres"))
        assert done.proof.equal, done.proof.differences
        assert not done.fixes
    finally:
        torture.drop(bed.superuser.on(source.name))


def test_a_database_that_exists_is_refused(bed: RestoreBed, source: Source) -> None:
    """Without --replace nothing is written into it; the words say what would be done with it."""
    source.backed_up()
    bed.create(bed.name, "in use")
    with pytest.raises(UsageProblem, match="--replace"):
        source.restored()
    assert bed.mark(bed.name) == "in use"
    assert bed.databases() == {source.name, bed.name}


def test_lost_writes_must_be_accepted(bed: RestoreBed, source: Source) -> None:
    """--replace alone is refused: what was written since the backup would be lost."""
    source.backed_up()
    bed.create(bed.name, "in use")
    with pytest.raises(UsageProblem, match="--accept-lost-writes"):
        source.restored(replace=True)
    assert bed.mark(bed.name) == "in use"


@pytest.mark.parametrize("drop_old", [False, True])
def test_replace_puts_it_in_the_place(bed: RestoreBed, source: Source, drop_old: bool) -> None:
    """The old database is kept under a told name, and can be entered, or is dropped."""
    source.dressed().backed_up()
    bed.create(bed.name, "in use")
    done = source.restored(by=bed.owner.on(bed.name), **REPLACE, drop_old=drop_old)
    assert done.whole
    assert done.swap_seconds > 0
    assert bed.mark(bed.name) == "backed up"
    assert bed.rows(DATABASE, bed.name) == bed.rows(DATABASE, source.name)
    if drop_old:
        assert bed.databases() == {source.name, bed.name}
    else:
        assert bed.mark(done.old_name) == "in use"


def test_replace_without_an_old_one_is_a_restore(bed: RestoreBed, source: Source) -> None:
    """--replace where nobody has the name gives it."""
    done = source.backed_up().restored(**REPLACE)
    assert (done.old_name, bed.mark(bed.name)) == ("", "backed up")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        pytest.param("ALTER ROLE {role} NOCREATEDB", "lacks CREATEDB", id="createdb"),
        pytest.param("ALTER DATABASE {name} OWNER TO {super}", "belongs to role", id="owner"),
        pytest.param("", "others are connected", id="session"),
        pytest.param("disconnect", "may not end sessions", id="strangers-session"),
    ],
)
def test_it_is_refused_before_anything_is_made(
    bed: RestoreBed, source: Source, statement: str, words: str
) -> None:
    """What the swap would fail on is said before the first byte, and nothing is changed."""
    source.backed_up()
    bed.create(bed.name, "in use")
    names = {"role": bed.role, "name": bed.name, "super": bed.superuser.role}
    stranger = connect(bed.superuser.on(bed.name), deadline=10)
    with closing(stranger):
        disconnect = statement == "disconnect"
        if words not in {"others are connected", "may not end sessions"}:
            stranger.close()
            bed.run(statement.format(**{k: ident(v) for k, v in names.items()}))
        with pytest.raises(Refused, match=words) as caught:
            source.restored(**REPLACE, disconnect=disconnect)
        assert len(caught.value.refusals) == 1
    assert bed.databases() == {source.name, bed.name}


def test_a_downgrade_is_refused(source: Source) -> None:
    """What a newer version holds is not tried on an older server."""
    source.backed_up().altered(server_number=99_00_00, server="99.0")
    with pytest.raises(Refused, match="cannot go back"):
        source.restored()


def test_an_extension_that_the_server_lacks_is_refused(bed: RestoreBed, source: Source) -> None:
    """An extension without files on the server is named before anything is made."""
    source.owned("CREATE EXTENSION pg_trgm").backed_up()
    (extension,) = [e for e in source.manifest.extensions if e.name == "pg_trgm"]
    source.altered(extensions=(type(extension)(name="no such", version="1", schema="public"),))
    with pytest.raises(Refused, match="extension no such"):
        source.restored()
    assert bed.databases() == {source.name}


def test_a_tablespace_that_the_server_lacks_is_refused(source: Source) -> None:
    """A tablespace of the backup is named before anything is made."""
    source.backed_up()
    database = source.manifest.database
    kept = {f: getattr(database, f) for f in database.__struct_fields__}
    source.altered(database=type(database)(**{**kept, "tablespace": "fast 'one"}))
    with pytest.raises(Refused, match="tablespace fast 'one"):
        source.restored()


def test_free_disk_is_proven_for_this_very_server(bed: RestoreBed, source: Source) -> None:
    """Where the data folder can be read from here, it is known whose it is; else it is not known.

    Another server's folder proves nothing: identifier, port and start must be its own.
    """
    manifest = source.backed_up().manifest
    with closing(connect(bed.superuser.on("postgres"), deadline=10)) as connection:
        server = disk.look(connection, "")
        folders = [Path(folder) for folder in server.folders]
        if not any(disk.is_the_servers(folder, server) for folder in folders):
            pytest.skip("an ordinary user cannot read the server's folder")
        assert "free for data" in disk.require(connection, manifest, accepted=False)
    values = {f: getattr(server, f) for f in server.__struct_fields__}
    for change in ({"identifier": 1}, {"port": "1"}, {"started": server.started - 100}):
        other = type(server)(**{**values, **change})
        assert not any(disk.is_the_servers(folder, other) for folder in folders)
        assert disk.measured(other, 1, 0) == ()


def test_unknown_disk_must_be_accepted_for_a_second_copy(
    bed: RestoreBed, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside and into a scratch database only with --accept-disk-risk; a first copy is told of."""
    source.backed_up()
    bed.create(bed.name, "in use")
    monkeypatch.setattr(disk, "is_the_servers", lambda *_: False)
    with pytest.raises(UsageProblem, match="--accept-disk-risk"):
        source.restored(**{**REPLACE, "accept_disk_risk": False})
    with pytest.raises(UsageProblem, match="--accept-disk-risk"):
        roundtrip(source.out, bed.owner, clients=source.clients, run_id=bed.tag)
    source.restored(**REPLACE)
    assert bed.mark(bed.name) == "backed up"


def test_a_disk_that_is_too_small_is_refused(
    bed: RestoreBed, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is known to be too small, nothing is accepted and nothing is made."""
    source.backed_up()
    volume = disk.Volume(holds="data and WAL", needed=2**40, free=2**30)
    monkeypatch.setattr(disk, "measured", lambda *_: (volume,))
    with pytest.raises(disk.DiskTooSmall, match=r"1\.0 GiB free"):
        source.restored(accept_disk_risk=True)
    assert bed.databases() == {source.name}


def test_the_size_that_a_copy_needs(source: Source) -> None:
    """Of whole databases' sizes the smaller is enough; never less than the tables themselves."""
    manifest = source.backed_up().manifest
    (table,) = manifest.relations
    big = type(table)(schema="s", name="t", kind="table", rows=1, content="0" * 16, bytes=10**9)

    def needed(database: int, copy_of: int | None = None) -> float:
        held = msgspec.structs.replace(manifest.database, bytes=database)
        known = msgspec.structs.replace(manifest, relations=(big,), database=held)
        return disk.estimate(known, copy_of) / 10**9

    assert 2.5 < needed(0) < 3
    assert needed(2 * 10**9) == pytest.approx(2.2)
    assert needed(2 * 10**9, 18 * 10**8) == pytest.approx(1.98)
    assert needed(5 * 10**8) == pytest.approx(1.1)
    assert needed(9 * 10**9) == needed(0)


def test_any_error_of_any_statement_ends_it(bed: RestoreBed, source: Source) -> None:
    """A constraint that the data does not fulfil fails the restore, is told, and all is removed."""
    source.owned(
        "CREATE FUNCTION public.fine(text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT true'",
        'ALTER TABLE public.mark ADD CONSTRAINT "it\'s" CHECK (public.fine(mark))',
        "CREATE OR REPLACE FUNCTION public.fine(text) RETURNS bool LANGUAGE sql IMMUTABLE"
        " AS 'SELECT false'",
    ).backed_up()
    with pytest.raises(BackupFailed, match="it's"):
        source.restored()
    assert bed.databases() == {source.name}


def test_an_archive_that_was_changed_is_refused(bed: RestoreBed, source: Source) -> None:
    """A flipped bit is found before anything is made."""
    source.backed_up()
    data = next(path for path in (source.out / "archive").iterdir() if path.name != "toc.dat")
    data.write_bytes(bytes([data.read_bytes()[0] ^ 1]) + data.read_bytes()[1:])
    with pytest.raises(ArchiveFault, match=data.name):
        source.restored()
    assert bed.databases() == {source.name}


def test_what_is_not_proven_gets_no_name(bed: RestoreBed, source: Source) -> None:
    """A restore that differs from its manifest is told by object and removed; the old stays."""
    source.backed_up()
    bed.create(bed.name, "in use")
    wrong = [
        type(r)(**{**{f: getattr(r, f) for f in r.__struct_fields__}, "content": "0" * 16})
        for r in source.manifest.relations
    ]
    source.altered(relations=tuple(wrong))
    with pytest.raises(NotEqual, match=r"public\.mark") as caught:
        source.restored(**REPLACE)
    assert [each.name for each in caught.value.wrong] == ["content"]
    assert bed.mark(bed.name) == "in use"
    assert bed.databases() == {source.name, bed.name}


def test_rows_that_were_not_restored_are_named(
    bed: RestoreBed, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is not asked: which rows differ from the archive's is told by their keys."""
    made = "CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2), (3)"
    source.owned(made).backed_up()
    load = workshop._load  # noqa: SLF001 - nothing else loses a row on its way

    def losing(place: Site, *given: Any) -> None:
        load(place, *given)
        bed.run("DELETE FROM public.item WHERE id = 2", on=place.name, by=bed.owner)

    monkeypatch.setattr(workshop, "_load", losing)
    with pytest.raises(NotEqual, match=r"public\.item") as caught:
        source.restored()
    (rows,) = caught.value.wrong
    assert (rows.keys, rows.more_keys) == (("(id)=(2) missing",), 0)
    assert "(id)=(2) missing" in str(caught.value)
    assert bed.databases() == {source.name}


@pytest.mark.parametrize(
    "name",
    ["", "template1", "template0", "x" * 64, "a\0b"],
    ids=["empty", "t1", "t0", "long", "nul"],
)
def test_a_name_that_cannot_be_meant(bed: RestoreBed, source: Source, name: str) -> None:
    """It is a usage error before the server is asked."""
    bed.name = name
    with pytest.raises(UsageProblem, match="--database"):
        source.restored()
    bed.name = source.name


def test_disconnect_and_drop_belong_to_replace(source: Source) -> None:
    """Alone they mean nothing, which is said."""
    alone: tuple[dict[str, Any], ...] = ({"disconnect": True}, {"drop_old": True})
    for words in alone:
        with pytest.raises(UsageProblem, match="--replace"):
            source.restored(**words)


def test_a_subscription_is_restored_and_removed_without_its_slot(
    bed: RestoreBed, source: Source
) -> None:
    """A roundtrip leaves the publisher's slot alone, and no database of its own."""
    bed.create(bed.name, "publisher")
    slot = f"theirs_{bed.tag}"
    bed.run(f"SELECT pg_create_logical_replication_slot('{slot}', 'pgoutput')", on=bed.name)
    where = bed.superuser.where
    conninfo = f"host={where['host']} port={where['port']} user=nobody dbname=postgres"
    bed.run(
        f"CREATE SUBSCRIPTION s CONNECTION {literal(conninfo)} PUBLICATION p"
        f" WITH (connect = false, slot_name = '{slot}')",
        on=source.name,
    )
    source.backed_up(by=bed.superuser)
    done = roundtrip(
        source.out, bed.superuser, clients=source.clients, run_id=bed.tag, accept_disk_risk=True
    )
    assert done.proof.equal, done.proof.differences
    assert bed.databases() == {source.name, bed.name}
    assert bed.rows("SELECT 1 FROM pg_replication_slots WHERE slot_name = %s", slot) == [(1,)]
    bed.run("ALTER SUBSCRIPTION s SET (slot_name = NONE)", "DROP SUBSCRIPTION s", on=source.name)
