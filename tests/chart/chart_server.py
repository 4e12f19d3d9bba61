"""A server as the sclorg image leaves it, and the chart's scripts run against it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pytest_costmgmt.postgres.programs import Programs
from tests.chart.rendering import CHART
from tests.server.access_server import OwnServer, own_server

# trust on the socket, a password from elsewhere; but one role is let in by mistake.
SCLORG = (
    "local all all trust",
    "host all anybody all trust",
    "host all all all md5",
)
POD_IP = "127.0.0.2"
ELSEWHERE = f"listen_addresses=127.0.0.1,{POD_IP}"
PASSWORD = "the right one, with %x and 'quotes'"


def client_programs(programs: Programs) -> Path:
    """Return where psql, pg_isready and pg_ctl are: a wheel's server may come without them."""
    wanted = ("psql", "pg_isready", "pg_ctl")
    places = [programs.bindir, *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)]
    for place in places:
        if all((place / name).exists() for name in wanted):
            return place
    raise AssertionError(f"none of {places} has {', '.join(wanted)}: install PostgreSQL's client")


@contextmanager
def image(programs: Programs, *settings: str) -> Iterator[OwnServer]:
    """Serve as in the image's second start, with role and database koku."""
    with own_server(programs, (ELSEWHERE, *settings), SCLORG) as server:
        quoted = PASSWORD.replace("'", "''")
        server.sql(
            f"CREATE ROLE koku LOGIN PASSWORD '{quoted}'",
            "CREATE DATABASE koku OWNER koku",
            "CREATE ROLE anybody LOGIN",
        )
        yield server


def script(
    name: str,
    *arguments: str,
    shell: str = "sh",
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    **popen: object,
) -> subprocess.CompletedProcess[str]:
    """Run one of the chart's shell scripts as its containers do: sh -c TEXT NAME ARGUMENT..."""
    text = (CHART / "files" / name).read_text().strip()
    search = os.pathsep.join([*([str(path)] if path else []), os.environ["PATH"]])
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [shell, "-c", text, name.removesuffix(".sh"), *arguments],
        env={"PATH": search, "LC_ALL": "C", **(environ or {})},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        **popen,  # type: ignore[call-overload]
    )
    return done


def shells() -> list[str]:
    """Return the shells of this machine that an image's /bin/sh may be."""
    found: dict[Path, str] = {}
    for name in ("sh", "dash", "bash"):
        if place := shutil.which(name):
            found.setdefault(Path(place).resolve(), name)
    return list(found.values())
