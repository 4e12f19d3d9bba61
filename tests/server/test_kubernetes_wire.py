"""What came over TLS is all read: nothing decrypted stays where no poll sees it."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from pathlib import Path

import pytest

from pytest_costmgmt.kubernetes import streams

PIECE = 10_000
"A record's length."
PIECES = 9
"All at once are less than a socket holds."


def certificate(folder: Path) -> Path:
    """Return a file with a new key and its certificate."""
    made = folder / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", "/CN=own", "-keyout", str(made), "-out", str(folder / "crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    made.write_text(made.read_text() + (folder / "crt").read_text())
    return made


def test_no_record_is_left_half_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more is there than is read at once, the last record is read whole."""
    monkeypatch.setattr(streams, "_READ", 2 * PIECE + PIECE // 2)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate(tmp_path))
    asking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asking.check_hostname, asking.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()

    def serve() -> None:
        with serving.wrap_socket(theirs, server_side=True) as served:
            for _ in range(PIECES):
                served.sendall(bytes(PIECE))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    with asking.wrap_socket(ours) as tls:
        thread.join(10)
        assert not thread.is_alive()
        wire = streams.Wire(tls, label="way", forward=False, protocol="v5.channel.k8s.io")
        seen, ended = 0, False
        while not ended:
            size, ended = wire._received()  # noqa: SLF001 - its bytes, before they are frames
            seen += size
            assert tls.pending() == 0
        assert seen == PIECES * PIECE
