"""What the tests of attaching share: a release that is as bootstrap leaves it, and runs over it."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pytest_costmgmt.initialize import migrations
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place as Namespace
from pytest_costmgmt.servers.release import attach
from tests.cluster.releases import Release, fresh, published
from tests.cluster.testbed.bed import Bed, Object
from tests.server.run_support import Place, Ran

HIVE = "hive-credentials"
HIVE_PASSWORD = "Zp3cGy8sJd5vWn2qKf7h"
OF_RELEASES = ("CM-REL", "CM-SEC", "CM-PER", "CM-UPG")
ENDED = frozenset({"failed", "error"})


@contextlib.contextmanager
def healthy(bed: Bed, *options: str) -> Iterator[Release]:
    """Yield a release with PostgreSQL 15, initialized and migrated, its image by digest."""
    given = ["--set=postgresql.major=15", f"--set=migration.hive.existingSecret={HIVE}", *options]
    if bed.archive is not None:
        digest = bed.archive.named("quay.io/sclorg/postgresql-15-c9s").digest
        given.append(f"--set=postgresql.image.digest={digest}")
    with fresh(bed, *given, name="attach") as release:
        data = {"database": "hive", "username": "hive", "password": HIVE_PASSWORD}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": HIVE}}
        bed.apply({**secret, "stringData": data}, namespace=release.namespace)
        made_ready(release)
        yield release


def made_ready(release: Release) -> None:
    """Initialize and migrate it over its two doors, as bootstrap does."""
    requirements = load("koku-hive")
    where = Namespace(namespace=release.namespace, kubeconfig=str(release.bed.kubeconfig))
    with contextlib.closing(attach(where, requirements, effect="probe")) as attached:
        server = attached.require()
        assert server.administrator is not None
        assert server.hive is not None
        superuser = server.administrator.on("postgres")
        initialize(
            superuser,
            requirements=requirements,
            ours=False,
            deadline=10,
            hive_password=server.hive.password,
        ).require()
        with tempfile.TemporaryDirectory() as scratch:
            within = migrations.surroundings(server, requirements, Path(scratch))
            manage = migrations.default_manage()
            migrations.migrate(manage, within, deadline=300)
            migrations.prepare_example(manage, within, deadline=300)


def checker(effect: str = "check-probe") -> Object:
    """Return the Role that is published for the effect, with hive's Secret and Helm's records."""
    role = published(effect)
    seen = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "list"]}
    return {**role, "rules": [*role["rules"], seen]}


def arguments(release: Release, kubeconfig: Path) -> tuple[str, str]:
    """Return what names the release on a command line."""
    return f"--costmgmt-namespace={release.namespace}", f"--costmgmt-kubeconfig={kubeconfig}"


def judged(place: Place, release: Release, kubeconfig: Path, *more: str) -> Ran:
    """Run the suite over the release; nothing that it says or writes holds a password."""
    ran = place.run(*arguments(release, kubeconfig), *more)
    for path in ran.folder.iterdir():
        assert HIVE_PASSWORD not in path.read_text()
    assert HIVE_PASSWORD not in ran.said
    return ran


def ended(ran: Ran, *, all_: bool = False) -> dict[str, str]:
    """Return the checks that failed or are in error, or all that did not pass."""
    return {
        id_: outcome
        for id_, outcome in ran.outcomes.items()
        if outcome in ENDED or (all_ and outcome != "passed")
    }


def of_releases(ran: Ran) -> frozenset[str]:
    """Return which checks of a release failed or are in error."""
    return frozenset(id_ for id_ in ended(ran) if id_.startswith(OF_RELEASES))
