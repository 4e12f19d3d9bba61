"""Credentials: present, whole, safe where koku puts them, and seen by nobody else."""

from __future__ import annotations

from pytest_costmgmt.engine.check import MUST, READ_ONLY, SHOULD, check
from pytest_costmgmt.engine.evidence import require
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.credentials import CredentialFacts
from pytest_costmgmt.judge import credentials as judge
from pytest_costmgmt.requirements.model import Requirements


@check(
    id="CM-CRD-001",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="koku takes its passwords from its environment and sets none by itself; without"
    " hive's, its migration 0039 ends with a KeyError.",
    reference="koku/configurator.py (DATABASE_PASSWORD); koku api/migrations/0039_create_hive_db",
)
def test_passwords_are_given(
    costmgmt_credential_facts: CredentialFacts,
    costmgmt_access: AccessFacts,
    costmgmt_catalog: Catalog,
) -> None:
    """The application's roles MUST have a password, which is not empty."""
    facts, access = costmgmt_credential_facts, costmgmt_access
    require(judge.present(facts, access, costmgmt_catalog.roles))


@check(
    id="CM-CRD-002",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CRD-001",),
    rationale="`echo secret | base64` puts a newline into a Secret; one reader strips it, the next"
    " does not, and only one of them logs in.",
    reference="Kubernetes: Secrets (stringData, printf); libpq's password file (one line each)",
)
def test_passwords_are_whole(costmgmt_credential_facts: CredentialFacts) -> None:
    """A password MUST NOT hold line ends, outer blanks or control characters."""
    require(judge.whole(costmgmt_credential_facts))


@check(
    id="CM-CRD-003",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CRD-001",),
    rationale="Migration 0039 pastes the application's password into postgresql://user:password@..."
    " and hive's between quotes, both as they are: p@ss/w:rd#1% breaks it.",
    reference="koku api/migrations/0039_create_hive_db.py",
)
def test_passwords_survive_koku(
    costmgmt_credential_facts: CredentialFacts, costmgmt_requirements: Requirements
) -> None:
    """A password MUST be read back unchanged where koku pastes it unquoted."""
    require(judge.survives_koku(costmgmt_credential_facts, costmgmt_requirements))


@check(
    id="CM-CRD-004",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CRD-001",),
    rationale="Other tools build URIs too (backup jobs, exporters, sidecars), and each has its own"
    " idea of which characters end a password.",
    reference="RFC 3986, section 2.3 (unreserved characters)",
)
def test_passwords_need_no_quoting(costmgmt_credential_facts: CredentialFacts) -> None:
    """A password SHOULD consist of letters, digits and - . _ ~ only."""
    require(judge.plain(costmgmt_credential_facts))


@check(
    id="CM-CRD-005",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CRD-001",),
    rationale="A role's own name and the usual defaults are what is tried first, and PostgreSQL"
    " does not slow a guesser down.",
    reference="NIST SP 800-63B, section 5.1.1.2 (values known to be commonly used)",
)
def test_passwords_are_not_trivial(costmgmt_credential_facts: CredentialFacts) -> None:
    """A password MUST NOT be a role's or database's name, nor one that is tried first."""
    require(judge.not_trivial(costmgmt_credential_facts))


@check(
    id="CM-CRD-006",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="koku's documentation and older charts ship password hive for role hive, with which"
    " anybody in the network owns the metastore.",
    reference="koku api/migrations/0039_create_hive_db.py (HIVE_DATABASE_PASSWORD)",
)
def test_hive_has_its_own_password(
    costmgmt_credential_facts: CredentialFacts,
    costmgmt_access: AccessFacts,
    costmgmt_requirements: Requirements,
) -> None:
    """The password of hive MUST NOT be hive."""
    facts, access = costmgmt_credential_facts, costmgmt_access
    require(judge.hive_default(facts, access, costmgmt_requirements))


@check(
    id="CM-CRD-007",
    level=SHOULD,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CRD-001",),
    rationale="A shorter one is quickly tried through, and too likely a part of other words to be"
    " masked in reports.",
    reference="NIST SP 800-63B, section 5.1.1.2 (at least 8 characters)",
)
def test_passwords_are_long(costmgmt_credential_facts: CredentialFacts) -> None:
    """A password SHOULD have 8 characters or more."""
    require(judge.long_enough(costmgmt_credential_facts))


@check(
    id="CM-CRD-008",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="A password in a file is everybody's who can read it; libpq ignores such a password"
    " file, but not a service file.",
    reference="PostgreSQL: The Password File; The Connection Service File",
)
def test_password_files_are_private(costmgmt_credential_facts: CredentialFacts) -> None:
    """A file that holds a password MUST NOT be readable by others."""
    require(judge.private_files(costmgmt_credential_facts))


@check(
    id="CM-CRD-009",
    level=MUST,
    effect=READ_ONLY,
    since="1.0",
    after=("CM-CON-002",),
    rationale="Every local user can read the arguments of every process; shells and CI logs keep"
    " them.",
    reference="proc(5), /proc/PID/cmdline",
)
def test_passwords_are_not_in_arguments(costmgmt_credential_facts: CredentialFacts) -> None:
    """No process of this run MUST show a password in its arguments."""
    require(judge.unseen_in_arguments(costmgmt_credential_facts))
