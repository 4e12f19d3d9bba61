"""What surrounds a release: limits of its namespace, OpenShift's rules, a server outside."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers.cluster import Place as Namespace
from pytest_costmgmt.servers.release import attach
from tests.cluster.attach_bed import (
    HIVE,
    HIVE_PASSWORD,
    checker,
    ended,
    judged,
    made_ready,
    of_releases,
)
from tests.cluster.openshift import FIRST, constrained
from tests.cluster.releases import SECRET, SMALL, Release
from tests.cluster.testbed.bed import Bed, Node, Object
from tests.server import run_support
from tests.server.run_support import Place

PLAIN = {"CM-CON-008": "failed"}


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


@contextlib.contextmanager
def limited(release: Release, **limits: Object) -> Iterator[None]:
    """Limit each container of the namespace."""
    item = {"type": "Container", **limits}
    made = {
        "apiVersion": "v1",
        "kind": "LimitRange",
        "metadata": {"name": "limits"},
        "spec": {"limits": [item]},
    }
    release.bed.apply(made, namespace=release.namespace)
    try:
        yield
    finally:
        release.bed.kubectl("delete", "limitrange", "limits", "-n", release.namespace)


LIMITS = [
    pytest.param({"max": {"memory": "100Mi"}}, "maximum memory usage per Container is 100Mi",
                 id="max"),
    pytest.param({"min": {"cpu": "200m"}}, "minimum cpu usage per Container is 200m", id="min"),
    pytest.param({"maxLimitRequestRatio": {"cpu": "2"}}, "cpu max limit to request ratio",
                 id="ratio"),
]  # fmt: skip


@pytest.mark.parametrize(("limits", "told"), LIMITS)
def test_a_limit_that_refuses_the_probe_is_told(
    judged_release: Release, prober: Path, place: Place, limits: Object, told: str
) -> None:
    """One error in the cluster's words, at once; not a fault of the release."""
    with limited(judged_release, **limits):
        ran = judged(place, judged_release, prober)
        bed, namespace = judged_release.bed, judged_release.namespace
        selector = f"cost-management/run={ran.report['run']['id']}"
        bed.until("nothing of it", lambda: not bed.list("job", namespace, selector), seconds=60)
    ran.sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    for word in (told, "--costmgmt-allow=read-only", "limits 500m and 128Mi"):
        assert word in ran.summary("CM-REL-001")


def test_limits_that_only_add_to_it_change_nothing(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """What the probe asks for itself stays; what it leaves unsaid may be given."""
    given = {"cpu": "1", "memory": "256Mi", "ephemeral-storage": "1Gi"}
    with limited(judged_release, default=given, max={"cpu": "4", "memory": "8Gi"}):
        ran = judged(place, judged_release, prober).sound(0, "conformant")
    assert ended(ran) == PLAIN


def test_a_quota_without_room_for_the_application_is_told(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """There is room for a probe: at once it is said why nobody asked the application."""
    bed, namespace = judged_release.bed, judged_release.namespace
    bed.until("nothing but the database", lambda: len(bed.list("pods", namespace)) == 1)
    # The database's 512Mi, a probe's 128Mi, and too little for a migration.
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "one-more"},
             "spec": {"hard": {"limits.memory": "700Mi"}}}  # fmt: skip
    bed.apply(quota, namespace=namespace)
    try:
        ran = judged(place, judged_release, prober)
    finally:
        bed.kubectl("delete", "resourcequota", "one-more", "-n", namespace)
    told = " ".join(ran.said.split())
    assert "no pod of the application may be made: " in told
    assert "exceeded quota: one-more" in told
    assert "gave no answer in time" not in told
    assert ran.outcomes["CM-MIG-002"] == "unverifiable", ran.said


ABSENT = {"secretKeyRef": {"name": "absent", "key": "a"}}
BEFORE = [
    pytest.param({"image": "localhost:1/mesh:1"}, "container mesh: its pod waits: ErrImagePull",
                 id="image"),
    pytest.param({"env": [{"name": "A", "valueFrom": ABSENT}]},
                 "container mesh: its pod waits: CreateContainerConfigError", id="secret"),
    pytest.param({"command": ["sh", "-c", "echo there is no mesh; exit 3"]},
                 "container mesh, status 3: there is no mesh", id="fails"),
]  # fmt: skip
ASKED = "/spec/jobTemplate/spec/template/spec"


@contextlib.contextmanager
def patched(release: Release, path: str, value: object) -> Iterator[None]:
    """Have something more in the CronJob of the migrations."""
    patch = ("patch", "cronjob", "cost-mgmt-migration", "-n", release.namespace, "--type=json")
    add: Object = {"op": "add", "path": path, "value": value}
    release.bed.kubectl(*patch, f"--patch={json.dumps([add])}")
    try:
        yield
    finally:
        release.bed.kubectl(*patch, f"--patch={json.dumps([{'op': 'remove', 'path': path}])}")


def beside(release: Release, **more: object) -> Object:
    """Return a container as a mesh adds it, of the application's image."""
    cronjob = release.bed.get("cronjob", "cost-mgmt-migration", release.namespace)
    own = cronjob["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    kept = {key: own[key] for key in ("image", "imagePullPolicy", "securityContext", "resources")}
    return {"name": "mesh", **kept, "command": ["true"], **more}


@pytest.mark.parametrize(("fault", "told"), BEFORE)
def test_what_keeps_the_application_from_its_start_is_named(
    judged_release: Release, prober: Path, place: Place, fault: Object, told: str
) -> None:
    """Also where it is a container that comes before its own; and not after minutes."""
    with patched(judged_release, f"{ASKED}/initContainers", [beside(judged_release, **fault)]):
        ran = judged(place, judged_release, prober)
    assert ran.outcomes["CM-MIG-002"] == "unverifiable", ran.said
    assert told in " ".join(ran.said.split())


def test_a_container_that_a_mesh_leaves_running_keeps_no_answer(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """The application is asked before, or beside, one that never ends."""
    sidecar = beside(judged_release, command=["sleep", "600"], restartPolicy="Always")
    with patched(judged_release, f"{ASKED}/initContainers", [sidecar]):
        ran = judged(place, judged_release, prober).sound(0, "conformant")
    assert ran.outcomes["CM-MIG-002"] == "passed"
    assert ended(ran) == PLAIN


def test_a_release_on_openshift_is_judged_there(bed: Bed, node: Node, place: Place) -> None:
    """Its own uids are admitted, the probe's is the cluster's, and its checks pass."""
    del node
    with bed.namespace("openshift") as namespace, constrained(bed, namespace):
        release = Release.of_installer(bed, namespace)
        data = {"database": "hive", "username": "hive", "password": HIVE_PASSWORD}
        hive = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": HIVE}}
        bed.apply({**hive, "stringData": data}, namespace=namespace)
        release.install(
            *SMALL, "--set=podSecurity.openshift=true", "--set=postgresql.major=15",
            f"--set=migration.hive.existingSecret={HIVE}",
        )  # fmt: skip
        bed.until_ready(namespace)
        made_ready(release)
        who = bed.account(namespace, "checker", checker())
        where = Namespace(namespace=namespace, kubeconfig=str(who))
        with contextlib.closing(attach(where, load("koku-hive"), effect="probe")) as attached:
            assert attached.probe is not None
            pod = bed.get("pod", attached.probe.pod, namespace)["spec"]
            assert pod["securityContext"]["runAsUser"] == FIRST
        ran = judged(place, release, who).sound(0, "conformant")
    # Whose tag floats: no digest was given here.
    assert of_releases(ran) <= {"CM-REL-006"}, ran.said


def values(release: Release, secret: str) -> dict[str, str]:
    """Return what a Secret holds."""
    data = release.bed.get("secret", secret, release.namespace)["data"]
    return {name: base64.b64decode(value).decode() for name, value in data.items()}


def test_a_server_outside_is_judged_from_inside(
    bed: Bed, judged_release: Release, place: Place
) -> None:
    """Its host is another namespace's Service: no database is here, and no superuser's door."""
    host = f"postgres.{judged_release.namespace}.svc.cluster.local"
    with bed.namespace("outside") as namespace:
        own = Release.of_installer(bed, namespace)
        for name, source in (("my-credentials", SECRET), (HIVE, HIVE)):
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}}
            data = values(judged_release, source)
            bed.apply({**secret, "stringData": data}, namespace=namespace)
        own.install(
            *SMALL[3:], "--set=postgresql.enabled=false", f"--set=migration.database.host={host}",
            "--set=postgresql.database.existingSecret=my-credentials",
            f"--set=migration.hive.existingSecret={HIVE}",
        )  # fmt: skip
        who = bed.account(namespace, "checker", checker())
        given = (f"--costmgmt-host={host}", "--costmgmt-secret=my-credentials")
        ran = judged(place, own, who, *given).sound(0, "conformant", judged_release.password())
        assert ended(ran) == PLAIN
        assert ran.outcomes["CM-MIG-002"] == "passed", "the application's image was asked"
        assert ran.outcomes["CM-SEC-007"] == "passed"
        assert ran.report["target"]["mode"] == "external"
        wrong = {**values(judged_release, SECRET), "password": "no-password-of-anybody"}
        secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "my-credentials"}}
        bed.apply({**secret, "stringData": wrong}, namespace=namespace)
        ran = judged(place, own, who, *given).sound(1, "non-conformant", "no-password-of-anybody")
        assert ran.outcomes["CM-SEC-007"] == "failed", ran.said
        nowhere = (f"--costmgmt-host=nobody.{judged_release.namespace}", given[1])
        ran = judged(place, own, who, *nowhere).sound(8, "inconclusive")
        assert ran.outcomes["CM-CON-001"] == "error", ran.said
        bed.until("no probe is left", lambda: bed.list("jobs", namespace) == [], seconds=60)
