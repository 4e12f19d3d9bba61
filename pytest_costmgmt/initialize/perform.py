"""Perform steps: look under the lock, do what is missing, say what was done.

A look and what follows from it are one transaction that holds the lock, so that a crash leaves a
step done or not begun, and two runs at once take turns. CREATE DATABASE cannot be in one: then the
lock is held beside it, and the look that follows a crash finds what is there.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from pytest_costmgmt.errors import ConnectFailed, StepFailed
from pytest_costmgmt.initialize.actors import Actors
from pytest_costmgmt.initialize.step import Change, Step, Work
from pytest_costmgmt.postgres.connect import read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import (
    INSUFFICIENT_PRIVILEGE,
    LOCK_NOT_AVAILABLE,
    StatementFailed,
    held,
    locked,
    run,
)

ELSEWHERE = frozenset({"42710", "42P04", "42P06", "23505", "XX000"})
"""Somebody who does not know our lock did the same just now: already exists, or "tuple concurrently
updated" (which has no SQLSTATE of its own). The next look sees it."""

LOOKS = 3


def perform(work: Work, actors: Actors, *, refused: Collection[str] = ()) -> Step:
    """Take the step and return what it did; ``refused`` are the names of those that were."""
    waits = [name for name in work.after if name in refused]
    if waits or not actors.exists(work.database):
        return _told(work, _seen(work, actors), f"waits for {', '.join(waits)}" if waits else "")
    denied = "nobody who was given may do it"
    for login in actors.able(work.by):
        taken = _tried(work, actors, login.on(work.database))
        if isinstance(taken, Step):
            return taken
        denied = taken
    return _told(work, _seen(work, actors), denied)


def _tried(work: Work, actors: Actors, login: Login) -> Step | str:
    """Take the step by this login, or return why it may not; raise StepFailed for the rest."""
    try:
        return _taken(work, actors, login)
    except ConnectFailed as error:
        return error.message
    except StatementFailed as error:
        if error.sqlstate == INSUFFICIENT_PRIVILEGE:
            return f"role {login.role} may not: {error.text}"
        raise _broken(work, error) from None


def rehearse(work: Work, actors: Actors) -> Step:
    """Return the step as it would be taken: nothing is changed, and no lock is taken."""
    change = _seen(work, actors)
    if change.refusal or not change.statements:
        return _told(work, change, "")
    if not any(actors.able(work.by)) and work.by not in {"application", "hive"}:
        return _told(work, change, "nobody who was given may do it")
    step = _told(work, change, change.remark)
    return msgspec.structs.replace(step, action="planned")


def _taken(work: Work, actors: Actors, login: Login, looks: int = LOOKS) -> Step:
    try:
        return _once(work, actors, login)
    except StatementFailed as error:
        if error.sqlstate not in ELSEWHERE or looks == 1:
            raise
    return _taken(work, actors, login, looks - 1)


def _once(work: Work, actors: Actors, login: Login) -> Step:
    connection = actors.connection(login)
    with locked(connection) as cursor:
        change = work.look(cursor)
        if change.refusal or not change.statements:
            return _told(work, change, "")
        if not change.outside:
            run(connection, change.statements)
            _prove(work, cursor)
            return _done(work, change)
    # The transaction has ended, and with it its lock: look again beside a connection that holds it.
    with held(login, deadline=actors.deadline):
        with read_only(connection, timeout=actors.deadline) as cursor:
            change = work.look(cursor)
        if change.refusal or not change.statements:
            return _told(work, change, "")
        try:
            run(connection, change.statements)
        finally:
            run(connection, change.last)
    return _done(work, change)


def _prove(work: Work, cursor: Any) -> None:
    """Look again: REVOKE and GRANT by a role that may not are warnings, which change nothing."""
    if work.look(cursor).statements:
        raise StatementFailed(
            work.name,
            "the server took the statement and changed nothing",
            sqlstate=INSUFFICIENT_PRIVILEGE,
        )


def _done(work: Work, change: Change) -> Step:
    return Step(
        name=work.name,
        action=change.action,
        database=work.database,
        sql=change.shown,
        remark=change.remark,
        blocks=work.blocks,
    )


def _told(work: Work, change: Change, why: str) -> Step:
    """Return a step that was not taken: present, or refused."""
    needed = bool(change.refusal or change.statements)
    return Step(
        name=work.name,
        action="refused" if needed else "present",
        database=work.database,
        sql=change.shown,
        remark=(change.refusal or why) if needed else change.remark,
        blocks=work.blocks,
    )


def _seen(work: Work, actors: Actors) -> Change:
    """Return what is to be done, seen by whoever may look."""
    if not actors.exists(work.database):
        return work.fresh
    database, why = actors.maintenance if work.shared else work.database, ""
    for login in actors.readers():
        try:
            connection = actors.connection(login.on(database))
        except ConnectFailed as error:
            why = why or error.message
            continue
        with read_only(connection, timeout=actors.deadline) as cursor:
            return work.look(cursor)
    return Change(statements=work.fresh.statements, refusal=why)


def _broken(work: Work, error: StatementFailed) -> StepFailed:
    if error.sqlstate == LOCK_NOT_AVAILABLE:
        return StepFailed(
            work.name,
            f"another session holds the lock in database {work.database}: {error.text}",
            hint="If another initialization runs, wait for it; see pg_locks for who holds it.",
        )
    return StepFailed(work.name, error.message)
