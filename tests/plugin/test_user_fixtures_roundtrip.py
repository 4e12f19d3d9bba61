"""The fixture ``costmgmt_roundtrip``: does a test's own database survive a backup?"""

from __future__ import annotations

import re

from tests.plugin.conftest import Run

PROJECT = """
def fill(connection):
    connection.execute("CREATE TABLE line (id int PRIMARY KEY, cost numeric)")
    connection.execute("INSERT INTO line VALUES (1, 1.00), (2, 'NaN')")
    connection.execute("CREATE MATERIALIZED VIEW total AS SELECT count(*) AS lines FROM line")
    connection.commit()

def test_survives(costmgmt_connection, costmgmt_database, costmgmt_roundtrip):
    fill(costmgmt_connection)
    proof = costmgmt_roundtrip(costmgmt_database)
    assert proof.equal
    assert proof.compared["rows"] >= 3

def test_does_not(costmgmt_connection, costmgmt_database, costmgmt_roundtrip):
    fill(costmgmt_connection)
    costmgmt_connection.execute(
        "CREATE FUNCTION here() RETURNS text IMMUTABLE RETURN current_database()"
    )
    costmgmt_connection.execute(
        "CREATE TABLE place (id int PRIMARY KEY, at text GENERATED ALWAYS AS (here()) STORED)"
    )
    costmgmt_connection.execute("INSERT INTO place VALUES (1), (7)")
    costmgmt_connection.commit()
    costmgmt_roundtrip(costmgmt_database)  # its function lies: a restore computes another value

def test_nothing_is_left(costmgmt_connection):
    found = costmgmt_connection.execute("SELECT datname FROM pg_database").fetchall()
    assert not [name for (name,) in found if "verify" in name]
"""


def test_a_database_is_proven_or_its_difference_named(run: Run) -> None:
    """A faithful restore gives its proof; one that differs fails the test and names the object."""
    ran = run("-q", files={"test_mine.py": PROJECT}, report=False)
    assert ran.status == 1, ran.out
    assert "1 failed, 2 passed" in ran.out, ran.out
    assert "table public.place: content: expected" in ran.out
    assert {"(id)=(1) changed", "(id)=(7) changed"} <= set(
        re.findall(r"\(id\)=\(\d\) \w+", ran.out)
    )
