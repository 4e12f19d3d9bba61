"""One pass of a dump: a snapshot, pg_dump, hashes and properties side by side, and a watch."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pytest_costmgmt.backup import (
    collations,
    content,
    locks,
    properties,
    schema_parts,
    schema_text,
)
from pytest_costmgmt.backup.listing import Listing
from pytest_costmgmt.backup.model import (
    ARCHIVE,
    Database,
    Extension,
    LargeObject,
    Membership,
    Property,
    Relation,
    Role,
    SchemaDigest,
    SequenceValue,
)
from pytest_costmgmt.backup.packed import Numbered
from pytest_costmgmt.backup.partial import scratch
from pytest_costmgmt.backup.progress import Progress, Sizes, Told
from pytest_costmgmt.backup.settling import settling
from pytest_costmgmt.errors import BackupFailed, FactUnavailable
from pytest_costmgmt.facts import hazards
from pytest_costmgmt.facts.hazards import Hazard
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.clients import ClientFailed, Clients
from pytest_costmgmt.postgres.command import Stop
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.snapshot import OURS, Exported, exported, imported, lock_room

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

CONNECT = 30.0
LOOK = 0.5
"Seconds between two looks at what our sessions wait for."

RECENTLY = 3.0
"Seconds that may pass between a lock's timeout and the end of the program that it struck."

PATIENCE = 60.0
"Seconds that one look at the catalogs may take."

LONGEST_NAME = 63

_TABLES_LOCKED = re.compile(r"pg_dump: reading (?!extensions|schemas|user-defined tables)")
_OVERTAKEN = "requested an ACCESS EXCLUSIVE lock on the table"
"pg_dump's own words, in the C locale, where one of its workers found another session in the queue."

_TIMED_OUT = re.compile("SQLSTATE (?:55P03|57014)")
_DUMPING = re.compile(r'pg_dump: dumping contents of table "(.*)"$')


class Changed(Exception):
    """A table was rewritten, truncated or dropped under the dump: what was read proves nothing."""


class Pass(msgspec.Struct, frozen=True, kw_only=True):
    """What one pass is to do. ``until`` is a time of time.monotonic()."""

    login: Login
    folder: Path
    clients: Clients
    jobs: int
    compress: str
    with_role_passwords: bool
    until: float
    lock_timeout: float
    run_id: str

    @property
    def name(self) -> str:
        """The application_name of pg_dump's sessions, by which they are known."""
        return f"{OURS} dump {self.run_id}"[:LONGEST_NAME]

    @property
    def reader(self) -> str:
        """The application_name of our own sessions that read in the snapshot."""
        return f"{OURS} read {self.run_id}"[:LONGEST_NAME]

    @property
    def left(self) -> float:
        """Seconds left, for what takes a number of them."""
        return max(1.0, self.until - time.monotonic())

    def alone(self) -> Pass:
        """Return the same with one process of pg_dump."""
        return msgspec.structs.replace(self, jobs=1)


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the snapshot showed, and what the archive will set."""

    server: str
    server_number: int
    database: Database
    roles: tuple[Role, ...]
    memberships: tuple[Membership, ...]
    extensions: tuple[Extension, ...]
    properties: Sequence[Property]
    large_objects: Sequence[LargeObject]
    hazards: tuple[Hazard, ...]
    collations: tuple[str, ...]
    relations: Sequence[Relation] = ()
    sequences: Sequence[SequenceValue] = ()
    schema_digest: SchemaDigest | None = None


def perform(wanted: Pass, told: Told, stop: Stop) -> Seen:
    """Dump and read once. Raises Changed if it must be done again, else BackupFailed."""
    over = threading.Event()

    def ended() -> bool:
        return over.is_set() or stop()

    try:
        with (
            contextlib.closing(connect(wanted.login, deadline=CONNECT)) as watch,
            exported(wanted.login, deadline=CONNECT, name=wanted.reader) as snapshot,
        ):
            work = _Work(wanted, snapshot, watch, told, ended)
            with ThreadPoolExecutor(3, thread_name_prefix="costmgmt-dump") as pool:
                try:
                    seen = work.follow(pool)
                finally:
                    over.set()
    except FactUnavailable as error:
        raise BackupFailed(f"the backup failed: {error.message}", hint=error.hint) from None
    return msgspec.structs.replace(
        seen,
        sequences=schema_text.archive_sequences(
            wanted.clients, wanted.folder / ARCHIVE, deadline=wanted.left, stop=stop
        ),
        schema_digest=_schema_digest(wanted, stop) if schema_parts.many(seen.relations) else None,
    )


def _schema_digest(wanted: Pass, stop: Stop) -> SchemaDigest | None:
    with scratch() as folder:
        text = folder / "archive.sql"
        schema_text.of_archive(
            wanted.clients, wanted.folder / ARCHIVE, text, deadline=wanted.left, stop=stop
        )
        return schema_parts.digest(text, schema_text.count(text))


class _Work:
    """A pass under way: three threads that work, and this one that watches."""

    def __init__(
        self,
        wanted: Pass,
        snapshot: Exported,
        watch: Connection[Any],
        told: Told,
        stop: Stop,
    ) -> None:
        self.wanted, self.snapshot, self.watch = wanted, snapshot, watch
        self.told, self.stop = told, stop
        self.locked = threading.Event()
        self.bytes = 0
        self.settled = Numbered()
        "The relations that pg_dump had locked when their files were seen to be the snapshot's."
        self.holder: locks.LockHeld | None = None
        self.held_at = 0.0
        self.pause = min(LOOK, wanted.lock_timeout / 4)
        self.files: locks.Files = Numbered()
        self.listed = Listing()
        self.sizes = Sizes()

    def follow(self, pool: ThreadPoolExecutor) -> Seen:
        """Start everything; return when all is done and nothing changed under it."""
        self._until_done({pool.submit(self._list)})
        dumped = pool.submit(self._dump)
        hashed = pool.submit(self._hash)
        described = pool.submit(self._describe)
        self._until_done({dumped, hashed, described}, dumped, hashed)
        self._check_files()
        return msgspec.structs.replace(described.result(), relations=hashed.result())

    def _until_done(
        self,
        pending: set[Future[Any]],
        dumped: Future[Any] | None = None,
        hashed: Future[Any] | None = None,
    ) -> None:
        checked = False
        while pending:
            done, pending = wait(pending, timeout=self.pause, return_when=FIRST_COMPLETED)
            self._failed(done)
            if self.locked.is_set() and not checked and dumped in pending:
                self._check_locked()
                checked = True
            if dumped in done and hashed in pending:
                # What is hashed after the dump's locks are gone may have changed before.
                self.settled = Numbered()
            if pending:
                self._look()

    def _list(self) -> None:
        with asking("the tables to dump"), self.snapshot.guard:
            cursor = self.snapshot.cursor
            locks.check_room(lock_room(cursor))
            self.files = locks.files(cursor)
            self.listed = content.listed(cursor, lock_timeout=self.wanted.lock_timeout)
        self.sizes = Sizes((f"{each.schema}.{each.name}", each.bytes) for each in self.listed)

    def _failed(self, done: set[Future[Any]]) -> None:
        """Raise what stopped one of the three: a change under it, a lock, or its own error."""
        errors = [error for future in done if (error := future.exception()) is not None]
        if not errors:
            return
        if any(
            isinstance(e, ClientFailed) and _OVERTAKEN in "\n".join(e.ended.tail) for e in errors
        ):
            raise Changed("a table that somebody waits to lock exclusively could not be locked")
        if self.holder is not None and self._just_waited() and any(map(_timed_out, errors)):
            raise self.holder
        # If nothing can be asked, what stopped them is why.
        with contextlib.suppress(FactUnavailable):
            self._check_files()
            self.snapshot.probe()
            self._check_shapes()
        raise min(errors, key=lambda error: not isinstance(error, BackupFailed))

    def _just_waited(self) -> bool:
        """Say whether a lock was waited for until just now, about as long as it may be."""
        assert self.holder is not None  # noqa: S101 - asked by whoever saw one
        recently = time.monotonic() - self.held_at < RECENTLY
        return recently and self.holder.waited + RECENTLY > self.wanted.lock_timeout

    def _dump(self) -> None:
        wanted = self.wanted
        archive = wanted.folder / ARCHIVE
        with settling(archive):
            wanted.clients.run(
                "pg_dump",
                [
                    "--format=directory",
                    f"--file={archive}",
                    f"--jobs={wanted.jobs}",
                    f"--snapshot={self.snapshot.name}",
                    f"--lock-wait-timeout={max(1, int(wanted.lock_timeout * 1000))}",
                    wanted.compress,
                    "--no-sync",  # we do, while it is written and when it is read
                    "--verbose",
                ],
                wanted.login,
                deadline=wanted.left,
                heard=self._heard,
                stop=self.stop,
                name=wanted.name,
            )

    def _heard(self, line: str) -> None:
        if not self.locked.is_set() and _TABLES_LOCKED.match(line):
            self.locked.set()
        # What comes in two pieces is heard twice.
        if (found := _DUMPING.match(line)) and (size := self.sizes.take(found[1])) is not None:
            self.bytes += size
            self.told(
                Progress(
                    stage="dumping",
                    done=self.sizes.taken,
                    total=len(self.sizes),
                    bytes=self.bytes,
                    total_bytes=self.sizes.total,
                    about=found[1],
                )
            )

    def _hash(self) -> Sequence[Relation]:
        wanted = self.wanted
        with asking("the tables' contents"):
            return content.hash_all(
                wanted.login,
                self.listed,
                snapshot=self.snapshot.name,
                jobs=wanted.jobs,
                timeout=wanted.left,
                told=self.told,
                stop=self.stop,
                name=wanted.reader,
            )

    def _describe(self) -> Seen:
        wanted = self.wanted
        login, name = wanted.login, self.snapshot.name
        reading = imported(login, name, timeout=wanted.left, name=wanted.reader)
        with asking("what the database holds"), reading as cursor:
            roles, memberships = properties.roles(cursor, with_verifiers=wanted.with_role_passwords)
            return Seen(
                server=self._server(),
                server_number=cursor.connection.info.server_version,
                database=properties.database(cursor),
                roles=roles,
                memberships=memberships,
                extensions=properties.extensions(cursor),
                properties=properties.properties(cursor),
                large_objects=content.large_objects(cursor),
                collations=collations.needed(cursor),
                hazards=hazards.read(cursor).hazards,
            )

    def _server(self) -> str:
        return self.watch.info.parameter_status("server_version") or ""

    def _look(self) -> None:
        """See whether all is as it should be: time, the snapshot's holder, locks."""
        if self.stop():
            raise BackupFailed("the backup was told to stop; nothing of it is left")
        self.snapshot.check()
        with self._seeing("what the backup waits for") as cursor:
            waiting = locks.blocked(cursor, [self.wanted.name, self.wanted.reader])
        if waiting is not None:
            self.holder, self.held_at = waiting, time.monotonic()
        if waiting is not None and waiting.waited > self.wanted.lock_timeout:
            raise waiting
        if time.monotonic() > self.wanted.until:
            raise waiting or BackupFailed(
                "the backup did not end before its deadline", hint="Give it more time by --timeout."
            )

    def _check_locked(self) -> None:
        """What pg_dump has locked now keeps its file until it ends, if it is the snapshot's."""
        with self._seeing("what the dump has locked") as cursor:
            locked = locks.held(cursor, self.wanted.name)
        self._check_files()
        self.settled = locked

    def _check_files(self) -> None:
        """The files must still be the snapshot's. A new look: its snapshot is of now."""
        with self._seeing("the tables' files") as cursor:
            changed = locks.changed(self.files, locks.files(cursor))
        changed = {oid for oid in changed if oid not in self.settled}
        self._must_be_empty(changed, "was truncated, rewritten or dropped")

    def _check_shapes(self) -> None:
        """Find the relation whose name or columns are not the snapshot's any more."""
        with asking("the tables' columns"), self.snapshot.guard:
            then = locks.shapes(self.snapshot.cursor)
        with self._seeing("the tables' columns") as cursor:
            changed = locks.changed(then, locks.shapes(cursor))
        self._must_be_empty(changed, "was altered or dropped")

    def _must_be_empty(self, changed: set[int], what: str) -> None:
        if not changed:
            return
        with asking("the tables' names"), self.snapshot.guard:
            names = locks.named(self.snapshot.cursor, changed)
        raise Changed(f"{names} {what} after the snapshot was taken")

    @contextlib.contextmanager
    def _seeing(self, what: str) -> Iterator[Cursor[Any]]:
        with asking(what), read_only(self.watch, timeout=PATIENCE) as cursor:
            yield cursor


def _timed_out(error: BaseException) -> bool:
    """Say whether waiting for a lock may have been what ended it."""
    if isinstance(error, ClientFailed):
        # The server's words may be in any language; pg_dump says no SQLSTATE.
        return error.program == "pg_dump" and error.ended.status == 1
    return isinstance(error, FactUnavailable) and bool(_TIMED_OUT.search(error.message))
