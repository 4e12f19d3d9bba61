"""A bootstrap never takes another target than the one that is meant, and says why it cannot."""

from __future__ import annotations

import base64
import json
import subprocess
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


def test_a_token_that_has_expired(bootstrap: Bootstrap, bed: Bed, tmp_path: Path) -> None:
    """What was good once is told as what the API server does not know, with its end."""
    assert bed.node is not None
    token = json.loads(bootstrap.kubeconfig.read_text())["users"][0]["user"]["token"]
    made = aged(token, bed.node.run("cat", "/run/bed/accounts.key"), tmp_path)
    ended = other(bootstrap, tmp_path, token=made).run(status=1)
    assert "does not know these credentials" in ended.err
    assert "The token ended at" in ended.err
    assert made not in ended.said


def aged(token: str, key: str, scratch: Path) -> str:
    """Return the same token as it was a day ago, signed as the cluster signs."""
    (scratch / "key").write_text(key)
    header, payload, _ = token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    for name in ("iat", "nbf", "exp"):
        claims[name] -= 86400
    text = f"{header}.{unpadded(json.dumps(claims).encode())}"
    signed = subprocess.run(
        ["openssl", "dgst", "-sha256", "-sign", str(scratch / "key")],
        input=text.encode(), capture_output=True, check=True,
    )  # fmt: skip
    return f"{text}.{unpadded(signed.stdout)}"


def unpadded(data: bytes) -> str:
    """Return bytes as a token has them."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def changed(bootstrap: Bootstrap, tmp_path: Path, **cluster: str) -> Bootstrap:
    """Return the same with a kubeconfig that means another cluster."""
    config = json.loads(bootstrap.kubeconfig.read_text())
    config["clusters"][0]["cluster"] |= cluster
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(config))
    return bootstrap._replace(kubeconfig=file)


def test_nobody_answers(bootstrap: Bootstrap, tmp_path: Path) -> None:
    """The address is nobody's."""
    config = json.loads(bootstrap.kubeconfig.read_text())
    server = config["clusters"][0]["cluster"]["server"]
    elsewhere = changed(bootstrap, tmp_path, server=server.rpartition(":")[0] + ":1")
    assert "cannot be reached" in elsewhere.run(status=1).err


def test_another_cluster(bootstrap: Bootstrap, tmp_path: Path) -> None:
    """What answers is not signed by the kubeconfig's CA: a cluster built anew, or another one."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-keyout", "/dev/null", "-subj", "/CN=another", "-days", "1", "-out", "ca.crt"],
        cwd=tmp_path, capture_output=True, check=True,
    )  # fmt: skip
    authority = base64.b64encode((tmp_path / "ca.crt").read_bytes()).decode()
    elsewhere = changed(bootstrap, tmp_path, **{"certificate-authority-data": authority})
    ended = elsewhere.run(status=1)
    assert "is not the cluster that" in ended.err
    assert "not signed by the kubeconfig's CA" in ended.err


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
