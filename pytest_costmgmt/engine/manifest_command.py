"""The body of ``costmgmt migrations export``: ask the application, write the manifest."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from pytest_costmgmt import folders
from pytest_costmgmt.engine.files import write_whole
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.facts.migrations import expected_from_application, export
from pytest_costmgmt.initialize.migrations import check_command, inherited
from pytest_costmgmt.settings import environment

# Enough for the application's settings to load; nothing is asked of a database.
_NOWHERE = {
    "DATABASE_SERVICE_NAME": "database",
    "DATABASE_ENGINE": "postgresql",
    "DATABASE_SERVICE_HOST": "localhost",
    "DATABASE_SERVICE_PORT": "5432",
    "DATABASE_NAME": "koku",
    "DATABASE_USER": "koku",
    "DATABASE_PASSWORD": "",
    "DJANGO_SECRET_KEY": "not-used-by-an-export",
}


def run(manage: str, out: Path | None, timeout: float, *, echo: Callable[[str], None]) -> int:
    """Write the manifest to ``out``, or say it; return the exit status.

    What the environment says of the application (DATABASE_*) has the first word. Raises
    UsageProblem, FactUnavailable.
    """
    try:
        command = tuple(shlex.split(manage))
    except ValueError as error:
        raise UsageProblem(f"--manage cannot be read as a command line ({error}).") from None
    if not command:
        raise UsageProblem('--manage is empty: write it as --manage "python manage.py".')
    check_command(command)
    given = environment()
    ours = {name: given.get(name, value) for name, value in _NOWHERE.items()}
    with folders.scratch("work") as folder:
        surroundings = {**inherited(given), **ours, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
        expected = expected_from_application(command, surroundings, deadline=timeout)
    manifest = export(expected)
    if out is None:
        echo(manifest.rstrip("\n"))
        return 0
    try:
        write_whole(out, manifest)
    except OSError as error:
        raise UsageProblem(f"{out} cannot be written: {error.strerror or error}.") from None
    echo(f"{len(expected.migrations)} migrations written to {out}")
    return 0
