"""One connection: a local socket and a stream into a pod, joined by one thread.

An end that the pod's side did not say is never passed on as one: the local socket is then closed
in the middle of PostgreSQL's conversation, which every client takes for a broken connection.
"""

from __future__ import annotations

import select
import socket
import struct
import time
from typing import Literal

import msgspec

from pytest_costmgmt.kubernetes.relay import NOT_REACHED
from pytest_costmgmt.kubernetes.streams import HIGH_WATER, Wire
from pytest_costmgmt.kubernetes.trouble import StreamBroken
from pytest_costmgmt.secret import redact

_READ = 256 * 1024
_TICK = 5.0
FAREWELL_SECONDS = 5.0
"How long the last bytes may take once one side has ended."

How = Literal["closed", "left", "broken", "stopped"]


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """How a connection ended: the server ``closed`` it, the client ``left``, it is ``broken``."""

    how: How
    why: str = ""
    from_pod: int = 0
    to_pod: int = 0


def bridge(wire: Wire, local: socket.socket, *, stop: int) -> Ended:
    """Carry bytes both ways until one side ends, or ``stop`` (a descriptor) becomes readable.

    Closes the wire, not the local socket. Never raises for what happens on either side.
    """
    joined = _Joined(wire, local, stop)
    try:
        how, why = joined.run(), ""
    except StreamBroken as error:
        how, why = "broken", error.message
    finally:
        wire.close()
    return Ended(how=how, why=why, from_pod=joined.from_pod, to_pod=joined.to_pod)


class _Joined:
    def __init__(self, wire: Wire, local: socket.socket, stop: int) -> None:
        self.wire, self.local, self.stop = wire, local, stop
        self.local.setblocking(False)
        self.for_client = bytearray()
        self.from_pod = self.to_pod = 0
        self.left = False

    def run(self) -> How:
        while True:
            more = self._from_pod()
            self._to_client()
            if not more:
                return self._server_ended()
            if self.left:
                return self._client_left()
            self.wire.keep_alive()
            self.wire.flush()
            if self._stopped():
                return "stopped"

    def _from_pod(self) -> bool:
        """Read what the pod sent, unless the client lags behind; return whether more may come."""
        if len(self.for_client) >= HIGH_WATER:
            return True
        parts, more = self.wire.read()
        for part in parts:
            self.for_client += part
            self.from_pod += len(part)
        if self.wire.error:
            said = redact(self.wire.error.decode("utf-8", "backslashreplace"))
            raise StreamBroken(f"{self.wire.label}: {said}")
        return more and self.wire.status is None

    def _stopped(self) -> bool:
        """Wait for either side; take what the client sent; say whether we are to stop."""
        poller = select.poll()
        lagging = len(self.for_client) >= HIGH_WATER
        poller.register(self.wire, self.wire.events(reading=not lagging))
        wanted = select.POLLIN if self.wire.pending < HIGH_WATER else 0
        poller.register(self.local, wanted | (select.POLLOUT if self.for_client else 0))
        poller.register(self.stop, select.POLLIN)
        ready = dict(poller.poll(_TICK * 1000))
        if ready.get(self.local.fileno(), 0) & (select.POLLIN | select.POLLHUP | select.POLLERR):
            self._from_client()
        return self.stop in ready

    def _from_client(self) -> None:
        try:
            data = self.local.recv(_READ)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.wire.send(data)
            self.to_pod += len(data)
        else:
            self.left = True

    def _to_client(self) -> None:
        try:
            while self.for_client:
                with memoryview(self.for_client) as waiting:
                    sent = self.local.send(waiting[:_READ])
                del self.for_client[:sent]
        except BlockingIOError:
            return
        except OSError:
            self.for_client.clear()
            self.left = True

    def _server_ended(self) -> How:
        """The pod's side ended and said so: the client gets the rest, then the end."""
        if not self.wire.forward and (code := self.wire.exit_code()) != 0:
            said = redact(self.wire.stderr.decode("utf-8", "backslashreplace").strip())
            what = "does not reach it" if code == NOT_REACHED else f"ended with status {code}"
            raise StreamBroken(f"{self.wire.label}: the relay {what}. {said}".rstrip())
        until = time.monotonic() + FAREWELL_SECONDS
        while self.for_client and not self.left and time.monotonic() < until:
            poller = select.poll()
            poller.register(self.local, select.POLLOUT)
            poller.poll(200)
            self._to_client()
        return "closed"

    def _client_left(self) -> How:
        """The client ended: the pod's side gets the rest, and is told."""
        until = time.monotonic() + FAREWELL_SECONDS
        told = self.wire.end_input()
        try:
            while time.monotonic() < until:
                self.wire.flush()
                _, more = self.wire.read()
                if not more or self.wire.status is not None:
                    break
                if not told and not self.wire.pending:
                    break
                self.wire.wait(0.2)
        except StreamBroken:
            pass  # nobody is there any more whom it could mislead
        return "left"


def reset(local: socket.socket) -> None:
    """Close a connection such that a TCP peer sees a reset, not an end."""
    try:
        if local.family != socket.AF_UNIX:
            local.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    except OSError:
        pass
    finally:
        local.close()


def declined(message: str) -> bytes:
    """Return a PostgreSQL error that says why there is no way to the server.

    A client shows it to its user, and takes it for what it is: class 08, no connection.

    >>> declined("no pod")[:1], b"C08001" in declined("no pod"), len(declined("no pod"))
    (b'E', True, 35)
    """
    text = message.replace("\0", " ").encode("utf-8", "backslashreplace")
    fields = b"SFATAL\0VFATAL\0C08001\0M" + text + b"\0\0"
    return b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
