"""The circumstances of a run that judges need to know: data, no connections."""

from __future__ import annotations

from typing import Literal

import msgspec


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of run this is.

    ``ours``: this run created the server. ``writable``: effect scratch is allowed.
    ``role`` and ``database`` are the application's. ``failed_logins`` is how many deliberately
    wrong logins may be tried (None: as many as needed, the server is ours).
    ``today`` is the ISO day of the run, ``application`` "example", "given", "manifest" or "".
    ``relayed``: the application's socket here ends a way into a pod's network, where it is TCP.
    """

    mode: Literal["embedded", "external", "release"]
    profile: Literal["preflight", "smoke", "full", "release-gate"]
    ours: bool
    writable: bool
    role: str
    database: str
    has_administrator: bool
    failed_logins: int | None
    application: Literal["example", "given", "manifest", "image", ""]
    run_id: str
    today: str
    relayed: bool = False
