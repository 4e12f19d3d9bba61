"""Streams into a pod: exec and port-forward, each over a WebSocket of its own.

What the Python client does with them is not used: its streams drop the headers that impersonate,
end in silence at a timeout, and take a reset for an end. Here every header goes along, and an end
that was not said (no status of an exec, no closing frame) is an error.
"""

from __future__ import annotations

import select
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes import frames
from pytest_costmgmt.kubernetes.api import CONNECT_SECONDS, Api, refused, unreachable
from pytest_costmgmt.kubernetes.trouble import StreamBroken
from pytest_costmgmt.secret import redact

STDIN, STDOUT, STDERR, STATUS, CLOSED = 0, 1, 2, 3, 255
DATA, ERROR = 0, 1
"A port-forward's channels, for the one port that we ask for."
EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
FORWARD_PROTOCOLS = ("v4.channel.k8s.io",)

PIECE = 32 * 1024
"What one frame carries at most: what every API server and kubelet takes."
HIGH_WATER = 1024 * 1024
_KEPT = 8 * 1024
"How much of stderr is kept."
_READ = 256 * 1024
_RECORD = 16 * 1024
"What TLS decrypts at once: with room for it, nothing stays behind where no poll sees it."


class Wire:
    """One WebSocket to one pod, by channels, for one thread. Nothing in it waits."""

    def __init__(self, sock: socket.socket, *, label: str, forward: bool, protocol: str) -> None:
        self.label, self.forward, self.protocol = label, forward, protocol
        self.sock = sock
        self.sock.setblocking(False)
        self._reader = frames.Reader()
        self._buffer = bytearray(_READ + _RECORD)
        self._out = bytearray()
        self._announced: set[int] = set()
        self._broke = ""
        self.needs_write = False
        "TLS asks to write before it can read on."
        self.closing = False
        "A closing frame came: it ended, and said so."
        self.status: dict[str, Any] | None = None
        "The exec's status frame."
        self.error = b""
        "What a port-forward said on its channel for errors."
        self.stderr = b""
        self._last_sent = time.monotonic()

    def fileno(self) -> int:
        """Return the socket's number, to be waited for."""
        return self.sock.fileno()

    @property
    def pending(self) -> int:
        """How many bytes wait to be sent."""
        return len(self._out)

    def read(self) -> tuple[list[bytearray], bool]:
        """Return the pod's bytes that are there by now, and whether more may come.

        Raises StreamBroken if it ended without saying so.
        """
        size, ended = self._received()
        if size:
            with memoryview(self._buffer) as buffer:
                return self._take(buffer[:size])
        if not ended:
            return [], True
        if self._said_its_end:
            return [], False
        raise StreamBroken(f"{self.label}: the stream was cut off, without a closing frame.")

    def _received(self) -> tuple[int, bool]:
        """Fill the buffer with what is there; return how much, and whether it ended.

        TLS gives a record at a time. Data before an end or an error counts: the next read meets
        that again.
        """
        size = 0
        with memoryview(self._buffer) as buffer:
            while size < _READ and not self._broke:
                try:
                    count = self.sock.recv_into(buffer[size:])
                except (BlockingIOError, ssl.SSLWantReadError):
                    self.needs_write = False
                    break
                except ssl.SSLWantWriteError:
                    self.needs_write = True
                    break
                except OSError as error:
                    self._broke = error.strerror or type(error).__name__
                    break
                if not count:
                    return size, True
                size += count
        if self._broke and not size:
            raise StreamBroken(f"{self.label}: the stream broke ({self._broke}).")
        return size, False

    @property
    def _said_its_end(self) -> bool:
        return self.closing or self.status is not None

    def _take(self, data: memoryview) -> tuple[list[bytearray], bool]:
        found: list[bytearray] = []
        try:
            messages = self._reader.feed(data)
        except frames.Malformed as error:
            raise StreamBroken(f"{self.label}: what came is no WebSocket frame: {error}") from None
        for opcode, payload in messages:
            if opcode == frames.CLOSE:
                self.closing = True
                return found, False
            if opcode == frames.PING:
                self._out += frames.frame(frames.PONG, bytes(payload))
            elif opcode in {frames.BINARY, frames.TEXT} and payload:
                channel = payload[0]
                del payload[0]
                found += self._channel(channel, payload)
        return found, True

    def _channel(self, channel: int, payload: bytearray) -> list[bytearray]:
        """Keep what is said about the stream; return what is said in it."""
        if self.forward:
            if channel not in self._announced:
                self._announced.add(channel)  # the first frame of each is the port's number
                return []
            if channel == ERROR:
                self.error += payload[:_KEPT]
            return [payload] if channel == DATA and payload else []
        if channel == STDERR:
            self.stderr = (self.stderr + bytes(payload))[-_KEPT:]
        elif channel == STATUS and payload:
            try:
                self.status = msgspec.json.decode(payload, type=dict[str, Any])
            except (msgspec.DecodeError, msgspec.ValidationError):
                raise StreamBroken(f"{self.label}: its status is not readable.") from None
        return [payload] if channel == STDOUT and payload else []

    def send(self, data: bytes) -> None:
        """Put bytes for the pod into the queue."""
        for at in range(0, len(data), PIECE):
            piece = data[at : at + PIECE]
            self._out += frames.frame(frames.BINARY, bytes((DATA,)) + piece)

    def end_input(self) -> bool:
        """Say that no more comes; return whether this protocol knows how to."""
        if self.forward or not self.protocol.startswith("v5."):
            return False
        self._out += frames.frame(frames.BINARY, bytes((CLOSED, STDIN)))
        return True

    def keep_alive(self, *, after: float = 15.0) -> None:
        """Ping if nothing was sent for a while: what stands between ends idle connections."""
        if not self._out and time.monotonic() - self._last_sent > after:
            self._out += frames.frame(frames.PING, b"")

    def flush(self) -> None:
        """Send what the socket takes. Raises StreamBroken."""
        try:
            while self._out:
                with memoryview(self._out) as out:
                    sent = self.sock.send(out[:_READ])
                del self._out[:sent]
                self._last_sent = time.monotonic()
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return
        except OSError as error:
            said = error.strerror or type(error).__name__
            raise StreamBroken(f"{self.label}: the stream broke ({said}).") from None

    def wait(self, seconds: float) -> None:
        """Wait until it can be read, or written if something is to be sent."""
        poller = select.poll()
        poller.register(self, self.events(reading=True))
        poller.poll(seconds * 1000)

    def events(self, *, reading: bool) -> int:
        """Return what the socket is to be waited for."""
        wanted = select.POLLIN if reading else 0
        return wanted | (select.POLLOUT if self._out or self.needs_write else 0)

    def exit_code(self) -> int:
        """Return the exec's exit status. Raises StreamBroken if none was said."""
        if self.status is None:
            raise StreamBroken(
                f"{self.label}: the stream ended without the command's status."
                + _quoted(self.stderr)
            )
        if self.status.get("status") == "Success":
            return 0
        causes = (self.status.get("details") or {}).get("causes") or []
        codes = [each.get("message") for each in causes if each.get("reason") == "ExitCode"]
        if codes and str(codes[0]).isdigit():
            return int(codes[0])
        said = redact(str(self.status.get("message") or "no reason was given"))
        raise StreamBroken(f"{self.label}: the command could not be run: {said}")

    def close(self) -> None:
        """End it, also in the middle: a closing frame if it can still be said."""
        try:
            if not self.closing:
                self.sock.settimeout(1.0)
                self.sock.sendall(frames.frame(frames.CLOSE, struct_code(1000)))
        except OSError:
            pass
        finally:
            self.sock.close()


def struct_code(code: int) -> bytes:
    """Return a closing frame's code."""
    return code.to_bytes(2, "big")


def _quoted(said: bytes) -> str:
    text = redact(said.decode("utf-8", "backslashreplace").strip())
    return f" It said: {text}" if text else ""


def pod_path(namespace: str, pod: str, what: str = "") -> str:
    """Return a pod's path, or that of its ``what`` (exec, portforward, log)."""
    below = f"/{what}" if what else ""
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}{below}"


def forward(api: Api, namespace: str, pod: str, port: int) -> Wire:
    """Open a stream to a port on the pod's own localhost."""
    path = pod_path(namespace, pod, "portforward")
    label = f"port-forward to {pod}:{port}"
    return _open(api, path, [("ports", str(port))], FORWARD_PROTOCOLS, label, forward=True)


def execute(
    api: Api, namespace: str, pod: str, argv: Sequence[str], *, container: str, stdin: bool = False
) -> Wire:
    """Open a stream to a command in a container. Nothing secret may stand in ``argv``."""
    query = [("container", container), ("stdout", "true"), ("stderr", "true")]
    query += [("stdin", "true")] if stdin else []
    query += [("command", word) for word in argv]
    label = f"exec of {argv[0]} in {pod}"
    path = pod_path(namespace, pod, "exec")
    return _open(api, path, query, EXEC_PROTOCOLS, label, forward=False)


def _open(
    api: Api,
    path: str,
    query: Sequence[tuple[str, str]],
    protocols: Sequence[str],
    label: str,
    *,
    forward: bool,
) -> Wire:
    __tracebackhide__ = True
    import websocket  # noqa: PLC0415 - comes with the client

    access = api.access
    url = "ws" + access.server.removeprefix("http") + path + "?" + urlencode(query)
    opened: Any = websocket.WebSocket(sslopt=_sslopt(api), sockopt=_keepalive())
    try:
        opened.settimeout(CONNECT_SECONDS)
        opened.connect(
            url,
            header=[f"{name}: {value}" for name, value in access.headers()],
            subprotocols=list(protocols),
            suppress_origin=True,
            **_proxied(api),
        )
    except websocket.WebSocketBadStatusException as error:
        body = error.resp_body or b""
        raise refused(access, error.status_code, body, label) from None
    except (websocket.WebSocketException, OSError, ValueError) as error:
        raise _not_opened(api, error, label) from None
    protocol = str(opened.subprotocol or "")
    sock = opened.sock
    opened.sock = None  # it is ours from here on
    if sock is None or protocol not in protocols:
        if sock is not None:
            sock.close()
        raise StreamBroken(f"{label}: {api.label} speaks none of {', '.join(protocols)}.")
    return Wire(sock, label=label, forward=forward, protocol=protocol)


def _not_opened(api: Api, error: Exception, label: str) -> StreamBroken:
    if isinstance(error, UnicodeError):
        raise UsageProblem(f"{label}: what is to be said cannot be carried on a stream.")
    why = unreachable(api.access, error)
    return StreamBroken(f"{label} could not be opened. {why.message}", hint=why.hint)


def _sslopt(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = {} if api.access.tls is None else {"context": api.access.tls}
    if api.access.server_name:
        found["server_hostname"] = api.access.server_name
    return found


def _proxied(api: Api) -> dict[str, Any]:
    proxy = api.access.proxy
    if proxy is None:
        # The environment's is settled already; without a name of a proxy the library would
        # read it again, and ignore what is excepted.
        return {"http_proxy_host": "none.invalid", "http_proxy_port": 1, "http_no_proxy": ["*"]}
    return {
        "http_proxy_host": proxy.host,
        "http_proxy_port": proxy.port,
        "http_proxy_auth": proxy.auth,
        "proxy_type": "http",
        "http_no_proxy": ["-"],
    }


def _keepalive() -> list[tuple[int, int, int]]:
    """A peer that vanished is noticed in two minutes, whatever stands between."""
    found = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 6)):
        if hasattr(socket, name):
            found.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return found


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """A command that ended in a pod; its output is whole, and without known passwords."""

    status: int
    stdout: str
    stderr: str


# Where PostgreSQL is the container's first process, an orphan that a signal ends (SIGPIPE, if our
# stream breaks) looks to it like a crash of its own.
# The tail of stdout may be lost though the status is 0 (kubernetes/kubernetes#124571): what does
# not end by this mark is not whole.
_MARKED = 'trap "" PIPE; "$@"; costmgmt=$?; printf "%s%d\\n" "$0" "$costmgmt"; exit "$costmgmt"'


def run(
    api: Api,
    namespace: str,
    pod: str,
    argv: Sequence[str],
    *,
    container: str,
    deadline: float = 30.0,
    limit: int = 256 * 1024,
) -> Ran:
    """Run a command in a container that has ``sh``, to its end; return what it said.

    Raises StreamBroken for an output that is not whole, too long, or late.
    """
    mark = f"\n--costmgmt-{time.monotonic_ns():x}-"
    marked = ["sh", "-c", _MARKED, mark, *argv]
    wire = execute(api, namespace, pod, marked, container=container)
    label = f"{argv[0]} in {pod}"
    try:
        output = _collect(wire, label, until=time.monotonic() + deadline, limit=limit)
        status = wire.exit_code()
    finally:
        wire.close()
    whole, found, code = output.decode("utf-8", "backslashreplace").rpartition(mark)
    if not found or code.strip() != str(status):
        raise StreamBroken(f"{label}: its output came without its end." + _quoted(wire.stderr))
    stderr = redact(wire.stderr.decode("utf-8", "backslashreplace"))
    return Ran(status=status, stdout=redact(whole), stderr=stderr)


def _collect(wire: Wire, label: str, *, until: float, limit: int) -> bytes:
    found = b""
    while True:
        # Read before waiting: TLS may hold what came with the answer to the handshake.
        parts, more = wire.read()
        wire.flush()
        found += b"".join(parts)
        if len(found) > limit:
            raise StreamBroken(f"{label} said more than {limit} bytes.")
        if not more or wire.status is not None:
            return found
        left = until - time.monotonic()
        if left <= 0:
            raise StreamBroken(f"{label} did not end in time." + _quoted(wire.stderr))
        if not parts:
            wire.wait(min(left, 1.0))
