"""The folder of a run's reports: 0600 files, each complete or absent."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.engine.files import remove, write_whole
from pytest_costmgmt.engine.report import html, logs
from pytest_costmgmt.engine.report.junit import path as junit_path
from pytest_costmgmt.engine.report.model import API_VERSION, ConformanceReport, RunFacts
from pytest_costmgmt.secret import redact

REPORT, PAGE, FIXES = "report.json", "report.html", "fix.sql"
UNFINISHED = "the run did not come to its end"


def clear(folder: str | None, junit: str | None) -> str:
    """Replace an earlier run's reports; return what is wrong with the folder, or "".

    From now on until the run's end the folder says *inconclusive*: a run that is killed, or that
    never starts, must not leave the last run's green behind. So all is removed before anything is
    written (a disk may be full), and one file that stays keeps none of the others.
    """
    steps: list[tuple[str, str, Callable[[], None]]] = []
    if folder is not None:
        place, give = Path(folder).expanduser(), "--costmgmt-report a folder"
        steps += [(folder, give, partial(remove, place / name)) for name in (REPORT, PAGE)]
        steps.append((folder, give, partial(logs.clear, place)))
        steps.append((folder, give, partial(write, place, unfinished(UNFINISHED), "")))
    if junit:
        steps.append((junit, "--junitxml a file", partial(remove, junit_path(junit))))
    problems = [_undone(*step) for step in steps]
    return next(filter(None, problems), "")


def _undone(where: str, give: str, step: Callable[[], None]) -> str:
    try:
        step()
    except OSError as error:
        return (
            f"the reports of an earlier run in {where} cannot be replaced"
            f" ({error.strerror or error}): give {give} that can be written."
        )
    return ""


def unfinished(reason: str) -> ConformanceReport:
    """Return the report of a run that judged nothing."""
    return ConformanceReport(
        api_version=API_VERSION,
        kind="ConformanceReport",
        verdict="inconclusive",
        reasons=(reason,),
        weakens=(),
        profile="",
        target=None,
        requirements=None,
        run=RunFacts(
            id="", started="", seconds=0.0, tool="", python="", pytest="", plugins=(),
            addopts="", settings={},
        ),
        counts={},
        checks=(),
    )  # fmt: skip


def write(folder: Path, report: ConformanceReport, fixes: str) -> None:
    """Write ``report.json``, ``report.html`` and, if SQL can mend, ``fix.sql``. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    if fixes:
        write_whole(folder / FIXES, redact(fixes))
    else:
        remove(folder / FIXES)
    _write_report(folder, report, fixes=bool(fixes))


def _write_report(folder: Path, report: ConformanceReport, *, fixes: bool = False) -> None:
    plain = redacted(msgspec.to_builtins(report))
    # The proof last: a page that cannot be written must not leave a report.json that is better
    # than the run's verdict, nor the other way round.
    write_whole(folder / PAGE, html.render(plain, fixes=fixes))
    try:
        write_whole(folder / REPORT, json.dumps(plain, indent=2, ensure_ascii=False) + "\n")
    except OSError:
        remove(folder / PAGE)
        raise


def redacted(value: Any) -> Any:
    """Redact before serialising: escapes and line breaks must not hide a part of a password."""
    if isinstance(value, str):
        # Half a character (a path that is no UTF-8) is shown, never a reason to have no report.
        return redact(value.encode(errors="backslashreplace").decode())
    if isinstance(value, dict):
        return {redacted(key): redacted(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(each) for each in value]
    return value
