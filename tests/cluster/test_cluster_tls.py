"""TLS: the server offers it by the operator's certificate, and clients verify it by their CA."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.releases import SMALL, Client, Release
from tests.cluster.testbed.bed import Bed, CommandFailed

TLS = ("--set=postgresql.tls.secretName=postgres-tls", "--set=postgresql.major=15")
KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def openssl(folder: Path, *arguments: str) -> None:
    """Run openssl there."""
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def authority(folder: Path, name: str) -> Path:
    """Make a certificate authority; return its certificate."""
    extensions = ("-addext", "basicConstraints=critical,CA:TRUE")
    files = ("-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl(folder, "req", "-x509", *KEY, "-subj", f"/CN={name}", *extensions, *files)
    return folder / f"{name}.crt"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a server's certificate, who signed it, and somebody who did not."""
    folder = tmp_path_factory.mktemp("tls")
    authority(folder, "ours")
    authority(folder, "theirs")
    (folder / "server.ext").write_text("subjectAltName=DNS:postgres\n")
    request = ("-keyout", "tls.key", "-out", "server.csr")
    openssl(folder, "req", "-new", *KEY[:5], "-subj", "/CN=postgres", *request)
    signed = ("-CA", "ours.crt", "-CAkey", "ours.key", "-CAcreateserial", "-days", "2")
    made = ("-extfile", "server.ext", "-in", "server.csr", "-out", "tls.crt")
    openssl(folder, "x509", "-req", *signed, *made)
    return folder


@pytest.fixture(scope="module")
def release(bed: Bed, folder: Path) -> Iterator[Release]:
    """A release that offers TLS."""
    with bed.namespace("tls") as namespace:
        release = Release.of_installer(bed, namespace)
        pair = (f"--cert={folder}/tls.crt", f"--key={folder}/tls.key")
        bed.kubectl("create", "secret", "tls", "postgres-tls", *pair, "-n", namespace)
        for name in ("ours", "theirs"):
            given = f"--from-file=ca.crt={folder}/{name}.crt"
            bed.kubectl("create", "secret", "generic", name, given, "-n", namespace)
        release.install(*SMALL, *TLS)
        bed.until_ready(namespace)
        release.initialize()
        yield release


@pytest.fixture(scope="module")
def client(release: Release) -> Client:
    """A pod of the same namespace."""
    pod = release.bed.get("pod", "postgres-0", release.namespace)
    image = pod["spec"]["containers"][0]["image"]
    return Client.start(release.bed, release.namespace, image)


def verified(client: Client, release: Release, certificate: Path) -> str:
    """Return the TLS version of a connection that verifies the Service's name."""
    where = "'host=postgres user=koku dbname=koku sslrootcert=/tmp/ca.crt'"
    asked = '"SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"'
    lines = (
        f"cat >/tmp/ca.crt <<'END'\n{certificate.read_text()}END",
        f"export PGPASSWORD={shlex.quote(release.password())} PGSSLMODE=verify-full",
        f"exec psql -X -q -A -t -w {where} -c {asked}\n",
    )
    command = ("exec", "-i", "-n", release.namespace, client.pod, "--", "bash", "-s")
    return client.bed.kubectl(*command, given="\n".join(lines)).strip()


def test_the_services_name_is_verified(client: Client, release: Release, folder: Path) -> None:
    """By the right authority it is TLS 1.3; by another one there is no connection."""
    assert verified(client, release, folder / "ours.crt") == "TLSv1.3"
    with pytest.raises(CommandFailed, match="certificate verify failed"):
        verified(client, release, folder / "theirs.crt")


@pytest.mark.parametrize(("authority", "end"), [("ours", "Complete"), ("theirs", "Failed")])
def test_a_migration_verifies_it_too(release: Release, authority: str, end: str) -> None:
    """With an authority that did not sign, nothing is migrated and the reason is told."""
    release.install(*SMALL, *TLS, f"--set=migration.tls.caSecretName={authority}")
    release.migrate(f"by-{authority}")
    ended = release.bed.until("its end", lambda: release.ended(f"by-{authority}"), seconds=600)
    log = release.bed.tell("logs", f"job/by-{authority}", "-n", release.namespace)
    assert ended == end, log
    assert ("certificate verify failed" in log) is (end == "Failed")
