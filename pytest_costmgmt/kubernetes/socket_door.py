"""The local end of a way into the cluster: what libpq connects to.

A Unix socket in a folder of our own, for every way; for TLS, which libpq speaks over TCP alone, a
listener on loopback that closes after its one connection, and only where the server asks for a
password. Either asks the kernel who connects: another local user gets nothing.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import stat
import struct
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from pytest_costmgmt import folders
from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.kubernetes.bridge import FAREWELL_SECONDS, Ended, bridge, declined, reset
from pytest_costmgmt.kubernetes.relay import Route

PORT = 5432
NAME = f".s.PGSQL.{PORT}"
LOCALHOST = "127.0.0.1"
_LONGEST_PATH = 107
_STARTUP_SECONDS = 2.0
_KEPT_TROUBLES = 20
_ESTABLISHED_UID = 7
"The column of /proc/net/tcp that names a socket's owner."


class Door:
    """Accepts connections and carries each into the cluster, until it is closed."""

    def __init__(self, route: Route, listener: socket.socket, where: dict[str, str]) -> None:
        self.route = route
        self.where = where
        "libpq's parameters for whoever connects, such as a Login's ``where``."
        self._listener = listener
        self._lock = threading.Lock()
        self._troubles: list[str] = []
        self._threads: list[threading.Thread] = []
        self._stop, self._stopper = os.pipe()
        self._left: int | None = None

    @property
    def troubles(self) -> tuple[str, ...]:
        """What went wrong so far, a line each, oldest first; without passwords."""
        with self._lock:
            return tuple(self._troubles)

    def start(self, connections: int | None = None) -> None:
        """Accept ``connections``, or any number of them."""
        self._left = connections
        self._run(self._accept, "costmgmt-door")

    def close(self) -> None:
        """Stop listening, and cut what is still connected."""
        os.close(self._stopper)
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(FAREWELL_SECONDS * 2)
        self._listener.close()
        if not any(thread.is_alive() for thread in threads):
            os.close(self._stop)

    def _run(self, target: object, name: str, *given: object) -> None:
        # Daemons: an interpreter that ends does not wait for a pod.
        thread = threading.Thread(target=target, args=given, name=name, daemon=True)  # type: ignore[arg-type]
        with self._lock:
            self._threads = [each for each in self._threads if each.is_alive()]
            self._threads.append(thread)
            thread.start()

    def _trouble(self, line: str) -> None:
        with self._lock:
            self._troubles = [*self._troubles, line][-_KEPT_TROUBLES:]

    def _accept(self) -> None:
        poller = select.poll()
        poller.register(self._listener, select.POLLIN)
        poller.register(self._stop, select.POLLIN)
        with self._listener:
            while self._left is None or self._left > 0:
                ready = dict(poller.poll())
                if self._stop in ready:
                    return
                try:
                    local, _ = self._listener.accept()
                except OSError:
                    continue
                if (uid := peer(local)) != os.geteuid():
                    whose = "an unknown user" if uid is None else f"uid {uid}"
                    self._trouble(f"{self.route.label}: a connection of {whose} was refused")
                    reset(local)
                    continue
                if self._left is not None:
                    self._left -= 1
                self._run(self._carry, "costmgmt-bridge", local)

    def _carry(self, local: socket.socket) -> None:
        try:
            ended = self._bridged(local)
        except Exception as error:  # noqa: BLE001 - a thread's last word must be heard
            ended = Ended(how="broken", why=f"{type(error).__name__} in the bridge")
        if ended.how == "broken":
            self._trouble(ended.why)
            # Later it would stand in the middle of the server's words.
            if ended.from_pod == 0:
                self._decline(local, ended.why)
            reset(local)
        else:
            local.close()

    def _bridged(self, local: socket.socket) -> Ended:
        try:
            wire = self.route.open()
        except CostMgmtError as error:
            return Ended(how="broken", why=error.message)
        return bridge(wire, local, stop=self._stop)

    def _decline(self, local: socket.socket, why: str) -> None:
        """Tell the client in PostgreSQL's words; over TCP it asked for TLS first."""
        if local.family != socket.AF_UNIX:
            return
        with contextlib.suppress(OSError):
            local.settimeout(_STARTUP_SECONDS)
            local.sendall(declined(f"no way to {self.route.label}: {why}"))
            local.shutdown(socket.SHUT_WR)
            while local.recv(4096):
                pass


def peer(local: socket.socket) -> int | None:
    """Return the uid of the process at the other end, or None if the kernel does not say."""
    try:
        if local.family == socket.AF_UNIX:
            size = struct.calcsize("3i")
            credentials = local.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
            return int(struct.unpack("3i", credentials)[1])
        address, port = local.getpeername()[:2]
        return _owner(address, port)
    except (OSError, AttributeError, ValueError, IndexError):
        return None


def _owner(address: str, port: int) -> int | None:
    """Return who owns the local TCP socket that is bound to this address."""
    number = int.from_bytes(socket.inet_aton(address), sys.byteorder)
    wanted = f"{number:08X}:{port:04X}"
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        fields = line.split()
        if fields[1] == wanted:
            return int(fields[_ESTABLISHED_UID])
    return None


@contextlib.contextmanager
def unix_door(route: Route, *, folder: Path | None = None) -> Iterator[Door]:
    """Yield a door at ``.s.PGSQL.5432`` in a folder that only we may enter.

    ``folder``, if given, must be ours with mode 0700, and stays; else one is made, and goes.
    """
    with contextlib.ExitStack() as stack, socket.socket(socket.AF_UNIX) as listener:
        home = folder or stack.enter_context(folders.scratch("door", _parent()))
        _only_ours(home)
        path = home / NAME
        if len(os.fsencode(path)) > _LONGEST_PATH:
            raise UsageProblem(f"The path of the socket {path} is longer than a socket's may be.")
        with contextlib.suppress(FileNotFoundError):
            path.unlink()  # left by a run of ours that was killed
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(64)
        door = Door(route, listener, {"host": str(home), "port": str(PORT)})
        door.start()
        try:
            yield door
        finally:
            door.close()
            with contextlib.suppress(OSError):
                path.unlink()


def _parent() -> str | None:
    """Return where the folder of a socket is made: /tmp, if its path would be too long."""
    room = _LONGEST_PATH - len(f"/costmgmt-door-4294967295-{'0' * 16}{folders.SUFFIX}/{NAME}")
    return None if len(os.fsencode(tempfile.gettempdir())) <= room else "/tmp"  # noqa: S108 - a new folder, 0700


def _only_ours(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise UsageProblem(
            f"{folder} is not a folder of ours that nobody else may enter: a socket in it would"
            " lead others to the database.",
            hint=f"chmod 0700 {folder}, or name another.",
        )


@contextlib.contextmanager
def tcp_door(route: Route, *, host: str, connections: int = 1) -> Iterator[Door]:
    """Yield a door on loopback for TLS, where ``host`` is the name in the server's certificate.

    It closes after so many connections (libpq makes another one where sslmode lets it try without
    TLS, and whoever asks why a login failed, too). Raises UsageProblem for a trusted route.
    """
    if route.trusted:
        raise UsageProblem(
            f"{route.label} admits whoever comes: a TCP port would open it to every local user."
        )
    with socket.socket(socket.AF_INET) as listener:
        listener.bind((LOCALHOST, 0))
        listener.listen(8)
        port = str(listener.getsockname()[1])
        door = Door(route, listener, {"host": host, "hostaddr": LOCALHOST, "port": port})
        door.start(connections)
        try:
            yield door
        finally:
            door.close()
