"""What may be told about a password: its shape and where it was seen, never its value."""

from __future__ import annotations

import string
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.secret import SHORTEST_REDACTED, Secret, forms

UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
"The characters that no URI needs to quote (RFC 3986)."

_UNSEEN = frozenset({"Cc", "Cf"})
"Unicode's control and format characters: DEL, a byte order mark, a blank without a width."

_GUESSED_FIRST = frozenset(
    """
    password passw0rd secret changeme change-me changeit admin administrator root postgres
    postgresql pgsql test testing example default letmein welcome qwerty redhat openshift
    123456 12345678 1234567890 insights costmanagement cost-management
    """.split()  # noqa: SIM905 - a list of one word a line is harder to read
)


class Appraisal(msgspec.Struct, frozen=True, kw_only=True):
    """A password's shape.

    ``breaks_uri``: pasted into a URI as it is, libpq reads another password or none.
    ``breaks_sql``: pasted between quotes as it is, it ends them. ``unreserved``: safe in every
    URI. ``is_name``: a role's or database's. ``forbidden``: one that the requirements name.
    """

    length: int
    newline: bool
    outer_space: bool
    control: bool
    breaks_uri: bool
    breaks_sql: bool
    unreserved: bool
    is_name: bool
    guessable: bool
    forbidden: bool


def appraise(
    password: Secret, *, names: Collection[str], forbidden: Collection[str] = ()
) -> Appraisal:
    """Return the shape of ``password``; ``names`` are the roles' and databases'."""
    __tracebackhide__ = True
    lowered = password.reveal().strip().lower()
    return Appraisal(
        length=len(password.reveal()),
        newline=any(end in password.reveal() for end in "\r\n"),
        outer_space=password.reveal() != password.reveal().strip(),
        control=any(unicodedata.category(each) in _UNSEEN for each in password.reveal()),
        breaks_uri=_breaks_uri(password),
        breaks_sql=any(quote in password.reveal() for quote in "'\\"),
        unreserved=UNRESERVED.issuperset(password.reveal()),
        is_name=lowered in {name.lower() for name in names},
        guessable=lowered in _GUESSED_FIRST or len(set(lowered)) <= 1,
        forbidden=password.reveal() in forbidden,
    )


def _breaks_uri(password: Secret) -> bool:
    __tracebackhide__ = True
    import psycopg  # noqa: PLC0415 - heavy
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        read = conninfo_to_dict(f"postgresql://role:{password.reveal()}@host:5432/database")
    except (psycopg.Error, UnicodeError):
        return True
    return (read.get("host"), read.get("dbname")) != ("host", "database") or (
        read.get("password", "") != password.reveal()
    )


def in_arguments(passwords: Mapping[str, Secret], pid: int) -> dict[str, tuple[str, ...]] | None:
    """Return, by key, the processes that show a password in their arguments.

    Looked at are ``pid``, those that started it and those that it started. None where the
    system does not show them (no /proc).
    """
    __tracebackhide__ = True
    if not Path(f"/proc/{pid}/cmdline").exists():
        return None
    found: dict[str, list[str]] = {key: [] for key in passwords}
    for process in dict.fromkeys([*_ancestors(pid), *_descendants(pid)]):
        arguments = _read(process, "cmdline")
        for key, password in passwords.items():
            if _shows(arguments, password):
                found[key].append(f"{_name(process)} (process {process})")
    return {key: tuple(processes) for key, processes in found.items()}


def _shows(arguments: str, password: Secret) -> bool:
    __tracebackhide__ = True
    if len(password.reveal()) >= SHORTEST_REDACTED:
        return any(form in arguments for form in forms(password.reveal()))
    # A short one is in many words: only a whole argument, or what stands behind a sign, counts.
    words = {word for argument in arguments.split("\0") for word in _words(argument)}
    return bool(password) and any(password.reveal() == word for word in words)


def _words(argument: str) -> tuple[str, ...]:
    return argument, argument.rpartition("=")[2], argument.rpartition(":")[2].partition("@")[0]


def _ancestors(pid: int) -> Iterator[int]:
    while pid > 0:
        yield pid
        # The name, in parentheses, may hold anything: the fields begin behind the last one.
        fields = _read(pid, "stat").rpartition(")")[2].split()
        pid = int(fields[1]) if len(fields) > 1 else 0


def _descendants(pid: int) -> Iterator[int]:
    yield pid
    try:
        threads = [thread.name for thread in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return
    for thread in threads:
        for child in _read(pid, f"task/{thread}/children").split():
            yield from _descendants(int(child))


def _read(pid: int, name: str) -> str:
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # it has ended


def _name(pid: int) -> str:
    return _read(pid, "comm").strip() or "a process"
