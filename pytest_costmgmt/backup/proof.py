"""The proof that a database is what a backup says: everything compared, in one snapshot of it."""

from __future__ import annotations

import contextlib
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from pytest_costmgmt.backup import content, refreshed, schema_parts, schema_text
from pytest_costmgmt.backup.compare import Observed, Schema, compare, compared
from pytest_costmgmt.backup.listing import Listing
from pytest_costmgmt.backup.model import Manifest, Proof, Relation
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.backup.progress import Progress, Told, nobody
from pytest_costmgmt.backup.properties import database, extensions, properties, roles
from pytest_costmgmt.backup.sharing import Cores
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.clients import Clients
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.snapshot import Exported, exported

if TYPE_CHECKING:
    from psycopg import Cursor

DEADLINE = 24 * 3600.0


class Counted(Protocol):
    """The number of a text's entries, and that it is whole."""

    def result(self) -> int:
        """Wait for it."""


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be proven: the manifest, and the archive's schema as text.

    The text is whole when its entries are ``counted``: the server is asked meanwhile. Where the
    manifest has a digest of it, it is not there before somebody needs more than that.
    """

    manifest: Manifest
    archive: Path
    text: Path
    counted: Counted


class _Once:
    """Something that is worked out when it is first asked for."""

    def __init__(self, begin: Callable[[], Future[int]]) -> None:
        self.begin, self.lock = begin, threading.Lock()
        self.future: Future[int] | None = None

    def result(self) -> int:
        with self.lock:
            if self.future is None:
                self.future = self.begin()
        return self.future.result()


class NothingCompared(BackupFailed):
    """A proof would have compared nothing, or less than there is: that proves nothing."""


@contextlib.contextmanager
def expected(
    manifest: Manifest,
    archive: Path,
    *,
    clients: Clients,
    deadline: float = DEADLINE,
    stop: Stop = never,
) -> Iterator[Expected]:
    """Yield what an archive is to be proven by; several proofs may share it."""
    with scratch() as folder, ThreadPoolExecutor(1) as pool:
        text = folder / "archive.sql"

        def read() -> int:
            schema_text.of_archive(clients, archive, text, deadline=deadline, stop=stop)
            return schema_text.count(text)

        counted: Counted
        if manifest.schema_digest is None:
            counted = pool.submit(read)
        else:
            counted = _Once(lambda: pool.submit(read))
        yield Expected(manifest=manifest, archive=archive, text=text, counted=counted)


def prove(
    manifest: Manifest,
    archive: Path,
    target: Login,
    *,
    clients: Clients,
    jobs: int,
    source: Login | None = None,
    aside: bool = False,
    deadline: float = DEADLINE,
    told: Told = nobody,
    stop: Stop = never,
) -> Proof:
    """Compare the target's database with the backup; ``archive`` is pg_dump's folder.

    ``source``, the database that was dumped, serves only to name the keys of differing rows;
    without it the archive does, if a table may be made ``aside`` in the target, for a session. Each
    step may take ``deadline`` seconds. Raises BackupFailed where it could not be compared.
    """
    with expected(manifest, archive, clients=clients, deadline=deadline, stop=stop) as given:
        return proven(
            given,
            target,
            clients=clients,
            jobs=jobs,
            source=source,
            aside=aside,
            deadline=deadline,
            told=told,
            stop=stop,
        )


def proven(
    given: Expected,
    target: Login,
    *,
    clients: Clients,
    jobs: int,
    source: Login | None = None,
    aside: bool = False,
    deadline: float = DEADLINE,
    told: Told = nobody,
    stop: Stop = never,
) -> Proof:
    """Compare the target's database with what is expected: schema and contents at once."""
    started, manifest = time.monotonic(), given.manifest
    # Of many small tables the schema takes longest: rows are not hashed at its cost.
    cores = Cores(jobs)
    failed = False

    def over() -> bool:
        return failed or stop()

    with exported(target, deadline=30) as snapshot, ThreadPoolExecutor(2) as pool:
        with snapshot.guard:
            halves = schema_parts.halves(snapshot.cursor) if jobs > 1 else ()
        dumping = _Dumping(target, snapshot.name, clients, deadline, over, cores)
        schema = pool.submit(_schema, given, dumping, halves)
        try:
            listed = content.as_hashed(_listed(snapshot, told), manifest.relations)
            hash_all = partial(
                content.hash_all, target, listed, snapshot=snapshot.name, jobs=jobs,
                timeout=deadline, told=told, stop=over, cores=cores,
            )  # fmt: skip
            hashed = pool.submit(hash_all)
            observed = _observed(manifest, snapshot, hashed, told=told, cores=cores)
            _all_hashed(listed, observed.relations)
            texts = schema.result()
        except BaseException:
            failed = True
            raise
    if texts.entries < 1:
        raise NothingCompared("the archive's schema is empty: nothing was compared")
    differences, allowed = compare(manifest, observed, texts)
    differences, of_views = refreshed.sorted_out(differences, manifest, target)
    if differences and (source is not None or aside):
        from pytest_costmgmt.backup import differing, keys_archived  # noqa: PLC0415 - rarely

        archive = keys_archived.Archive(given.archive, clients, deadline, stop)
        look = (
            differing.in_archive(archive, target)
            if source is None
            else differing.in_source(source, target)
        )
        differences = tuple(differing.with_keys(differences, manifest, look))
    return Proof(
        compared=compared(manifest, texts),
        differences=differences,
        allowed=(*allowed, *of_views),
        seconds=time.monotonic() - started,
    )


class _Dumping(NamedTuple):
    """How the target's schema is dumped."""

    login: Login
    snapshot: str
    clients: Clients
    deadline: float
    stop: Stop
    cores: Cores

    def into(self, text: Path, encoding: str, part: Sequence[str] = ()) -> None:
        """Dump it, or the part of it that these arguments choose."""
        with self.cores.taken():
            schema_text.of_server(
                self.clients,
                self.login,
                text,
                snapshot=self.snapshot,
                encoding=encoding,
                part=part,
                deadline=self.deadline,
                stop=self.stop,
            )


def _schema(given: Expected, dumping: _Dumping, halves: Sequence[str]) -> Schema:
    # In the database's encoding it was dumped; that is seen when the archive's text is there.
    encoding = given.manifest.database.encoding
    with tempfile.TemporaryDirectory(prefix="target-", dir=given.text.parent) as name:
        folder = Path(name)
        if halves:
            texts = [folder / "one.sql", folder / "other.sql"]
            _dump_halves(dumping, encoding, halves, texts)
            told = given.manifest.schema_digest
            if told and told.encoding == encoding and schema_parts.as_remembered(told, texts):
                return Schema(told.entries, [])
            entries = given.counted.result()
            # In two encodings the same bytes may be two names.
            alike = schema_text.encoding(given.text) == encoding
            if alike and schema_parts.together(given.text, entries, texts):
                return Schema(entries, [])
        text = folder / "whole.sql"
        dumping.into(text, encoding)
        entries = given.counted.result()
        if (said := schema_text.encoding(given.text)) != encoding:
            dumping.into(text, said)
        return Schema(*schema_text.unmatched(given.text, text, entries))


def _dump_halves(
    dumping: _Dumping, encoding: str, schemas: Sequence[str], texts: Sequence[Path]
) -> None:
    errors: list[BaseException] = []
    both = dumping._replace(stop=lambda: bool(errors) or dumping.stop())

    def dump(text: Path, part: Sequence[str]) -> None:
        try:
            both.into(text, encoding, part)
        except BaseException as error:  # noqa: BLE001 - is raised below
            errors.append(error)

    with ThreadPoolExecutor(len(texts)) as pool:
        wait(
            [
                pool.submit(dump, *each)
                for each in zip(texts, schema_parts.arguments(schemas), strict=True)
            ]
        )
    if errors:
        raise errors[0]


def _listed(snapshot: Exported, told: Told) -> Listing:
    told(Progress(stage="proving", about="what is to be hashed"))
    with snapshot.guard:
        found = content.listed(snapshot.cursor, rough=True)
        _none_missed(snapshot.cursor, len(found))
    return found


def _observed(
    manifest: Manifest,
    snapshot: Exported,
    hashed: Future[Sequence[Relation]],
    *,
    told: Told,
    cores: Cores,
) -> Observed:
    """Read all of the target, while its rows are hashed."""
    told(Progress(stage="proving", about="properties"))
    cursor = snapshot.cursor
    with_verifiers = any(role.verifier is not None for role in manifest.roles)
    with cores.taken(), snapshot.guard, asking("the properties of the target"):
        found, memberships = roles(
            cursor,
            with_verifiers=with_verifiers,
            also=[role.name for role in manifest.roles],
        )
        observed = Observed(
            server_number=cursor.connection.info.server_version,
            database=database(cursor, sized=False),
            roles=found,
            memberships=memberships,
            extensions=extensions(cursor),
            relations=(),
            sequences=content.sequences(cursor),
            large_objects=content.large_objects(cursor),
            properties=properties(cursor),
        )
    return msgspec.structs.replace(observed, relations=hashed.result())


# Counted otherwise than they are listed: a list that misses some would prove too little.
_COUNT = """
SELECT pg_catalog.count(*) FROM pg_catalog.pg_class AS c
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.relnamespace NOT IN (
   SELECT n.oid FROM pg_catalog.pg_namespace AS n
    WHERE n.nspname IN ('pg_catalog', 'information_schema', 'pg_toast'))"""


def _none_missed(cursor: Cursor[Any], listed: int) -> None:
    with asking("how many relations there are"):
        cursor.execute(_COUNT)
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 - an aggregate
    if row[0] != listed:
        raise NothingCompared(
            f"the target has {row[0]} relations with rows, but {listed} were listed"
        )


def _all_hashed(listed: Listing, relations: Sequence[Relation]) -> None:
    if len(listed) != len(relations):
        raise NothingCompared(
            f"{len(listed)} relations were to be hashed, but {len(relations)} were"
        )
