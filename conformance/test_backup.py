"""Backup and restore: will the data survive?"""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.hazards import HazardFacts
from pytest_costmgmt.judge import hazards

# Before an install there is nothing to lose.
LATER = ("smoke", "full", "release-gate")


@check(
    id="CM-BKP-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    profiles=LATER,
    rationale="pg_dump stops at the first table that its role may not read, or whose rows a policy"
    " would hide from it: the backup that cron makes at night is then an empty file.",
    reference="PostgreSQL's documentation, pg_dump: --enable-row-security, Notes",
    after=("CM-CON-002",),
)
def test_readable(costmgmt_hazards: HazardFacts) -> None:
    """The role that makes the backup MUST be able to read every row of the database."""
    require(hazards.readable(costmgmt_hazards))


@check(
    id="CM-BKP-002",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    profiles=LATER,
    rationale="pg_dump leaves an invalid index out without a word, and a function that finds its"
    " names by search_path stops the restore: both show on the day when the backup is needed.",
    reference="PostgreSQL's documentation, CREATE INDEX CONCURRENTLY; CVE-2018-1058 (search_path)",
    after=("CM-CON-002",),
)
def test_whole(costmgmt_hazards: HazardFacts) -> None:
    """Every object of the database SHOULD be such that a restore brings it back as it is."""
    require(hazards.whole(costmgmt_hazards))


@check(
    id="CM-BKP-003",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    profiles=LATER,
    rationale="Rows of a foreign table, of a prepared transaction, or of an unlogged table after a"
    " crash are in no backup, though the table is.",
    reference="PostgreSQL's documentation, pg_dump: Notes; CREATE TABLE: UNLOGGED; PREPARE"
    " TRANSACTION",
    after=("CM-CON-002",),
)
def test_inside(costmgmt_hazards: HazardFacts) -> None:
    """All of the application's data SHOULD be inside what a backup holds."""
    require(hazards.inside(costmgmt_hazards))
