"""Where a release is: a namespace of a cluster, as whom we act there, and what probes look like."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.access import Access, access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.kubeconfig import Impersonation, choose
from pytest_costmgmt.settings import Settings


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A namespace, and the way to its cluster as kubectl would take it. It holds no credentials."""

    namespace: str
    kubeconfig: str = ""
    context: str = ""
    user: str = ""
    groups: tuple[str, ...] = ()

    def access(self, environ: Mapping[str, str] = os.environ) -> Access:
        """Return the way to the cluster; nothing is connected to. Raises UsageProblem."""
        return access(
            kubeconfig=Path(self.kubeconfig) if self.kubeconfig else None,
            context=self.context or None,
            impersonate=Impersonation(user=self.user, groups=self.groups),
            environ=environ,
        )

    def check(self, environ: Mapping[str, str] = os.environ) -> None:
        """Raise UsageProblem if we cannot act as who we are to be; nothing is connected to.

        What is wrong with the kubeconfig otherwise is left to :meth:`access`.
        """
        Impersonation(user=self.user, groups=self.groups).headers()
        try:
            chosen = choose(
                kubeconfig=Path(self.kubeconfig) if self.kubeconfig else None,
                context=self.context or None,
                environ=environ,
            )
        except UsageProblem:
            return
        if chosen is not None and not self.user:
            chosen.impersonation.headers()

    def api(self, environ: Mapping[str, str] = os.environ) -> Api:
        """Return the cluster's API; nothing is connected to. Raises UsageProblem."""
        return Api(self.access(environ))


class ProbeWishes(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator wants of probe pods; an empty image is the database pod's own."""

    image: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    node_selector: dict[str, str] = {}
    seconds: int = 900
    "The longest life of a probe, whatever becomes of us."


def place_of(settings: Settings) -> Place:
    """Return the place that the settings name."""
    return Place(
        namespace=settings.namespace or "",
        kubeconfig="" if settings.kubeconfig is None else str(settings.kubeconfig.absolute()),
        context=settings.context or "",
        user=settings.as_user or "",
        groups=settings.as_group,
    )


def wishes_of(settings: Settings) -> ProbeWishes:
    """Return what the settings want of probes; longer profiles take longer-lived ones."""
    return ProbeWishes(
        image=settings.probe_image or "",
        labels=settings.probe_label,
        annotations=settings.probe_annotation,
        node_selector=settings.probe_node_selector,
        seconds=900 if settings.profile in {"preflight", "smoke"} else 7200,
    )
