"""The node: first process of the test bed's own mount, process and network namespaces.

When it ends, the kernel ends every other process here, and with the last of them go all mounts,
interfaces and files: everything that is written lies on a tmpfs of this mount namespace. It ends
when its standard input does. Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from tests.cluster.testbed import components
from tests.cluster.testbed.components import RARELY, STATE, Component, Place

RESTART_AFTER = 0.5
# The kubelet wants these, and they are the machine's: it is shown that they are so already.
SHOWN = {
    "vm/overcommit_memory": "1",
    "vm/panic_on_oom": "0",
    "kernel/panic": "10",
    "kernel/panic_on_oops": "1",
    "kernel/keys/root_maxkeys": "1000000",
    "kernel/keys/root_maxbytes": "25000000",
}
# Where programs write without being asked to; what they write is gone with the node.
WRITTEN_TO = ("/var/lib", "/var/log", "/opt", "/etc")


class Started(NamedTuple):
    """A component's process."""

    component: Component
    process: subprocess.Popen[bytes]


def main(place: Place) -> None:
    """Start everything, say how far it is on standard output, and restart what ends."""
    _mounts()
    _say("namespaces")
    sys.stdin.readline()  # by then our end of the cable is here
    _network(place)
    components.write(place)
    running = [_start(one, place) for one in components.first(place)]
    importing = _import_images(place)
    _until_answers(place)
    running += [_start(one, place) for one in components.second(place)]
    _say("started")
    _keep(running, importing, place)


def _mounts() -> None:
    _run("mount", "-t", "tmpfs", "-o", "mode=0755,size=80%", "bed", "/run")
    for own in (STATE, Path("/run/lock")):
        own.mkdir()
    for folder in WRITTEN_TO:
        if not Path(folder).is_dir():
            continue
        own = STATE / "written" / folder.strip("/").replace("/", "-")
        (own / "upper").mkdir(parents=True)
        (own / "work").mkdir()
        layers = f"lowerdir={folder},upperdir={own}/upper,workdir={own}/work"
        _run("mount", "-t", "overlay", "-o", layers, "bed", folder)
    shown = STATE / "shown"
    shown.mkdir()
    for name, value in SHOWN.items():
        real = Path("/proc/sys") / name
        if real.exists():
            file = shown / name.replace("/", "-")
            file.write_text(value + "\n")
            _run("mount", "--bind", str(file), str(real))


def _network(place: Place) -> None:
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    _run("ip", "link", "set", "lo", "up")
    _run("ip", "address", "add", f"{place.address}/30", "dev", "eth0")
    _run("ip", "link", "set", "eth0", "up")
    # Not a default route: what is not here is unreachable at once. The node itself reaches Services
    # only if there is some way to them, before kube-proxy's rules choose another.
    _run("ip", "route", "add", components.SERVICES, "via", place.host)


def _start(component: Component, place: Place) -> Started:
    log = Path(place.folder) / "logs" / f"{component.name}.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            component.command,
            env={**os.environ, **RARELY, "PATH": place.path, **component.environment},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return Started(component, process)


def _import_images(place: Place) -> subprocess.Popen[bytes]:
    deadline = time.monotonic() + 60
    while not components.CONTAINERD.exists():
        if time.monotonic() > deadline:
            raise TimeoutError("containerd made no socket within 60 s")
        time.sleep(0.05)
    command = ["ctr", "-a", str(components.CONTAINERD), "-n", "k8s.io", "images", "import"]
    log = Path(place.folder) / "logs" / "images.log"
    with log.open("ab") as out:
        return subprocess.Popen([*command, place.images], stdout=out, stderr=subprocess.STDOUT)


def _until_answers(place: Place) -> None:
    """Wait for the API server: the others would only try in vain, and take its processor."""
    context = ssl.create_default_context(cafile=str(STATE / "ca.crt"))
    deadline, last = time.monotonic() + 120, "nothing"
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(
                f"https://{place.address}:6443/readyz", context=context, timeout=5
            ):
                return
        except urllib.error.HTTPError as error:
            last = error.read().decode()
        except OSError as error:
            last = str(error)
        time.sleep(0.1)
    raise TimeoutError(f"the API server was not ready within 120 s; it said last: {last}")


def _keep(running: list[Started], importing: subprocess.Popen[bytes], place: Place) -> None:
    """Restart what ends, take in orphans, end with our standard input."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    ours = {one.process.pid: one.component for one in running}
    due: list[tuple[float, Component]] = []
    while True:
        while gone := _reaped():
            if gone[0] == importing.pid:
                _say(f"images {os.waitstatus_to_exitcode(gone[1])}")
            elif (component := ours.pop(gone[0], None)) is not None:
                due.append((time.monotonic() + RESTART_AFTER, component))
        for entry in [one for one in due if one[0] <= time.monotonic()]:
            due.remove(entry)
            ours[_start(entry[1], place).process.pid] = entry[1]
        ready, _, _ = select.select([0, woken], [], [], RESTART_AFTER if due else None)
        if 0 in ready and not os.read(0, 100):
            return
        if woken in ready:
            os.read(woken, 1000)


def _reaped() -> tuple[int, int] | None:
    with contextlib.suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            return pid, status
    return None


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"`{' '.join(command)}` failed in the node: {done.stderr.strip()}")


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 - how it speaks with its keeper


if __name__ == "__main__":
    facts: dict[str, Any] = json.loads(sys.argv[1])
    os.environ["PATH"] = facts["path"]
    if shutil.which("mount") is None:
        sys.exit("the node has no `mount`")
    try:
        main(Place(**facts))
    except (OSError, RuntimeError) as error:
        _say(f"failed {error}")
        sys.exit(1)
