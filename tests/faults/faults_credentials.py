"""Planted faults of the group credentials.

A password's shape, files and arguments are no state of a server, and the harness always gives the
run the healthy ones: tests/server/test_access_credentials.py plants them.
"""

from __future__ import annotations

from tests.faults.faults_connection import KEEP_HIVES, RESTORE_HIVES, admin
from tests.faults.model import Fault

FAULTS = (
    Fault(
        id="crd-hives-default-password",
        check="CM-CRD-006",
        plant=admin(KEEP_HIVES, "ALTER ROLE {hive_role} PASSWORD 'hive'"),
        also=("CM-CON-004",),
        why_also="the password that the run was given is another",
        fix=RESTORE_HIVES,
    ),
)
