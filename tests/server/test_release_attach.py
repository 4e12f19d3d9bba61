"""A whole run over a release: attached by streams, judged, and nothing left in its namespace."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests import release_objects as made
from tests.server.access_server import OwnServer
from tests.server.pod_api import status
from tests.server.release_api import (
    APPS,
    ASKED,
    BATCH,
    CORE,
    NETWORKING,
    TRUSTED,
    ReleaseApi,
    attached,
)
from tests.server.run_support import Place, Ran

GROUPS = ("CM-REL", "CM-SEC", "CM-PER")


def of_release(ran: Ran) -> dict[str, str]:
    """Return what the checks of releases came to, but those that passed."""
    return {
        id_: outcome
        for id_, outcome in ran.outcomes.items()
        if id_.startswith(GROUPS) and outcome != "passed"
    }


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_release_is_judged_by_streams_and_a_probe(
    place: Place, release: ReleaseApi, workers: str
) -> None:
    """All of its own checks pass, and the probe that was made for it is gone."""
    ran = attached(place, release, "-n", workers)
    assert of_release(ran) == {"CM-SEC-009": "not-supported"}, ran.said
    assert {ran.outcomes[f"CM-CON-0{n}"] for n in ("01", "02", "03", "04", "07")} == {"passed"}
    assert "allowed: probe, a pod of ours in the namespace" in ran.out
    assert release.jobs() == []
    assert [line.split()[0] for line in release.made()] == ["POST", "DELETE"]
    unencrypted = ran.summary("CM-CON-008")
    assert "not encrypted" in unencrypted, "a door's socket is no local connection"


def test_read_only_makes_nothing(place: Place, release: ReleaseApi) -> None:
    """The relay runs in the database's pod, and what only another pod can show is unverifiable."""
    ran = attached(place, release, "--costmgmt-allow=read-only")
    assert release.made() == []
    assert of_release(ran) == {
        "CM-SEC-007": "unverifiable", "CM-SEC-008": "unverifiable", "CM-SEC-009": "not-supported",
    }  # fmt: skip
    assert "--costmgmt-allow=read-only" in ran.summary("CM-SEC-007")
    assert ran.outcomes["CM-CON-007"] == "passed"


def test_who_may_make_no_pod_looks_from_the_database_s_own(
    place: Place, release: ReleaseApi
) -> None:
    """Without that right the probe is left out, and the right is named."""
    release.cluster.allowed = lambda asked: asked["resource"] != "jobs"
    ran = attached(place, release)
    assert release.made() == []
    assert ran.outcomes["CM-SEC-007"] == "unverifiable"
    assert "create jobs.batch" in ran.summary("CM-SEC-007")


def test_a_wrong_secret_is_the_release_s_fault(place: Place, release: ReleaseApi) -> None:
    """A Secret that does not open the database fails its check; what depends on it is blocked."""
    wrong = made.secret(database="koku", username="koku", password="Wrong" + made.PASSWORD)
    release.objects[f"{CORE}/secrets/postgres-credentials"] = wrong
    ran = attached(place, release)
    ran.sound(1, "non-conformant")
    assert ran.outcomes["CM-SEC-007"] == "failed"
    assert ran.outcomes["CM-SEC-008"] == "blocked"
    assert ran.outcomes["CM-CON-002"] == "error"


@pytest.mark.parametrize("rule", ["host all all 127.0.0.1/32 trust",
                                  "host all postgres 127.0.0.1/32 trust"])  # fmt: skip
def test_trust_from_other_pods_is_seen(
    place: Place, release: ReleaseApi, release_host: OwnServer, rule: str
) -> None:
    """Whoever is trusted over the network is told apart from the pod's own localhost."""
    release_host.write("data/pg_hba.conf", f"{TRUSTED}\n{rule}\n{ASKED}\n")
    release_host.sql("SELECT pg_reload_conf()")
    try:
        ran = attached(place, release)
    finally:
        release_host.write("data/pg_hba.conf", f"{TRUSTED}\n{ASKED}\n")
        release_host.sql("SELECT pg_reload_conf()")
    assert ran.outcomes["CM-SEC-008"] == "failed", ran.said
    assert "superuser" in ran.summary("CM-SEC-008")
    everybody = "all all" in rule
    assert (ran.outcomes["CM-CON-005"] == "failed") is everybody
    assert (ran.outcomes["CM-CON-007"] == "failed") is everybody


def test_a_policy_that_nothing_enforces_fails(place: Place, release: ReleaseApi) -> None:
    """A pod that the policy does not let in connects all the same."""
    release.objects[f"{NETWORKING}/networkpolicies"] = [made.network_policy()]
    ran = attached(place, release)
    assert ran.outcomes["CM-SEC-009"] == "failed", ran.said
    assert release.jobs() == []


def test_a_policy_that_is_enforced_passes(place: Place, release: ReleaseApi) -> None:
    """The excluded pod's way does not reach the database, the included one's does."""
    release.objects[f"{NETWORKING}/networkpolicies"] = [made.network_policy()]
    # The excluded pod goes to the address, the included one to the name.
    release.cluster.hosts[made.POD_IP] = "127.0.0.9"
    ran = attached(place, release)
    assert ran.outcomes["CM-SEC-009"] == "passed", ran.said


def test_a_pod_that_is_not_ready_fails_and_blocks(place: Place, release: ReleaseApi) -> None:
    """The release is at fault, not the way to it; what the container says is in the finding."""
    pod = release.objects[f"{CORE}/pods/postgres-0"]
    pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
    waiting = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod["status"]["containerStatuses"] = [{"name": "postgresql", "state": waiting}]
    ran = attached(place, release).sound(1, "non-conformant")
    assert ran.outcomes["CM-REL-002"] == "failed"
    assert ran.outcomes["CM-CON-001"] == "blocked"
    told = next(c for c in ran.report["checks"] if c["id"] == "CM-REL-002")["findings"][0]
    assert "ImagePullBackOff no such image" in told["found"]


UNREACHABLE = {
    "no-namespace": ("does not exist", "none is made"),
    "no-release": ("There is no StatefulSet postgres",),
    "no-right": ("get secrets 'postgres-credentials'", "apiGroups"),
    "no-kubeconfig": ("The kubeconfig", "does not exist"),
    "another-token": ("does not know these credentials",),
}


@pytest.mark.parametrize("case", UNREACHABLE)
def test_what_cannot_be_reached_is_one_error(place: Place, release: ReleaseApi, case: str) -> None:
    """One error, everything else blocked by it, inconclusive; nothing is made."""
    given: list[str] = []
    if case == "no-namespace":
        path = f"/api/v1/namespaces/{made.NAMESPACE}"
        release.objects[path] = status(404, "NotFound", "namespaces not found")
    elif case == "no-release":
        del release.objects[f"{APPS}/statefulsets/postgres"]
    elif case == "no-right":
        release.cluster.allowed = lambda asked: asked["resource"] != "secrets"
    elif case == "no-kubeconfig":
        given = [f"--costmgmt-kubeconfig={place.folder}/nothing"]
    else:
        release.cluster.users = {"another": "tester"}
    ran = attached(place, release, *given).sound(8, "inconclusive")
    outcomes = ran.outcomes
    assert outcomes.pop("CM-REL-001") == "error"
    assert set(outcomes.values()) == {"blocked"}
    for word in UNREACHABLE[case]:
        assert word in ran.summary("CM-REL-001")
    assert release.made() == []


def test_a_probe_that_cannot_run_names_the_option(place: Place, release: ReleaseApi) -> None:
    """No image, no right to run it, a quota: one error that says by which option it is mended."""
    release.objects[f"{BATCH}/jobs"] = lambda _: {"kind": "List", "metadata": {}, "items": []}
    release.objects[f"{CORE}/pods"] = []
    event = {
        "involvedObject": {"kind": "Job"}, "type": "Warning", "reason": "FailedCreate",
        "message": "exceeded quota", "lastTimestamp": "2026-11-24T10:00:00Z",
    }  # fmt: skip
    release.objects[f"{CORE}/events"] = [event]
    ran = attached(place, release).sound(8, "inconclusive")
    assert ran.outcomes["CM-REL-001"] == "error"
    for word in ("exceeded quota", "--costmgmt-probe-image"):
        assert word in ran.summary("CM-REL-001")
    shown = {each["title"]: each["text"] for each in ran.report["exhibits"]}
    assert "exceeded quota" in shown["events"]
    assert release.jobs() == []


def test_the_report_s_folder_holds_no_password(
    place: Place, release: ReleaseApi, tmp_path: Path
) -> None:
    """Passwords planted in manifests end in no report, though findings say where they stand."""
    pod = release.objects[f"{CORE}/pods/postgres-0"]
    pod["spec"]["containers"][0]["env"].append({"name": "EXTRA", "value": made.PASSWORD})
    pod["metadata"]["annotations"] = {"note": f"it is {made.PASSWORD}"}
    release.objects[f"{CORE}/configmaps"].append(
        {"metadata": {"name": "other"}, "data": {"url": f"postgresql://koku:{made.PASSWORD}@db/x"}}
    )
    values = {"postgresql": {"password": made.PASSWORD}}
    release.objects[f"{CORE}/secrets"] = [made.helm_record(values=values)]
    junit = tmp_path / "junit.xml"
    ran = attached(place, release, f"--junitxml={junit}")
    assert of_release(ran).keys() >= {"CM-REL-008", "CM-REL-009"}, ran.said
    whole = "".join(path.read_text() for path in ran.folder.iterdir()) + junit.read_text()
    assert made.PASSWORD not in whole
    assert "configmaps/other" in whole
    assert "values.postgresql.password" in whole


def test_a_failure_shows_what_the_cluster_says(
    place: Place, release: ReleaseApi, release_host: OwnServer, tmp_path: Path
) -> None:
    """Events, objects, logs and what was patched since; a password planted in each is nowhere."""
    leak = f"it is {made.PASSWORD} here"
    event = {
        "involvedObject": {"kind": "Pod", "name": "postgres-0"}, "type": "Warning",
        "reason": "Unhealthy", "message": f"probe failed, {leak}",
        "lastTimestamp": "2026-11-24T10:00:00Z",
    }  # fmt: skip
    release.objects[f"{CORE}/events"] = [event]
    log = "an older line\n" * 20_000
    log += f"LOG: started\nSTATEMENT:  ALTER ROLE x PASSWORD 'never-known'\n{leak}\n"
    release.objects[f"{CORE}/pods/postgres-0/log"] = log.encode()
    release.objects[f"{CORE}/services/postgres"]["spec"]["selector"] = {"app": leak}
    junit, allure = tmp_path / "junit.xml", tmp_path / "allure"
    written = (f"--junitxml={junit}", f"--alluredir={allure}")
    ran = attached(place, release, *written).sound(1, "non-conformant")
    shown = {each["title"]: each["text"] for each in ran.report["exhibits"]}
    assert "Unhealthy" in shown["events"]
    assert "LOG: started" in shown["log of postgresql"]
    assert "app: it is ********" in shown["services postgres"]
    assert (
        "postgresql-data-postgres-0" in shown["persistentvolumeclaims postgresql-data-postgres-0"]
    )
    files = [junit, *ran.folder.iterdir(), *allure.iterdir()]
    for password in (made.PASSWORD, "never-known"):
        assert not [path for path in files if password in path.read_text()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    results = [json.loads(path.read_text()) for path in allure.glob("*-result.json")]
    (verdict,) = (each for each in results if each["name"] == "verdict: non-conformant")
    attachments = {a["name"]: (allure / a["source"]).read_text() for a in verdict["attachments"]}
    assert attachments == shown
    assert "are left out]" in shown["log of postgresql"]
    assert max(map(len, shown.values())) < 49_000
    assert "Unhealthy" in ran.out
    assert "Unhealthy" in junit.read_text()
    assert "Unhealthy" in (ran.folder / "report.html").read_text()
    assert release_host


def test_a_server_outside_is_judged_from_inside(place: Place, release: ReleaseApi) -> None:
    """By host and Secret; no database is in the namespace, and no wrong login is tried."""
    for path in [p for p in release.objects if p.endswith(("/postgres", "/postgres-0"))]:
        del release.objects[path]
    own = made.secret("my-credentials", database="koku", username="koku", password=made.PASSWORD)
    release.objects[f"{CORE}/secrets/my-credentials"] = own
    release.cluster.hosts["db.example.com"] = "127.0.0.1"
    template = release.objects[f"{BATCH}/cronjobs/cost-mgmt-migration"]
    env = template["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["env"]
    for entry in env:
        if entry.get("valueFrom", {}).get("secretKeyRef", {}).get("name") == "postgres-credentials":
            entry["valueFrom"]["secretKeyRef"]["name"] = "my-credentials"
    given = ("--costmgmt-host=db.example.com", "--costmgmt-secret=my-credentials")
    ran = attached(place, release, *given)
    told = of_release(ran)
    assert set(told.values()) == {"not-supported"}, ran.said
    passed = {id_ for id_, said in ran.outcomes.items() if said == "passed"}
    assert passed >= {
        "CM-REL-001", "CM-SEC-001", "CM-SEC-003", "CM-SEC-005", "CM-SEC-007", "CM-CON-002",
        "CM-CON-004",
    }  # fmt: skip
    assert ran.outcomes["CM-CON-007"] == "unverifiable"
    assert ran.report["target"]["mode"] == "external"
    assert release.jobs() == []


def test_a_database_beside_the_server_outside_is_told(place: Place, release: ReleaseApi) -> None:
    """Whose data is it then that the application sees?"""
    given = ("--costmgmt-host=postgres", "--costmgmt-secret=postgres-credentials")
    ran = attached(place, release, *given).sound(1, "non-conformant")
    assert ran.outcomes["CM-REL-001"] == "failed"


def test_a_server_that_offers_tls_is_spoken_to_by_it(
    place: Place, release: ReleaseApi, release_host: OwnServer
) -> None:
    """By TCP on loopback, which asks the kernel who connects; all else is as over a socket."""
    if shutil.which("openssl") is None or release_host.sql("SHOW ssl_library")[0][0] == "":
        pytest.skip("no TLS can be had here")
    names = [release_host.data / "server.key", release_host.data / "server.crt"]
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=postgres -keyout {} -out {}"
    made_by = ["openssl", *shlex.split(words.format(*names))]
    subprocess.run(made_by, check=True, capture_output=True)
    for path in names:
        path.chmod(0o600)
        if release_host.account:
            shutil.chown(path, release_host.account["user"], release_host.account["group"])
    release_host.sql("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()")
    try:
        release_host.wait(release_host.login("koku", made.PASSWORD, "koku", sslmode="require"))
        ran = attached(place, release)
    finally:
        release_host.sql("ALTER SYSTEM RESET ssl", "SELECT pg_reload_conf()")
    assert of_release(ran) == {"CM-SEC-009": "not-supported"}, ran.said
    assert ran.outcomes["CM-CON-008"] == "passed", ran.said
    assert ran.outcomes["CM-CON-007"] == "passed"
