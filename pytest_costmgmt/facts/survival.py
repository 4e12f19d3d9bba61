"""What came of a pod that was deleted on purpose, and of what it held: data."""

from __future__ import annotations

import msgspec


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Which pod, claim and server it is, and what our row says."""

    pod: str
    claim: str
    server: str
    row: str


class Survival(msgspec.Struct, frozen=True, kw_only=True):
    """Before the pod was deleted and after; ``error`` says what broke in between."""

    before: Identity | None = None
    after: Identity | None = None
    seconds: float = 0.0
    error: str = ""
