"""The usual cause of a failed migration, from exception classes and names that nobody localizes."""

from __future__ import annotations

import pytest

from pytest_costmgmt.initialize.causes import failure, usual_cause

WRAPPED = """
Traceback (most recent call last):
  File "/lib/django/db/backends/utils.py", line 105, in _execute
    return self.cursor.execute(sql, params)
psycopg.errors.InsufficientPrivilege: Berechtigung nur für Eigentümer
HINT:  ...

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/app/api/migrations/0055_install_pg_stat_statements.py", line 7, in go
    schema_editor.execute("CREATE EXTENSION pg_stat_statements")
  File "/lib/django/db/migrations/executor.py", line 255, in apply_migration
    state = migration.apply(state, schema_editor)
django.db.utils.ProgrammingError: Berechtigung nur für Eigentümer
""".strip().splitlines()


def test_the_drivers_exception_and_the_migrations_line_are_found() -> None:
    """Of a chain of tracebacks the driver's class counts, and the migration's own line."""
    failed = failure(WRAPPED)
    assert failed is not None
    assert failed.kind == "psycopg.errors.InsufficientPrivilege"
    assert failed.code == (
        "0055_install_pg_stat_statements.py:7:"
        ' schema_editor.execute("CREATE EXTENSION pg_stat_statements")'
    )


def test_output_without_a_traceback_is_no_failure() -> None:
    """Lines of a log that name an error are not taken for an exception."""
    assert failure(["INFO: ok", "  ValueError: indented", "Error code: 3 of something"]) is None


@pytest.mark.parametrize(
    ("migration", "last", "told"),
    [
        ("api.0039_create_hive_db", "psycopg.errors.UndefinedObject: Rolle fehlt", "hive are"),
        ("api.0039_create_hive_db", "psycopg2.errors.InsufficientPrivilege: nein", "hive are"),
        ("api.0055_x", "psycopg.errors.InsufficientPrivilege: pg_stat_statements", "superuser"),
        ("api.0001_x", "psycopg.errors.InsufficientPrivilege: schema public", "own its database"),
        ("api.0001_x", "psycopg.errors.UndefinedFunction: uuid_generate_v4()", "uuid-ossp"),
        ("reporting.0300_x", "psycopg.errors.UndefinedObject: gin_trgm_ops", "pg_trgm"),
        ("api.0001_x", 'psycopg.errors.FeatureNotSupported: extension "uuid-ossp"', "contrib"),
        ("a.pg_stat_statements", "psycopg.errors.ObjectNotInPrerequisiteState: x", "restart"),
        ("api.0001_x", "psycopg.errors.QueryCanceled: abgebrochen", "statement_timeout"),
        ("api.0001_x", "psycopg.errors.ReadOnlySqlTransaction: nur lesen", "standby"),
        ("api.0001_x", "psycopg.OperationalError: connection failed: Connection refused", "reach"),
        ("", "django.db.utils.NotSupportedError: PostgreSQL 14 or later is required", "newer"),
        ("", "ModuleNotFoundError: No module named 'koku'", "Python"),
        ("x.1", "django.db.migrations.exceptions.InconsistentMigrationHistory: x", "dependency"),
        ("x.1", "psycopg.errors.DivisionByZero: durch null", ""),
    ],
)  # fmt: skip
def test_the_usual_cause(migration: str, last: str, told: str) -> None:
    """Each usual failure has its sentence; an unusual one has none, rather than a wrong one."""
    failed = failure(["Traceback (most recent call last):", last])
    assert failed is not None
    sentence = usual_cause(migration, failed)
    assert told in sentence
    assert bool(sentence) is bool(told)
