"""What came of upgrades that were done on purpose, and of what the release held: data."""

from __future__ import annotations

import msgspec


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What must be the same after an upgrade; ``secret`` is the password's keyed hash."""

    row: str
    server: str
    claim: str
    secret: str
    opens: bool
    "Whether the Secret's password opened the database."
    roles: tuple[str, ...]
    extensions: tuple[str, ...]


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One step. ``refused`` is what Helm, or the rollout, said against it; ``error`` what broke.

    ``left_out`` says why it was not tried as it was meant, with ``who`` can have it and ``how``;
    what was done instead may have left something ``after`` it all the same. ``image`` is the
    pod's, ``cpu`` what the StatefulSet has its container ask for.
    """

    what: str
    refused: str = ""
    error: str = ""
    left_out: str = ""
    who: str = ""
    how: str = ""
    after: Held | None = None
    image: str = ""
    cpu: str = ""


class Upgrades(msgspec.Struct, frozen=True, kw_only=True):
    """All steps, in order, by their names; ``error`` says why none was tried."""

    before: Held | None = None
    stages: dict[str, Stage] = {}
    error: str = ""
