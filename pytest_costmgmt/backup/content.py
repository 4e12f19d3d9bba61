"""The rows of a database, as numbers and hashes: the same for the same rows in any order."""

from __future__ import annotations

import contextlib
import threading
from array import array
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING, Any

from pytest_costmgmt.backup import content_lines as lines
from pytest_costmgmt.backup import content_sql as texts
from pytest_costmgmt.backup.listing import Listed, Listing, by_name
from pytest_costmgmt.backup.model import LargeObject, Relation, SequenceValue
from pytest_costmgmt.backup.packed import Packed, in_order
from pytest_costmgmt.backup.progress import Progress, Told, nobody
from pytest_costmgmt.backup.sharing import Cores
from pytest_costmgmt.errors import BackupFailed
from pytest_costmgmt.postgres.asking import asking
from pytest_costmgmt.postgres.command import Stop, never
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.snapshot import OURS, importing
from pytest_costmgmt.postgres.streamed import streamed

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

TABLES = 200
"Of how many tables rows are read before their locks are given back."
LOCKS = 500
"How many entries of the server's lock table that may take: a table's indexes take theirs too."
SMALL = 16 * 1024 * 1024
"Bytes that are hashed in one go."
SEQUENCE_DATA = 18_00_00
"Since when a function tells a sequence's value."
POLL = 0.1
CONNECT = 30.0


def listed(cursor: Cursor[Any], *, lock_timeout: float = 60, rough: bool = False) -> Listing:
    """Return every table, partition and materialized view of the database, ordered by name.

    With ``rough`` sizes are what the server noted of them; which are empty is exact either way.
    The cursor's transaction keeps no lock of it; each may be waited for ``lock_timeout`` seconds.
    """
    with asking("the list of relations"):
        size = texts.ROUGH if rough else texts.EXACT
        # Reading a relation's size takes a lock for a moment.
        _set_lock_timeout(cursor, lock_timeout)
        return Listing(map(_listed, streamed(cursor, texts.listed(size))))


def _set_lock_timeout(cursor: Cursor[Any], seconds: float) -> None:
    cursor.execute(
        b"SELECT pg_catalog.set_config('lock_timeout', %s, true)",
        (str(max(1, int(seconds * 1000))),),
    )


def _listed(row: Sequence[Any]) -> Listed:
    oid, schema, name, kind, populated, heap, main, locks, toast = row
    # A relation that is gone has no size; hashing it will say so.
    size = (main or 0) + (toast or 0)
    return Listed(
        oid=oid,
        schema=schema,
        name=name,
        kind="table" if kind == "r" else "materialized view",
        bytes=size,
        locks=locks,
        populated=populated,
        # A heap without a page holds no row that any snapshot sees.
        empty=bool(heap) and main == 0,
        lines=kind == "r" and size <= lines.SMALL,
    )


def as_hashed(listed: Iterable[Listed], before: Sequence[Relation]) -> Listing:
    """Return the list with each relation to be hashed as it was before: else no two are equal."""
    return _listing(listed).as_hashed(before)


def _listing(listed: Iterable[Listed]) -> Listing:
    return listed if isinstance(listed, Listing) else Listing(listed)


def hash_all(
    login: Login,
    listed: Iterable[Listed],
    *,
    snapshot: str | None,
    jobs: int,
    timeout: float,
    told: Told = nobody,
    stop: Stop = never,
    name: str = OURS,
    cores: Cores | None = None,
) -> Sequence[Relation]:
    """Return each relation's number of rows and their hash, ordered by name.

    ``jobs`` sessions read in ``snapshot``, or each in its own if there is none to import; each
    begins when one of the ``cores`` is left for it. A statement may take ``timeout`` seconds, and
    wait as long for a lock. ``name`` is the sessions' application_name. Raises FactUnavailable
    where rows cannot be read, or would be filtered; BackupFailed if told to stop.
    """
    work = _Work(login, _listing(listed), snapshot=snapshot, jobs=jobs, timeout=timeout, told=told)
    work.name, work.cores = name, cores
    work.run(stop)
    return work.relations()


class _Work:
    """What is to be hashed, by several threads that take from it."""

    def __init__(
        self,
        login: Login,
        listed: Listing,
        *,
        snapshot: str | None,
        jobs: int,
        timeout: float,
        told: Told,
    ) -> None:
        self.login, self.snapshot, self.timeout, self.told = login, snapshot, timeout, told
        self.name = OURS
        self.cores: Cores | None = None
        self.listed, self.todo = listed, listed.to_hash()
        self.total = len(listed)
        self.total_bytes = sum(listed[at].bytes for at in self.todo)
        self.done, self.bytes = len(listed) - len(self.todo), 0
        # Of no more batches than there may be sessions is it asked whether they are there.
        self.jobs = sum(1 for _ in islice(self._batches(), max(1, jobs)))
        # A relation that takes longer than the rest together is read by several of the server's
        # own processes.
        self.alone = self.total_bytes / max(1, jobs)
        self.helpers = max(0, jobs - 1)
        # By a relation's place in the list.
        self.rows, self.sums = (array(kind, bytes(8 * len(listed))) for kind in "qQ")
        self.hashed, self.as_lines = bytearray(len(listed)), bytearray(len(listed))
        self.lock = threading.Lock()
        self.over = False
        self.open: set[Connection[Any]] = set()
        self.waiting = self._batches()

    def _batches(self) -> Iterator[list[Listed]]:
        return batches(map(self.listed.__getitem__, self.todo))

    def relations(self) -> Sequence[Relation]:
        """Return what was hashed. Raises BackupFailed if anything that was to be was not."""
        if (left := len(self.todo) - sum(self.hashed)) != 0:
            raise BackupFailed(f"{left} relations were not hashed")
        return Packed(Relation, map(self._relation, self.listed))

    def _relation(self, each: Listed) -> Relation:
        return Relation(
            schema=each.schema,
            name=each.name,
            kind=each.kind,
            rows=self.rows[each.place],
            content=hexadecimal(self.sums[each.place]),
            by="lines" if self.as_lines[each.place] else "server",
            bytes=each.bytes,
            populated=each.populated,
        )

    def run(self, stop: Stop) -> None:
        if not self.jobs:
            return
        with ThreadPoolExecutor(self.jobs, thread_name_prefix="costmgmt-hash") as pool:
            futures = [pool.submit(self._session, number) for number in range(self.jobs)]
            try:
                self._follow(futures, stop)
            finally:
                self._end()

    def _follow(self, futures: list[Future[None]], stop: Stop) -> None:
        left = set(futures)
        while left:
            done, left = wait(left, timeout=POLL, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
            if left and stop():
                raise BackupFailed("the contents were not hashed to their end: told to stop")

    def _end(self) -> None:
        """End what still runs; nothing does unless something failed or it was told to stop."""
        with self.lock:
            self.over = True
            for connection in self.open:
                # Why it ends is told already, be the server there or not.
                with contextlib.suppress(Exception):
                    connection.cancel()

    def _session(self, number: int) -> None:
        while self.cores is not None and not self.cores.wait(number, POLL):
            with self.lock:
                if self.over:
                    return
        connection = connect(self.login, deadline=CONNECT, application_name=self.name)
        try:
            with self.lock:
                self.open.add(connection)
            with connection.cursor() as cursor:
                with asking("the types of columns"):
                    importing(cursor, self.snapshot, timeout=self.timeout)
                    chars = lines.chars(cursor)
                    cursor.execute(b"ROLLBACK")
                while (batch := self._next()) is not None:
                    with asking(f"the rows of {_names(batch)}"):
                        self._hash(cursor, batch, chars)
        finally:
            with self.lock:
                self.open.discard(connection)
            connection.close()

    def _next(self) -> list[Listed] | None:
        with self.lock:
            return None if self.over else next(self.waiting, None)

    def _hash(self, cursor: Cursor[Any], batch: list[Listed], chars: str) -> None:
        if not batch[0].lines:
            self._hash_there(cursor, batch)
            return
        for rest in batches(self._hash_lines(cursor, batch, chars)):
            self._hash_there(cursor, rest)

    def _hash_there(self, cursor: Cursor[Any], batch: list[Listed]) -> None:
        """Have the server hash the rows."""
        importing(cursor, self.snapshot, timeout=self.timeout)
        oids = ", ".join(str(each.oid) for each in batch)
        cursor.execute(texts.STATEMENT.replace("{oids}", oids).encode())
        found: dict[int, tuple[int, int]] = {}
        if statement := _first(cursor):
            # Not before: the catalogs are read by their indexes.
            helpers = self.helpers if batch[0].bytes > self.alone else 0
            workers = f"SET LOCAL max_parallel_workers_per_gather = {helpers}; "
            cursor.execute((workers + texts.PINS).encode())
            cursor.execute(statement.encode())
            found = {oid: (rows, int(total or 0)) for oid, rows, total in cursor}
        cursor.execute(b"ROLLBACK")
        if found.keys() != {each.oid for each in batch}:
            raise BackupFailed("not every relation was hashed: one was dropped meanwhile")
        self._tell(batch, found)

    def _hash_lines(self, cursor: Cursor[Any], batch: list[Listed], chars: str) -> list[Listed]:
        """Hash the rows as lines; return the relations that have none."""
        importing(cursor, self.snapshot, timeout=self.timeout)
        statements = lines.copies(cursor, [each.oid for each in batch], chars)
        having = [each for each in batch if each.oid in statements]
        if having:
            cursor.execute(texts.PINS.encode())
            lines.as_stored(cursor)
            wanted = [(f"{each.schema}.{each.name}", statements[each.oid]) for each in having]
            sums = list(lines.sums(cursor, wanted))
            self._tell(having, {x.oid: sum_ for x, sum_ in zip(having, sums, strict=True)})
            with self.lock:
                for each in having:
                    self.as_lines[each.place] = 1
        cursor.execute(b"ROLLBACK")
        return [each for each in batch if each.oid not in statements]

    def _tell(self, batch: Sequence[Listed], found: dict[int, tuple[int, int]]) -> None:
        with self.lock:
            for each in batch:
                self.rows[each.place], total = found[each.oid]
                self.sums[each.place] = total % (1 << 64)
                self.hashed[each.place] = 1
            self.done += len(batch)
            self.bytes += sum(each.bytes for each in batch)
            progress = Progress(
                stage="hashing",
                done=self.done,
                total=self.total,
                bytes=self.bytes,
                total_bytes=self.total_bytes,
            )
        self.told(progress)


def hexadecimal(total: int) -> str:
    """Return a sum of 64-bit hashes as 16 digits, whatever its sign."""
    return f"{total % (1 << 64):016x}"


def _names(batch: Sequence[Listed]) -> str:
    more = f" and {len(batch) - 1} more" if batch[1:] else ""
    return f"{batch[0].schema}.{batch[0].name}{more}"


def batches(todo: Iterable[Listed]) -> Iterator[list[Listed]]:
    """Yield what is hashed in one transaction each, the largest relations first."""
    batch: list[Listed] = []
    size = locks = 0
    for each in todo:
        # COPY opens no index.
        taken = min(each.locks, 3) if each.lines else each.locks
        size, locks = size + each.bytes, locks + taken
        if batch and (
            len(batch) == TABLES or size > SMALL or locks > LOCKS or each.lines != batch[0].lines
        ):
            yield batch
            batch, size, locks = [], each.bytes, taken
        batch.append(each)
    if batch:
        yield batch


def _first(cursor: Cursor[Any]) -> str:
    row = cursor.fetchone()
    return "" if row is None or row[0] is None else str(row[0])


def sequences(cursor: Cursor[Any]) -> Sequence[SequenceValue]:
    """Return where each sequence of the database stands now: no snapshot holds a sequence.

    The cursor's transaction keeps no lock of it.
    """
    with asking("the sequences' values"):
        return in_order(SequenceValue, _sequences(cursor), by_name)


def _sequences(cursor: Cursor[Any]) -> Iterator[SequenceValue]:
    found = streamed(cursor, texts.SEQUENCES)
    # Begun before the savepoint, or it would end with it.
    some = list(islice(found, LOCKS))
    cursor.execute(b"SAVEPOINT costmgmt_sequences")
    while some:
        values = _values(cursor, [oid for oid, _, _ in some])
        # Gives the locks back.
        cursor.execute(b"ROLLBACK TO SAVEPOINT costmgmt_sequences")
        yield from (_sequence(schema, name, values.get(oid)) for oid, schema, name in some)
        some = list(islice(found, LOCKS))


def _sequence(schema: str, name: str, value: tuple[int | None, bool] | None) -> SequenceValue:
    # Since 18 there is no error where the login may not read it.
    if value is None or value[0] is None:
        raise BackupFailed(
            f"the value of sequence {schema}.{name} could not be read",
            hint="Grant SELECT on it, or name a login that owns the database's objects.",
        )
    return SequenceValue(schema=schema, name=name, last_value=value[0], is_called=value[1])


def _values(cursor: Cursor[Any], oids: Sequence[int]) -> dict[int, tuple[int | None, bool]]:
    wanted = ", ".join(map(str, oids))
    if cursor.connection.info.server_version >= SEQUENCE_DATA:
        cursor.execute(texts.VALUES_18.replace("{oids}", wanted).encode())
    else:
        cursor.execute(texts.VALUES.replace("{oids}", wanted).encode())
        if not (statement := _first(cursor)):
            return {}
        cursor.execute(statement.encode())
    return {oid: (last_value, is_called) for oid, last_value, is_called in cursor}


def large_objects(cursor: Cursor[Any]) -> Sequence[LargeObject]:
    """Return every large object, its content hashed piece by piece, ordered by oid.

    The cursor's transaction is REPEATABLE READ, so that all is of one moment.
    """
    with asking("the large objects"):
        found = (
            LargeObject(
                oid=oid,
                bytes=size,
                content=hexadecimal(int(content or 0)),
                owner=owner,
                acl=(", ".join(acl) or "{}") if is_set else "",
                comment=comment,
            )
            for oid, size, owner, is_set, acl, comment, content, _ in streamed(
                cursor, texts.LARGE_OBJECTS
            )
        )
        return in_order(LargeObject, found, lambda each: each.oid)
