"""Backup and restore: will the data survive?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SCRATCH, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.hazards import HazardFacts
from pytest_costmgmt.judge import backup, hazards

if TYPE_CHECKING:  # heavy, and only profile full acts
    from pytest_costmgmt.backup.rehearsal import Rehearse

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


@check(
    id="CM-BKP-004",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    rationale="A backup that nobody ever made is a plan. One that pg_dump left half done looks like"
    " one: only its manifest says whether it is whole.",
    reference="costmgmt backup; PostgreSQL's documentation, pg_dump",
    after=("CM-CON-003", "CM-CON-010", "CM-BKP-001"),
)
def test_made(costmgmt_rehearsal: Rehearse) -> None:
    """A backup of the database MUST succeed and be whole."""
    require(backup.made(costmgmt_rehearsal.result()))


@check(
    id="CM-BKP-005",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    rationale="psql restores half a dump and exits 0: a damaged backup must be refused before a"
    " database is replaced by it.",
    reference="costmgmt verify; psql's exit status without ON_ERROR_STOP",
    after=("CM-BKP-004",),
)
def test_refused(costmgmt_rehearsal: Rehearse) -> None:
    """A damaged archive MUST be refused."""
    require(backup.refused(costmgmt_rehearsal.result()))


@check(
    id="CM-BKP-006",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    rationale="Whether a dump can be restored shows only when it is restored: extensions, owners"
    " and functions stop it on the day when it is needed.",
    reference="costmgmt restore; PostgreSQL's documentation, pg_restore --exit-on-error",
    after=("CM-BKP-004",),
)
def test_restored(costmgmt_rehearsal: Rehearse) -> None:
    """The backup MUST be restored into a scratch database without any error."""
    require(backup.restored(costmgmt_rehearsal.result()))


@check(
    id="CM-BKP-007",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    rationale="A restore that reports no error can still lack rows, sequences, owners, privileges"
    " or settings; counting rows finds few of these.",
    reference="costmgmt restore: schema, rows, sequences, large objects, owners, privileges,"
    " settings and roles are compared",
    after=("CM-BKP-006",),
)
def test_equal(costmgmt_rehearsal: Rehearse) -> None:
    """What was restored MUST equal what was backed up, in everything that a proof compares."""
    require(backup.equal(costmgmt_rehearsal.result()))


@check(
    id="CM-BKP-008",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    rationale="A copy that stays behind holds every row a second time, under nobody's eyes.",
    reference="effect scratch: what carries the run's id is removed",
    after=("CM-BKP-004",),
)
def test_removed(costmgmt_rehearsal: Rehearse) -> None:
    """Nothing of the restore MUST stay behind on the server."""
    require(backup.removed(costmgmt_rehearsal.result()))
