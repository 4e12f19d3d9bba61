"""Why a migration usually fails so, by what is not localized: exception classes and names.

The server's sentences come in its own language; Python's exception classes, which are named after
SQLSTATEs, and the names of migrations and extensions do not.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

# The last line of a traceback: a class, usually with its module, and its text.
_ERROR = re.compile(
    r"^(?P<kind>(?:[A-Za-z_]\w*\.)+[A-Z]\w+|[A-Z]\w*(?:Error|Exception))(?:: (?P<text>.*))?$"
)
_FRAME = re.compile(r'^\s+File "(?P<file>[^"]+)", line (?P<line>\d+), in ')
# Django's own machinery has a folder of that name, too; a migration's file begins with a number.
_MIGRATION = re.compile(r"/migrations/\d[^/]*\.py$")
_EXCERPT = re.compile(r"^(?:LINE|ZEILE|LIGNE|LÍNEA|RIGA|\S+) \d+: (?P<sql>.+)$")


class Failure(NamedTuple):
    """What a traceback says: the exception nearest to the database, and the migration's line."""

    kind: str
    text: str
    code: str

    @property
    def name(self) -> str:
        """The exception class alone."""
        return self.kind.rpartition(".")[2]


def failure(lines: Sequence[str]) -> Failure | None:
    r"""Return the first exception of the last chain of tracebacks in ``lines``.

    >>> failure(["Traceback (most recent call last):", "psycopg.errors.UndefinedTable: no table",
    ...          "django.db.utils.ProgrammingError: no table"]).name
    'UndefinedTable'
    """
    errors = [found for line in lines if (found := _ERROR.match(line))]
    if not errors:
        return None
    drivers = [e for e in errors if e["kind"].startswith(("psycopg.", "psycopg2."))]
    # Later ones wrap or follow the driver's; without one the last is what stopped the command.
    chosen = drivers[-1] if drivers else errors[-1]
    return Failure(chosen["kind"], (chosen["text"] or "").strip(), _code(lines))


def _code(lines: Sequence[str]) -> str:
    """Return the excerpt of SQL that the server gave, else the migration's own last line."""
    excerpt = code = ""
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        if (frame := _FRAME.match(line)) and _MIGRATION.search(frame["file"]):
            name = frame["file"].rpartition("/")[2]
            code = f"{name}:{frame['line']}: {following.strip()}"
        if found := _EXCERPT.match(line):
            excerpt = found["sql"].strip()
    return excerpt or code


class Cause(NamedTuple):
    """A usual cause: it fits if the class, and a word of migration, text and code, fit."""

    kinds: frozenset[str]
    words: tuple[str, ...]
    sentence: str


def _cause(kinds: str, words: str, sentence: str) -> Cause:
    return Cause(frozenset(kinds.split()), tuple(words.split()), sentence)


_SUPERUSER = (
    "Only a superuser may create this extension: an administrator must, before the migrations, in"
    " the application's database (costmgmt bootstrap with --costmgmt-admin-dsn does it)."
)
_HIVE = (
    "Role and database hive are missing, and the application's role may not make them: create both"
    " before (costmgmt bootstrap does), or use the requirement set koku-onprem."
)
_FILES = "The server lacks the extension's files: install PostgreSQL's contrib package there."

CAUSES: tuple[Cause, ...] = (
    _cause("ObjectNotInPrerequisiteState", "pg_stat_statements", "shared_preload_libraries lacks"
           " pg_stat_statements: add it and restart the server."),
    _cause("InsufficientPrivilege", "pg_stat_statements", _SUPERUSER),
    _cause("FeatureNotSupported UndefinedFile", "extension", _FILES),
    _cause("FeatureNotSupported UndefinedFile", "uuid-ossp pg_trgm pg_stat_statements", _FILES),
    _cause("UndefinedObject UndefinedDatabase InvalidCatalogName InsufficientPrivilege", "hive",
           _HIVE),
    _cause("UndefinedFunction", "uuid_generate", "Extension uuid-ossp is missing, or not in"
           " schema public."),
    _cause("UndefinedObject UndefinedFunction", "trgm similarity", "Extension pg_trgm is missing,"
           " or not in schema public."),
    _cause("InsufficientPrivilege", "extension", _SUPERUSER),
    _cause("InsufficientPrivilege", "", "The application's role lacks a privilege: it must own its"
           " database, and may CREATE in it and in schema public (from PostgreSQL 15 on a grant"
           " on the database is not enough)."),
    _cause("InvalidPassword InvalidAuthorizationSpecification", "", "The server refused the"
           " application's login."),
    _cause("QueryCanceled", "", "A statement was ended: a statement_timeout of the role, the"
           " database or the server is too short for migrations."),
    _cause("LockNotAvailable DeadlockDetected", "", "Another session holds a lock: stop the"
           " application while it is migrated."),
    _cause("ReadOnlySqlTransaction", "", "The server is a standby, or default_transaction_read_only"
           " is on for the role, the database or the server."),
    _cause("OutOfMemory", "", "The table of locks is full (max_locks_per_transaction), or the"
           " server is out of memory."),
    _cause("DiskFull", "", "The server's disk is full: make room there (the embedded server's is"
           " /dev/shm, else TMPDIR)."),
    _cause("TooManyConnections", "", "The server has no free connection for the role."),
    _cause("AdminShutdown CrashShutdown CannotConnectNow", "", "The server was stopped, or"
           " crashed: see its log."),
    _cause("DuplicateTable DuplicateColumn DuplicateObject", "", "An earlier run was half done or"
           " rows of django_migrations were removed: compare with `costmgmt check`."),
    _cause("InconsistentMigrationHistory", "", "A migration is recorded whose dependency is not:"
           " the database was restored in part, or migrated by another version."),
    _cause("NotSupportedError", "PostgreSQL", "This version of the application needs a newer"
           " PostgreSQL."),
    _cause("ModuleNotFoundError ImportError", "", "The management command runs in a Python that"
           " lacks the application or its libraries: name the right one in --costmgmt-manage."),
    _cause("ImproperlyConfigured KeyError", "", "The application misses a setting that its"
           " environment does not hold."),
    _cause("OperationalError ConnectionTimeout ConnectionFailure", "", "The application could not"
           " reach the server, or was not admitted: its settings must read DATABASE_SERVICE_HOST"
           " and the other variables of koku."),
)  # fmt: skip


def usual_cause(migration: str, failed: Failure) -> str:
    """Return the sentence that says why it usually fails so, or "".

    >>> usual_cause("api.0001", Failure("psycopg.errors.InvalidPassword", "", ""))
    "The server refused the application's login."
    """
    about = f"{migration} {failed.text} {failed.code}".lower()
    for cause in CAUSES:
        fits = not cause.words or any(word.lower() in about for word in cause.words)
        if failed.name in cause.kinds and fits:
            return cause.sentence
    return _HIVE if "hive" in migration.lower() else ""
