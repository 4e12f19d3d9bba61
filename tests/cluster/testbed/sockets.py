"""The socket of a database's server in a pod, as a bed's own node has it.

`kubectl exec` takes a third of a second of a core: a program in Go, three streams, a process that
enters the container. Through the root of one of the pod's processes its socket is a file.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

# Not var/run: that is a link, which would be followed outside.
PLACE = "root/run/postgresql"
FILE = ".s.PGSQL.5432"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PG")}


class Sockets:
    """Finds them, and remembers where they were."""

    def __init__(self) -> None:
        self._found: dict[str, Path] = {}

    def of(self, uid: str) -> Path | None:
        """Return the folder of the socket in the pod of this uid, or None if it has none now."""
        known = self._found.pop(uid, None)
        places = [*Path("/proc").glob("[0-9]*")]
        for entry in places if known is None else [known, *places]:
            with contextlib.suppress(OSError):
                if uid in (entry / "cgroup").read_text() and (entry / PLACE / FILE).exists():
                    self._found[uid] = entry
                    return entry / PLACE
        return None
