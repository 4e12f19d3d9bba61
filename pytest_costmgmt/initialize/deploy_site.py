"""What the steps of a deployment share: what is wanted, where, and who is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from pytest_costmgmt.errors import ProvisionFailed
from pytest_costmgmt.facts.release import LEASE as _LEASE
from pytest_costmgmt.initialize.step import Step
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.helm import Helm
from pytest_costmgmt.kubernetes.lease import Lease
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.requirements.model import Requirements

LEASE = _LEASE
DEPLOYMENT = "deployment"
"The Lease's note: which run of the suite deployed here, and removes it again."
RELEASE = "cost-mgmt-infra"
SET, POD, CONTAINER, SERVICE = "postgres", "postgres-0", "postgresql", "postgres"
CLAIM = "postgresql-data-postgres-0"
CRONJOB = "cost-mgmt-migration"
SECRET, HIVE_SECRET = "postgres-credentials", "hive-credentials"

Say = Callable[[str], None]


class NotDeployed(ProvisionFailed):
    """A release does not come to run; ``evidence`` are the lines that say why."""

    def __init__(self, message: str, *, evidence: tuple[str, ...] = (), hint: str = "") -> None:
        told = "".join(f"\n  {line}" for line in evidence)
        super().__init__(f"{message}{told}", hint=hint)
        self.evidence = evidence


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be deployed. ``values`` are the operator's; ``release`` "" is found or usual.

    ``timeout`` and ``migrate_timeout`` are seconds.
    """

    namespace: str
    chart: Path
    requirements: Requirements
    values: dict[str, Any] = {}
    release: str = ""
    create_namespace: bool = False
    timeout: float = 600.0
    migrate_timeout: float = 7200.0


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where it is done. ``key`` and ``run`` are this run's; ``lease`` None is a dry run's."""

    wanted: Wanted
    api: Api
    reader: Reader
    helm: Helm
    run: str
    key: bytes
    say: Say
    step: Callable[[Step], None]
    lease: Lease | None = None

    @property
    def dry_run(self) -> bool:
        """Whether nothing may be changed."""
        return self.lease is None

    @property
    def namespace(self) -> str:
        """The namespace that everything is in."""
        return self.wanted.namespace

    def begin(self, name: str) -> None:
        """Say that a phase begins, which the next run is told if we are killed in it."""
        if self.lease is not None:
            self.lease.note("phase", name)

    def lease_check(self) -> None:
        """Raise LeaseLost unless we may go on: nothing is begun without the Lease."""
        if self.lease is not None:
            self.lease.check()

    def done(self, name: str, action: Any, remark: str = "") -> None:
        """Tell a step."""
        self.step(Step(name=name, action=action, remark=remark))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return Helm's merge of two sets of values: what is ``over`` wins, mapping by mapping.

    >>> merged({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}, "d": [4]})
    {'a': {'b': 3, 'c': 2}, 'd': [4]}
    """
    found = dict(base)
    for name, value in over.items():
        below = found.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        found[name] = merged(below, value) if both else value  # type: ignore[arg-type]
    return found


def at(values: Mapping[str, Any], *path: str) -> Any:
    """Return the value at a path, or None.

    >>> at({"a": {"b": 1}}, "a", "b"), at({"a": None}, "a", "b")
    (1, None)
    """
    found: Any = values
    for name in path:
        if not isinstance(found, Mapping):
            return None
        found = found.get(name)
    return found
