"""Make a Secret with credentials, outside of Helm: no rendering and no record of it holds them."""

from __future__ import annotations

from collections.abc import Mapping

from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.objects import path_of
from pytest_costmgmt.secret import Secret

MANAGED = {
    "app.kubernetes.io/part-of": "cost-management",
    "app.kubernetes.io/managed-by": "costmgmt-bootstrap",
}


def create_credentials(
    api: Api,
    namespace: str,
    name: str,
    *,
    database: str,
    username: str,
    password: Secret,
    annotations: Mapping[str, str] | None = None,
) -> None:
    """Create a Secret with the keys that chart and application read; never over another."""
    __tracebackhide__ = True
    api.create(
        path_of(namespace, "secrets"),
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {
                "name": name,
                "labels": MANAGED,
                "annotations": dict(annotations or {}),
            },
            "stringData": {
                "database": database,
                "username": username,
                "password": password.reveal(),
            },
        },
        what=f"Creating Secret {name} in namespace {namespace}",
    )
