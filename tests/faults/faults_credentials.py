"""Planted faults of the group credentials: in roles, in files and in what starts the run."""

from __future__ import annotations

import shlex

from tests.faults.faults_connection import KEEP_HIVES, RESTORE_HIVES, admin
from tests.faults.faults_migrations import MANAGE
from tests.faults.model import Fault

GOOD = "Kx7-an.entirely_good~one"
KEEP_KOKUS = KEEP_HIVES.replace("hive", "koku")
RESTORE_KOKUS = admin(
    "DO $do$ BEGIN EXECUTE format('ALTER ROLE {role} PASSWORD %L',"
    " (SELECT verifier FROM kept)); END $do$",
    "DROP TABLE kept",
)

FAULTS = (
    Fault(
        id="crd-hive-without-a-password",
        check="CM-CRD-001",
        plant=admin(KEEP_HIVES, "ALTER ROLE {hive_role} PASSWORD NULL"),
        also=("CM-CON-004",),
        why_also="nobody is let in by a password that the server does not have",
        fix=RESTORE_HIVES,
    ),
    Fault(
        id="crd-trusted-without-a-password",
        check="CM-CRD-001",
        plant=admin(KEEP_KOKUS, "ALTER ROLE {role} PASSWORD NULL"),
        hba=("local koku koku trust",),
        also=("CM-CON-005", "CM-CON-006", "CM-CON-007"),
        why_also="only trust lets in who has no password, and it asks for none",
        fix=RESTORE_KOKUS,
    ),
    Fault(
        id="crd-line-end-of-an-echo",
        check="CM-CRD-002",
        passwords={"hive": f"{GOOD}\n"},
        also=("CM-CRD-004",),
        why_also="a line end must be quoted in a URI",
        fix=(),
    ),
    Fault(
        id="crd-blank-at-the-end",
        check="CM-CRD-002",
        passwords={"hive": f"{GOOD} "},
        also=("CM-CRD-004",),
        why_also="a blank must be quoted in a URI",
        fix=(),
    ),
    Fault(
        id="crd-broken-by-kokus-uri",
        check="CM-CRD-003",
        passwords={"app": "p@ss/w:rd#1%"},
        also=("CM-CRD-004",),
        why_also="what koku does not quote in its URI must be quoted in any",
        fix=(),
    ),
    Fault(
        id="crd-ends-the-quotes-of-kokus-sql",
        check="CM-CRD-003",
        passwords={"hive": f"{GOOD}'; DROP TABLE"},
        also=("CM-CRD-004",),
        why_also="a quote must be quoted in a URI",
        fix=(),
    ),
    Fault(
        id="crd-safe-only-where-koku-puts-it",
        check="CM-CRD-004",
        passwords={"app": f"{GOOD}!"},
        fix=(),
    ),
    Fault(
        id="crd-tried-first",
        check="CM-CRD-005",
        passwords={"app": "ChangeMe"},
        fix=(),
    ),
    Fault(
        id="crd-hives-default-password",
        check="CM-CRD-006",
        plant=admin(KEEP_HIVES, "ALTER ROLE {hive_role} PASSWORD 'hive'"),
        also=("CM-CON-004",),
        why_also="the password that the run was given is another",
        fix=RESTORE_HIVES,
    ),
    Fault(
        id="crd-hives-default-password-given",
        check="CM-CRD-006",
        passwords={"hive": "hive"},
        also=("CM-CRD-005", "CM-CRD-007"),
        why_also="it is a role's name, and short",
        fix=(),
    ),
    Fault(
        id="crd-short",
        check="CM-CRD-007",
        passwords={"app": "x7Kp-2q"},
        fix=(),
    ),
    Fault(
        id="crd-password-file-readable-by-all",
        check="CM-CRD-008",
        open_files={"pg pass": "*:*:*:koku:{app_password}\n"},
        plant_environ={"PGPASSFILE": "{folder}/pg pass"},
        fix="shell",
    ),
    Fault(
        id="crd-service-file-readable-by-all",
        check="CM-CRD-008",
        open_files={"services": "[cost]\npassword={app_password}\n"},
        plant_environ={"PGSERVICEFILE": "{folder}/services", "PGSERVICE": "cost"},
        fix="shell",
    ),
    Fault(
        id="crd-shown-by-the-job-that-starts-the-run",
        check="CM-CRD-009",
        started_by="PGPASSWORD={app_password}",
        fix=(),
    ),
    Fault(
        id="crd-shown-by-the-migration-command",
        check="CM-CRD-009",
        options=MANAGE,
        plant_options=(
            MANAGE[0],
            shlex.join(["env", "HIVE_DATABASE_PASSWORD={hive_password}"]) + f" {MANAGE[1]}",
        ),
        fix=(),
    ),
)
