"""Secret objects: what is told of them is names, lengths and keyed hashes, and never a value."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.kubernetes.access import access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.secret_objects import (
    facts_of,
    secret_facts,
    secret_name,
    secret_values,
    stripped,
)
from pytest_costmgmt.secret import MASK, Secret, redact
from tests.server.pod_api import PodApi, pod_api

PASSWORD = "kept-by-the-secret-object"
PATH = "/api/v1/namespaces/cost-mgmt/secrets/postgres-credentials"


def encoded(raw: bytes) -> str:
    """Return how a Secret keeps it."""
    return base64.b64encode(raw).decode()


def secret(**data: bytes) -> dict[str, Any]:
    """Return a Secret as an API server has it."""
    meta = {"name": "postgres-credentials", "namespace": "cost-mgmt", "uid": "1"}
    held = {name: encoded(raw) for name, raw in data.items()}
    return {"kind": "Secret", "type": "Opaque", "metadata": meta, "data": held}


@pytest.fixture
def cluster() -> Iterator[PodApi]:
    """An API server."""
    with pod_api() as made:
        yield made


def api(cluster: PodApi, folder: Path) -> Api:
    """Return the way there."""
    path = cluster.kubeconfig(folder / "kubeconfig")
    return Api(access(kubeconfig=path, environ={}), patience=0)


@pytest.mark.parametrize(
    ("raw", "facts"),
    [
        pytest.param(b"plain-1", (7, False, False, True, True), id="plain"),
        pytest.param(b"echoed\n", (7, True, True, False, True), id="newline"),
        pytest.param(b"windows\r\n", (9, True, True, False, True), id="carriage-return"),
        pytest.param(b" padded", (7, False, True, False, True), id="space-before"),
        pytest.param(b"p@ss/w:rd#1%", (12, False, False, False, True), id="breaks-a-uri"),
        pytest.param(b"\xff\xfe", (2, False, False, False, False), id="no-text"),
        pytest.param(b"", (0, False, False, True, True), id="empty"),
    ],
)
def test_what_is_wrong_with_a_value_is_told_without_it(
    raw: bytes, facts: tuple[int, bool, bool, bool, bool]
) -> None:
    """Its length, a newline at its end, blanks around it, whether a URI and a text can hold it."""
    (told,) = facts_of(secret(password=raw), key=b"k").keys
    found = (told.length, told.trailing_newline, told.blank_around, told.uri_safe, told.text)
    assert found == facts


def test_facts_hold_no_value(cluster: PodApi, tmp_path: Path) -> None:
    """Not even in an annotation that kubectl apply left; from then on the value is redacted."""
    found = secret(password=PASSWORD.encode(), username=b"koku")
    found["metadata"]["annotations"] = {
        "kubectl.kubernetes.io/last-applied-configuration": json.dumps(found),
        "note": f"it is {PASSWORD}",
    }
    cluster.objects[PATH] = found
    told = secret_facts(api(cluster, tmp_path), "cost-mgmt", "postgres-credentials", key=b"k")
    assert told is not None
    assert [key.name for key in told.keys] == ["password", "username"]
    assert told.annotations == {"note": f"it is {MASK}"}
    assert PASSWORD not in f"{told!r}"
    assert encoded(PASSWORD.encode()) not in f"{told!r}"
    assert redact(PASSWORD) == MASK
    assert secret_facts(api(cluster, tmp_path), "cost-mgmt", "gone", key=b"k") is None


def test_values_are_secrets_by_type_and_names_are_not(cluster: PodApi, tmp_path: Path) -> None:
    """What logs in is a Secret; which database and role it is may be said."""
    cluster.objects[PATH] = secret(
        password=b"opens-the-database", database=b"koku-database", binary=b"\xff"
    )
    asked = api(cluster, tmp_path)
    values = secret_values(asked, "cost-mgmt", "postgres-credentials")
    assert set(values) == {"password", "database"}
    assert values["password"] == Secret("opens-the-database")
    assert redact("opens-the-database koku-database") == f"{MASK} koku-database"
    name = secret_name(asked, "cost-mgmt", "postgres-credentials", "database")
    assert name == "koku-database"
    with pytest.raises(ValueError, match="no key of a name"):
        secret_name(asked, "cost-mgmt", "postgres-credentials", "password")


def test_equal_values_are_seen_as_equal_within_a_run_only() -> None:
    """The hash is keyed by the run: nothing can be guessed from a report that is kept."""
    first, second = secret(password=PASSWORD.encode()), secret(password=PASSWORD.encode())
    assert stripped(first, key=b"one") == stripped(second, key=b"one")
    assert stripped(first, key=b"one") != stripped(first, key=b"other")
    assert stripped(first, key=b"one") != stripped(secret(password=b"another"), key=b"one")


def test_a_password_leaves_no_manifest_of_a_list() -> None:
    """Wherever an object repeats what a Secret of the same list holds, it is masked."""
    value = "planted-in-several-objects"
    applied = secret(password=value.encode())
    note = {"kubectl.kubernetes.io/last-applied-configuration": json.dumps(applied)}
    literal = {"name": "PASSWORD", "value": value}
    pod = {"kind": "Pod", "spec": {"containers": [{"env": [literal], "args": [f"-p{value}"]}]}}
    plain = {"kind": "Secret", "stringData": {"password": value}}
    applied["metadata"]["annotations"] = note
    listed = {"kind": "List", "items": [pod, {"kind": "ConfigMap", "data": {value: "key"}},
                                        applied, plain]}  # fmt: skip
    told = json.dumps(stripped([listed], key=b"k"))
    assert value not in told
    assert encoded(value.encode()) not in told
    assert told.count(f"{len(value)} bytes, ") == 2
    assert listed["items"][0]["spec"]["containers"][0]["env"] == [literal], "it was changed"  # type: ignore[index]
