"""WebSocket frames: whatever way the bytes come in, the messages are the same."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_costmgmt.kubernetes import frames


def served(opcode: int, payload: bytes, *, final: bool = True) -> bytes:
    """Return a frame as a server sends it: unmasked."""
    first = (0x80 if final else 0) | opcode
    if len(payload) < 126:
        return bytes((first, len(payload))) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", first, 126, len(payload)) + payload
    return struct.pack("!BBQ", first, 127, len(payload)) + payload


@given(
    payloads=st.lists(st.binary(max_size=400), max_size=6),
    cuts=st.lists(st.integers(1, 300), min_size=1, max_size=20),
)
def test_messages_do_not_depend_on_how_the_bytes_come(
    payloads: list[bytes], cuts: list[int]
) -> None:
    """Cut anywhere, also in a length, the same messages come out."""
    data = b"".join(served(frames.BINARY, each) for each in payloads)
    reader, found, at, turn = frames.Reader(), [], 0, 0
    while at < len(data):
        piece = cuts[turn % len(cuts)]
        found += reader.feed(data[at : at + piece])
        at, turn = at + piece, turn + 1
    assert plain(found) == [(frames.BINARY, each) for each in payloads]


def plain(messages: list[tuple[int, bytearray]]) -> list[tuple[int, bytes]]:
    """Return the messages as what they are compared with."""
    return [(opcode, bytes(payload)) for opcode, payload in messages]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 200_000])
def test_a_frame_of_ours_is_masked_and_whole(size: int) -> None:
    """What a client sends bears its length in the shortest form, and a mask that undoes itself."""
    payload = bytes(number % 251 for number in range(size))
    sent = frames.frame(frames.BINARY, payload)
    assert sent[0] == 0x82
    assert sent[1] & 0x80
    start = {126: 4, 127: 10}.get(sent[1] & 0x7F, 2)
    key, body = sent[start : start + 4], sent[start + 4 :]
    assert frames.masked(body, key) == payload


def test_fragments_are_joined_around_control_frames() -> None:
    """A ping in the midst of a message neither ends nor enters it."""
    reader = frames.Reader()
    data = (
        served(frames.BINARY, b"ab", final=False)
        + served(frames.PING, b"?")
        + served(frames.CONTINUATION, b"cd")
        + served(frames.CLOSE, b"\x03\xe8")
    )
    assert plain(reader.feed(data)) == [
        (frames.PING, b"?"), (frames.BINARY, b"abcd"), (frames.CLOSE, b"\x03\xe8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\xc2\x00", id="reserved-bits"),
        pytest.param(b"\x82\x81\0\0\0\0x", id="masked"),
        pytest.param(b"\x82\x7f" + (1 << 40).to_bytes(8, "big"), id="too-long"),
        pytest.param(b"HTTP/1.1 200 OK\r\n", id="http"),
    ],
)
def test_what_is_no_frame_is_malformed(data: bytes) -> None:
    """Other bytes than a server's frames are an error, not data."""
    with pytest.raises(frames.Malformed):
        frames.Reader().feed(data)
