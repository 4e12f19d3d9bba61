"""The chart with its default values, installed by Helm 3 on a real cluster."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

import pytest

from tests.cluster.releases import SECRET, Client, Release
from tests.cluster.testbed.bed import Bed, CommandFailed

pytestmark = pytest.mark.gate


@pytest.fixture(scope="module")
def release(bed: Bed) -> Iterator[Release]:
    """A fresh release in a namespace of its own, initialized, as its README says."""
    with bed.namespace() as namespace:
        release = Release.of_installer(bed, namespace)
        release.install()
        bed.until_ready(namespace)
        release.initialize()
        yield release


@pytest.fixture(scope="module")
def credentials(release: Release) -> dict[str, str]:
    """What the release's Secret says."""
    data = release.bed.get("secret", SECRET, release.namespace)["data"]
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


@pytest.fixture(scope="module")
def client(release: Release) -> Client:
    """A pod of the same namespace."""
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    image = pod["spec"]["containers"][0]["image"]
    return Client.start(release.bed, release.namespace, image)


def test_the_volume_is_bound_and_holds_the_data(release: Release) -> None:
    """The claim is bound, and the server's own data folder lies on it."""
    claim = release.bed.get("pvc", "postgresql-data-postgres-0", release.namespace)
    assert claim["status"]["phase"] == "Bound"
    folder = release.bed.psql(release.namespace, "SHOW data_directory")
    where = ("df", "--output=target", folder)
    options = ("-n", release.namespace, "postgres-0", "-c", "postgresql")
    mount = release.bed.kubectl("exec", *options, "--", *where).split()[-1]
    assert (folder, mount) == ("/var/lib/pgsql/data/userdata", "/var/lib/pgsql/data")


def test_the_secret_opens_the_database_over_the_service(
    client: Client, credentials: dict[str, str]
) -> None:
    """From another pod the Secret's password opens the database, and a wrong one does not."""
    login = {"user": credentials["username"], "database": credentials["database"]}
    assert set(credentials) == {"database", "username", "password"}
    asked = "SELECT current_user, current_database()"
    assert client.psql(credentials["password"], asked, **login) == "koku|koku"
    said = client.refused(credentials["password"] + "-but-wrong", **login)
    assert "password authentication failed" in said
    assert client.psql(credentials["password"], asked, **login) == "koku|koku"


def test_the_superuser_is_not_let_in_from_another_pod(
    client: Client, credentials: dict[str, str]
) -> None:
    """The postgres role has no password, so nobody enters as it over the Service."""
    said = client.refused(credentials["password"], user="postgres", database="koku")
    assert "password authentication failed" in said


def test_helm_test_passes(release: Release) -> None:
    """`helm test` says that the right password opens the database and a wrong one does not."""
    said = release.helm("test", "--logs")
    assert "ended with 0 2 0" in said
    assert re.search(r"Phase:\s+Succeeded", said)


def test_helm_test_sees_that_anybody_is_let_in(release: Release) -> None:
    """With trust from other pods a wrong password opens the database, and the test fails."""
    inside = ("exec", "-n", release.namespace, "postgres-0", "-c", "postgresql", "--", "sh", "-c")
    opened = 'sed -i "1i host all all all trust" "$PGDATA/pg_hba.conf" && pg_ctl reload -s'
    closed = 'sed -i 1d "$PGDATA/pg_hba.conf" && pg_ctl reload -s'
    release.bed.kubectl(*inside, opened)
    try:
        with pytest.raises(CommandFailed):
            release.helm("test")
        told = release.bed.kubectl("logs", "postgres-test", "-n", release.namespace)
        assert "psql ended with 0 0 0" in told
        assert "a wrong password opened the database" in told
    finally:
        release.bed.kubectl(*inside, closed)
    assert "ended with 0 2 0" in release.helm("test", "--logs")


def test_a_migration_says_that_13_is_too_old(release: Release) -> None:
    """The default PostgreSQL is older than current koku's Django asks: the Job says both."""
    release.migrate("cost-mgmt-migration-1")
    end = release.bed.until(
        "the migration's end", lambda: release.ended("cost-mgmt-migration-1"), seconds=600
    )
    logs = release.bed.tell("logs", "job/cost-mgmt-migration-1", "-n", release.namespace)
    assert end == "Failed", logs
    assert "connected as koku at postgres:5432, database koku" in logs
    assert "PostgreSQL 14 or later is required (found 13." in logs


def test_a_row_outlives_its_pod(release: Release) -> None:
    """After the pod is deleted a new one serves the same rows from the same volume."""
    bed, namespace = release.bed, release.namespace
    asked = "SELECT a, (SELECT system_identifier FROM pg_control_system()) FROM kept"

    def identities() -> tuple[str, str]:
        pod = bed.get("pod", "postgres-0", namespace)
        claim = bed.get("pvc", "postgresql-data-postgres-0", namespace)
        return pod["metadata"]["uid"], claim["metadata"]["uid"]

    bed.psql(namespace, "CREATE TABLE kept AS SELECT 42 AS a")
    before, pod_before = bed.psql(namespace, asked), identities()
    bed.kubectl("delete", "pod", "postgres-0", "-n", namespace)
    bed.until_ready(namespace)
    assert bed.psql(namespace, asked) == before
    assert identities()[0] != pod_before[0]
    assert identities()[1] == pod_before[1]


def test_the_namespace_enforces_restricted(release: Release) -> None:
    """What runs here is allowed by the restricted policy: a pod that breaks it is refused."""
    container = {"name": "any", "image": "any"}
    spec = {"hostNetwork": True, "containers": [container]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": spec}
    with pytest.raises(CommandFailed, match='violates PodSecurity "restricted'):
        release.bed.apply(pod, namespace=release.namespace)
