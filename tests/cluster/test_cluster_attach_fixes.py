"""A finding's fix, run as it is pasted, ends the finding on a real cluster."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.attach_bed import ended, judged
from tests.cluster.releases import SECRET, Release
from tests.server import run_support
from tests.server.run_support import Place, Ran


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def pasted(release: Release, place: Place, text: str) -> None:
    """Run a fix as who may do everything does, with the release's namespace as the context's."""
    config = json.loads(release.bed.kubeconfig.read_text())
    config["contexts"][0]["context"]["namespace"] = release.namespace
    own = place.folder / "administrator"
    own.write_text(json.dumps(config))
    environ = release.bed.environment(own)
    if release.bed.node is not None:
        environ["PATH"] = f"{release.bed.node.programs}{os.pathsep}{environ['PATH']}"
    done = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", text], env=environ, cwd=place.here,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def fix(ran: Ran, check: str) -> str:
    """Return what the check's first finding says to run."""
    told = next(each for each in ran.report["checks"] if each["id"] == check)
    return str(told["findings"][0]["fix"]["text"])


@pytest.mark.parametrize("around", ["{}\n", " {}\r\n"], ids=["line-end", "blank-and-line-end"])
def test_a_newline_in_the_secret_goes_by_its_fix(
    judged_release: Release, prober: Path, place: Place, around: str
) -> None:
    """Told by its check; afterwards the same password opens the database, and nothing is left."""
    password, pod = judged_release.password(), judged_release.identity()[0]
    spoilt = json.dumps({"stringData": {"password": around.format(password)}})
    words = ("patch", "secret", SECRET, "-n", judged_release.namespace, "--type=merge", "-p")
    judged_release.bed.kubectl(*words, spoilt)
    ran = judged(place, judged_release, prober).sound(1, "non-conformant", password)
    assert "CM-SEC-003" in ended(ran)
    pasted(judged_release, place, fix(ran, "CM-SEC-003"))
    assert judged_release.password() == password
    judged_release.rolled(pod)
    ran = judged(place, judged_release, prober).sound(0, "conformant", password)
    assert ended(ran) == {"CM-CON-008": "failed"}


def test_a_key_that_is_missing_comes_back_by_its_fix(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """The names stay, and the password that was written opens the database."""
    old, pod = judged_release.password(), judged_release.identity()[0]
    gone = json.dumps([{"op": "remove", "path": "/data/password"}])
    words = ("patch", "secret", SECRET, "-n", judged_release.namespace, "--type=json", "-p")
    judged_release.bed.kubectl(*words, gone)
    ran = judged(place, judged_release, prober).sound(1, "non-conformant", old)
    assert "CM-SEC-001" in ended(ran)
    new = secrets.token_urlsafe(18)
    pasted(judged_release, place, fix(ran, "CM-SEC-001").replace("NEW-PASSWORD", new))
    assert judged_release.password() == new
    judged_release.rolled(pod)
    ran = judged(place, judged_release, prober).sound(0, "conformant", new)
    assert ended(ran) == {"CM-CON-008": "failed"}
