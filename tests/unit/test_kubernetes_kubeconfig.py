"""Which cluster, as whom: what kubectl would take, or an error in a sentence."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.kubeconfig import Impersonation, choose
from pytest_costmgmt.secret import redact

TOKEN = "a-token-that-must-not-be-told"


def written(folder: Path, name: str, *, current: str = "one", contexts: Any = None,
            server: str = "", user: Any = None, cluster: Any = None) -> Path:  # fmt: skip
    """Write a kubeconfig whose parts bear ``name``."""
    body = {
        "current-context": current,
        "contexts": [
            {"name": each, "context": {"cluster": name, "user": name, "namespace": f"{each}-ns"}}
            for each in contexts or [name]
        ],
        "clusters": [
            {"name": name, "cluster": {"server": server or f"https://{name}", **(cluster or {})}}
        ],
        "users": [{"name": name, "user": {"token": TOKEN, **(user or {})}}],
    }
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(body))
    return path


def test_of_several_files_the_first_that_says_something_wins(tmp_path: Path) -> None:
    """KUBECONFIG's list is merged as kubectl does: current context and entries of the first."""
    first = written(tmp_path, "one", current="", contexts=["one", "shared"])
    second = written(tmp_path, "two", current="shared", contexts=["two", "shared"])
    third = written(tmp_path, "three", current="two")
    listed = os.pathsep.join(["", str(first), str(tmp_path / "gone"), str(second), str(third)])
    chosen = choose(environ={"KUBECONFIG": listed})
    assert chosen is not None
    assert (chosen.context, chosen.server) == ("shared", "https://one")
    assert chosen.files == (first, second, third)


def test_a_file_that_is_named_replaces_the_list(tmp_path: Path) -> None:
    """An explicit file is the only one, and a context in it may be named."""
    given = written(tmp_path, "one", contexts=["one", "other"])
    environ = {"KUBECONFIG": str(written(tmp_path, "two"))}
    chosen = choose(kubeconfig=given, context="other", environ=environ)
    assert chosen is not None
    assert (chosen.context, chosen.namespace) == ("other", "other-ns")


def test_paths_are_relative_to_their_own_file(tmp_path: Path) -> None:
    """A CA, a key or a token's file is looked for beside the file that names it."""
    cluster = {"certificate-authority": "ca.crt"}
    user = {"client-certificate": "pki/me.crt", "client-key": "/abs/me.key", "tokenFile": "token"}
    path = written(tmp_path / "deep", "one", cluster=cluster, user=user)
    chosen = choose(kubeconfig=path, environ={})
    assert chosen is not None
    found = chosen.config["users"][0]["user"]
    assert chosen.config["clusters"][0]["cluster"]["certificate-authority"] == str(
        tmp_path / "deep" / "ca.crt"
    )
    assert found == {
        "client-certificate": str(tmp_path / "deep" / "pki" / "me.crt"),
        "client-key": "/abs/me.key",
        "tokenFile": str(tmp_path / "deep" / "token"),
    }


def test_the_home_folders_file_is_the_last_resort(tmp_path: Path) -> None:
    """Without KUBECONFIG it is ~/.kube/config."""
    written(tmp_path / ".kube", "config", current="config")
    chosen = choose(environ={"HOME": str(tmp_path)})
    assert chosen is not None
    assert chosen.context == "config"


def test_in_a_pod_the_service_account_is_taken(tmp_path: Path) -> None:
    """Without any kubeconfig, and only then, a pod uses its own account."""
    (tmp_path / "token").write_text("t")
    environ = {"HOME": str(tmp_path), "KUBERNETES_SERVICE_HOST": "10.96.0.1"}
    assert choose(environ=environ, account=tmp_path) is None
    with pytest.raises(UsageProblem, match="does not exist"):
        choose(environ={**environ, "KUBECONFIG": "/gone"}, account=tmp_path)
    with pytest.raises(UsageProblem, match="context 'x'"):
        choose(environ=environ, account=tmp_path, context="x")
    with pytest.raises(UsageProblem, match="No kubeconfig"):
        choose(environ=environ, account=tmp_path / "none")


WRONG = [
    pytest.param("", "no current context", id="empty"),
    pytest.param("[1]", "no mapping", id="a-list"),
    pytest.param(f"token: {TOKEN}\n  x: : [", r"not YAML \(line 2\)", id="not-yaml"),
    pytest.param("{clusters: 3}", "clusters are no list", id="clusters-a-number"),
    pytest.param("{contexts: [{}]}", "nameless", id="nameless"),
    pytest.param("{current-context: a}", "no context 'a'", id="no-context"),
    pytest.param(
        "{current-context: a, contexts: [{name: a, context: {cluster: b}}]}",
        "cluster 'b', which is not there", id="no-cluster",
    ),
    pytest.param(
        "{current-context: a, contexts: [{name: a, context: {cluster: b}}],"
        " clusters: [{name: b, cluster: {}}]}",
        "has no server", id="no-server",
    ),
    pytest.param(
        "{current-context: a, contexts: [{name: a, context: {cluster: b, user: c}}],"
        " clusters: [{name: b, cluster: {server: s}}]}",
        "user 'c', which is not there", id="no-user",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), WRONG)
def test_a_kubeconfig_that_is_wrong_is_said_in_a_sentence(
    tmp_path: Path, text: str, why: str
) -> None:
    """What cannot be meant is the operator's error, told without the file's content."""
    path = tmp_path / "kubeconfig"
    path.write_text(text)
    with pytest.raises(UsageProblem, match=why) as said:
        choose(kubeconfig=path, environ={})
    assert TOKEN not in str(said.value)


def test_a_context_that_is_not_there_names_those_that_are(tmp_path: Path) -> None:
    """The message lists what could have been meant."""
    path = written(tmp_path, "one", contexts=["dev", "prod"])
    with pytest.raises(UsageProblem, match="It has: 'dev', 'prod'"):
        choose(kubeconfig=path, context="prd", environ={})


def test_credentials_are_redacted_by_value_once_read(tmp_path: Path) -> None:
    """A token, an inline key, a plugin's key: none is told from then on, nor by repr."""
    user = {
        "client-key-data": "inline-key-material",
        "exec": {"command": "login", "env": [{"name": "API_KEY", "value": "plugins-own-key"}]},
        "auth-provider": {"config": {"refresh-token": "refresh-me-again"}},
    }
    chosen = choose(kubeconfig=written(tmp_path, "one", user=user), environ={})
    said = f"{TOKEN} inline-key-material plugins-own-key refresh-me-again"
    assert redact(said) == " ".join(["********"] * 4)
    assert TOKEN not in repr(chosen)


def test_impersonation_comes_from_the_kubeconfig(tmp_path: Path) -> None:
    """``as`` and its kin, which the Python client ignores, become headers."""
    user = {"as": "alice", "as-groups": ["a", "b c"], "as-uid": "7",
            "as-user-extra": {"Example.org/Scopes": ["x", "y"]}}  # fmt: skip
    chosen = choose(kubeconfig=written(tmp_path, "one", user=user), environ={})
    assert chosen is not None
    assert chosen.impersonation.headers() == (
        ("Impersonate-User", "alice"),
        ("Impersonate-Group", "a"), ("Impersonate-Group", "b c"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Extra-example.org%2Fscopes", "x"),
        ("Impersonate-Extra-example.org%2Fscopes", "y"),
    )  # fmt: skip


@pytest.mark.parametrize(
    "acting",
    [
        pytest.param(Impersonation(user="Kök-u"), id="not-ascii"),
        pytest.param(Impersonation(user="a\r\nX: y"), id="a-new-header"),
        pytest.param(Impersonation(user=" a"), id="blank"),
        pytest.param(Impersonation(user="a", groups=("",)), id="empty-group"),
    ],
)
def test_what_no_stream_can_carry_is_a_usage_error(acting: Impersonation) -> None:
    """It is never dropped, and never sent in another form."""
    with pytest.raises(UsageProblem, match="cannot be carried on a stream"):
        acting.headers()


def test_groups_without_a_user_are_a_usage_error() -> None:
    """Kubernetes impersonates no group alone."""
    with pytest.raises(UsageProblem, match="no user"):
        Impersonation(groups=("a",)).headers()
    assert Impersonation().headers() == ()
