"""The relay in the database's container: PostgreSQL, its first process, inherits every orphan."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pytest_costmgmt.kubernetes.relay import RELAY

# What the container's first process sees: it waits for whatever is left to it, as postmaster does,
# which takes each status but 0 and 1 for a crash of its own.
FIRST = """
import ctypes, os, signal, socket, struct, subprocess, sys, time
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
relay, how = sys.argv[1:]
listener = socket.create_server(("127.0.0.1", 0))
port = str(listener.getsockname()[1])
process = subprocess.Popen(["bash", "-c", relay, "127.0.0.1", port],
                           stdin=subprocess.PIPE, stdout=subprocess.PIPE)
server, _ = listener.accept()
process.stdin.write(b"hello"); process.stdin.flush()
assert server.recv(5) == b"hello"
server.sendall(b"world")
assert os.read(process.stdout.fileno(), 5) == b"world"
if how == "server closes":
    server.close()
elif how == "server resets":
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
elif how == "client leaves":
    process.stdin.close()
    time.sleep(0.2)
    server.close()
else:
    process.kill()
    process.stdout.close()
    process.stdin.close()
    server.sendall(b"x" * 100_000)
    time.sleep(0.2)
    server.close()
until, orphans = time.monotonic() + 10, []
while time.monotonic() < until:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        break
    if pid and pid != process.pid:
        orphans.append(os.waitstatus_to_exitcode(status))
    elif not pid:
        time.sleep(0.05)
print(orphans)
"""


@pytest.mark.parametrize("how", ["server closes", "server resets", "client leaves", "killed"])
def test_the_relay_leaves_no_orphan_that_looks_like_a_crash(how: str) -> None:
    """However it ends, nothing that PostgreSQL inherits dies by a signal or above 1."""
    assert {*orphans(RELAY, how)} <= {0, 1}


def test_a_relay_that_waits_for_nothing_is_seen() -> None:
    """The one that kills and goes leaves what ends by SIGTERM: every session would be ended."""
    hasty = RELAY.replace("; wait; exit", "; exit")
    assert hasty != RELAY
    # It may be quick enough; not often.
    assert any(-15 in orphans(hasty, "server closes") for _ in range(40))


def orphans(relay: str, how: str) -> list[int]:
    """Return the statuses of what the relay left to the first process."""
    done = subprocess.run(
        [sys.executable, "-c", FIRST, relay, how],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [int(each) for each in done.stdout.strip(" []\n").split(",") if each.strip()]
