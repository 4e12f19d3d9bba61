"""What is read of a namespace is of the release's own data, and of all that Helm keeps of it."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.facts import release
from pytest_costmgmt.facts.release_exhibits import collect
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.facts.upgrades import Upgrades
from pytest_costmgmt.judge import persistence, release_pod, upgrade
from pytest_costmgmt.kubernetes import shapes_read
from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.leaks import passwords, record
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.policies import isolating
from pytest_costmgmt.secret import Secret, redact
from pytest_costmgmt.servers.release_named import WrongRelease, be_sure
from tests import release_objects as made
from tests.server.pod_api import PodApi, pod_api, status

CORE = f"/api/v1/namespaces/{made.NAMESPACE}"
APPS = f"/apis/apps/v1/namespaces/{made.NAMESPACE}"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{made.NAMESPACE}/networkpolicies"
CLAIMS = f"{CORE}/persistentvolumeclaims"
DATA = "postgresql-data-postgres-0"


@pytest.fixture
def cluster() -> Iterator[PodApi]:
    """An API server."""
    with pod_api() as found:
        yield found


@pytest.fixture
def api(cluster: PodApi, tmp_path: Path) -> Api:
    """The way to it."""
    return Api(access(kubeconfig=cluster.kubeconfig(tmp_path / "kubeconfig"), environ={}),
               patience=0)  # fmt: skip


def with_backups(pod: dict[str, Any]) -> dict[str, Any]:
    """Return a pod into which a second claim was patched, before what it had."""
    spec = pod["spec"]
    volume = {"name": "backups", "persistentVolumeClaim": {"claimName": "postgres-backups"}}
    spec["volumes"].insert(0, volume)
    mounts = spec["containers"][0]["volumeMounts"]
    mounts.insert(0, {"name": "backups", "mountPath": "/var/lib/pgsql/backups"})
    return pod


def test_the_claim_is_the_data_s_though_the_pod_has_another(cluster: PodApi, api: Api) -> None:
    """One for backups stands first, and stays; the data's goes with the pod."""
    leaving = made.claim()
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T10:00:00Z"
    stays = made.claim()
    stays["metadata"] = {"name": "postgres-backups", "uid": "claim-2"}
    cluster.objects |= {
        f"{APPS}/statefulsets/postgres": made.stateful_set(),
        f"{CORE}/pods/postgres-0": with_backups(made.pod()),
        f"/apis/discovery.k8s.io/v1/namespaces/{made.NAMESPACE}/endpointslices": [],
        f"{CLAIMS}/{DATA}": leaving,
        f"{CLAIMS}/postgres-backups": stays,
    }
    objects = release.read(Reader(api, made.NAMESPACE), key=b"run")
    assert objects.claim is not None
    assert objects.claim.meta.name == DATA
    (finding,) = persistence.bound(ReleaseFacts(objects=objects)).findings
    assert DATA in finding.summary


def test_a_claim_is_named_where_the_data_lies_on_none() -> None:
    """The older chart mounts it beside the data: it is the one that is there to be judged."""
    pod = made.pod()
    pod["spec"]["containers"][0]["volumeMounts"][0]["mountPath"] = "/var/lib/postgresql/data"
    assert release.claim_of(shapes_read.pod(pod)) == DATA
    pod["spec"]["volumes"][0] = {"name": "postgresql-data", "emptyDir": {}}
    assert release.claim_of(shapes_read.pod(pod)) == ""
    assert release.claim_of(None) == ""


def without_a_pod(cluster: PodApi) -> dict[str, Any]:
    """Have a StatefulSet that leaves the token to its ServiceAccount; return its pods' spec."""
    described = made.stateful_set()
    cluster.objects[f"{APPS}/statefulsets/postgres"] = described
    slices = f"/apis/discovery.k8s.io/v1/namespaces/{made.NAMESPACE}/endpointslices"
    cluster.objects[slices] = []
    spec: dict[str, Any] = described["spec"]["template"]["spec"]
    del spec["automountServiceAccountToken"]
    return spec


@pytest.mark.parametrize(
    ("says", "expected"), [({}, True), ({"automountServiceAccountToken": False}, False)]
)
def test_the_service_account_is_asked_where_there_is_no_pod(
    cluster: PodApi, api: Api, says: dict[str, bool], expected: bool
) -> None:
    """Its word is at the object's top, and silence is yes; a pod that is there shows it itself."""
    spec = without_a_pod(cluster)
    spec["serviceAccountName"] = "postgres"
    account = {"metadata": {"name": "postgres", "namespace": made.NAMESPACE}, **says}
    cluster.objects[f"{CORE}/serviceaccounts/postgres"] = account
    assert release.read(Reader(api, made.NAMESPACE), key=b"run").account_mounts is expected
    cluster.objects[f"{CORE}/serviceaccounts/postgres"] = status(403, "Forbidden", "no")
    objects = release.read(Reader(api, made.NAMESPACE), key=b"run")
    assert objects.account_mounts is None
    assert "ServiceAccount postgres" in objects.refused
    cluster.objects[f"{CORE}/pods/postgres-0"] = made.pod()
    assert not release.read(Reader(api, made.NAMESPACE), key=b"run").refused


def test_which_secret_is_a_token_is_told_by_its_type(cluster: PodApi, api: Api) -> None:
    """Of those in the pod's volumes; what it holds, the namespace's name too, stays no secret."""
    volumes = without_a_pod(cluster)["volumes"]
    named = ("default-token-x7k2p", "tls", "unread", "not-there")
    volumes += [{"name": each, "secret": {"secretName": each}} for each in named]
    token = made.secret(named[0], namespace=made.NAMESPACE, token="eyJhbGciOiJSUzI1NiJ9.e30.x")
    cluster.objects |= {
        f"{CORE}/secrets/{named[0]}": {**token, "type": "kubernetes.io/service-account-token"},
        f"{CORE}/secrets/tls": {**made.secret("tls"), "type": "kubernetes.io/tls"},
        f"{CORE}/secrets/unread": status(403, "Forbidden", "no"),
    }
    objects = release.read(Reader(api, made.NAMESPACE), key=b"run")
    assert objects.tokens == ("default-token-x7k2p",)
    assert "Secret unread" in objects.refused
    assert redact(made.NAMESPACE) == made.NAMESPACE


def test_a_secret_that_may_not_be_read_is_not_looked_for(cluster: PodApi, api: Api) -> None:
    """Which one it was is told: its password may stand anywhere."""
    hive = ("hive-credentials", "password")
    cluster.objects[f"{CORE}/secrets/hive-credentials"] = status(403, "Forbidden", "no")
    found = passwords(api, made.NAMESPACE, [("is-not-there", "password"), hive])
    assert found == ((), ("hive-credentials",))


def test_what_earlier_revisions_hold_of_todays_passwords_is_told(cluster: PodApi, api: Api) -> None:
    """A value that was taken out is printed by `helm get values --revision` all the same."""
    given = {"migration": {"env": [{"name": "X", "value": made.HIVE_PASSWORD}]}}
    cluster.objects[f"{CORE}/secrets"] = [
        made.helm_record(10, values={}),
        made.helm_record(9, "superseded", given),
        made.helm_record(8, "superseded", given),
        made.helm_record(2, "superseded", {"x": "a password of last year"}),
    ]
    found = record(api, made.NAMESPACE, made.RELEASE, (Secret(made.HIVE_PASSWORD),))
    assert found is not None
    assert (found.revision, found.status, found.leaks) == (10, "deployed", ())
    assert found.earlier == {"values.migration.env[0].value": (8, 9)}


def test_a_revision_that_cannot_be_decoded_is_told(cluster: PodApi, api: Api) -> None:
    """Nothing was found in it, since nothing was read of it."""
    broken = made.helm_record(8, "superseded", {})
    broken["data"]["release"] = "bm90IGd6aXA="
    cluster.objects[f"{CORE}/secrets"] = [made.helm_record(9, values={}), broken]
    found = record(api, made.NAMESPACE, made.RELEASE, (Secret(made.HIVE_PASSWORD),))
    assert found is not None
    assert (found.leaks, found.earlier, found.undecoded) == ((), {}, (8,))


RENDERS = "kind: StatefulSet\nmetadata: {name: postgres}"


def read_unlabelled(cluster: PodApi, api: Api, *records: dict[str, Any]) -> ReleaseFacts:
    """Return what is read of a StatefulSet that names no release, beside these records of Helm."""
    without_a_pod(cluster)
    del cluster.objects[f"{APPS}/statefulsets/postgres"]["metadata"]["annotations"]

    def listed(query: dict[str, str]) -> dict[str, Any]:
        wanted = dict(part.split("=") for part in query["labelSelector"].split(","))
        found = [r for r in records if wanted.items() <= r["metadata"]["labels"].items()]
        return {"kind": "List", "metadata": {}, "items": found}

    cluster.objects[f"{CORE}/secrets"] = listed
    return ReleaseFacts(objects=release.read(Reader(api, made.NAMESPACE), key=b"run"))


def spoilt(way: str) -> dict[str, Any]:
    """Return a record of which nobody can tell what it renders."""
    if way == "no-yaml":
        return made.helm_record(renders="a: [b")
    found = made.helm_record(renders=RENDERS)
    found["data"] = {
        "no-data": {},
        "no-base64": {"release": "%%%"},
        "no-gzip": {"release": base64.b64encode(base64.b64encode(b"H4sI")).decode()},
        "cut-off": {"release": base64.b64encode(
            base64.b64encode(base64.b64decode(base64.b64decode(found["data"]["release"]))[:-40])
        ).decode()},
        "too-deep": {"release": base64.b64encode(base64.b64encode(b"[" * 100_000)).decode()},
    }[way]  # fmt: skip
    return found


def never() -> Upgrades:
    """Upgrade nothing."""
    raise AssertionError


@pytest.mark.parametrize(
    "way", ["no-yaml", "no-data", "no-base64", "no-gzip", "cut-off", "too-deep"]
)
def test_what_may_be_of_a_release_is_not_taken_as_nobody_s(
    cluster: PodApi, api: Api, way: str
) -> None:
    """Nobody knows of which release it is: that is no word against a check, nor for one."""
    seen = read_unlabelled(cluster, api, spoilt(way))
    assert seen.objects is not None
    assert seen.objects.release == ""
    for judged in (
        release_pod.recorded(seen),
        upgrade.kept(seen, never, "x"),
        upgrade.growth(seen, never, "x"),
    ):
        assert not judged.not_supported
        (unverified,) = judged.unverified
        assert f"revision 1 of Helm release {made.RELEASE}" in unverified.what
    with pytest.raises(WrongRelease, match="revision 1 of Helm release"):
        be_sure(seen.objects, made.RELEASE)
    be_sure(seen.objects, "")


def test_a_record_that_says_that_it_renders_it_is_believed(cluster: PodApi, api: Api) -> None:
    """Whatever stands beside it; and so is one of before Helm compressed them."""
    good, other = made.helm_record(renders=RENDERS), spoilt("no-gzip")
    other["metadata"]["labels"]["name"] = "other"
    kept = gzip.decompress(base64.b64decode(base64.b64decode(good["data"]["release"])))
    good["data"]["release"] = base64.b64encode(base64.b64encode(kept)).decode()
    good["metadata"]["labels"]["version"] = "not a number"
    seen = read_unlabelled(cluster, api, good, other)
    assert seen.objects is not None
    assert seen.objects.release == made.RELEASE
    assert seen.objects.unknown_release == ""


def test_what_names_no_release_is_of_none_though_the_records_may_not_be_listed(
    cluster: PodApi, api: Api
) -> None:
    """Helm annotates what it installs; the reason tells that nobody could look further."""
    seen = read_unlabelled(cluster, api, made.helm_record())
    assert release_pod.recorded(seen).not_supported
    assert upgrade.kept(seen, never, "x").not_supported
    cluster.objects[f"{CORE}/secrets"] = status(403, "Forbidden", "secrets is forbidden")
    objects = release.read(Reader(api, made.NAMESPACE), key=b"run")
    judged = release_pod.recorded(ReleaseFacts(objects=objects))
    assert not judged.unverified
    assert "secrets is forbidden" in judged.not_supported
    with pytest.raises(WrongRelease, match="secrets is forbidden"):
        be_sure(objects, made.RELEASE)


def test_what_differs_from_an_unread_record_is_not_seen(cluster: PodApi, api: Api) -> None:
    """An exhibit that shows nothing would say that nothing differs."""
    cluster.objects[f"{CORE}/secrets"] = [spoilt("no-gzip")]
    objects = release.Objects(
        namespace=made.NAMESPACE, stateful_set=shapes_read.stateful_set(made.stateful_set())
    )
    shown = {each.title: each.text for each in collect(Reader(api, made.NAMESPACE), objects,
                                                       key=b"run")}  # fmt: skip
    told = shown["rendered, and otherwise in the cluster"]
    assert told.startswith("not to be seen: What Helm keeps of revision 1")


def test_what_helm_prints_beside_the_manifest_is_looked_at(cluster: PodApi, api: Api) -> None:
    """Hooks are rendered into a part of their own, and notes are told after each upgrade."""
    literal = f"spec: {{containers: [{{env: [{{name: X, value: {made.HIVE_PASSWORD}}}]}}]}}"
    hook = {
        "name": "postgres-test", "kind": "Pod", "path": "c/templates/tests/postgres-test.yaml",
        "events": ["test"], "manifest": f"kind: Pod\n{literal}\n",
    }  # fmt: skip
    kept = {
        "name": "made-first", "kind": "Secret", "path": "c/templates/first.yaml",
        "events": ["pre-install"], "manifest": f"kind: Secret\nstringData: {{x: {made.PASSWORD}}}",
    }  # fmt: skip
    notes = f"Connect with postgresql://hive:{made.HIVE_PASSWORD}@postgres/hive"
    told = made.helm_record(hooks=[hook, kept], info={"status": "deployed", "notes": notes})
    cluster.objects[f"{CORE}/secrets"] = [told]
    known = (Secret(made.HIVE_PASSWORD), Secret(made.PASSWORD))
    found = record(api, made.NAMESPACE, made.RELEASE, known)
    assert found is not None
    assert found.leaks == ("info.notes", "hooks.postgres-test[0].spec.containers[0].env[0].value")


@pytest.mark.parametrize("more", [{"renders": "a: [b"}, {"hooks": [{"manifest": "a: [b"}]}])
def test_what_is_no_yaml_was_not_looked_through(
    cluster: PodApi, api: Api, more: dict[str, Any]
) -> None:
    """Its revision is told as one of which nobody knows whether it holds a password."""
    cluster.objects[f"{CORE}/secrets"] = [made.helm_record(3, **more)]
    found = record(api, made.NAMESPACE, made.RELEASE, (Secret(made.HIVE_PASSWORD),))
    assert found is not None
    assert (found.status, found.chart, found.leaks, found.undecoded) == (
        "deployed", "cost-management-infrastructure", (), (3,),
    )  # fmt: skip


def test_a_charts_own_values_are_looked_at(cluster: PodApi, api: Api) -> None:
    """A default that is a password is printed by `helm get values --all`."""
    given = {"migration": {"password": made.HIVE_PASSWORD}}
    cluster.objects[f"{CORE}/secrets"] = [made.helm_record(1, chart_values=given)]
    found = record(api, made.NAMESPACE, made.RELEASE, (Secret(made.HIVE_PASSWORD),))
    assert found is not None
    assert found.leaks == ("chart.values.migration.password",)


@pytest.mark.parametrize(
    ("labels", "lets_in", "perhaps"),
    [
        pytest.param({"team": "cost"}, True, 0, id="selected"),
        pytest.param({"team": "other"}, False, 0, id="not-selected"),
        pytest.param(None, False, 1, id="not-seen"),
    ],
)
def test_a_peer_by_namespace_is_held_against_ours(
    cluster: PodApi, api: Api, labels: dict[str, str] | None, lets_in: bool, perhaps: int
) -> None:
    """Its labels decide whether our own pods are let in; without them nobody knows."""
    peer = {"namespaceSelector": {"matchLabels": {"team": "cost"}}}
    cluster.objects[POLICIES] = [made.network_policy(peer)]
    cluster.objects[CORE] = status(403, "Forbidden", "no")
    if labels is not None:
        cluster.objects[CORE] = {"metadata": {"name": made.NAMESPACE, "labels": labels}}
    (found,) = isolating(api, made.NAMESPACE, made.LABELS, port=5432)
    assert (found.lets_in_all, len(found.perhaps)) == (lets_in, perhaps)
