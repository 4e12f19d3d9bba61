"""An API server that refuses, vanishes or is another: each is told in its own words."""

from __future__ import annotations

import base64
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.access import Access, Proxy, access
from pytest_costmgmt.kubernetes.api import Api
from pytest_costmgmt.kubernetes.certificates import token_ends
from pytest_costmgmt.kubernetes.kubeconfig import Impersonation
from pytest_costmgmt.kubernetes.objects import Reader
from pytest_costmgmt.kubernetes.rights import Right, demand, missing
from pytest_costmgmt.kubernetes.streams import execute
from pytest_costmgmt.kubernetes.trouble import (
    AccessDenied,
    ApiRefused,
    ClusterUnreachable,
    NotThere,
    StreamBroken,
)
from tests.server.pod_api import TOKEN, PodApi, pod_api, status

NAMESPACE = "/api/v1/namespaces/cost-mgmt"


@pytest.fixture
def cluster() -> Iterator[PodApi]:
    """An API server."""
    with pod_api() as made:
        yield made


def reached(path: Path, **given: Any) -> Access:
    """Return the way that a kubeconfig names, whatever the environment."""
    return access(kubeconfig=path, environ={}, **given)


def api(cluster: PodApi, folder: Path, **changes: Any) -> Api:
    """Return the API behind a kubeconfig of its own."""
    return Api(reached(cluster.kubeconfig(folder / "kubeconfig", **changes)), patience=0)


def jwt(claims: dict[str, Any]) -> str:
    """Return a token that says when it ends."""
    parts = [{"alg": "none"}, claims, {}]
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )


def test_credentials_that_are_unknown_are_said_to_be(cluster: PodApi, tmp_path: Path) -> None:
    """401 names server, context and file, not the token."""
    with pytest.raises(AccessDenied, match="does not know these credentials") as said:
        api(cluster, tmp_path, token="another-token").get(NAMESPACE)
    assert said.value.code == 401
    assert "kubeconfig" in str(said.value)
    assert "context 'test'" in str(said.value)
    assert "another-token" not in str(said.value)


def test_a_token_that_has_ended_is_said_to_have(cluster: PodApi, tmp_path: Path) -> None:
    """Why credentials are unknown is read from the token itself."""
    with pytest.raises(AccessDenied, match="The token ended at 2001-09-09 01:46 UTC"):
        api(cluster, tmp_path, token=jwt({"exp": 1_000_000_000})).get(NAMESPACE)


@pytest.mark.parametrize(
    "token", ["", "a.b.c", "a.b", jwt({}), jwt({"exp": "x"}), jwt({"exp": 1e30})]
)
def test_a_token_without_an_end_has_none(token: str) -> None:
    """What is no JWT, or says no time, is not read as one."""
    assert token_ends(token) is None


def test_what_is_forbidden_is_told_in_the_servers_words(cluster: PodApi, tmp_path: Path) -> None:
    """403 keeps what the API server says of it."""
    cluster.objects[f"{NAMESPACE}/pods"] = status(403, "Forbidden", 'pods is forbidden: "tester"')
    with pytest.raises(AccessDenied, match='pods is forbidden: "tester"') as said:
        Reader(api(cluster, tmp_path), "cost-mgmt").pods({})
    assert (said.value.code, said.value.reason) == (403, "Forbidden")


def test_a_server_that_is_not_there_is_told(tmp_path: Path, cluster: PodApi) -> None:
    """Nobody at the address: the system's words, and where the address stands; streams too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        cluster.url = f"http://127.0.0.1:{free.getsockname()[1]}"
    nobody = api(cluster, tmp_path)
    with pytest.raises(ClusterUnreachable, match="Connection refused") as said:
        nobody.get(NAMESPACE)
    assert "kubeconfig" in str(said.value)
    with pytest.raises(StreamBroken, match="Connection refused"):
        execute(nobody, "cost-mgmt", "p", ["true"], container="c")


def test_a_name_that_is_not_known_is_told(tmp_path: Path, cluster: PodApi) -> None:
    """A host that no name service knows."""
    cluster.url = "https://api.nowhere.invalid:6443"
    with pytest.raises(ClusterUnreachable, match=r"api\.nowhere\.invalid"):
        api(cluster, tmp_path).get(NAMESPACE)


def test_what_is_no_kubernetes_is_told(tmp_path: Path, cluster: PodApi) -> None:
    """An answer that is no object is not taken for one."""
    cluster.objects[NAMESPACE] = b"<html>welcome</html>"
    with pytest.raises(ClusterUnreachable, match="no Kubernetes API"):
        api(cluster, tmp_path).get(NAMESPACE)


def test_reading_outlives_a_restart_of_the_api_server(tmp_path: Path, cluster: PodApi) -> None:
    """Once it has answered, 503 and silence are waited for; an error ends it at once."""
    answers = iter([status(503, "ServiceUnavailable", "starting"), {"kind": "Namespace"}])
    cluster.objects[NAMESPACE] = lambda _query: next(answers)
    reading = Api(reached(cluster.kubeconfig(tmp_path / "k")), patience=30)
    assert reading.get(NAMESPACE) == {"kind": "Namespace"}
    cluster.objects[NAMESPACE] = status(500, "InternalError", "boom")
    with pytest.raises(ApiRefused, match="boom"):
        reading.get(NAMESPACE)


NAMESPACES = [
    pytest.param(
        {"kind": "Namespace", "status": {"phase": "Active"}}, (True, "Active"), id="there"
    ),
    pytest.param(None, (False, ""), id="absent"),
    pytest.param(status(403, "Forbidden", "no"), (None, ""), id="not-permitted"),
]


@pytest.mark.parametrize(("found", "expected"), NAMESPACES)
def test_a_namespace_is_there_or_not_or_unknown(
    tmp_path: Path, cluster: PodApi, found: Any, expected: tuple[bool | None, str]
) -> None:
    """To see a namespace takes a right beyond it: without, it is unknown, not absent."""
    if found is not None:
        cluster.objects[NAMESPACE] = found
    seen = Reader(api(cluster, tmp_path), "cost-mgmt").namespace_seen()
    assert (seen.exists, seen.phase) == expected


RIGHTS = [
    Right("get", "pods"), Right("create", "pods/exec"), Right("create", "jobs", "batch"),
    Right("get", "secrets", name="postgres-credentials"),
]  # fmt: skip


def test_all_missing_verbs_are_named_at_once(tmp_path: Path, cluster: PodApi) -> None:
    """Each is reviewed by the API server, and what is lacking comes with the rules that give it."""
    seen = []

    def allowed(attributes: dict[str, Any]) -> bool:
        seen.append(attributes)
        return bool(attributes["resource"] == "pods" and not attributes.get("subresource"))

    cluster.allowed = allowed
    asking = api(cluster, tmp_path)
    assert missing(asking, "cost-mgmt", RIGHTS) == tuple(RIGHTS[1:])
    assert seen[1] == {"namespace": "cost-mgmt", "verb": "create", "group": "",
                       "resource": "pods", "subresource": "exec"}  # fmt: skip
    with pytest.raises(AccessDenied) as said:
        demand(asking, "cost-mgmt", RIGHTS, purpose="A probe")
    assert said.value.missing == (
        "create pods/exec", "create jobs.batch", "get secrets 'postgres-credentials'",
    )  # fmt: skip
    assert '{apiGroups: ["batch"], resources: ["jobs"], verbs: ["create"]}' in str(said.value)
    cluster.allowed = lambda _: True
    demand(asking, "cost-mgmt", RIGHTS, purpose="A probe")


def test_whom_we_act_as_goes_with_every_request(tmp_path: Path, cluster: PodApi) -> None:
    """Requests carry all groups; what is given replaces what the kubeconfig says."""
    path = cluster.kubeconfig(tmp_path / "k", user={"as": "alice", "as-groups": ["a", "b"]})
    cluster.objects[NAMESPACE] = {"kind": "Namespace"}
    Api(reached(path)).get(NAMESPACE)
    Api(reached(path, impersonate=Impersonation(user="bob"))).get(NAMESPACE)
    acting = [
        [item for item in asked.headers if item[0].startswith("Impersonate-")]
        for asked in cluster.asked
    ]
    groups = [("Impersonate-Group", "a"), ("Impersonate-Group", "b")]
    assert acting == [[("Impersonate-User", who), *groups] for who in ("alice", "bob")]


def test_a_tokens_file_is_read_without_its_newline(tmp_path: Path, cluster: PodApi) -> None:
    """A token from a file is the token, and is preferred to an inline one, as kubectl does."""
    (tmp_path / "token").write_text(TOKEN + "\n")
    path = cluster.kubeconfig(tmp_path / "k", token="stale-token", user={"tokenFile": "token"})
    cluster.objects[NAMESPACE] = {"kind": "Namespace"}
    assert Api(reached(path)).get(NAMESPACE) == {"kind": "Namespace"}


PLUGIN = """import json, os, sys
if {fails}: sys.exit("log in again, " + os.environ["WHO"])
print(json.dumps({{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
    "status": {{"token": os.environ["TOKEN_OF_TEST"]}}}}))
"""


def plugin(folder: Path, *, fails: bool) -> dict[str, Any]:
    """Return a user whose credentials a program gives."""
    (folder / "plugin.py").write_text(PLUGIN.format(fails=fails))
    environ = [{"name": "TOKEN_OF_TEST", "value": TOKEN}, {"name": "WHO", "value": "tester"}]
    return {
        "token": None,
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1", "command": sys.executable,
            "args": ["-I", str(folder / "plugin.py")], "env": environ, "interactiveMode": "Never",
        },
    }  # fmt: skip


def test_a_plugin_gives_the_credentials(tmp_path: Path, cluster: PodApi) -> None:
    """A kubeconfig's exec section is run, as kubectl runs it."""
    cluster.objects[NAMESPACE] = {"kind": "Namespace"}
    found = api(cluster, tmp_path, user=plugin(tmp_path, fails=False)).get(NAMESPACE)
    assert found == {"kind": "Namespace"}


def test_a_plugin_that_fails_is_named_with_its_words(tmp_path: Path, cluster: PodApi) -> None:
    """The client only logs it, and would go on as nobody."""
    with pytest.raises(UsageProblem, match=r"which gave none: .*log in again, tester"):
        api(cluster, tmp_path, user=plugin(tmp_path, fails=True))


def test_in_a_pod_the_accounts_token_and_namespace_are_taken(
    tmp_path: Path, cluster: PodApi
) -> None:
    """The service account's files are the credentials; a CA that is none is a clear error."""
    for name, text in (("token", TOKEN), ("namespace", "cost-mgmt"), ("ca.crt", "no certificate")):
        (tmp_path / name).write_text(text)
    host, _, port = cluster.url.removeprefix("http://").partition(":")
    environ = {"HOME": "/nonexistent", "KUBERNETES_SERVICE_HOST": host,
               "KUBERNETES_SERVICE_PORT": port}  # fmt: skip
    with pytest.raises(UsageProblem, match="this pod's service account cannot be used"):
        access(environ=environ, account=tmp_path)


def test_a_proxy_that_streams_do_not_pass_is_a_usage_error() -> None:
    """Only an http proxy carries both requests and streams."""
    with pytest.raises(UsageProblem, match="kind 'socks5'"):
        Proxy("socks5://127.0.0.1:1080")
    proxy = Proxy("http://me:p%40ss-of-proxy@proxy.example:3128")
    assert (proxy.host, proxy.port, proxy.auth) == ("proxy.example", 3128, ("me", "p@ss-of-proxy"))
    assert "p@ss" not in repr(proxy)


def test_no_object_of_ours_shows_the_token(tmp_path: Path, cluster: PodApi) -> None:
    """Neither repr nor an error's text has it."""
    way = reached(cluster.kubeconfig(tmp_path / "k"))
    cluster.users.clear()
    with pytest.raises(AccessDenied) as said:
        Api(way).get(NAMESPACE)
    assert TOKEN not in f"{way!r} {way.chosen!r} {said.value} {vars(said.value)}"


def test_an_object_that_is_absent_is_not_there(tmp_path: Path, cluster: PodApi) -> None:
    """404 is its own error, and deleting what is gone is none."""
    asking = api(cluster, tmp_path)
    with pytest.raises(NotThere):
        asking.get(f"{NAMESPACE}/pods/gone")
    asking.delete(f"{NAMESPACE}/pods/gone")


def test_lists_are_read_to_their_last_page(tmp_path: Path, cluster: PodApi) -> None:
    """A list that comes in pages is one list."""
    first, second, third = ({"metadata": {"name": name}} for name in "abc")
    pages = {"": ("next", [first, second]), "next": ("", [third])}

    def page(query: dict[str, str]) -> dict[str, Any]:
        more, items = pages[query.get("continue", "")]
        return {"kind": "List", "metadata": {"continue": more}, "items": items}

    cluster.objects[f"{NAMESPACE}/things"] = page
    assert api(cluster, tmp_path).items(f"{NAMESPACE}/things") == [first, second, third]


def test_the_environments_proxy_is_not_taken_for_streams_alone(
    tmp_path: Path, cluster: PodApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What requests pass, streams pass: no library reads the environment by itself."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    way = access(kubeconfig=cluster.kubeconfig(tmp_path / "k"), environ=os.environ)
    assert way.proxy is None  # loopback is always direct, as with kubectl
    execute(Api(way), "cost-mgmt", "p", ["true"], container="c").close()
