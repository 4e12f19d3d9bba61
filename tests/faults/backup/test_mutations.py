"""The proof names each single mutation of a restored copy, and an unharmed copy never."""

# ruff: noqa: ISC004 - a table of statements

from __future__ import annotations

import pytest

from pytest_costmgmt.backup.model import Difference, Proof
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login
from tests.backup_torture.build import quoted
from tests.faults.backup import mutations_rights, mutations_rows, mutations_schema
from tests.faults.backup.bed import Bed, mutate
from tests.faults.backup.mutation import Mutation

MUTATIONS = [
    *mutations_rows.MUTATIONS,
    *mutations_schema.MUTATIONS,
    *mutations_rights.MUTATIONS,
]

SAME_ROWS = """
DO $$ DECLARE t regclass; BEGIN
  SET LOCAL session_replication_role = replica;
  FOR t IN SELECT c.oid FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
            WHERE c.relkind = 'r' AND n.nspname IN ('torture', 'shadow')
              AND c.relreplident <> 'n' -- is published, and would refuse any change
              -- Hold rows that their NOT VALID constraints refuse.
              AND c.relname NOT IN ('indexed', 'nulls')
              AND EXISTS (SELECT FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0
                             AND attgenerated = '' AND NOT attisdropped) LOOP
    EXECUTE format('UPDATE ONLY %s SET %I = %I WHERE random() < 0.5', t, a, a)
       FROM (SELECT attname AS a FROM pg_attribute WHERE attrelid = t AND attnum > 0
                AND attgenerated = '' AND attidentity <> 'a' AND NOT attisdropped LIMIT 1) AS x;
  END LOOP;
END $$;
CREATE TEMP TABLE turned AS SELECT * FROM torture.twins ORDER BY a DESC, random();
DELETE FROM torture.twins;
INSERT INTO torture.twins SELECT * FROM turned;
CREATE TEMP TABLE kept AS SELECT * FROM torture.nothing_thrice;
DELETE FROM torture.nothing_thrice;
INSERT INTO torture.nothing_thrice SELECT * FROM kept;
"""

REORDERED = [
    "CLUSTER torture.indexed USING indexed_unique",
    "VACUUM FULL torture.many",
    "VACUUM (FREEZE, ANALYZE)",
    "REINDEX TABLE torture.indexed",
    "REFRESH MATERIALIZED VIEW torture.sums",
    # The same privileges, given in another order.
    'REVOKE ALL ON torture.many FROM "torture\nreader";'
    ' GRANT INSERT, SELECT ON torture.many TO "torture\nreader" WITH GRANT OPTION',
    "REVOKE ALL ON torture.one FROM PUBLIC; REVOKE ALL ON torture.one FROM postgres;"
    " GRANT ALL ON torture.one TO PUBLIC; GRANT ALL ON torture.one TO postgres",
    # What is not given and what is given as it is by default is the same.
    "GRANT SELECT ON torture.empty_ TO postgres; GRANT EXECUTE ON FUNCTION torture.window_()"
    " TO PUBLIC; GRANT USAGE ON TYPE torture.worn TO PUBLIC",
    "COMMENT ON COLUMN torture.many.amount IS NULL; COMMENT ON COLUMN torture.many.amount IS 'col'",
    "ALTER DATABASE {database} SET work_mem = '9MB';"
    " ALTER DATABASE {database} SET work_mem = '3MB'",
    "ALTER TABLE torture.collated ADD gone int; ALTER TABLE torture.collated DROP gone",
    "CREATE TABLE torture.here_and_gone (a serial); DROP TABLE torture.here_and_gone",
    "SELECT lo_create(77); SELECT lo_unlink(77)",
    "SELECT lo_put(1000003, 4000, lo_get(1000003, 4000, 1))",
]


def version(login: Login) -> int:
    """Return the server's major version."""
    with connect(login, deadline=10) as connection:
        return connection.info.server_version // 10000


def told(proof: Proof) -> str:
    """Return what a proof found, in lines."""
    return "\n".join(each.line for each in proof.differences) or "nothing"


def named(proof: Proof, mutation: Mutation) -> Difference | None:
    """Return the difference that a mutation must have."""
    return next(
        (
            each
            for each in proof.differences
            # By whom a membership was granted is known since 16.
            if each.name == mutation.name and each.of.partition(" granted by ")[0] == mutation.of
        ),
        None,
    )


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda each: each.id)
def test_a_mutation_is_named(restored: Bed, mutation: Mutation) -> None:
    """The proof tells what was changed, by object and property, and nothing of anything else."""
    if mutation.since > version(restored.superuser):
        pytest.skip(f"PostgreSQL {mutation.since} and later: tests/versions tries it there")
    must_be_named(restored, mutation)


def must_be_named(restored: Bed, mutation: Mutation) -> None:
    """Do it to a copy, and see that the proof names it and nothing else."""
    with restored.copy() as copy:
        name = quoted(copy.database)
        try:
            mutate(copy, mutation.sql.replace("{database}", name))
            proof = restored.proof(copy, keys=bool(mutation.keys))
        finally:
            if mutation.undo:
                mutate(restored.superuser, mutation.undo)
    assert not proof.equal
    difference = named(proof, mutation)
    assert difference is not None, told(proof)
    assert difference.expected != difference.found
    strangers = [
        each.line
        for each in proof.differences
        if not any(subject in each.of for subject in mutation.subjects)
    ]
    assert not strangers
    for key in mutation.keys:
        assert any(key in row for row in difference.keys), difference.keys


def test_there_are_enough_mutations() -> None:
    """At least 80 are tried, each under a name of its own."""
    assert len({each.id for each in MUTATIONS}) == len(MUTATIONS) >= 80


def test_a_clean_copy_is_proven(restored: Bed) -> None:
    """A copy to which nothing was done is equal, and everything in it was compared."""
    with restored.copy() as copy:
        proof = restored.proof(copy)
    assert proof.equal, told(proof)
    assert not proof.allowed
    manifest = restored.manifest
    assert proof.compared["relations"] == len(manifest.relations) > 50
    assert proof.compared["rows"] == sum(each.rows for each in manifest.relations) > 700
    assert proof.compared["schema entries"] > 300
    assert proof.compared["properties"] > 250
    assert proof.compared["sequences"] >= 12
    assert proof.compared["large objects"] == 4


def test_order_does_not_matter(restored: Bed) -> None:
    """Rows, privileges and objects that were made anew in another order are the same."""
    with restored.copy() as copy:
        mutate(copy, SAME_ROWS)
        for statements in REORDERED:
            for statement in statements.split("; "):
                mutate(copy, statement.replace("{database}", quoted(copy.database)))
        proof = restored.proof(copy)
    assert proof.equal, told(proof)
