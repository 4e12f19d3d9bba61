"""A connection, a subprocess, and a table that no other test sees."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("attempt", [1, 2])
def test_each_test_has_a_database_of_its_own(costmgmt_connection, attempt):
    """The table is new in each of them."""
    costmgmt_connection.execute("CREATE TABLE line (cost numeric)")
    costmgmt_connection.execute("INSERT INTO line VALUES (%s)", (attempt,))
    assert costmgmt_connection.execute("SELECT cost FROM line").fetchall() == [(attempt,)]


def test_what_cost_management_needs_is_there(costmgmt_connection):
    """The extensions are installed, and work."""
    (found,) = costmgmt_connection.execute("SELECT similarity('cost', 'costs') > 0").fetchone()
    assert found


def test_a_subprocess_finds_the_database(costmgmt_database):
    """PG* reach it by libpq, DATABASE_* as koku reads them."""
    program = "import psycopg; print(psycopg.connect().info.dbname)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **costmgmt_database.environ()},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == costmgmt_database.name
