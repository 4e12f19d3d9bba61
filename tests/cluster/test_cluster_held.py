"""What the chart promises of a release that runs: when it is drained, full, or to grow."""

from __future__ import annotations

import contextlib
import json
import re
import shlex
from collections.abc import Iterator

import pytest

from tests.cluster.releases import SECRET, SMALL, Client, Release, fresh
from tests.cluster.testbed.bed import Bed, CommandFailed
from tests.cluster.testbed.components import CLASS

MAJOR = "--set=postgresql.major=15"
FEW = 50
"Connections that the server takes; three of them are the superuser's."


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """A release with few connections, whose node may not be drained."""
    options = (f"--set=postgresql.maxConnections={FEW}", PDB)
    with fresh(bed, MAJOR, *options, name="held") as release:
        release.psql("CREATE TABLE kept AS SELECT 42 AS a")
        yield release


PDB = "--set=postgresql.podDisruptionBudget.enabled=true"


@pytest.fixture(scope="module")
def client(release: Release) -> Client:
    """A pod that logs in as an application does."""
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    image = pod["spec"]["containers"][0]["image"]
    return Client.start(release.bed, release.namespace, image)


def pod(release: Release) -> tuple[str, int]:
    """Return the pod's uid, and how often its container was started again."""
    found = release.bed.get("pod", "postgres-0", release.namespace)
    (state,) = found["status"]["containerStatuses"]
    return str(found["metadata"]["uid"]), int(state["restartCount"])


def served(release: Release) -> bool:
    """Say whether the Service has an endpoint that is ready."""
    slices = release.bed.list(
        "endpointslices", release.namespace, "kubernetes.io/service-name=postgres"
    )
    ends = [one for each in slices for one in each.get("endpoints") or ()]
    return [one["conditions"]["ready"] for one in ends] == [True]


def test_a_full_server_is_no_outage(release: Release, client: Client) -> None:
    """With all of its connections taken it stays ready, and is not started again."""
    bed, space, before = release.bed, release.namespace, pod(release)
    password = shlex.quote(release.password())
    taken = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'koku'"

    def full() -> bool:
        """Take what is left: a probe of the kubelet's may have had one of them meanwhile."""
        left = FEW - 3 - int(release.psql(taken))
        hold = (
            f"export PGPASSWORD={password}\n"
            f"for i in $(seq {left}); do psql -X -q -h postgres -U koku -d koku"
            " -c 'SELECT pg_sleep(600)' >/dev/null 2>&1 & done\n"
        )
        bed.kubectl("exec", "-i", "-n", space, client.pod, "--", "bash", "-s", given=hold)
        return left == 0

    bed.until("a full server", full)
    with pytest.raises(CommandFailed, match=r"remaining connection slots|too many clients"):
        client.asks(release, "SELECT 1")
    # What is not ready three times, ten seconds apart, is taken out of the Service.
    probes = "SELECT extract(epoch FROM now() - pg_postmaster_start_time())::int"
    since = int(release.psql(probes))
    bed.until("more probes than it takes", lambda: int(release.psql(probes)) > since + 45)
    assert int(release.psql(taken)) == FEW - 3, "it was full all the while"
    assert served(release)
    assert bed.ready(space)
    assert pod(release) == before
    release.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'koku'")
    bed.until("room", lambda: client.asks(release, "SELECT 1") == "1")


def evict(release: Release) -> str:
    """Ask for the pod's eviction, as a drain does; return how it is refused, or nothing."""
    body = {
        "apiVersion": "policy/v1", "kind": "Eviction",
        "metadata": {"name": "postgres-0", "namespace": release.namespace},
    }  # fmt: skip
    path = f"/api/v1/namespaces/{release.namespace}/pods/postgres-0/eviction"
    try:
        release.bed.kubectl("create", "--raw", path, "-f", "-", given=body)
    except CommandFailed as error:
        return error.stderr
    return ""


def test_a_drain_waits_only_if_it_was_asked_to(release: Release) -> None:
    """With the budget an eviction is refused; without, the pod comes back with its rows."""
    bed, space = release.bed, release.namespace
    counted = "currentHealthy"
    bed.until(
        "the budget to count the pod",
        lambda: bed.get("pdb", "postgres", space)["status"].get(counted) == 1,
    )
    before = pod(release)
    assert "disruption budget" in evict(release)
    assert pod(release) == before
    options = (f"--set=postgresql.maxConnections={FEW}", MAJOR)
    release.install(*SMALL, *options)
    assert bed.list("pdb", space) == []
    assert evict(release) == ""
    release.rolled(before[0])
    assert release.psql("SELECT a FROM kept") == "42"


def test_a_password_that_ends_with_a_newline(bed: Bed) -> None:
    """The newline is part of it: with it the database opens, without it not; helm test says so."""
    with bed.namespace("newline") as space:
        release = Release.of_installer(bed, space)
        word = "a-password-of-a-test"
        data = {"database": "koku", "username": "koku", "password": f"{word}\n"}
        bed.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET},
             "stringData": data},
            namespace=space,
        )  # fmt: skip
        release.install(*SMALL, MAJOR, f"--set=postgresql.database.existingSecret={SECRET}")
        bed.until_ready(space)
        said = release.helm("test", "--logs")
        assert "ended with 0 2 0" in said
        assert "ends with a newline or a space, which is part of it" in said
        assert word not in said
        image = bed.get("pod", "postgres-0", space)["spec"]["containers"][0]["image"]
        client = Client.start(bed, space, image)
        assert client.psql(f"{word}\n", "SELECT 1", user="koku", database="koku") == "1"
        said = client.refused(word, user="koku", database="koku")
        assert "password authentication failed" in said


def test_a_volume_grows_by_what_the_refusal_says(bed: Bed) -> None:
    """The commands that it names, run as they stand: the pod and its rows stay, the claim grows."""
    with growing(bed), fresh(bed, MAJOR, name="grows") as release:
        release.psql("CREATE TABLE kept AS SELECT 42 AS a")
        before, space = release.identity(), release.namespace
        larger = "--set=postgresql.persistence.size=30Gi"
        try:
            release.install(*SMALL, MAJOR, larger)
        except CommandFailed as error:
            told = error.stderr
        commands = re.findall(r"^\s+kubectl (.+)$", told, re.MULTILINE)
        assert len(commands) == 2, told
        for each in commands:
            bed.kubectl(*shlex.split(each))
        release.install(*SMALL, MAJOR, larger)
        there = bed.get("statefulset", "postgres", space)
        (template,) = there["spec"]["volumeClaimTemplates"]
        assert template["spec"]["resources"]["requests"]["storage"] == "30Gi"
        claim = bed.get("pvc", "postgresql-data-postgres-0", space)
        assert claim["spec"]["resources"]["requests"]["storage"] == "30Gi"
        bed.until(
            "the pod to be the set's again",
            lambda: bed.get("statefulset", "postgres", space)["status"].get("readyReplicas") == 1,
        )
        assert release.identity() == before
        assert release.psql("SELECT a FROM kept") == "42"


@contextlib.contextmanager
def growing(bed: Bed) -> Iterator[None]:
    """Have the bed's class say that its volumes may grow; none does, but a claim may ask."""
    patch = ("patch", "storageclass", CLASS, "-p")
    bed.kubectl(*patch, json.dumps({"allowVolumeExpansion": True}))
    try:
        yield
    finally:
        bed.kubectl(*patch, json.dumps({"allowVolumeExpansion": False}))
