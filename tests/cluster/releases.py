"""What the tests of a release share: who installs it, and who talks to it."""

from __future__ import annotations

import base64
import contextlib
import copy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from tests.chart.rendering import CHART
from tests.cluster.testbed.bed import Bed, CommandFailed, Node, Object
from tests.cluster.testbed.components import CONTAINERD
from tests.cluster.testbed.images import POSTGRESQL

SECRET = "postgres-credentials"
# Many databases share two processors here.
SMALL = (
    "--set=postgresql.resources.requests.cpu=20m",
    "--set=postgresql.resources.requests.memory=64Mi",
    "--set=postgresql.resources.limits.memory=512Mi",
    "--set=migration.resources.requests.cpu=20m",
    "--set=migration.resources.requests.memory=64Mi",
)
RESTRICTED_CONTAINER: Object = {
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
}


def published(name: str = "install") -> Object:
    """Return a Role that the chart publishes, for Bed.account."""
    role: Object = yaml.safe_load((CHART / "rbac" / f"{name}.yaml").read_text())
    return role


def without(role: Object, verb: str, resource: str) -> Object:
    """Return a Role that lacks one verb on one resource."""
    less = copy.deepcopy(role)
    rules = []
    for rule in less["rules"]:
        if resource in rule["resources"] and verb in rule["verbs"]:
            verbs = [one for one in rule["verbs"] if one != verb]
            rules.append({**rule, "resources": [resource], "verbs": verbs})
            rule["resources"] = [one for one in rule["resources"] if one != resource]
        if rule["resources"]:
            rules.append(rule)
    return {**less, "rules": [rule for rule in rules if rule["verbs"]]}


class Release(NamedTuple):
    """A release of the chart in a namespace, and who deals with it: its kubeconfig, its Helm."""

    bed: Bed
    namespace: str
    name: str = "cost-mgmt-infra"
    kubeconfig: Path | None = None
    major: int = 3

    @classmethod
    def of_installer(cls, bed: Bed, namespace: str, *, major: int = 3) -> Release:
        """Return one that is dealt with by an account with the published Role alone."""
        kubeconfig = bed.account(namespace, "installer", published())
        return cls(bed, namespace, kubeconfig=kubeconfig, major=major)

    def install(
        self, *options: str, major: int = 0, kubeconfig: Path | None = None, chart: Path = CHART
    ) -> str:
        """Install or upgrade it, and return what a person reads; does not wait."""
        command = ("upgrade", "--install", self.name, str(chart), "-n", self.namespace)
        return self._helm(*command, *options, major=major, kubeconfig=kubeconfig)

    def refused(self, *options: str, major: int = 0, chart: Path = CHART) -> str:
        """Return, as one line, why an install or upgrade is refused."""
        try:
            said = self.install(*options, major=major, chart=chart)
        except CommandFailed as error:
            return " ".join(error.stderr.split())
        raise AssertionError(f"it was not refused: {said}")

    def helm(self, *arguments: str, major: int = 0) -> str:
        """Run another of Helm's commands on it."""
        verb, *more = arguments
        return self._helm(verb, self.name, *more, "-n", self.namespace, major=major)

    def _helm(self, *arguments: str, major: int, kubeconfig: Path | None = None) -> str:
        who = kubeconfig or self.kubeconfig
        return self.bed.helm(*arguments, major=major or self.major, kubeconfig=who)

    def password(self, secret: str = SECRET) -> str:
        """Return the password that the release's Secret holds."""
        data = self.bed.get("secret", secret, self.namespace)["data"]
        return base64.b64decode(data["password"]).decode()

    def psql(self, statement: str, database: str = "koku") -> str:
        """Return what the database answers its superuser."""
        return self.bed.psql(self.namespace, statement, database)

    def identity(self) -> tuple[str, str, str]:
        """Return the uids of pod and claim, and the database's own identifier."""
        pod = self.bed.get("pod", "postgres-0", self.namespace)
        claim = self.bed.get("pvc", "postgresql-data-postgres-0", self.namespace)
        asked = "SELECT system_identifier FROM pg_control_system()"
        return pod["metadata"]["uid"], claim["metadata"]["uid"], self.psql(asked, "postgres")

    def rolled(self, pod_uid: str) -> None:
        """Wait until another pod than that one is ready."""

        def asked() -> bool:
            pod = self.bed.get("pod", "postgres-0", self.namespace)
            return bool(pod["metadata"]["uid"] != pod_uid)

        self.bed.until("another pod", asked)
        self.bed.until_ready(self.namespace)

    def initialize(self) -> None:
        """Do what the chart's README says before a migration."""
        psql = self.bed.psql
        psql(self.namespace, "CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        psql(self.namespace, "CREATE ROLE hive LOGIN PASSWORD 'not a guess'", "postgres")
        psql(self.namespace, "CREATE DATABASE hive OWNER hive", "postgres")

    def migrate(self, job: str) -> None:
        """Start a migration, as the chart's README says."""
        source = "--from=cronjob/cost-mgmt-migration"
        self.bed.kubectl("-n", self.namespace, "create", "job", source, job)

    def ended(self, job: str) -> str:
        """Return how a Job ended: Complete, Failed, or nothing yet."""
        status = self.bed.get("job", job, self.namespace)["status"]
        kinds = ("Complete", "Failed")
        ends = [one for one in status.get("conditions", ()) if one["type"] in kinds]
        return str(ends[0]["type"]) if ends and ends[0]["status"] == "True" else ""


def refusal(bed: Bed, namespace: str, pod: str = "any") -> str:
    """Return why the API server would not admit a restricted pod of that name now, or nothing."""
    container = {"name": "any", "image": "any", "securityContext": RESTRICTED_CONTAINER}
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    body = {
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": pod},
        "spec": {"containers": [container], "securityContext": security},
    }  # fmt: skip
    try:
        bed.kubectl("create", "-n", namespace, "--dry-run=server", "-f", "-", given=body)
    except CommandFailed as error:
        return error.stderr
    return ""


def renamed(bed: Bed, node: Node, major: int) -> str:
    """Give PostgreSQL's image of that major a name that does not say so; return its repository.

    Skips where this machine could make none.
    """
    assert bed.archive is not None
    if POSTGRESQL[major] not in {image.repository for image in bed.archive.images}:
        pytest.skip(f"Debian no longer has the packages of PostgreSQL {major}")
    name = f"registry.invalid/of-major-{major}/database"
    ctr = ("ctr", "-a", str(CONTAINERD), "-n", "k8s.io", "images", "tag", "--force")
    node.run(*ctr, f"{POSTGRESQL[major]}:latest", f"{name}:latest")
    return name


@contextlib.contextmanager
def fresh(bed: Bed, *options: str, name: str = "cost-mgmt", major: int = 3) -> Iterator[Release]:
    """Yield a small release that is ready, in a namespace of its own."""
    with bed.namespace(name) as namespace:
        release = Release.of_installer(bed, namespace, major=major)
        release.install(*SMALL, *options)
        bed.until_ready(namespace)
        yield release


class Client(NamedTuple):
    """A pod of the namespace, as an application's, from which to talk to the database."""

    bed: Bed
    namespace: str
    pod: str = "client"

    @classmethod
    def start(
        cls,
        bed: Bed,
        namespace: str,
        image: str,
        labels: Object | None = None,
        *,
        name: str = "client",
    ) -> Client:
        """Start one of this image, and wait for it."""
        client = cls(bed, namespace, name)
        container = {
            "name": "client",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sleep", "86400"],
            "securityContext": RESTRICTED_CONTAINER,
        }
        spec = {
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "terminationGracePeriodSeconds": 0,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 26,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [container],
        }
        metadata = {"name": client.pod, "labels": labels or {}}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        bed.apply(pod, namespace=namespace)
        bed.until_ready(namespace, client.pod)
        return client

    def psql(self, password: str, statement: str, *, user: str, database: str) -> str:
        """Return what the database answers this password over its Service.

        AssertionError says what psql said.
        """
        script = (
            f"export PGPASSWORD={shlex.quote(password)} PGCONNECT_TIMEOUT=10\n"
            f"exec psql -X -q -A -t -w -h postgres -U {shlex.quote(user)}"
            f" -d {shlex.quote(database)} -v ON_ERROR_STOP=1 -c {shlex.quote(statement)}\n"
        )
        command = ("exec", "-i", "-n", self.namespace, self.pod, "--", "bash", "-s")
        return self.bed.kubectl(*command, given=script).strip()

    def asks(self, release: Release, statement: str) -> str:
        """Return what the database answers the Secret's own password."""
        return self.psql(release.password(), statement, user="koku", database="koku")

    def refused(self, password: str, *, user: str, database: str) -> str:
        """Return what psql says where the database does not let it in."""
        try:
            self.psql(password, "SELECT 1", user=user, database=database)
        except CommandFailed as error:
            return error.stderr
        raise AssertionError(f"{user} was let into {database}")
