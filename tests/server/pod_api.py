"""An API server with one node behind it: REST by a table, exec and port-forward for real.

It speaks the channel protocols as API server and kubelet do (v4 and v5 for exec, v4 for
port-forward), runs what is exec'd as a process here, and forwards to a socket here. ``Fault``
makes a stream end as it does in the wild.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, parse_qsl, urlsplit

TOKEN = "a-token-of-the-test-cluster"
Object = dict[str, Any]


class Fault(NamedTuple):
    """How the next streams go wrong: after ``after`` bytes from the pod, or not at all."""

    after: int = -1
    reset: bool = False
    no_status: bool = False
    lose_tail: int = 0


class Asked(NamedTuple):
    """One request."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]


@dataclass
class PodApi:
    """What the cluster has, and what was asked of it."""

    target: Callable[[], socket.socket] | None = None
    "How the pod's localhost is reached."
    hosts: dict[str, str] = field(default_factory=dict)
    "What a command's words mean inside the pod: names and addresses."
    objects: dict[str, Any] = field(default_factory=dict)
    "Path without query: an object, a list's items, bytes, or a status."
    created: Callable[[str, Object], None] = lambda _path, _body: None
    allowed: Callable[[Object], bool] = lambda _attributes: True
    fault: Fault = field(default_factory=Fault)
    v5: bool = True
    users: dict[str, str] = field(default_factory=lambda: {TOKEN: "tester"})
    asked: list[Asked] = field(default_factory=list)
    streams: list[socket.socket] = field(default_factory=list)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    url: str = ""

    def cut(self) -> None:
        """Break every open stream, as an API server that dies does."""
        for stream in self.streams:
            with suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def kubeconfig(self, path: Path, *, token: str = TOKEN, ca: Path | None = None,
                   user: Mapping[str, Any] | None = None) -> Path:  # fmt: skip
        """Write a kubeconfig that leads here; a ``user``'s token of None is left out."""
        cluster: Object = {"server": self.url}
        cluster |= {"certificate-authority": str(ca)} if ca else {}
        said = {"token": token, **(user or {})}
        given = {name: value for name, value in said.items() if value is not None}
        body = {
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "me"}}],
            "users": [{"name": "me", "user": given}],
        }  # fmt: skip
        path.write_text(json.dumps(body))
        return path


def status(code: int, reason: str, message: str) -> Object:
    """Return what an API server says of an error."""
    return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code,
            "reason": reason, "message": message}  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    api: PodApi

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _serve(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else {}
        self.api.asked.append(Asked(self.command, self.path, tuple(self.headers.items())))
        split = urlsplit(self.path)
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token not in self.api.users:
            return self._say(401, status(401, "Unauthorized", "Unauthorized"))
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self._stream(split.path, split.query)
        if self.command == "POST" and split.path.endswith("selfsubjectaccessreviews"):
            attributes = body["spec"]["resourceAttributes"]
            return self._say(201, {**body, "status": {"allowed": self.api.allowed(attributes)}})
        if self.command == "POST":
            named = body.get("metadata", {}).get("name", "")
            self.api.objects[f"{split.path}/{named}"] = body
            self.api.created(split.path, body)
            return self._say(201, body)
        if self.command == "PUT":
            self.api.objects[split.path] = body
            return self._say(200, body)
        if self.command == "DELETE":
            return self._delete(split.path)
        return self._get(split.path, split.query)

    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - as http.server calls them

    def _get(self, path: str, query: str) -> None:
        found = self.api.objects.get(path)
        if callable(found):
            found = found(dict(parse_qsl(query)))
        if found is None:
            return self._say(404, status(404, "NotFound", f"{path} not found"))
        if isinstance(found, bytes):
            return self._say(200, found)
        if isinstance(found, list):
            return self._say(200, {"kind": "List", "metadata": {}, "items": found})
        return self._say(found.get("code", 200) if found.get("kind") == "Status" else 200, found)

    def _delete(self, path: str) -> None:
        if self.api.objects.pop(path, None) is None:
            return self._say(404, status(404, "NotFound", f"{path} not found"))
        return self._say(200, {"kind": "Status", "status": "Success"})

    def _say(self, code: int, body: Object | bytes) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _stream(self, path: str, query: str) -> None:
        given = self.api.objects.get(path)
        if given is not None:
            return self._say(given["code"], given)
        offered = [part.strip() for part in self.headers["Sec-WebSocket-Protocol"].split(",")]
        known = ["v4.channel.k8s.io"]
        if self.api.v5 and path.endswith("/exec"):
            known.insert(0, "v5.channel.k8s.io")
        chosen = next((name for name in known if name in offered), None)
        if chosen is None:
            return self._say(400, status(400, "BadRequest", "no protocol"))
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()  # noqa: S324
        self.send_response(101)
        for name, value in (("Upgrade", "websocket"), ("Connection", "Upgrade"),
                            ("Sec-WebSocket-Accept", accept),
                            ("Sec-WebSocket-Protocol", chosen)):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.close_connection = True
        self.api.streams.append(self.connection)
        channels = _Channels(self.connection, self.rfile, self.api.fault)
        words = parse_qs(query)
        with suppress(OSError):
            if path.endswith("/portforward"):
                _forward(self.api, channels, int(words["ports"][0]))
            else:
                _execute(self.api, channels, [self.api.hosts.get(w, w) for w in words["command"]])
        return None


class _Cut(OSError):
    """The planted end of a stream."""


class _Channels:
    """Frames of both directions, on a socket that blocks."""

    def __init__(self, connection: socket.socket, rfile: Any, fault: Fault) -> None:
        self.connection, self.rfile, self.fault = connection, rfile, fault
        self.lock = threading.Lock()
        self.sent = 0

    def send(self, channel: int, data: bytes, *, counted: bool = False) -> None:
        payload = bytes((channel,)) + data
        with self.lock:
            if counted:
                self.sent += len(data)
                if 0 <= self.fault.after < self.sent:
                    self.end(said=False)
                    raise _Cut
            self.connection.sendall(_head(0x82, len(payload)) + payload)

    def end(self, *, said: bool) -> None:
        with suppress(OSError):
            if said:
                self.connection.sendall(_head(0x88, 2) + b"\x03\xe8")
            elif self.fault.reset:
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
            self.connection.shutdown(socket.SHUT_RDWR)
        if not said:
            self.connection.close()

    def messages(self) -> Iterator[bytes]:
        """Yield what the client sends, until it closes or is gone."""
        while True:
            head = self.rfile.read(2)
            if len(head) < 2 or head[0] & 0x0F == 8:
                return
            size = head[1] & 0x7F
            assert head[1] & 0x80, "a client's frame must be masked"
            if size == 126:
                size = int.from_bytes(self.rfile.read(2), "big")
            elif size == 127:
                size = int.from_bytes(self.rfile.read(8), "big")
            key = self.rfile.read(4)
            data = self.rfile.read(size)
            pad = (key * (size // 4 + 1))[:size]
            plain = (int.from_bytes(data, "big") ^ int.from_bytes(pad, "big")).to_bytes(size, "big")
            if head[0] & 0x0F == 9:
                with self.lock:
                    self.connection.sendall(_head(0x8A, size) + plain)
            elif plain:
                yield plain


def _head(first: int, size: int) -> bytes:
    if size < 126:
        return bytes((first, size))
    return struct.pack("!BBH", first, 126, size) if size < 65536 else struct.pack(
        "!BBQ", first, 127, size)  # fmt: skip


def _forward(api: PodApi, channels: _Channels, port: int) -> None:
    number = struct.pack("<H", port)
    channels.send(0, number)
    channels.send(1, number)
    assert api.target is not None
    try:
        target = api.target()
    except OSError as error:
        channels.send(1, f"error forwarding port {port}: {error.strerror}".encode())
        return channels.end(said=True)

    def upward() -> None:
        with suppress(OSError, ValueError):
            for message in channels.messages():
                target.sendall(message[1:])
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    thread = threading.Thread(target=upward, daemon=True)
    thread.start()
    with target:
        with suppress(ConnectionError):  # a reset is a clean end, as in a real kubelet
            while data := target.recv(32768):
                channels.send(0, data, counted=True)
        channels.end(said=True)
        thread.join(10)
    return None


def _execute(api: PodApi, channels: _Channels, argv: list[str]) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(argv, start_new_session=True, **pipes)  # type: ignore[call-overload]
    api.processes.append(process)

    threads = [
        threading.Thread(target=_upward, args=(channels, process.stdin), daemon=True),
        threading.Thread(target=_downward, args=(channels, 1, process.stdout), daemon=True),
        threading.Thread(target=_downward, args=(channels, 2, process.stderr), daemon=True),
    ]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    code = process.wait()
    process.stdout.close()
    process.stderr.close()
    body: Object = {"metadata": {}, "status": "Success"}
    if code:
        causes = [{"reason": "ExitCode", "message": str(code)}]
        body = {"metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
                "message": f"command terminated with exit code {code}",
                "details": {"causes": causes}}  # fmt: skip
    if not channels.fault.no_status:
        channels.send(3, json.dumps(body).encode())
    channels.end(said=True)


def _upward(channels: _Channels, stdin: Any) -> None:
    with suppress(OSError, ValueError):
        for message in channels.messages():
            if message[0] == 255:
                break
            stdin.write(message[1:])
            stdin.flush()
    with suppress(OSError):
        stdin.close()


def _downward(channels: _Channels, channel: int, stream: Any) -> None:
    kept = b""
    with suppress(OSError, ValueError):
        while data := stream.read1(32768):
            if channel == 1 and channels.fault.lose_tail:
                kept += data
            else:
                channels.send(channel, data, counted=channel == 1)
        if kept:
            channels.send(1, kept[: -channels.fault.lose_tail])


@contextmanager
def pod_api(*, certificate: tuple[Path, Path] | None = None, port: int = 0) -> Iterator[PodApi]:
    """Serve on loopback, with TLS if a certificate and its key are given."""
    api = PodApi()
    handler = type("Handler", (_Handler,), {"api": api})
    server = ThreadingHTTPServer(("127.0.0.1", port), handler, bind_and_activate=False)
    server.allow_reuse_address = True
    server.daemon_threads = True
    server.block_on_close = False
    server.server_bind()
    server.server_activate()
    scheme = "http"
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        scheme = "https"
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    api.url = f"{scheme}://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        api.cut()
        for process in api.processes:
            process.kill()
            process.wait()
