"""The facts as fixtures of the suite: wiring only. Registered only when the suite runs."""

from __future__ import annotations

from typing import TypeVar

import pytest

from pytest_costmgmt.engine import shared
from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.credentials import CredentialFacts
from pytest_costmgmt.facts.migrations import MigrationFacts
from pytest_costmgmt.facts.usability import UsabilityFacts
from pytest_costmgmt.initialize.again import Reinitialize
from pytest_costmgmt.requirements.model import Requirements

Fact = TypeVar("Fact")


def _known(config: pytest.Config, family: str, fact: Fact | None) -> Fact:
    """Return a fact, or raise what kept it from being read: absence is never a pass."""
    data = shared.of(config)
    if fact is not None:
        return fact
    why = data.problem or data.facts.errors.get(family) or "it was not gathered"
    raise FactUnavailable(f"the facts about {family} are not there: {why}")


@pytest.fixture(scope="session")
def costmgmt_context(pytestconfig: pytest.Config) -> Context:
    """The circumstances of the run: mode, profile, what is allowed."""
    return _known(pytestconfig, "the run", shared.of(pytestconfig).context)


@pytest.fixture(scope="session")
def costmgmt_requirements(pytestconfig: pytest.Config) -> Requirements:
    """What Cost Management needs, with this target's names."""
    return _known(pytestconfig, "requirements", shared.of(pytestconfig).requirements)


@pytest.fixture(scope="session")
def costmgmt_access(pytestconfig: pytest.Config) -> AccessFacts:
    """What logins came to, and what the application's own session sees."""
    return _known(pytestconfig, "access", shared.of(pytestconfig).facts.access)


@pytest.fixture(scope="session")
def costmgmt_catalog(pytestconfig: pytest.Config) -> Catalog:
    """The catalog snapshot."""
    return _known(pytestconfig, "catalog", shared.of(pytestconfig).facts.catalog)


@pytest.fixture(scope="session")
def costmgmt_usability(pytestconfig: pytest.Config) -> UsabilityFacts:
    """What using each extension came to."""
    return _known(pytestconfig, "usability", shared.of(pytestconfig).facts.usability)


@pytest.fixture(scope="session")
def costmgmt_migration_facts(pytestconfig: pytest.Config) -> MigrationFacts:
    """Expected and recorded migrations, tenants and schemas."""
    return _known(pytestconfig, "migrations", shared.of(pytestconfig).facts.migrations)


@pytest.fixture(scope="session")
def costmgmt_credential_facts(pytestconfig: pytest.Config) -> CredentialFacts:
    """Properties of the credentials, never their values."""
    return _known(pytestconfig, "credentials", shared.of(pytestconfig).facts.credentials)


@pytest.fixture(scope="session")
def costmgmt_initialization(pytestconfig: pytest.Config) -> Reinitialize:
    """Initialization, to be run again."""
    data = shared.of(pytestconfig)
    server = _known(pytestconfig, "the server", data.server)
    requirements = _known(pytestconfig, "requirements", data.requirements)
    return Reinitialize(
        server,
        requirements,
        data.means.manage,
        migrate_timeout=data.means.migrate_timeout,
        connect_timeout=data.means.connect_timeout,
    )
