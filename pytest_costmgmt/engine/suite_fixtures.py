"""The facts that a check asks for by its parameters' names: wiring only.

No fixtures of pytest: another plugin's fixture of the same name, or its ``pytest_fixture_setup``,
would take their place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from pytest_costmgmt.engine import shared
from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.credentials import CredentialFacts
from pytest_costmgmt.facts.hazards import HazardFacts
from pytest_costmgmt.facts.migrations import MigrationFacts
from pytest_costmgmt.facts.usability import UsabilityFacts
from pytest_costmgmt.requirements.model import Requirements

if TYPE_CHECKING:
    from pytest_costmgmt.backup.rehearsal import Rehearse
    from pytest_costmgmt.facts.release_seen import ReleaseFacts
    from pytest_costmgmt.initialize.again import Reinitialize
    from pytest_costmgmt.servers.release_restart import Restart
    from pytest_costmgmt.servers.release_upgrade import Upgrading

Fact = TypeVar("Fact")

_AGAIN: pytest.StashKey[Reinitialize] = pytest.StashKey()
_RELEASE: pytest.StashKey[ReleaseFacts] = pytest.StashKey()
_RESTART: pytest.StashKey[Restart] = pytest.StashKey()
_UPGRADES: pytest.StashKey[Upgrading] = pytest.StashKey()
_REHEARSAL: pytest.StashKey[Rehearse] = pytest.StashKey()


def _known(config: pytest.Config, family: str, fact: Fact | None) -> Fact:
    """Return a fact, or raise what kept it from being read: absence is never a pass."""
    data = shared.of(config)
    if fact is not None:
        return fact
    why = data.problem or data.facts.errors.get(family) or "it was not gathered"
    raise FactUnavailable(f"the facts about {family} are not there: {why}")


def costmgmt_context(config: pytest.Config) -> Context:
    """The circumstances of the run: mode, profile, what is allowed."""
    return _known(config, "the run", shared.of(config).context)


def costmgmt_requirements(config: pytest.Config) -> Requirements:
    """What Cost Management needs, with this target's names."""
    return _known(config, "requirements", shared.of(config).requirements)


def costmgmt_access(config: pytest.Config) -> AccessFacts:
    """What logins came to, and what the application's own session sees."""
    return _known(config, "access", shared.of(config).facts.access)


def costmgmt_catalog(config: pytest.Config) -> Catalog:
    """The catalog snapshot."""
    return _known(config, "catalog", shared.of(config).facts.catalog)


def costmgmt_usability(config: pytest.Config) -> UsabilityFacts:
    """What using each extension came to."""
    return _known(config, "usability", shared.of(config).facts.usability)


def costmgmt_migration_facts(config: pytest.Config) -> MigrationFacts:
    """Expected and recorded migrations, tenants and schemas."""
    return _known(config, "migrations", shared.of(config).facts.migrations)


def costmgmt_credential_facts(config: pytest.Config) -> CredentialFacts:
    """Properties of the credentials, never their values."""
    return _known(config, "credentials", shared.of(config).facts.credentials)


def costmgmt_hazards(config: pytest.Config) -> HazardFacts:
    """What a backup would lose, or could not restore."""
    return _known(config, "hazards", shared.of(config).facts.hazards)


def costmgmt_release(config: pytest.Config) -> ReleaseFacts:
    """The release's objects and what its namespace shows; says why, where there can be none."""
    if (known := config.stash.get(_RELEASE, None)) is not None:
        return known
    from pytest_costmgmt.facts import release_seen  # noqa: PLC0415 - not before profile smoke

    data = shared.of(config)
    facts = release_seen.decoded(data.release)
    if facts.objects is None and not facts.absent:
        _known(config, "the release", None)
    config.stash[_RELEASE] = facts
    return facts


def costmgmt_restart(config: pytest.Config) -> Restart:
    """The deletion of the release's pod, acted out when first asked: one for the run."""
    if (made := config.stash.get(_RESTART, None)) is not None:
        return made
    from pytest_costmgmt.servers.release_restart import restart  # noqa: PLC0415 - release-gate

    data = shared.of(config)
    server = _known(config, "the server", data.server)
    context = _known(config, "the run", data.context)
    login = server.application if server.administrator is None else server.administrator
    made = config.stash[_RESTART] = restart(data.means.place, login, run_id=context.run_id)
    return made


def costmgmt_upgrades(config: pytest.Config) -> Upgrading:
    """The release's upgrades, acted out when first asked: one for the run."""
    if (made := config.stash.get(_UPGRADES, None)) is not None:
        return made
    from pytest_costmgmt.servers.release_upgrade import upgrading  # noqa: PLC0415 - release-gate

    data = shared.of(config)
    server = _known(config, "the server", data.server)
    made = config.stash[_UPGRADES] = upgrading(data.means.upgrade, server)
    return made


def costmgmt_initialization(config: pytest.Config) -> Reinitialize:
    """Initialization, to be run again: one for the run, which remembers what it saw."""
    if (made := config.stash.get(_AGAIN, None)) is not None:
        return made
    from pytest_costmgmt.initialize.again import Reinitialize  # noqa: PLC0415 - profile full only

    data = shared.of(config)
    server = _known(config, "the server", data.server)
    requirements = _known(config, "requirements", data.requirements)
    made = config.stash[_AGAIN] = Reinitialize(
        server,
        requirements,
        data.means.manage,
        migrate_timeout=data.means.migrate_timeout,
        connect_timeout=data.means.connect_timeout,
    )
    return made


def costmgmt_rehearsal(config: pytest.Config) -> Rehearse:
    """A backup and its restore, acted out when first asked: one for the run."""
    if (made := config.stash.get(_REHEARSAL, None)) is not None:
        return made
    from pytest_costmgmt.backup.rehearsal import Rehearse  # noqa: PLC0415 - profile full only
    from pytest_costmgmt.postgres.clients import choose  # noqa: PLC0415
    from pytest_costmgmt.settings import environment  # noqa: PLC0415

    data = shared.of(config)
    server = _known(config, "the server", data.server)
    context = _known(config, "the run", data.context)
    made = config.stash[_REHEARSAL] = Rehearse(
        server.application,
        server.administrator,
        choose=lambda number: choose(number, cache=Path(data.means.cache), environ=environment()),
        run_id=context.run_id,
        folder=server.folder,
        accept_disk_risk=data.means.accept_disk_risk,
        deadline=data.means.connect_timeout,
    )
    return made


FACTS: Mapping[str, Callable[[pytest.Config], Any]] = {
    function.__name__: function
    for function in (
        costmgmt_context,
        costmgmt_requirements,
        costmgmt_access,
        costmgmt_catalog,
        costmgmt_usability,
        costmgmt_migration_facts,
        costmgmt_credential_facts,
        costmgmt_hazards,
        costmgmt_release,
        costmgmt_restart,
        costmgmt_upgrades,
        costmgmt_initialization,
        costmgmt_rehearsal,
    )
}
