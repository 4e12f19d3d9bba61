"""The embedded server's log and the migrations', as evidence beside the report."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

from pytest_costmgmt.engine.files import remove, write_whole
from pytest_costmgmt.secret import MASK, redact

# The file in the report's folder, and what it is a copy of in the server's.
LOGS = {"server.log": "log", "migrations.log": "migrations.log"}

LARGEST = 200_000
"Bytes of a log that are kept: its end says why something ended."

_MARGIN = 5_000

# What a log may show of passwords that we never knew, e.g. of roles that the application makes.
_QUOTED = re.compile(r"(?i)(password['\"]?\s*[:=]?\s*)'(?:[^'\n]|'')+'")
_IN_URI = re.compile(r"(://[^/\s:@]*:)[^/\s@]+@")


def write(report: Path, run_folder: Path) -> None:
    """Write the ends of the logs, redacted, 0600; a log that cannot be read is left out."""
    for name, source in LOGS.items():
        with contextlib.suppress(OSError):
            report.mkdir(parents=True, exist_ok=True)
            write_whole(report / name, end_of(run_folder / source))


def clear(report: Path) -> None:
    """Remove an earlier run's logs. Raises OSError."""
    for name in LOGS:
        remove(report / name)


def end_of(path: Path) -> str:
    """Return the end of a log, in whole lines and without passwords. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - LARGEST - _MARGIN))
        text = file.read().decode(errors="backslashreplace")
    # Redacted before it is cut: half a password would not be found.
    text = without_passwords(text)
    if size > LARGEST:
        text = text[-LARGEST:].partition("\n")[2]
        text = f"(the last {len(text)} characters of {size} bytes)\n{text}"
    return text


def without_passwords(text: str) -> str:
    """Return ``text`` without the passwords that we know, and those that a statement shows.

    >>> print(without_passwords("STATEMENT:  CREATE ROLE r PASSWORD 'it''s'"))
    STATEMENT:  CREATE ROLE r PASSWORD '********'
    """
    text = _QUOTED.sub(rf"\g<1>'{MASK}'", redact(text))
    return _IN_URI.sub(rf"\g<1>{MASK}@", text)
