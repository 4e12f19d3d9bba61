"""What a report shows beside its findings: texts from around the server, without passwords."""

from __future__ import annotations

import msgspec


class Exhibit(msgspec.Struct, frozen=True, kw_only=True):
    """One text: events, an object, a log."""

    title: str
    text: str
