"""A process that starts an embedded server, for tests that end it in every way.

``python embedded_controller.py RUN_ID BASE [WATCH_PID]`` prints a line of JSON once the server
answers; then it obeys words on stdin, a line each: ``stop``, ``keep``, ``raise``, ``exit``.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from pytest_costmgmt.postgres.programs import find_programs
from pytest_costmgmt.servers import embedded, embedded_folders


def main(run_id: str, base: str, watch: str = "") -> None:
    """Start, tell, obey."""
    cache = Path(os.environ["TEST_CACHE"]) if "TEST_CACHE" in os.environ else None
    cache = embedded_folders.cache_folder(cache, os.environ)
    programs = find_programs(bindir=None, version=None, cache=cache, environ=os.environ)
    instance = embedded.start(
        run_id=run_id,
        programs=programs,
        bases=[Path(base)],
        watch_pid=int(watch) if watch else None,
    )
    postmaster = int((instance.data / "postmaster.pid").read_text().split("\n")[0])
    seen = {
        "folder": str(instance.run_folder),
        "postmaster": postmaster,
        "supervisor": instance.supervised.pid,
    }
    print(json.dumps(seen), flush=True)  # noqa: T201 - what the test reads
    for word in map(str.strip, sys.stdin):
        if word == "raise":
            raise RuntimeError("as told")
        if word == "exit":
            instance.detach()
            return
        instance.stop(keep=word == "keep")


if __name__ == "__main__":
    main(*sys.argv[1:])
