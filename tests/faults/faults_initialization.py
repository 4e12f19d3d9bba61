"""Planted faults of the group initialization."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from tests.faults.model import Fault, Sql

DRIFTING = shlex.join([sys.executable, str(Path(__file__).parent / "data" / "drifting_manage.py")])

PLANT = (Sql(statements=("CREATE TABLE public.costmgmt_drift ()",), who="app"),)
END = (Sql(statements=("DROP TABLE public.costmgmt_drift",), who="app"),)

FAULTS = (
    Fault(
        id="ini-a-migration-command-that-drifts",
        check="CM-INI-001",
        plant=PLANT,
        also=("CM-INI-002",),
        why_also="two at once drift as one does",
        fix=END,
        options=(f"--costmgmt-manage={DRIFTING}",),
        profile="full",
    ),
    Fault(
        id="ini-everybody-may-connect-again",
        check="CM-INI-002",
        plant=(Sql(statements=("GRANT CONNECT ON DATABASE {hive_database} TO PUBLIC",)),),
        also=("CM-INI-001", "CM-ROL-009"),
        why_also="a step is undone: once more changes it back, and roles must be kept apart",
        # Steady here, where the table is not: the two share what a healthy copy says.
        options=(f"--costmgmt-manage={DRIFTING}",),
        profile="full",
    ),
)
