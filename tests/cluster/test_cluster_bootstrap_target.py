"""A bootstrap never takes another target than the one that is meant, and says why it cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.bootstraps import Bootstrap, prepared
from tests.cluster.testbed.bed import Bed


@pytest.fixture(scope="module")
def bootstrap(bed: Bed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bootstrap]:
    """A namespace with nothing in it."""
    with prepared(bed, tmp_path_factory.mktemp("target")) as found:
        yield found


def other(bootstrap: Bootstrap, tmp_path: Path, **user: Any) -> Bootstrap:
    """Return the same for a user whose credentials are others."""
    config = json.loads(bootstrap.kubeconfig.read_text())
    config["users"][0]["user"] = user
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    return bootstrap._replace(kubeconfig=file)


def test_a_namespace_that_is_not_there_is_not_made(bootstrap: Bootstrap, bed: Bed) -> None:
    """Whoever may see that says so; nothing is created without --create-namespace."""
    missing = bootstrap._replace(namespace="boot-no-such", kubeconfig=bed.kubeconfig)
    ended = missing.run(status=4)
    assert "Namespace boot-no-such does not exist" in ended.err
    assert "--create-namespace" in ended.err
    assert "boot-no-such" not in bed.kubectl("get", "namespaces")


def test_a_kubeconfig_that_is_missing(bootstrap: Bootstrap, tmp_path: Path) -> None:
    """It is named."""
    ended = bootstrap.run("--kubeconfig", str(tmp_path / "none"), status=4)
    assert str(tmp_path / "none") in ended.err


def test_a_token_that_is_not_known(bootstrap: Bootstrap, tmp_path: Path) -> None:
    """An expired or a wrong one: the API server does not know it."""
    ended = other(bootstrap, tmp_path, token="no-token-of-this-cluster").run(status=1)
    assert "does not know these credentials" in ended.err


def test_another_cluster(bootstrap: Bootstrap, tmp_path: Path) -> None:
    """What answers is not signed by the kubeconfig's CA."""
    config = json.loads(bootstrap.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    config["clusters"][0]["cluster"]["server"] = server.rpartition(":")[0] + ":1"
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    ended = bootstrap._replace(kubeconfig=file).run(status=1)
    assert "cannot be reached" in ended.err


def test_somebody_who_may_nothing(bootstrap: Bootstrap, bed: Bed) -> None:
    """Everything that is missing is named at once."""
    stranger = bed.account(bootstrap.namespace, "stranger")
    ended = bootstrap._replace(kubeconfig=stranger).run(status=1)
    assert "create statefulsets.apps" in ended.err
    assert "create pods/exec" in ended.err
    assert bed.list("secret", bootstrap.namespace) == []


def test_a_values_file_that_helm_would_not_take(bootstrap: Bootstrap) -> None:
    """The schema's sentence is passed on; nothing is made but the credentials."""
    ended = bootstrap.run(values={"postgresql": {"major": "12"}}, status=1)
    assert "major" in ended.err
