"""When credentials end: read from a certificate or a token, without a library for either."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime, timezone
from typing import Any

_UTC_TIME = 0x17
_EXPLICIT_VERSION = 0xA0


def not_after(pem: bytes) -> datetime | None:
    """Return when the first certificate of a PEM text ends, or None if it cannot be read."""
    try:
        body = pem.split(b"-----BEGIN CERTIFICATE-----", 1)[1]
        der = base64.b64decode(body.split(b"-----END", 1)[0])
        _, certificate, _ = _element(der)
        _, inner, _ = _element(certificate)
        tag, _, rest = _element(inner)
        skip = 3 if tag == _EXPLICIT_VERSION else 2  # serial, signature, issuer come before
        for _ in range(skip):
            _, _, rest = _element(rest)
        _, validity, _ = _element(rest)
        _, _, after = _element(validity)
        tag, value, _ = _element(after)
        text = value.decode("ascii")
        form = "%y%m%d%H%M%SZ" if tag == _UTC_TIME else "%Y%m%d%H%M%SZ"
        return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
    except (IndexError, ValueError, binascii.Error):
        return None


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """Return tag, content and what follows of the first element (DER)."""
    tag, length, start = data[0], data[1], 2
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    return tag, data[start : start + length], data[start + length :]


def token_ends(token: str) -> datetime | None:
    """Return when a JWT ends, or None if it is none, or has no end.

    >>> token_ends("opaque") is None
    True
    """
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004 - header, claims, signature
        return None
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return datetime.fromtimestamp(float(claims["exp"]), tz=timezone.utc)
    except (ValueError, KeyError, TypeError, OverflowError, binascii.Error):
        return None
