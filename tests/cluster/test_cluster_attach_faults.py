"""Each fault of a release, planted on a real cluster, is told by its check, and by no other."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import releases
from tests.cluster.attach_bed import checker, healthy, judged, of_releases
from tests.cluster.attach_faults import FAULTS, Fault
from tests.cluster.releases import SECRET, SMALL, Release
from tests.cluster.test_cluster_attach import policy
from tests.cluster.testbed.bed import Bed, CommandFailed, Object
from tests.server import run_support
from tests.server.run_support import Place

NEW_PASSWORD = "p@ss/w:rd#1%-of-nobody"
OLDER = Path(__file__).parent / "older-chart"
HBA = "/var/lib/pgsql/data/userdata/pg_hba.conf"
LAYER = "/tmp/costmgmt-elsewhere"  # noqa: S108 - in the pod
# Of its own database alone: an application never asks for that one.
TRUST = "host postgres postgres all trust"
Plant = Callable[[Release], object]


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """One release for the whole family: each fault is planted in it, and taken out again."""
    with healthy(bed) as made:
        yield made


@pytest.fixture(scope="module")
def account(release: Release) -> Path:
    """Somebody who may what the effect probe takes."""
    return release.bed.account(release.namespace, "checker", checker())


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def patch(kind: str, name: str, body: object, sort: str = "merge") -> Plant:
    """Return what patches an object."""

    def plant(release: Release) -> None:
        words = ("patch", kind, name, "-n", release.namespace, f"--type={sort}")
        release.bed.kubectl(*words, "-p", json.dumps(body))

    return plant


def template(spec: Object) -> Plant:
    """Return what patches the pods' template."""
    return patch("sts", "postgres", {"spec": {"template": {"spec": spec}}}, "strategic")


def careless(release: Release) -> None:
    """Patch the pod by hand, in each way in which it is done."""
    relabel(release, "privileged")
    before = release.identity()[0]
    container = {
        "name": "postgresql",
        "image": "quay.io/sclorg/postgresql-15-c9s:latest",
        "env": [
            {"name": "POSTGRESQL_USER", "value": "koku", "valueFrom": None},
            {"name": "PGADMIN_PASSWORD", "value": "not a secret any more"},
        ],
        "startupProbe": None,
        "resources": {"limits": {"memory": None}},
        "securityContext": {"capabilities": {"drop": ["NET_RAW"]}},
    }
    template({"automountServiceAccountToken": True, "containers": [container]})(release)
    release.rolled(before)


def relabel(release: Release, standard: str) -> None:
    """Have the namespace enforce another standard."""
    label = f"pod-security.kubernetes.io/enforce={standard}"
    release.bed.kubectl("label", "ns", release.namespace, label, "--overwrite")


def in_server(release: Release, command: str) -> None:
    """Run a command in the database's container, and have the server read its files."""
    where = ("-n", release.namespace, "postgres-0", "-c", "postgresql")
    release.bed.kubectl("exec", *where, "--", "sh", "-c", command)
    release.psql("SELECT pg_reload_conf()")


def tablespace(release: Release) -> None:
    """Have a tablespace in the container's own layer."""
    in_server(release, f"mkdir {LAYER}")
    release.psql(f"CREATE TABLESPACE elsewhere LOCATION '{LAYER}'")


def no_image(release: Release) -> None:
    """Roll the pod out with an image that nobody has."""
    template({"containers": [{"name": "postgresql", "image": "costmgmt.invalid/none:1"}]})(release)

    def waits() -> bool:
        pod = release.bed.get("pod", "postgres-0", release.namespace)
        return "ImagePull" in json.dumps(pod["status"])

    release.bed.until("a pod that waits for its image", waits, seconds=180)


def helm_killed(release: Release) -> None:
    """Leave the record of an upgrade that was killed."""
    name = newest_record(release)
    label = "status=pending-upgrade"
    release.bed.kubectl("label", "secret", name, "-n", release.namespace, label, "--overwrite")


def newest_record(release: Release) -> str:
    """Return the Secret in which Helm keeps the last revision."""
    found = release.bed.list("secret", release.namespace, f"owner=helm,name={release.name}")
    newest = max(found, key=lambda each: int(each["metadata"]["labels"]["version"]))
    return str(newest["metadata"]["name"])


def claim_goes(release: Release) -> None:
    """Delete the claim: it waits for the pod that uses it."""
    claim = ("pvc", "postgresql-data-postgres-0")
    release.bed.kubectl("delete", *claim, "-n", release.namespace, "--wait=false")


PLANTS: dict[str, Plant] = {
    "service-selects-nothing": patch(
        "service", "postgres", {"spec": {"selector": {"app.kubernetes.io/component": "x"}}}
    ),
    "two-replicas": patch("sts", "postgres", {"spec": {"replicas": 2}}),
    "helm-killed": helm_killed,
    "trust-from-other-pods": lambda each: in_server(each, f"sed -i '1i {TRUST}' {HBA}"),
    "policy-not-enforced": policy,
    "tablespace-elsewhere": tablespace,
    "pod-made-carelessly": careless,
    "image-that-does-not-exist": no_image,
    "secret-with-more": patch("secret", SECRET, {"stringData": {"token": "for another"}}),
    "secret-with-a-newline": patch("secret", SECRET, {"stringData": {"database": "koku\n"}}),
    "secret-changed": patch("secret", SECRET, {"stringData": {"password": NEW_PASSWORD}}),
    "secret-without-a-key": patch("secret", SECRET, {"data": {"username": None}}),
    "claim-goes": claim_goes,
}
ELSEWHERE = {
    "volume-mounted-elsewhere",
    "data-wiped-at-start",
    "password-made-anew",
    "chart-that-wipes",
    "growth-not-refused",
}
# A Secret that is written is younger than the pod: a fault where it does not open any more.
ALSO: dict[str, set[str]] = {"secret-with-a-newline": {"CM-SEC-006", "CM-SEC-007"}}


def test_every_fault_is_planted() -> None:
    """The table of faults and what plants them agree."""
    assert {fault.name for fault in FAULTS} == PLANTS.keys() | ELSEWHERE


@contextlib.contextmanager
def taken_out(release: Release, *, last: bool) -> Iterator[None]:
    """Make everything as it was, afterwards."""
    bed, namespace = release.bed, release.namespace
    kept = {
        (kind, name): bed.get(kind, name, namespace)
        for kind, name in (
            ("sts", "postgres"), ("service", "postgres"), ("secret", SECRET),
            ("secret", newest_record(release)),
        )
    }  # fmt: skip
    yield
    if last:
        return
    bed.tell("delete", "networkpolicy", "--all", "-n", namespace)
    rolled = False
    for (kind, name), before in kept.items():
        now = bed.get(kind, name, namespace)
        if all(now.get(part) == before.get(part) for part in ("spec", "data")) and (
            now["metadata"].get("labels") == before["metadata"].get("labels")
        ):
            continue
        rolled = rolled or (kind == "sts" and now["spec"] != before["spec"])
        del before["metadata"]["resourceVersion"]
        bed.kubectl("replace", "-n", namespace, "-f", "-", given=before)
    if rolled:
        bed.kubectl("delete", "pod", "postgres-0", "-n", namespace)
        bed.tell("delete", "pod", "postgres-1", "-n", namespace, "--ignore-not-found")
        bed.until("a pod that is as it was", lambda: _as_before(release, kept["sts", "postgres"]))
        bed.until_ready(namespace)
    relabel(release, "restricted")
    with contextlib.suppress(CommandFailed):
        in_server(release, f"sed -i '/^{TRUST}$/d' {HBA}")
        release.psql("DROP TABLESPACE IF EXISTS elsewhere")
        in_server(release, f"rm -rf {LAYER}")


def _as_before(release: Release, before: Object) -> bool:
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    image = before["spec"]["template"]["spec"]["containers"][0]["image"]
    gone = "deletionTimestamp" in pod["metadata"]
    return not gone and pod["spec"]["containers"][0]["image"] == image


ORDER = {name: place for place, name in enumerate(PLANTS)}
FAMILY = sorted((f for f in FAULTS if f.name in PLANTS), key=lambda fault: ORDER[fault.name])


@pytest.mark.parametrize("fault", FAMILY, ids=[fault.name for fault in FAMILY])
def test_a_planted_fault_is_told(
    release: Release, account: Path, place: Place, fault: Fault
) -> None:
    """By the checks that it is for, and by no other of a release's; the verdict follows."""
    with taken_out(release, last=fault.name == FAMILY[-1].name):
        PLANTS[fault.name](release)
        ran = judged(place, release, account)
    assert of_releases(ran) == fault.fails | ALSO.get(fault.name, set()), ran.said
    assert "Traceback" not in ran.said
    # What no waiting heals is told at once.
    assert "gave no answer in time" not in ran.said + (ran.folder / "report.json").read_text()
    must = any(check["level"] == "MUST" for check in ran.report["checks"]
               if check["id"] in fault.fails)  # fmt: skip
    if must:
        ran.sound(1, "non-conformant", NEW_PASSWORD)


def test_a_volume_that_is_mounted_elsewhere_is_told(bed: Bed, place: Place) -> None:
    """The older chart: all is ready and works, and all of it dies with the pod."""
    with bed.namespace("older") as namespace:
        release = Release(bed, namespace)
        release.install("--set=postgresql.image.tag=latest", *SMALL[:3], chart=OLDER)
        bed.until_ready(namespace)
        ran = judged(place, release, bed.kubeconfig)
    assert ran.outcomes["CM-PER-001"] == "failed", ran.said
    told = next(c for c in ran.report["checks"] if c["id"] == "CM-PER-001")["findings"][0]
    assert "the container's own layer" in told["found"]
    assert "Do not delete or upgrade the pod" in told["fix"]["text"]
    assert releases.SECRET
