"""Initialization is repeatable: alone, and two at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pytest_costmgmt.engine.check import MUST, SCRATCH, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.judge import initialization as judge

if TYPE_CHECKING:  # heavy, and only profile full acts
    from pytest_costmgmt.initialize.again import Reinitialize

# On a server that others run, nothing may be left for it to do: a check must not migrate.
NEEDS = ("CM-CON-003", "CM-CON-010", "CM-MIG-002", "CM-MIG-003", "CM-MIG-005")


@check(
    id="CM-INI-001",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    after=NEEDS,
    rationale="Every upgrade, and every retry of a failed install, initializes again: what is not"
    " idempotent breaks a running installation, or drifts a little each time.",
    reference="costmgmt bootstrap; koku: the migration command runs before each deployment",
)
def test_again_changes_nothing(costmgmt_initialization: Reinitialize) -> None:
    """Initialization and migrations, run again, MUST change nothing."""
    require(judge.unchanged(costmgmt_initialization.twice(), runs=1))


@check(
    id="CM-INI-002",
    level=MUST,
    effect=SCRATCH,
    since="1.0",
    after=NEEDS,
    rationale="A rolling deployment starts two at once: Django's migrate takes no lock, so two that"
    " meet in an empty schema break each other.",
    reference="costmgmt bootstrap; Django: migrate takes no lock",
)
def test_two_at_once_change_nothing(costmgmt_initialization: Reinitialize) -> None:
    """Two initializations at once MUST both succeed and change nothing."""
    require(judge.unchanged(costmgmt_initialization.at_once(), runs=2))
