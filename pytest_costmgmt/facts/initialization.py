"""What was seen when initialization ran again: data, filled by ``initialize.again``."""

from __future__ import annotations

import msgspec


class SeenStep(msgspec.Struct, frozen=True, kw_only=True):
    """A step of the initialization: what it did, or would have done."""

    name: str
    action: str
    remark: str = ""
    database: str = ""
    sql: tuple[str, ...] = ()


class SeenRun(msgspec.Struct, frozen=True, kw_only=True):
    """One run over all steps and the migrations. ``error`` is "" for one that succeeded."""

    steps: tuple[SeenStep, ...] = ()
    applied: tuple[str, ...] = ()
    error: str = ""
    tail: tuple[str, ...] = ()


class Again(msgspec.Struct, frozen=True, kw_only=True):
    """Initialization run again on a server that was initialized.

    ``why_not``, with ``how`` to have it otherwise, is set where it could not be run. ``pending``
    are steps that a rehearsal found not to be done: then nothing was run, for the server is not
    ours to change in a check. ``appeared`` and ``vanished`` are lines of the catalog that differ.
    """

    why_not: str = ""
    how: str = ""
    pending: tuple[SeenStep, ...] = ()
    runs: tuple[SeenRun, ...] = ()
    parts: int = 0
    before: str = ""
    after: str = ""
    appeared: tuple[str, ...] = ()
    vanished: tuple[str, ...] = ()
