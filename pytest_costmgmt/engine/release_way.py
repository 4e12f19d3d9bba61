"""What commands over a release share: the place that was named, a login by its loopback door."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pytest_costmgmt.engine.backup_way import login
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place
from pytest_costmgmt.servers.release import attach

REQUIREMENTS = "koku-hive"
"What names role and database where no Secret of the release does."


def placed(values: dict[str, Any]) -> dict[str, Any]:
    """Return a command's values with a ``place`` for its options of a cluster."""
    named = ("namespace", "kubeconfig", "context", "as_user", "as_group")
    namespace, kubeconfig, context, user, groups = (values.pop(name) for name in named)
    if namespace is None:
        if kubeconfig or context or user or groups:
            raise UsageProblem("--kubeconfig, --context and --as are for --namespace: give it too.")
        if not values.get("target"):
            raise UsageProblem("Give TARGET, or --namespace for a release.")
        return {**values, "place": None}
    if values.get("target"):
        raise UsageProblem("TARGET and --namespace both name a server: give one.")
    place = Place(
        namespace=namespace,
        kubeconfig="" if kubeconfig is None else str(kubeconfig),
        context=context or "",
        user=user or "",
        groups=tuple(groups),
    )
    place.check()
    return {**values, "target": "", "place": place}


@contextlib.contextmanager
def reached(target: str, password_file: Path | None, place: Place | None) -> Iterator[Login]:
    """Yield the login that TARGET means, or the superuser's of the release in ``place``.

    That one goes by a Unix socket here and a stream to the database pod's own localhost: nothing
    runs or lies in the pod, and a stream that breaks is a broken connection, not an end.
    """
    if place is None:
        yield login(target, password_file)
        return
    if password_file is not None:
        raise UsageProblem("--password-file is for TARGET: a release's superuser needs none.")
    attached = attach(place, load(REQUIREMENTS), network=False)
    with contextlib.closing(attached):
        server = attached.require()
        assert server.administrator is not None  # noqa: S101 - a release has one
        yield server.administrator
