"""Judge how near the server is to the end of the ids without which nothing can be written."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pytest_costmgmt.facts.server import DatabaseAge, ServerFacts
from pytest_costmgmt.judge.finding import Finding, Fix
from pytest_costmgmt.judge.sqltext import ident

# Ids are compared in a circle of 2^32: what is older than half of it would count as yet to come
# (varsup.c, multixact.c: the oldest id + 0xFFFFFFFF / 2).
_HALF = 2**31 - 1

# The server gives out no more ids when so few are left. It warns since 14 at 40 million (before
# at 11): too late where they last for an hour, and nobody reads warnings.
_SPARED = 3_000_000
_SPARED_BEFORE_14 = {"transaction": 1_000_000, "multixact": 100}

# vacuum_failsafe_age's default, and vacuum_multixact_failsafe_age's: three quarters of the way,
# where VACUUM itself drops all else to avert the end. Autovacuum freezes at an eighth of it
# (autovacuum_freeze_max_age), but no lower bound parts the right from the wrong: a table that
# takes days to freeze is rightly many times that old meanwhile.
FAILSAFE = 1_600_000_000

_HUNDRED_MILLION = 100_000_000

_HOLDERS = """\
-- First end what is old among these, by hand: VACUUM freezes nothing that is younger.
-- (ROLLBACK PREPARED; pg_drop_replication_slot(); a session: by whoever it belongs to.)
SELECT 'prepared transaction' AS holder, gid AS name, pg_catalog.age(transaction) AS age
  FROM pg_catalog.pg_prepared_xacts
UNION ALL
SELECT 'replication slot', slot_name::text,
       greatest(pg_catalog.age(xmin), pg_catalog.age(catalog_xmin))
  FROM pg_catalog.pg_replication_slots
UNION ALL
SELECT 'session', pg_catalog.concat_ws(' ', pid, usename, datname, state, xact_start),
       greatest(pg_catalog.age(backend_xid), pg_catalog.age(backend_xmin))
  FROM pg_catalog.pg_stat_activity
 ORDER BY 3 DESC NULLS LAST LIMIT 20;
"""


_REFUSED = {
    "transaction": "every write",
    "multixact": "every lock on a row that two sessions share, as foreign keys have them do",
}


class _Near(NamedTuple):
    """A database in which too many ids are not frozen; ``left`` until writes are refused."""

    database: DatabaseAge
    kind: str
    age: int
    left: int
    bound: int


def bound(freeze_max_age: int) -> int:
    """Return the age beyond which no healthy server is.

    Where autovacuum was told to begin later, VACUUM's failsafe does so too: at 105 % of that.

    >>> bound(200_000_000), bound(2_000_000_000)
    (1600000000, 2100000000)
    """
    return max(FAILSAFE, freeze_max_age * 105 // 100)


def left(age: int, kind: str, major: int) -> int:
    """Return how many ids there are until the server refuses what needs one.

    >>> left(1_600_000_000, "transaction", 16), left(2**31 - 2, "multixact", 13)
    (544483647, -99)
    """
    spared = _SPARED if major >= 14 else _SPARED_BEFORE_14[kind]  # noqa: PLR2004
    return _HALF - spared - age


def at_its_end(database: str, age: int, *, major: int) -> list[Finding]:
    """Return a finding if the server gives out no more transaction ids: all writes are refused."""
    if left(age, "transaction", major) > 0:
        return []
    return [
        Finding(
            summary=f"the server refuses every write: database {database} has transaction ids of"
            f" age {_roughly(age)} that are not frozen",
            expected="transaction ids are left",
            found=f"{_roughly(age)} in database {database}, none left",
            # PostgreSQL's documentation: to write again as soon as may be, VACUUM without FREEZE.
            fix=Fix(
                kind="sql",
                text=f"{_HOLDERS}VACUUM;",
                needs="superuser (on a managed service: the provider)",
                database=database,
            ),
        )
    ]


def findings(server: ServerFacts) -> list[Finding]:
    """Return a finding for each database that is too near to the end, the nearest first."""
    return [_finding(near, server.database) for near in sorted(_near(server), key=lambda n: n.left)]


def summary(server: ServerFacts) -> str:
    """Return roughly how many transactions there are until writes are refused."""
    oldest = max(age.transactions for age in server.ages)
    rest = left(oldest, "transaction", server.major) // _HUNDRED_MILLION * _HUNDRED_MILLION
    return f"more than {_roughly(rest)} transactions are left"


def _roughly(number: int) -> str:
    """Return a number that is the same at the next look: each transaction takes an id.

    >>> _roughly(1_600_000_999), _roughly(2_999_999)
    ('1,600 million', '2 million')
    """
    return f"{number // 1_000_000:,} million"


def _near(server: ServerFacts) -> Iterator[_Near]:
    for database in server.ages:
        for kind, age, forced in (
            ("transaction", database.transactions, server.freeze_max_age),
            ("multixact", database.multixacts, server.multixact_freeze_max_age),
        ):
            if age > bound(forced):
                yield _Near(database, kind, age, left(age, kind, server.major), bound(forced))


def _finding(near: _Near, here: str) -> Finding:
    name, kind = near.database.database, near.kind
    when = f"in {_roughly(near.left)} {kind}s" if near.left > 0 else "now"
    return Finding(
        summary=f"database {name} has {kind} ids of age {_roughly(near.age)} that are not frozen:"
        f" the server refuses {_REFUSED[kind]} {when}",
        expected=f"the oldest {kind} id that is not frozen is at most {_roughly(near.bound)} old",
        found=f"{_roughly(near.age)} in database {name}, {_roughly(max(near.left, 0))} left",
        fix=_fix(near, here),
    )


def _fix(near: _Near, here: str) -> Fix:
    # PostgreSQL's documentation: to write again as soon as may be, VACUUM without FREEZE.
    vacuum = "VACUUM (FREEZE);" if near.left > 0 else "VACUUM;"
    needs = "superuser (others' tables are passed over; on a managed service: the provider)"
    name = near.database.database
    if near.database.connects:
        return Fix(kind="sql", text=_HOLDERS + vacuum, needs=needs, database=name)
    if near.left <= 0:
        return Fix(
            kind="shell",
            text="# Nobody may connect to it, and to change that is a write. Autovacuum freezes\n"
            "# it by itself when what holds it back has ended (see the other databases).",
            needs="superuser",
        )
    return Fix(
        kind="sql",
        text=f"""{_HOLDERS}\
-- Nobody may connect to it but autovacuum, which freezes it by itself. By hand:
ALTER DATABASE {ident(name)} ALLOW_CONNECTIONS true;
\\connect {ident(name)}
{vacuum}
\\connect {ident(here)}
SET default_transaction_read_only = off;
ALTER DATABASE {ident(name)} ALLOW_CONNECTIONS false;""",
        needs=needs,
        database=here,
    )
