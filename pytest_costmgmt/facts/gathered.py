"""All facts of a run together, and what kept a family of them from being read."""

from __future__ import annotations

import msgspec

from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.catalog import Catalog
from pytest_costmgmt.facts.credentials import CredentialFacts
from pytest_costmgmt.facts.hazards import HazardFacts
from pytest_costmgmt.facts.migrations import MigrationFacts
from pytest_costmgmt.facts.usability import UsabilityFacts


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """Each family is None if it could not be read; ``errors`` then says why, by family."""

    access: AccessFacts | None = None
    catalog: Catalog | None = None
    usability: UsabilityFacts | None = None
    migrations: MigrationFacts | None = None
    credentials: CredentialFacts | None = None
    hazards: HazardFacts | None = None
    errors: dict[str, str] = msgspec.field(default_factory=dict)
