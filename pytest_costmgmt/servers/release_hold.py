"""Who may disturb a release: one run at a time, and none while another judges it.

A run that deletes pods or upgrades holds the Lease that bootstrap holds too. A run that only looks
holds nothing: its probe shows that it is there. The one makes its Lease before it looks for
probes, the other its probe before it looks for the Lease, so that one of them sees the other.
"""

from __future__ import annotations

from pytest_costmgmt.errors import CostMgmtError
from pytest_costmgmt.facts.release import LEASE
from pytest_costmgmt.kubernetes import probe as probes
from pytest_costmgmt.kubernetes import rights
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.lease import RIGHTS as LEASE_RIGHTS
from pytest_costmgmt.kubernetes.lease import Seen, held_lease, look
from pytest_costmgmt.kubernetes.owner import owner
from pytest_costmgmt.kubernetes.rights import Right
from pytest_costmgmt.kubernetes.trouble import LeaseHeld, RunsThere
from pytest_costmgmt.servers import release_restart
from pytest_costmgmt.servers.release import Attachment

_MAKES = ("get", "create", "patch", "delete")
# What Helm 3 and 4 are seen to take to upgrade and roll back, as for the chart's install.yaml.
_HELM = (
    ("secrets", "", ("get", "list", "create", "update", "patch", "delete")),
    ("services", "", _MAKES),
    ("configmaps", "", _MAKES),
    ("statefulsets", "apps", ("list", *_MAKES)),
    ("cronjobs", "batch", _MAKES),
    ("networkpolicies", "networking.k8s.io", _MAKES),
    ("poddisruptionbudgets", "policy", _MAKES),
)
HELM_RIGHTS = tuple(Right(verb, what, group) for what, group, verbs in _HELM for verb in verbs)
RIGHTS = (*probes.RIGHTS, *LEASE_RIGHTS, *release_restart.RIGHTS)
"What disturbing takes beyond attaching; and, where Helm keeps the release, HELM_RIGHTS."


def hold(attached: Attachment) -> None:
    """Hold the release until ``attached`` is closed.

    Raises AccessDenied that names every right that a disruptive check would miss, LeaseHeld while
    another run changes the release, RunsThere while another judges it.
    """
    api, namespace = attached.api, attached.place.namespace
    needed = (*RIGHTS, *(HELM_RIGHTS if attached.objects.release else ()))
    purpose = f"Deleting pods and upgrading in namespace {namespace!r}"
    rights.demand(api, namespace, tuple(dict.fromkeys(needed)), purpose=purpose)
    attached.keep(held_lease(api, namespace, LEASE, run=attached.run))
    probes.sweep(api, namespace)
    if others := [each for each in probes.alive(api, namespace) if each.run != attached.run]:
        first = others[0]
        raise RunsThere(
            f"Another run judges the release in namespace {namespace}: its probe {first.name}"
            f" (run {first.run}, since {first.since}) is there, and what this one is allowed to"
            " do would spoil what it sees.",
            hint="Wait for its end. If it was killed, the cluster removes its probe by"
            f" {first.until}, or at once:"
            f" kubectl -n {namespace} delete job {' '.join(each.name for each in others)}",
        )


class Quiet:
    """That nobody changes the release while it is judged: what is seen then is no verdict.

    Constructing it raises LeaseHeld while another run does. Where we may not look, nobody is known
    to.
    """

    def __init__(self, api: Api, namespace: str) -> None:
        self._api, self._namespace = api, namespace
        self.unseen = ""
        "Why nobody can tell, in words."
        self._before = seen = self._seen()
        # A bootstrap validates in its own process what it deployed.
        if seen is not None and seen.live and seen.owner != owner():
            raise LeaseHeld(namespace, LEASE, seen.text)

    def broken(self) -> str:
        """Say who began to change it since, or ""."""
        now = self._seen()
        if now is None or now.owner == owner():
            return ""
        if self._before is not None and now.transitions == self._before.transitions:
            return ""
        who = f"{now.text} holds Lease {LEASE}" if now.holder else f"Lease {LEASE} was held"
        return f"another run changed the release while it was judged ({who})"

    def _seen(self) -> Seen | None:
        try:
            return look(self._api, self._namespace, LEASE)
        except CostMgmtError as error:
            self.unseen = f"whether another run changes the release is not seen: {error.message}"
            return None
