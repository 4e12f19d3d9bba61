"""Every check catches its planted fault, says what ends it, and is right when it has ended."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import pytest

import tests.faults
from pytest_costmgmt.engine import catalogue
from tests.cluster import attach_faults
from tests.faults.beds import Beds
from tests.faults.harness import outcomes, told
from tests.faults.model import Fault


def all_faults() -> list[Fault]:
    """Return the faults of every tests/faults/faults_*.py, in the order of their names."""
    found: list[Fault] = []
    for module in sorted(m.name for m in pkgutil.iter_modules(tests.faults.__path__)):
        if module.startswith("faults_"):
            found.extend(importlib.import_module(f"tests.faults.{module}").FAULTS)
    return found


FAULTS = all_faults()


def test_every_check_has_a_planted_fault() -> None:
    """A check that nothing was ever planted for has not been shown to be able to fail.

    Faults of a release take one: tests/cluster plants them on a real Kubernetes.
    """
    planted = {fault.check for fault in FAULTS}
    planted |= {check for fault in attach_faults.FAULTS for check in fault.fails}
    assert not [check.id for check in catalogue.load() if check.id not in planted]


def test_fault_ids_are_unique() -> None:
    """A fault's id names one fault."""
    ids = [fault.id for fault in FAULTS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.id for fault in FAULTS])
def test_a_fault_fails_its_check_alone_and_its_fix_ends_it(
    fault: Fault, beds: Beds, tmp_path: Path
) -> None:
    """The planted fault fails exactly its check, blocks what depends on it, and its fix heals."""
    healthy = outcomes(beds.baseline(fault))
    with beds.copy(tmp_path, fault) as bed:
        bed.plant(fault)
        report = bed.check(fault, harmed=True)
        _compare(fault, report, healthy)
        bed.heal(fault, report)
        # A command of the report's ends the fault where it is: server and run stay as they were.
        still = fault.fix == "shell"
        if (fault.conf or fault.hba) and not still:  # what files say counts from a restart on
            with beds.restarted(bed, fault) as again:
                healed = again.check(fault, harmed=still)
        else:
            healed = bed.check(fault, harmed=still)
        assert outcomes(healed) == healthy, told(healed, healthy)


def _compare(fault: Fault, report: dict[str, Any], healthy: dict[str, str]) -> None:
    """Assert that the report says exactly what the fault must make it say."""
    said = told(report, healthy)
    changed = {id_: o for id_, o in outcomes(report).items() if o != healthy[id_]}
    blocked = {c["id"]: c["blockedBy"] for c in report["checks"] if c["outcome"] == "blocked"}
    direct = {id_: outcome for id_, outcome in changed.items() if id_ not in blocked}
    culprits = {fault.check, *fault.also}
    assert direct.get(fault.check) == fault.expected, said
    assert set(direct) == culprits, said
    for id_, causes in blocked.items():
        assert set(causes) <= culprits, (id_, causes, said)
    level = next(c["level"] for c in report["checks"] if c["id"] == fault.check)
    if level == "MUST" and fault.expected == "failed":
        assert (report["verdict"], report["exit"]) == ("non-conformant", 1), said
