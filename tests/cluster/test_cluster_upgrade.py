"""Upgrades, rollbacks and a second install: rows, password and names survive by both Helms."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.cluster.releases import SECRET, SMALL, Client, Release, fresh
from tests.cluster.testbed.bed import Bed, CommandFailed

ROWS = "SELECT count(*), sum(a) FROM kept"
MAJOR = "--set=postgresql.major=15"


@pytest.fixture(scope="module", params=[3, 4], ids=["helm3", "helm4"])
def release(request: pytest.FixtureRequest, bed: Bed) -> Iterator[Release]:
    """A release with rows, a role and an extension."""
    with fresh(bed, MAJOR, name="upgrade", major=request.param) as release:
        release.initialize()
        release.psql("CREATE TABLE kept AS SELECT a FROM generate_series(1, 1000) AS a")
        release.psql("ALTER TABLE kept OWNER TO koku")
        yield release


@pytest.fixture(scope="module")
def client(release: Release) -> Client:
    """A pod that logs in as an application does."""
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    image = pod["spec"]["containers"][0]["image"]
    return Client.start(release.bed, release.namespace, image)


def kept(release: Release) -> tuple[str, ...]:
    """Return what an upgrade must not change: password, rows, roles, extensions, the claim."""
    return (
        release.password(),
        release.psql(ROWS),
        release.psql("SELECT string_agg(rolname, ',' ORDER BY rolname) FROM pg_roles"),
        release.psql("SELECT string_agg(extname, ',' ORDER BY extname) FROM pg_extension"),
        *release.identity()[1:],
    )


def test_an_upgrade_that_changes_nothing_rolls_nothing(release: Release) -> None:
    """Twice the same: the pod is the same one, and so is the password."""
    before, pod = kept(release), release.identity()[0]
    for _ in range(2):
        release.install(*SMALL, MAJOR)
    assert release.identity()[0] == pod
    assert kept(release) == before


def test_other_resources_and_another_image_keep_everything(
    release: Release, client: Client
) -> None:
    """Each makes a new pod on the same claim, which the same password opens."""
    before = kept(release)
    for change in (
        "--set=postgresql.resources.requests.memory=80Mi",
        "--set=postgresql.image.tag=next",
    ):
        pod = release.identity()[0]
        release.install(change, "--reuse-values")
        release.rolled(pod)
        assert kept(release) == before
        assert client.asks(release, ROWS) == "1000|500500"


def test_an_image_by_digest(release: Release) -> None:
    """A digest wins over the tag, and the pod runs that very image."""
    assert release.bed.archive is not None
    image = release.bed.archive.named("quay.io/sclorg/postgresql-15-c9s")
    before, pod = kept(release), release.identity()[0]
    release.install(f"--set=postgresql.image.digest={image.digest}", "--reuse-values")
    release.rolled(pod)
    status = release.bed.get("pod", "postgres-0", release.namespace)["status"]
    assert image.digest in status["containerStatuses"][0]["imageID"]
    assert kept(release) == before


def test_a_rollback_keeps_everything(release: Release, client: Client) -> None:
    """The first revision's manifest comes back, with the same password and rows."""
    before, pod = kept(release), release.identity()[0]
    release.helm("rollback", "1")
    release.rolled(pod)
    assert kept(release) == before
    assert client.asks(release, ROWS) == "1000|500500"


def test_a_second_install_is_refused(release: Release) -> None:
    """One in a namespace: the sentence names the first, and nothing of a second one is left."""
    told = release._replace(name="second").refused(*SMALL)
    assert f"Namespace {release.namespace} already has the release {release.name}" in told
    records = release.bed.list("secrets", release.namespace, "owner=helm,name=second")
    assert records == []


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("persistence.size=30Gi", "kubectl -n {} patch pvc postgresql-data-postgres-0"),
        ("persistence.storageClassName=other", "a volume cannot change its class"),
        ("database.name=other", "install anew and restore"),
    ],
)
def test_what_cannot_be_changed_is_refused_before_it_is_tried(
    release: Release, option: str, told: str
) -> None:
    """In our words, with the way; no revision is recorded."""
    before = release.bed.list("secrets", release.namespace, "owner=helm")
    said = release.refused(*SMALL, MAJOR, f"--set=postgresql.{option}")
    assert told.format(release.namespace) in said
    assert len(release.bed.list("secrets", release.namespace, "owner=helm")) == len(before)


def test_a_changed_password_lasts_until_the_pod_restarts(release: Release, client: Client) -> None:
    """Then the database takes it; meanwhile `helm test` says that it does not open."""
    bed, namespace = release.bed, release.namespace
    old = release.password()
    patch = json.dumps({"stringData": {"password": "another-of-the-operator"}})
    bed.kubectl("patch", "secret", SECRET, "--type=merge", "-p", patch, "-n", namespace)
    assert client.psql(old, "SELECT 1", user="koku", database="koku") == "1"
    with pytest.raises(CommandFailed):
        release.helm("test")
    assert "ended with 2 2 2" in bed.kubectl("logs", "postgres-test", "-n", namespace)
    pod = release.identity()[0]
    bed.kubectl("delete", "pod", "postgres-0", "-n", namespace)
    release.rolled(pod)
    assert "ended with 0 2 0" in release.helm("test", "--logs")
    release.install(*SMALL, MAJOR)
    assert release.password() == "another-of-the-operator"


def test_an_upgrade_without_the_secret_is_refused(release: Release, client: Client) -> None:
    """Both ways out are named, and the one with a new password leads to it."""
    bed, namespace = release.bed, release.namespace
    bed.kubectl("delete", "secret", SECRET, "-n", namespace)
    told = release.refused(*SMALL, MAJOR)
    assert f"Secret {SECRET} in namespace {namespace} is gone" in told
    assert "--set postgresql.database.existingSecret=postgres-credentials" in told
    assert release.psql(ROWS) == "1000|500500"
    names = ("--from-literal=database=koku", "--from-literal=username=koku")
    made = ("create", "secret", "generic", SECRET, *names, "--from-literal=password=made-anew-here")
    bed.kubectl(*made, "-n", namespace)
    existing = f"--set=postgresql.database.existingSecret={SECRET}"
    # Helm would remove it with the upgrade, for an earlier revision rendered one of that name.
    assert "would be removed by this upgrade" in release.refused(*SMALL, MAJOR, existing)
    bed.kubectl("annotate", "secret", SECRET, "helm.sh/resource-policy=keep", "-n", namespace)
    release.install(*SMALL, MAJOR, existing)
    pod = release.identity()[0]
    bed.kubectl("delete", "pod", "postgres-0", "-n", namespace)
    release.rolled(pod)
    assert client.asks(release, ROWS) == "1000|500500"
    # What was made outside Helm belongs to no release, and no later upgrade takes it away.
    release.install(*SMALL, MAJOR, existing)
    annotations = bed.get("secret", SECRET, namespace)["metadata"]["annotations"]
    assert annotations == {"helm.sh/resource-policy": "keep"}


@pytest.mark.parametrize(("first", "then"), [(3, 4), (4, 3)], ids=["3-then-4", "4-then-3"])
def test_one_helm_goes_on_where_the_other_was(bed: Bed, first: int, then: int) -> None:
    """Uninstalled by one and installed by the other: the volume and its password stayed."""
    with fresh(bed, MAJOR, name="helms", major=first) as release:
        release.psql("CREATE TABLE kept AS SELECT a FROM generate_series(1, 1000) AS a")
        before, other = (release.password(), *release.identity()[1:]), release._replace(major=then)
        other.install(*SMALL, MAJOR, "--set=postgresql.podLabels.a=b")
        bed.until("the label", lambda: labelled(release))
        bed.until_ready(release.namespace)
        other.helm("uninstall")
        bed.until("no pod", lambda: not bed.list("pods", release.namespace))
        release.install(*SMALL, MAJOR)
        bed.until_ready(release.namespace)
        assert (release.password(), *release.identity()[1:]) == before
        assert release.psql(ROWS) == "1000|500500"


def labelled(release: Release) -> bool:
    """Whether the pod is of the upgrade."""
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    return bool(pod["metadata"]["labels"].get("a") == "b")
