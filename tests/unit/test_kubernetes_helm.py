"""Helm as a program: which one, with which words, in which environment, and what it said."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.kubernetes.access import Access, access
from pytest_costmgmt.kubernetes.helm import Helm, Program, documents, find
from pytest_costmgmt.kubernetes.kubeconfig import Impersonation
from pytest_costmgmt.kubernetes.trouble import HelmFailed
from pytest_costmgmt.secret import MASK, register
from tests.server.pod_api import PodApi

PASSWORD = "a-password-of-a-release"
SECRET_YAML = f"kind: Secret\nmetadata: {{name: s}}\nstringData: {{password: {PASSWORD}}}\n"
# What it was called with is kept beside it, as one line for each call.
SCRIPT = """#!{python} -IS
import json, os, sys, time
here = os.path.dirname(os.path.abspath(__file__))
call = dict(argv=sys.argv[1:], env=dict(os.environ), stdin="" if "version" in sys.argv else
            sys.stdin.read(), session=os.getsid(0))
open(here + "/calls", "a").write(json.dumps(call) + "\\n")
answer = json.load(open(here + "/answer.json"))
sys.stdout.write(answer.get("out", ""))
sys.stderr.write(answer.get("err", ""))
sys.stdout.flush()
time.sleep(answer.get("sleep", 0))
sys.exit(answer.get("status", 0))
"""


class Fake:
    """A helm that says what it is told to, and keeps what it was asked."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / "helm"
        self.path.write_text(SCRIPT.format(python=sys.executable))
        self.path.chmod(self.path.stat().st_mode | stat.S_IXUSR)
        self.answers()

    def answers(self, **answer: Any) -> None:
        """Say from now on what it answers."""
        (self.folder / "answer.json").write_text(json.dumps(answer))

    def calls(self) -> list[dict[str, Any]]:
        """Return what it was called with."""
        return [json.loads(line) for line in (self.folder / "calls").read_text().splitlines()]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """A helm."""
    folder = tmp_path / "helm of test"
    folder.mkdir()
    return Fake(folder)


def way(folder: Path, acting: Impersonation | None = None, **user: Any) -> Access:
    """Return a way to a cluster that nobody asks."""
    path = PodApi(url="http://127.0.0.1:1").kubeconfig(folder / "config of test", user=user)
    return access(kubeconfig=path, impersonate=acting, environ={})


def helm(fake: Fake, folder: Path, acting: Impersonation | None = None, **user: Any) -> Helm:
    """Return Helm in namespace ``cost-mgmt``."""
    environ = {"PATH": os.environ["PATH"], "HELM_NAMESPACE": "other", "HELM_KUBECONTEXT": "other",
               "HELM_KUBEAPISERVER": "https://other", "HELM_DEBUG": "true", "KUBECONFIG": "/other",
               "HELM_CACHE_HOME": "/kept"}  # fmt: skip
    program = Program(path=str(fake.path), version="3.19.5")
    return Helm(program, way(folder, acting, **user), "cost-mgmt", environ=environ)


def test_a_helm_that_was_named_is_the_one(fake: Fake) -> None:
    """Its version is asked, and decides."""
    fake.answers(out="v3.19.5")
    assert find(fake.path, environ={}) == Program(path=str(fake.path), version="3.19.5")
    assert find(environ={"PATH": str(fake.folder)}).major == 3


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param("v3.16.4", "is Helm 3.16.4, which this is neither made nor", id="too-old"),
        pytest.param("v5.0.0", "is Helm 5.0.0, which this is neither made nor", id="unknown"),
        pytest.param("hello", "is no helm that we know; .* it said: hello", id="no-helm"),
        pytest.param("", "is no helm that we know; .* it said: nothing", id="silent"),
    ],
)
def test_a_program_that_will_not_do_is_refused(fake: Fake, said: str, told: str) -> None:
    """A version that was never tried is not used in the hope that it will do."""
    fake.answers(out=said)
    with pytest.raises(UsageProblem, match=told):
        find(fake.path, environ={})


def test_no_helm_is_told_with_where_to_get_one(tmp_path: Path) -> None:
    """Neither in PATH, nor where it was said to be, nor a file that can be run."""
    with pytest.raises(UsageProblem, match=r"no helm in PATH.\nInstall Helm 3.17"):
        find(environ={"PATH": str(tmp_path)})
    with pytest.raises(UsageProblem, match=f"no helm at {tmp_path}/gone"):
        find(tmp_path / "gone", environ={})
    (tmp_path / "helm").write_text("no program")
    (tmp_path / "helm").chmod(0o755)
    with pytest.raises(UsageProblem, match="cannot be run: OSError"):
        find(tmp_path / "helm", environ={})


def test_it_is_led_to_our_cluster_and_namespace_alone(fake: Fake, tmp_path: Path) -> None:
    """What its environment names has no say; the context's kubeconfig and namespace do."""
    fake.answers(out="[]")
    assert helm(fake, tmp_path).releases() == ()
    (call,) = fake.calls()
    assert call["argv"][-4:] == ["--namespace", "cost-mgmt", "--kube-context", "test"]
    assert call["env"]["KUBECONFIG"] == str(tmp_path / "config of test")
    assert {name for name in call["env"] if name.startswith("HELM_")} == {"HELM_CACHE_HOME"}
    assert call["session"] != os.getsid(0), (
        "a terminal's Ctrl-C must not reach it before it reaches us"
    )


def test_it_acts_as_whom_we_act(fake: Fake, tmp_path: Path) -> None:
    """User and groups go with it; what it has no option for is refused, never dropped."""
    fake.answers(out="[]")
    helm(fake, tmp_path, Impersonation(user="alice", groups=("a", "b"))).releases()
    assert fake.calls()[0]["argv"][-3:] == [
        "alice", "--kube-as-group=a", "--kube-as-group=b"]  # fmt: skip
    with pytest.raises(UsageProblem, match="no option for the uid or extra"):
        helm(fake, tmp_path, Impersonation(user="alice", uid="7"))
    helm(fake, tmp_path, None, **{"as": "alice", "as-uid": "7"}).releases()  # it reads the file


def test_values_go_by_its_input(fake: Fake, tmp_path: Path) -> None:
    """Never in its arguments, which every user of the machine can read."""
    given = {"postgresql": {"existingSecret": "mine"}}
    helm(fake, tmp_path).upgrade("infra", Path("/the/chart"), values=given, arguments=["--force"])
    helm(fake, tmp_path).upgrade("infra", Path("/the/chart"), dry_run=True)
    first, second = fake.calls()
    assert first["argv"][:7] == [
        "upgrade", "--install", "infra", "/the/chart", "--values", "-", "--force"]  # fmt: skip
    assert json.loads(first["stdin"]) == given
    assert json.loads(second["stdin"]) == {}
    assert "--dry-run=server" in second["argv"]
    assert "--dry-run=server" not in first["argv"]


@pytest.mark.parametrize(
    "option", ["--wait", "--wait=true", "--atomic", "--rollback-on-failure", "--create-namespace"]
)
def test_what_removes_the_evidence_is_never_passed(fake: Fake, tmp_path: Path, option: str) -> None:
    """A failed release stays as it is, with its pods and events."""
    with pytest.raises(ValueError, match="removes the evidence"):
        helm(fake, tmp_path).upgrade("infra", Path("/the/chart"), arguments=[option])
    assert not (fake.folder / "calls").exists()


def test_what_it_said_is_the_message_without_passwords(fake: Fake, tmp_path: Path) -> None:
    """Its words, its status, and for the state that a killed helm leaves, what to look at."""
    register(PASSWORD)
    fake.answers(err=f"Error: another operation (install) is in progress {PASSWORD}", status=1)
    with pytest.raises(HelmFailed, match="helm upgrade --install in namespace cost-mgmt") as told:
        helm(fake, tmp_path).upgrade("infra", Path("/the/chart"))
    assert told.value.status == 1
    assert "another operation (install) is in progress" in str(told.value)
    assert "`helm history` shows which revision" in str(told.value)
    assert PASSWORD not in f"{told.value}{vars(told.value)}"


def test_a_helm_that_hangs_is_ended(fake: Fake, tmp_path: Path) -> None:
    """At the deadline it is told to end; nothing of it goes on."""
    fake.answers(sleep=600)
    began = time.monotonic()
    with pytest.raises(HelmFailed, match="did not end within 1 s") as told:
        helm(fake, tmp_path).rollback("infra", 3, deadline=1)
    assert told.value.status is None
    assert time.monotonic() - began < 300
    assert fake.calls()[0]["argv"][:3] == ["rollback", "infra", "3"]


def test_the_releases_of_every_state_are_seen(fake: Fake, tmp_path: Path) -> None:
    """A pending one blocks every later operation: it must not be overlooked."""
    listed = [{"name": "infra", "revision": "3", "status": "pending-upgrade", "chart": "c-1.0"},
              {"name": "other", "revision": 1, "status": "deployed"}]  # fmt: skip
    fake.answers(out=json.dumps(listed))
    infra, other = helm(fake, tmp_path).releases()
    assert (infra.release, infra.revision, infra.pending) == ("infra", 3, True)
    assert (other.revision, other.pending) == (1, False)
    assert helm(fake, tmp_path).status("gone") is None
    argv = fake.calls()[0]["argv"]
    assert {"--deployed", "--failed", "--pending", "--uninstalling"} <= set(argv)


def test_an_answer_that_is_no_json_is_an_error(fake: Fake, tmp_path: Path) -> None:
    """It is never taken for no releases."""
    fake.answers(out="WARNING: something else")
    with pytest.raises(HelmFailed, match="not in JSON: WARNING"):
        helm(fake, tmp_path).releases()


def test_known_passwords_do_not_come_back_with_values(fake: Fake, tmp_path: Path) -> None:
    """An operator may have put a password into values, where it does not belong."""
    register(PASSWORD)
    fake.answers(out=json.dumps({"a": [{"b": f"x {PASSWORD}"}], "c": 1}))
    assert helm(fake, tmp_path).values("infra") == {"a": [{"b": f"x {MASK}"}], "c": 1}


def test_no_secret_comes_out_of_what_was_rendered(fake: Fake, tmp_path: Path) -> None:
    """The manifest has each key's length and keyed hash; elsewhere the value is masked."""
    fake.answers(out=f"{SECRET_YAML}---\nkind: ConfigMap\ndata: {{copied: {PASSWORD}}}\n---\n")
    secret, copied = helm(fake, tmp_path).manifest("infra", key=b"of the run", revision=2)
    assert secret["data"]["password"].startswith(f"{len(PASSWORD)} bytes, ")
    assert "stringData" not in secret
    assert copied["data"] == {"copied": MASK}
    assert fake.calls()[0]["argv"][:5] == ["get", "manifest", "infra", "--revision", "2"]


def test_what_is_rendered_online_is_asked_for_so(fake: Fake, tmp_path: Path) -> None:
    """Only then does `lookup` find what is there."""
    fake.answers(out=SECRET_YAML)
    made = helm(fake, tmp_path)
    made.template("infra", Path("/the/chart"), key=b"k", values={"a": 1}, online=True)
    made.template("infra", Path("/the/chart"), key=b"k")
    online, offline = fake.calls()
    assert "--dry-run=server" in online["argv"]
    assert "--dry-run=server" not in offline["argv"]
    assert json.loads(online["stdin"]) == {"a": 1}


def test_what_is_no_yaml_is_an_error_that_does_not_repeat_it() -> None:
    """YAML's own message quotes the line, which may be a password."""
    with pytest.raises(HelmFailed, match="is no YAML") as told:
        documents(f"password: [{PASSWORD}", key=b"k")
    assert PASSWORD not in str(told.value)
