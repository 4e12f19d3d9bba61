"""Which release is judged: the one that was asked for, or the only one that it can be."""

from __future__ import annotations

import pytest

from tests import release_objects as made
from tests.server.pod_api import status
from tests.server.release_api import (
    APPS,
    CORE,
    Object,
    ReleaseApi,
    attached,
)
from tests.server.run_support import Place, Ran

RENDERS = "kind: StatefulSet\nmetadata: {name: postgres}"
OTHER = "kind: StatefulSet\nmetadata: {name: other}"


def keeps(release: ReleaseApi, *records: Object) -> None:
    """Have the StatefulSet name no release, and Helm keep these records."""
    del release.objects[f"{APPS}/statefulsets/postgres"]["metadata"]["annotations"]

    def listed(query: dict[str, str]) -> Object:
        wanted = dict(part.split("=") for part in query["labelSelector"].split(","))
        found = [r for r in records if wanted.items() <= r["metadata"]["labels"].items()]
        return {"kind": "List", "metadata": {}, "items": found}

    release.objects[f"{CORE}/secrets"] = listed


def refused(place: Place, release: ReleaseApi, *arguments: str) -> str:
    """Assert a usage error, before anything was made; return its words."""
    ran = attached(place, release, *arguments)
    assert ran.status == 4, ran.said
    assert ran.report["verdict"] == "inconclusive"
    assert release.made() == []
    return " ".join(ran.said.split())


def judged(place: Place, release: ReleaseApi, *arguments: str) -> Ran:
    """Assert that it was judged; return what it came to."""
    ran = attached(place, release, "--costmgmt-allow=read-only", *arguments)
    assert ran.status in {0, 1}, ran.said
    return ran


def test_the_release_that_was_asked_for_is_judged(place: Place, release: ReleaseApi) -> None:
    """Its own StatefulSet says that it is of it; the header says what was insisted on."""
    ran = judged(place, release, f"--costmgmt-release={made.RELEASE}")
    assert f"release {made.RELEASE} in namespace" in ran.report["target"]["label"]


@pytest.mark.parametrize("way", ["option", "variable"])
def test_another_release_is_a_usage_error(place: Place, release: ReleaseApi, way: str) -> None:
    """It says which one is there."""
    if way == "option":
        told = refused(place, release, "--costmgmt-release=another")
    else:
        kubeconfig = release.kubeconfig(place.folder / "kubeconfig")
        ran = place.run(
            "--costmgmt-namespace", made.NAMESPACE, f"--costmgmt-kubeconfig={kubeconfig}",
            environ={"COSTMGMT_RELEASE": "another"},
        )  # fmt: skip
        assert ran.status == 4
        told = " ".join(ran.said.split())
    assert "--costmgmt-release=another" in told
    assert f"is of release {made.RELEASE}." in told


def test_several_that_it_could_be_of_are_a_usage_error(place: Place, release: ReleaseApi) -> None:
    """Their names are told, and each of them can be asked for; one that is not among them not."""
    one, two = (made.helm_record(name=name, renders=RENDERS) for name in ("one", "two"))
    keeps(release, one, two, made.helm_record(name="three", renders=OTHER))
    told = refused(place, release)
    assert "one, two." in told
    assert "--costmgmt-release" in told
    assert "is of one or two." in refused(place, release, "--costmgmt-release=three")
    ran = judged(place, release, "--costmgmt-release=two")
    assert "release two in namespace" in ran.report["target"]["label"]


def test_the_only_one_that_it_can_be_of_is_found_by_helm_s_record(
    place: Place, release: ReleaseApi
) -> None:
    """One that was uninstalled, and one that renders it no more, are not meant."""
    keeps(
        release,
        made.helm_record(1, name="mine", renders=RENDERS),
        made.helm_record(1, name="gone", renders=RENDERS),
        made.helm_record(2, "uninstalled", name="gone", renders=RENDERS),
        made.helm_record(1, name="was", renders=RENDERS),
        made.helm_record(2, name="was", renders=OTHER),
    )
    ran = judged(place, release)
    assert "release mine in namespace" in ran.report["target"]["label"]
    assert ran.outcomes["CM-REL-009"] == "passed"


def test_what_no_helm_deployed_cannot_be_insisted_on(place: Place, release: ReleaseApi) -> None:
    """Without the option it is judged as it is; what we may not read is told."""
    keeps(release)
    assert "no Helm release" in refused(place, release, "--costmgmt-release=mine")
    assert judged(place, release).outcomes["CM-REL-009"] == "not-supported"
    denied = status(403, "Forbidden", "secrets is forbidden")
    release.objects[f"{CORE}/secrets"] = denied
    assert "secrets is forbidden" in refused(place, release, "--costmgmt-release=mine")
