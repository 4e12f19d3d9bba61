"""WebSocket frames (RFC 6455) for one thread that must never wait on one side alone.

The library makes the handshake; from there on it is ours, because its reads and its writes block
each other's thread, and an end without a closing frame must not look like one with it.
"""

from __future__ import annotations

import os
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_FINAL, _MASKED = 0x80, 0x80
_SHORT, _LONG = 126, 127
LONGEST_MESSAGE = 64 * 1024 * 1024


class Malformed(ValueError):
    """What came is no WebSocket frame."""


def frame(opcode: int, payload: bytes) -> bytes:
    """Return one whole frame as a client sends it: masked.

    >>> unmask, key = frame(BINARY, b"abc")[6:], frame(BINARY, b"")[2:6]
    >>> len(frame(BINARY, b"abc")), len(frame(BINARY, bytes(200))), len(frame(BINARY, bytes(70000)))
    (9, 208, 70014)
    """
    size = len(payload)
    first = _FINAL | opcode
    if size < _SHORT:
        head = struct.pack("!BB", first, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, _MASKED | _SHORT, size)
    else:
        head = struct.pack("!BBQ", first, _MASKED | _LONG, size)
    key = os.urandom(4)
    return head + key + masked(payload, key)


def masked(payload: bytes, key: bytes) -> bytes:
    """Return the payload under ``key``; twice is the payload itself.

    >>> masked(masked(b"0123456789", b"abcd"), b"abcd")
    b'0123456789'
    """
    size = len(payload)
    pad = (key * (size // 4 + 1))[:size]
    mixed = int.from_bytes(payload, "little") ^ int.from_bytes(pad, "little")
    return mixed.to_bytes(size, "little")


class Reader:
    """Bytes in, messages out: ``(opcode, payload)``, fragments joined."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._opcode = BINARY
        self._parts: list[bytearray] = []

    def feed(self, data: bytes | memoryview) -> list[tuple[int, bytearray]]:
        """Take what was read; return the messages that are whole by now. Raises Malformed."""
        self._data += data
        found = []
        at = 0
        while (whole := self._one(at)) is not None:
            opcode, payload, final, at = whole
            if opcode >= CLOSE:
                found.append((opcode, payload))
                continue
            if opcode != CONTINUATION:
                self._opcode = opcode
            self._parts.append(payload)
            if sum(map(len, self._parts)) > LONGEST_MESSAGE:
                raise Malformed("a message of more than 64 MiB")
            if final:
                whole_message = self._parts[0]
                for more in self._parts[1:]:
                    whole_message += more
                found.append((self._opcode, whole_message))
                self._parts.clear()
        del self._data[:at]
        return found

    def _one(self, at: int) -> tuple[int, bytearray, bool, int] | None:
        data = self._data
        if len(data) < at + 2:
            return None
        first, second = data[at], data[at + 1]
        if first & 0x70:
            raise Malformed("reserved bits are set")
        size, start = second & 0x7F, at + 2
        if size >= _SHORT:
            wide = 2 if size == _SHORT else 8
            if len(data) < start + wide:
                return None
            size = int.from_bytes(data[start : start + wide], "big")
            start += wide
        if size > LONGEST_MESSAGE:
            raise Malformed("a frame of more than 64 MiB")
        if second & _MASKED:
            raise Malformed("a server's frame is masked")
        end = start + size
        if len(data) < end:
            return None
        return first & 0x0F, data[start:end], bool(first & _FINAL), end
