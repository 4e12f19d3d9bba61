"""Passwords by type (they never print) and, as a second line, redaction by value.

Law 3 of the house: a password is never in argv, a log, a traceback, a report, an assertion's
introspection or ``--showlocals``. Only the rooms ``postgres`` and ``kubernetes`` call
:meth:`Secret.reveal`, straight into the call that needs it.
"""

from __future__ import annotations

import base64
import hmac
import json
import secrets as _random
from collections.abc import Iterable
from functools import lru_cache
from typing import NoReturn
from urllib.parse import quote, quote_plus

MASK = "********"

# Shorter values, and names that the report must be able to say, are not replaced by value: the
# report would become unreadable. A check finds such passwords.
SHORTEST_REDACTED = 8

_known: set[str] = set()
_public: set[str] = set()


class Secret:
    """A value that never shows: masked in repr, str and format, and not serialisable.

    >>> Secret("hunter2-hunter2")
    Secret(********)
    >>> f"{Secret('hunter2-hunter2')}"
    '********'
    >>> Secret("a-long-password") == Secret("a-long-password")
    True
    """

    __slots__ = ("__value",)

    def __init__(self, value: str) -> None:
        self.__value = value
        register(value)

    @classmethod
    def generate(cls) -> Secret:
        """Return a new password of 32 letters and digits, about 190 bits, safe in a URI."""
        alphabet = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
        # secrets, never random: pytest-randomly reseeds random alike everywhere.
        return cls("".join(_random.choice(alphabet) for _ in range(32)))

    def reveal(self) -> str:
        """Return the value. Only for ``postgres`` and ``kubernetes``, straight into a call."""
        return self.__value

    def __bool__(self) -> bool:
        return bool(self.__value)

    def __repr__(self) -> str:
        return f"Secret({MASK})"

    def __str__(self) -> str:
        return MASK

    def __format__(self, spec: str) -> str:
        return format(MASK, spec)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self.__value.encode(), other.__value.encode())

    def __hash__(self) -> int:
        return hash(self.__value)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not serialisable")


def register(value: str) -> None:
    """Have :func:`redact` replace ``value`` from now on, in every form that we know."""
    if len(value) >= SHORTEST_REDACTED:
        _known.add(value)


def publish(names: Iterable[str]) -> None:
    """Say that these roles', databases' and hosts' names are public: they are never redacted."""
    _public.update(names)


@lru_cache(maxsize=256)
def forms(value: str) -> frozenset[str]:
    """Return the spellings in which a password could leave: raw, quoted, encoded, escaped."""
    raw = value.encode()
    found = {
        value,
        quote(value, safe=""),
        quote(value),
        quote_plus(value),
        base64.b64encode(raw).decode(),
        base64.urlsafe_b64encode(raw).decode(),
        value.replace("'", "''"),
        value.replace("\\", "\\\\").replace("'", "\\'"),
        value.replace("\\", "\\\\").replace("'", "''"),
        value.replace("\\", "\\\\").replace(":", "\\:"),
        json.dumps(value)[1:-1],
        json.dumps(value, ensure_ascii=False)[1:-1],
        repr(value)[1:-1],
    }
    # A report that breaks lines still must not show the longest line of a password.
    found.update(line for line in value.splitlines() if len(line) >= SHORTEST_REDACTED)
    return frozenset(form for form in found if len(form) >= SHORTEST_REDACTED)


def redact(text: str) -> str:
    """Return ``text`` with every known password, in every known form, masked."""
    if not _known:
        return text
    if "SCRAM-SHA-256$" in text:
        text = _without_verifiers(text)
    candidates = {form for value in _known - _public for form in forms(value)} - _public
    for form in sorted(candidates, key=len, reverse=True):
        if form in text:
            text = text.replace(form, MASK)
    return text


def _without_verifiers(text: str) -> str:
    import re  # noqa: PLC0415 - only when a verifier is in sight

    return re.sub(r"SCRAM-SHA-256\$[0-9]+:[^\s'\"]+", f"SCRAM-SHA-256${MASK}", text)
