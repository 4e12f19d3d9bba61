"""The way to the cluster: what is wrong with it is one error; an API server may restart."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.attach_bed import arguments, ended, judged
from tests.cluster.releases import Release
from tests.cluster.testbed.bed import Node, Object
from tests.server import run_support
from tests.server.run_support import Place

KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
STATE = "run/bed"
READ_ONLY = "--costmgmt-allow=read-only"


@pytest.fixture
def place() -> Iterator[Place]:
    """Folders of the run."""
    with run_support.place() as found:
        yield found


def changed(place: Place, kubeconfig: Path, change: Callable[[Object], object]) -> Path:
    """Write a kubeconfig that is another one's, changed."""
    config = json.loads(kubeconfig.read_text())
    change(config)
    file = place.folder / "kubeconfig"
    file.write_text(json.dumps(config))
    return file


def openssl(*words: str, folder: Path) -> None:
    """Run openssl in a folder."""
    subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)


def unusable(place: Place, release: Release, kubeconfig: Path) -> str:
    """Assert one error that blocks all else; return its words."""
    ran = place.run(*arguments(release, kubeconfig), READ_ONLY).sound(8, "inconclusive")
    assert ended(ran) == {"CM-REL-001": "error"}
    assert release.password() not in ran.said
    return " ".join(ran.summary("CM-REL-001").split())


def test_a_kubeconfig_that_is_missing_is_one_error(judged_release: Release, place: Place) -> None:
    """It is named; no other cluster is taken in its place."""
    missing = place.folder / "nothing"
    told = unusable(place, judged_release, missing)
    assert str(missing) in told
    assert "does not exist" in told


def test_a_token_that_is_not_known_is_one_error(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """An expired or a revoked one: the API server says 401 to both."""

    def other(config: Object) -> None:
        config["users"][0]["user"]["token"] = "no-token-of-this-cluster"

    told = unusable(place, judged_release, changed(place, prober, other))
    assert "does not know these credentials" in told
    assert "Log in again" in told
    assert "no-token-of-this-cluster" not in told


def test_a_client_certificate_that_has_expired_is_one_error(
    judged_release: Release, prober: Path, place: Place, node: Node
) -> None:
    """Signed by the cluster's own authority, and yet over: that it has ended is told."""
    ca = node.root / STATE
    request = ("-keyout", "me.key", "-out", "me.csr", "-subj", "/O=system:masters/CN=me")
    openssl("req", "-new", *KEY, *request, folder=place.folder)
    signed = ("-CA", str(ca / "ca.crt"), "-CAkey", str(ca / "ca.key"), "-CAcreateserial",
              "-CAserial", str(place.folder / "serial"))  # fmt: skip
    dated = ("-days", "0", "-in", "me.csr", "-out", "me.crt")
    openssl("x509", "-req", *signed, *dated, folder=place.folder)

    def mine(config: Object) -> None:
        config["users"][0]["user"] = {
            "client-certificate": str(place.folder / "me.crt"),
            "client-key": str(place.folder / "me.key"),
        }

    told = unusable(place, judged_release, changed(place, prober, mine))
    assert "does not know these credentials" in told
    assert "The client certificate ended at 20" in told


def test_who_may_nothing_is_told_all_that_is_missing(judged_release: Release, place: Place) -> None:
    """At once, with the rules of a Role that would do."""
    stranger = judged_release.bed.account(judged_release.namespace, "stranger")
    told = unusable(place, judged_release, stranger)
    for word in ("get statefulsets.apps", "get secrets 'postgres-credentials'",
                 "create pods/exec", "apiGroups"):  # fmt: skip
        assert word in told


def test_a_server_that_does_not_answer_is_one_error(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """A cluster that was here once, and is no more."""

    def elsewhere(config: Object) -> None:
        cluster = config["clusters"][0]["cluster"]
        cluster["server"] = cluster["server"].rpartition(":")[0] + ":1"

    told = unusable(place, judged_release, changed(place, prober, elsewhere))
    assert "cannot be reached" in told


def pass_on(*ends: ssl.SSLSocket) -> None:
    """Pass on what comes until one ends: by one thread, for TLS's state is not for two."""
    for each in ends:
        each.setblocking(False)
    while True:
        passed = False
        for source, sink in (ends, ends[::-1]):
            try:
                part = source.recv(65536)
            except ssl.SSLWantReadError:
                continue
            if not part:
                return
            passed = True
            sink.setblocking(True)
            sink.sendall(part)
            sink.setblocking(False)
        if not passed:
            select.select(ends, (), (), 5)


@contextlib.contextmanager
def in_front(api: str, chain: Path) -> Iterator[int]:
    """Yield the port of one that speaks TLS by another certificate, and passes everything on."""
    host, port = re.fullmatch(r"https://(.+):(\d+)", api).groups()  # type: ignore[union-attr]
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(chain)
    to = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    to.check_hostname, to.verify_mode = False, ssl.CERT_NONE

    def serve(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), own.wrap_socket(plain, server_side=True) as client:
            reached = socket.create_connection((host, int(port)))
            with to.wrap_socket(reached) as server:
                pass_on(client, server)

    def accept(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                plain, _ = listening.accept()
                running.append(threading.Thread(target=serve, args=(plain,), daemon=True))
                running[-1].start()

    running: list[threading.Thread] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        taking = threading.Thread(target=accept, args=(listening,), daemon=True)
        taking.start()
        try:
            yield listening.getsockname()[1]
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            for each in (taking, *running):
                each.join(20)


def test_an_authority_without_key_identifiers_is_taken(
    judged_release: Release, prober: Path, place: Place
) -> None:
    """Many a cluster's is so, and from Python 3.13 on its default refuses such a one."""
    folder = place.folder
    bare = ("-addext", "subjectKeyIdentifier=none", "-addext", "authorityKeyIdentifier=none")
    authority = ("-addext", "basicConstraints=critical,CA:TRUE", "-subj", "/CN=bare")
    files = ("-keyout", "ca.key", "-out", "ca.crt")
    openssl("req", "-x509", *KEY, "-days", "2", *authority, *bare, *files, folder=folder)
    (folder / "ext").write_text(
        "subjectAltName=IP:127.0.0.1\nsubjectKeyIdentifier=none\nauthorityKeyIdentifier=none\n"
    )
    request = ("-keyout", "own.key", "-out", "own.csr", "-subj", "/CN=api")
    openssl("req", "-new", *KEY, *request, folder=folder)
    signed = ("-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2")
    made = ("-extfile", "ext", "-in", "own.csr", "-out", "own.crt")
    openssl("x509", "-req", *signed, *made, folder=folder)
    chain = folder / "chain.pem"
    chain.write_text((folder / "own.crt").read_text() + (folder / "own.key").read_text())
    api = json.loads(prober.read_text())["clusters"][0]["cluster"]["server"]
    with in_front(api, chain) as port:
        strict = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        strict.verify_flags |= ssl.VERIFY_X509_STRICT
        with (
            pytest.raises(ssl.SSLCertVerificationError, match="dentifier"),
            socket.create_connection(("127.0.0.1", port)) as plain,
            strict.wrap_socket(plain, server_hostname="127.0.0.1"),
        ):
            pass

        def there(config: Object) -> None:
            config["clusters"][0]["cluster"] = {
                "server": f"https://127.0.0.1:{port}",
                "certificate-authority": str(folder / "ca.crt"),
            }

        kubeconfig = changed(place, prober, there)
        ran = judged(place, judged_release, kubeconfig, READ_ONLY).sound(0, "conformant")
    assert ended(ran) == {"CM-CON-008": "failed"}


@pytest.mark.parametrize("moment", ["probe costmgmt-probe-", "facts read from"])
def test_an_api_server_that_restarts_is_never_the_release_s_fault(
    judged_release: Release, prober: Path, place: Place, node: Node, moment: str
) -> None:
    """What it broke off is an error or was tried again; nothing fails, and nothing crashes."""
    (old,) = node.processes("kube-apiserver")
    running = place.start(*arguments(judged_release, prober))
    running.until_said(moment)
    node.kill("kube-apiserver")
    ran = running.finished()
    bed = judged_release.bed
    bed.until("another API server", lambda: node.processes("kube-apiserver") not in ([], [old]))
    bed.until("its answer", lambda: bed.get("pod", "postgres-0", judged_release.namespace))
    assert ran.status in {0, 8}, ran.said
    for word in ("Traceback", "INTERNALERROR"):
        assert word not in ran.said
    failed = {id_ for id_, outcome in ran.outcomes.items() if outcome == "failed"}
    assert failed <= {"CM-CON-008"}, ran.said
    judged(place, judged_release, prober).sound(0, "conformant")
