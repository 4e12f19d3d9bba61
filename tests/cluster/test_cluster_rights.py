"""The published Role: with it Helm can do all of its work, and each verb that it lacks is named."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.cluster.releases import SMALL, Release, fresh, published, without
from tests.cluster.testbed.bed import Bed, CommandFailed

EVERYTHING = (
    "--set=postgresql.networkPolicy.enabled=true",
    "--set=postgresql.podDisruptionBudget.enabled=true",
)


class Lacks(NamedTuple):
    """A verb on a resource, and what Helm does that takes it; 4 needs some that 3 does not."""

    verb: str
    resource: str
    action: str
    major: int = 3


# What a life of a release takes, in the order in which it is first missed.
LACKS = (
    Lacks("list", "secrets", "install"),
    Lacks("get", "secrets", "install"),
    Lacks("create", "secrets", "install"),
    Lacks("update", "secrets", "upgrade"),
    Lacks("patch", "secrets", "upgrade"),
    Lacks("delete", "secrets", "uninstall"),
    *(
        Lacks(verb, resource, action)
        for resource in ("services", "configmaps", "statefulsets", "cronjobs", "networkpolicies",
                         "poddisruptionbudgets")
        for verb, action in (("get", "install"), ("create", "install"), ("patch", "upgrade"),
                             ("delete", "uninstall"))
    ),
    Lacks("list", "statefulsets", "install"),
    Lacks("get", "pods", "install"),
    Lacks("create", "pods", "test", 4),
    Lacks("delete", "pods", "test", 4),
    Lacks("patch", "pods", "first test", 4),
    Lacks("list", "pods", "test"),
    Lacks("watch", "pods", "test", 4),
    Lacks("get", "pods/log", "test"),
)  # fmt: skip


def test_every_verb_of_the_role_is_one_that_is_missed() -> None:
    """The Role allows what the table shows to be needed, and no more."""
    allowed = {
        (verb, resource)
        for rule in published()["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert allowed == {(each.verb, each.resource) for each in LACKS}


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """A release with every object that the chart has, installed by the Role as it is."""
    with fresh(bed, *EVERYTHING, name="rights") as release:
        release.helm("test")
        yield release


def act(release: Release, action: str) -> None:
    """Do one of the things that Helm does. Of a failed removal it says why only to --debug."""
    match action:
        case "install":
            release.install(*SMALL, *EVERYTHING)
        case "upgrade":
            # A label that no other upgrade brought, so that every object changes.
            label = f"--set=commonLabels.tried=t{secrets.token_hex(4)}"
            release.install(*SMALL, *EVERYTHING, label)
        case "test" | "first test":
            release.helm("test", "--logs", "--timeout=10s")
        case "uninstall":
            release.helm("uninstall", "--debug")


@pytest.mark.parametrize("lacks", LACKS, ids=lambda lacks: "-".join(map(str, lacks[:2])))
def test_a_missing_verb_is_named(release: Release, lacks: Lacks) -> None:
    """Helm says which verb on which resource, and the administrator can add it."""
    bed = release.bed
    if lacks.action not in {"install", "uninstall", "first test"}:
        told = refused(release, lacks)
        # What Helm could not write down as ended is in its way, and an administrator's to clear.
        pending = ("-l", "owner=helm,status in (pending-upgrade)")
        bed.kubectl("delete", "secrets", *pending, "-n", release.namespace)
    else:
        with bed.namespace("rights") as namespace:
            other = Release.of_installer(bed, namespace, major=lacks.major)
            if lacks.action != "install":
                other.install(*SMALL, *EVERYTHING)
            told = refused(other, lacks)
    assert f'cannot {lacks.verb} resource "{lacks.resource}"' in told


def refused(release: Release, lacks: Lacks) -> str:
    """Return what Helm says to an account whose Role lacks that verb."""
    role = without(published(), lacks.verb, lacks.resource)
    role["metadata"] = {"name": f"lacks-{lacks.verb}-{lacks.resource.replace('/', '-')}"}
    kubeconfig = release.bed.account(release.namespace, role["metadata"]["name"], role)
    with pytest.raises(CommandFailed) as told:
        act(release._replace(kubeconfig=kubeconfig, major=lacks.major), lacks.action)
    return told.value.stderr.replace("\\", "")
