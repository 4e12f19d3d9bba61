"""What came of a backup that was made, damaged on purpose, restored and proven: data."""

from __future__ import annotations

import msgspec


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """One damage done to the archive. ``said`` is how it was refused, "" if it was not."""

    what: str
    said: str = ""


class Differs(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that came back otherwise."""

    of: str
    name: str
    expected: str
    found: str


class Rehearsal(msgspec.Struct, frozen=True, kw_only=True):
    """A backup of the application's database, and its way back into a scratch database.

    A stage that was not reached leaves its fields as they are. ``why_not`` says why the restore
    was not tried at all, with ``how`` to have it; an ``..._error`` what broke.
    """

    database: str
    scratch: str = ""
    "The name of the scratch database of this run."
    clients: str = ""
    backup_error: str = ""
    bytes: int = 0
    files: int = 0
    seconds: float = 0.0
    whole: str = ""
    "Why the untouched archive was not found whole;  if it was."
    damages: tuple[Damage, ...] = ()
    why_not: str = ""
    how: str = ""
    restore_error: str = ""
    restored: bool = False
    compared: dict[str, int] = msgspec.field(default_factory=dict)
    differences: tuple[Differs, ...] = ()
    pending: tuple[Differs, ...] = ()
    "What only a superuser could have restored: it is not known to come back."
    allowed: tuple[str, ...] = ()
    looked_for_left: bool = False
    left: tuple[str, ...] = ()
    "Databases that carry our run's id and are still there."
