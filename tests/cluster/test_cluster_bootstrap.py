"""`costmgmt bootstrap` on a real cluster, as an account with exactly the published Role."""

from __future__ import annotations

import base64
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pytest_costmgmt.initialize.deploy_rights import DEPLOYING, RIGHTS
from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.rights import Right, missing
from tests.chart.rendering import CHART
from tests.cluster.bootstraps import RELEASE, Bootstrap, Ended, prepared
from tests.cluster.releases import published, without
from tests.cluster.testbed.bed import Bed

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "bootstrap-infrastructure.sh"


@pytest.fixture(scope="module")
def bootstrap(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrap]:
    """A namespace with nothing in it."""
    with prepared(bed, tmp_path_factory.mktemp("bootstrap")) as found:
        yield found


@pytest.fixture(scope="module")
def rehearsed(bootstrap: Bootstrap, bed: Bed) -> Ended:
    """What a dry run says of an empty namespace, which it leaves empty."""
    ended = bootstrap.run("--dry-run")
    for kind in ("secret", "lease", "statefulset", "pod", "job", "cronjob", "service", "pvc"):
        assert bed.list(kind, bootstrap.namespace) == []
    return ended


@pytest.fixture(scope="module")
def first(bootstrap: Bootstrap, rehearsed: Ended) -> Ended:
    """The first run."""
    assert rehearsed.status == 0
    return bootstrap.run()


def test_the_published_role_is_what_it_takes() -> None:
    """Every right that is asked for is in the Role, and the Role has no other."""
    assert given("bootstrap") == set(RIGHTS)
    assert given("deploy") == set(DEPLOYING)


def given(name: str) -> set[Right]:
    """Return the rights that a published Role gives."""
    return {
        Right(verb, resource, group)
        for rule in published(name)["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def test_a_dry_run_says_each_step(rehearsed: Ended) -> None:
    """Every step is planned, and nothing is changed."""
    planned = rehearsed.did("planned")
    assert any(line.startswith("Secret postgres-credentials") for line in planned)
    assert any(line.startswith("release cost-mgmt-infra: ") for line in planned)
    assert any(line.startswith("in the database") for line in planned)
    assert any(line.startswith("a Job from CronJob cost-mgmt-migration") for line in planned)
    assert "Nothing was changed." in rehearsed.out


@pytest.mark.gate
def test_an_empty_namespace_becomes_a_release(bootstrap: Bootstrap, first: Ended, bed: Bed) -> None:
    """Database, role, extensions, hive and migrations are there, and each step was told."""
    created = first.did("created")
    for name in ("Secret postgres-credentials", "Secret hive-credentials", "extension"):
        assert any(line.startswith(name) for line in created), first.out
    psql = bed.psql
    space = bootstrap.namespace
    asked = "SELECT count(*) >= 0 FROM pg_stat_statements"
    assert psql(space, asked) == "t"
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'hive'"
    assert psql(space, owner) == "hive"
    assert int(psql(space, "SELECT count(*) FROM django_migrations")) > 0
    assert "secretName: postgres-credentials" in first.out


def test_the_password_is_in_no_record_of_the_release(
    bootstrap: Bootstrap, first: Ended, bed: Bed
) -> None:
    """Neither the manifest nor the values nor what was said hold it."""
    data = bed.get("secret", "postgres-credentials", bootstrap.namespace)["data"]
    password = base64.b64decode(data["password"]).decode()
    told = bed.helm("get", "all", "cost-mgmt-infra", "-n", bootstrap.namespace)
    assert password not in told
    assert data["password"] not in told
    assert password not in first.said


def test_a_second_run_changes_nothing(bootstrap: Bootstrap, first: Ended) -> None:
    """Every step is present; revision, Secrets, pod, passwords and rows are the same."""
    assert first.status == 0
    before = bootstrap.state()
    again = bootstrap.run()
    assert again.did("created") == []
    assert again.did("changed") == []
    assert bootstrap.state() == before


def test_an_object_that_somebody_changed_is_mended(
    bootstrap: Bootstrap, first: Ended, bed: Bed
) -> None:
    """A Service with a wrong selector is as the chart says again, and that is told."""
    assert first.status == 0
    wrong = '{"spec":{"selector":{"app.kubernetes.io/component":"nothing"}}}'
    bed.kubectl("-n", bootstrap.namespace, "patch", "service", "postgres", "-p", wrong)
    again = bootstrap.run()
    assert any(
        "Service postgres was changed at spec.selector" in one for one in again.did("changed")
    )
    service = bed.get("service", "postgres", bootstrap.namespace)
    assert service["spec"]["selector"]["app.kubernetes.io/component"] == "postgresql"


def test_helm_four_finds_the_release(bootstrap: Bootstrap, first: Ended) -> None:
    """The other Helm sees nothing to do in what the one has made."""
    assert first.status == 0
    folder = bootstrap.folder / "four"
    folder.mkdir()
    again = bootstrap._replace(major=4, folder=folder).run()
    assert again.did("changed") == []


def test_the_script_is_the_command(bootstrap: Bootstrap, first: Ended) -> None:
    """scripts/bootstrap-infrastructure.sh, as the documentation calls it, finds the release."""
    assert first.status == 0
    found = bootstrap.environment()
    found["PATH"] = f"{Path(sys.executable).parent}:{found['PATH']}"
    done = subprocess.run(
        [str(SCRIPT), "--namespace", bootstrap.namespace, "--dry-run"],
        env=found, cwd=bootstrap.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "present  Secret postgres-credentials" in done.stdout
    without = subprocess.run(
        [str(SCRIPT), "--help"], env={"PATH": "/usr/bin:/bin"}, capture_output=True, check=False
    )
    assert without.returncode == 4
    assert b"pip install pytest-costmgmt" in without.stderr


def test_the_credentials_outlive_any_release(bootstrap: Bootstrap, first: Ended, bed: Bed) -> None:
    """Even one that comes to own them leaves them, and the volume; a bootstrap finds both."""
    assert first.status == 0
    space, names = bootstrap.namespace, ("postgres-credentials", "hive-credentials")
    for name in names:
        annotations = bed.get("secret", name, space)["metadata"]["annotations"]
        assert annotations["helm.sh/resource-policy"] == "keep"
        assert re.fullmatch("[0-9a-f]{8}", annotations["cost-management/run"])
    before = [bed.get("secret", name, space)["data"] for name in names]
    rows = bed.psql(space, "SELECT count(*), max(id) FROM django_migrations")
    owns = ("--take-ownership", "--set=postgresql.database.takeOwnership=true",
            "--set=postgresql.database.existingSecret=")  # fmt: skip
    chart = ("upgrade", RELEASE, str(CHART), "-n", space, "--reuse-values")
    bed.helm(*chart, *owns)
    owner = bed.get("secret", names[0], space)["metadata"]["annotations"]
    assert owner["meta.helm.sh/release-name"] == RELEASE
    bed.helm("uninstall", RELEASE, "-n", space)
    bed.until("no pod", lambda: not bed.list("pods", space))
    assert [bed.get("secret", name, space)["data"] for name in names] == before
    again = bootstrap.run()
    assert any(one.startswith("Secret postgres-credentials") for one in again.did("present"))
    assert bed.psql(space, "SELECT count(*), max(id) FROM django_migrations") == rows


def test_each_right_is_asked_for(bed: Bed) -> None:
    """Whichever verb is taken away, that one is named, and nothing else."""
    role = published("bootstrap")
    with bed.namespace("boot") as namespace:
        account = bed.account(namespace, "deployer", role)
        api = Api(access(kubeconfig=account, environ={}))
        for right in RIGHTS:
            resource = right.resource
            bed.apply(without(role, right.verb, resource), namespace=namespace)
            bed.until(f"{right.text} is missing", partial(lacks_only, api, namespace, right))


def lacks_only(api: Api, namespace: str, right: Right) -> bool:
    """Say whether that is all that is missing."""
    return missing(api, namespace, RIGHTS) == (right,)


def test_every_right_that_is_missing_is_named(bed: Bed, tmp_path: Path) -> None:
    """Without a verb, nothing is done, and the message names it and the rules that give it."""
    role = published("bootstrap")
    kept = [rule for rule in role["rules"] if "leases" not in rule["resources"]]
    for rule in kept:
        rule["resources"] = [each for each in rule["resources"] if each != "pods/portforward"]
    with prepared(bed, tmp_path, role={**role, "rules": kept}) as bootstrap:
        ended = bootstrap.run(status=1)
        assert "create pods/portforward" in ended.err
        assert "get leases.coordination.k8s.io" in ended.err
        assert 'resources: ["leases"]' in ended.err
        assert bed.list("secret", bootstrap.namespace) == []
