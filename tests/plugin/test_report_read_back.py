"""What other people's parsers read of a run that has every outcome: JUnit, Allure, the schema."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jsonschema
import junitparser
import pytest

from pytest_costmgmt.resources import PACKAGE

PASSWORD = "hunter2'<&>-planted"

# Judges that see a server which is as bad as can be: a failure, an error, what no login may see.
WORSE = f"""
from pytest_costmgmt.judge import extensions, roles, server
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified
from pytest_costmgmt.secret import Secret

Secret({PASSWORD!r})

def failed(*_, **__):
    fix = Fix(kind="sql", text="SELECT 'mended';", needs="superuser", database="koku")
    found = "it said {{}} aloud".format({PASSWORD!r})
    return Judgement(
        examined=("what was looked at",),
        findings=(Finding(summary="it is broken", expected="whole", found=found, fix=fix),),
    )

def error(*_, **__):
    raise RuntimeError("the ground shook")

def unverifiable(*_, **__):
    return Judgement(unverified=(Unverified(what="pg_secret", who="a DBA", how="SELECT 1"),))

server.version_floor = extensions.installable = failed
roles.login_roles = error
server.supported = unverifiable
"""


@dataclass(frozen=True)
class Files:
    """What a run left."""

    report: dict[str, Any]
    junit: Path
    allure: Path
    page: str
    out: str

    def of(self, outcome: str) -> set[str]:
        """Return the ids of the checks that came to an outcome."""
        return {c["id"] for c in self.report["checks"] if c["outcome"] == outcome}


@pytest.fixture(scope="module", params=[(), ("-n", "2")], ids=["alone", "workers"])
def files(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Files:
    """Run the suite against judges that find every outcome; Allure and JUnit are asked for."""
    place = tmp_path_factory.mktemp("run")
    (place / "worse.py").write_text(WORSE)
    path = os.pathsep.join(filter(None, [str(place), os.environ.get("PYTHONPATH")]))
    inherited = ("PYTEST_", "COSTMGMT_", "PG")
    environ = {k: v for k, v in os.environ.items() if not k.startswith(inherited)}
    done = subprocess.run(
        [
            sys.executable, "-m", "pytest", "-p", "worse", "--costmgmt",
            "--costmgmt-profile=smoke", "--costmgmt-skip=CM-SRV-003=the operator says so",
            "--costmgmt-skip=CM-ROL-009=skipped, and blocked too",
            f"--costmgmt-report={place / 'report'}", f"--junitxml={place / 'junit' / 'j.xml'}",
            f"--alluredir={place / 'allure'}", *request.param,
        ],
        cwd=place, env={**environ, "PYTHONPATH": path}, capture_output=True, text=True,
        timeout=180, check=False,
    )  # fmt: skip
    out = done.stdout + done.stderr
    assert (place / "report" / "report.json").exists(), out
    assert done.returncode == 1, out
    return Files(
        report=json.loads((place / "report" / "report.json").read_text()),
        junit=place / "junit" / "j.xml",
        allure=place / "allure",
        page=(place / "report" / "report.html").read_text(),
        out=out,
    )


def cases(files: Files) -> dict[str, junitparser.TestCase]:
    """Return JUnit's cases by check id, the verdict's by ``verdict``."""
    (suite,) = junitparser.JUnitXml.fromfile(str(files.junit))
    found = {}
    for case in suite:
        found[properties(case).get("costmgmt_id", case.name)] = case
    return found


def properties(case: Any) -> dict[str, str]:
    """Return a case's properties."""
    return {each.name: each.value for each in case.child(junitparser.Properties) or ()}


def results(files: Files) -> dict[str, dict[str, Any]]:
    """Return Allure's results by check id; the verdict's is by itself."""
    read = [json.loads(path.read_text()) for path in files.allure.glob("*-result.json")]
    found = {each["name"].split()[0]: each for each in read}
    assert len(found) == len(read)
    verdict = found.pop("verdict:")
    assert (verdict["name"], verdict["status"]) == ("verdict: non-conformant", "failed")
    assert "CM-SRV-001" in verdict["statusDetails"]["trace"]
    return found


def test_the_run_has_every_outcome(files: Files) -> None:
    """The material of these tests is there, and the verdict is the failure's."""
    assert files.report["verdict"] == "non-conformant"
    assert files.of("failed") == {"CM-SRV-001", "CM-EXT-001"}
    assert "CM-ROL-001" in files.of("error")
    assert {"CM-EXT-002", "CM-EXT-004", "CM-EXT-007", "CM-ROL-009"} <= files.of("blocked")
    assert files.of("skipped") == {"CM-SRV-003"}
    assert "CM-SRV-002" in files.of("unverifiable")
    assert "CM-CON-008" in files.of("not-supported")


def test_junit_counts_as_the_report_does(files: Files) -> None:
    """Each check is one case with one result; the verdict is one more, and it failed."""
    found = cases(files)
    kinds = Counter[str]()
    for case in found.values():
        assert len(case.result) <= 1, case.name
        kinds[type(case.result[0]).__name__ if case.result else "Passed"] += 1
    counts = Counter(files.report["counts"])
    assert kinds == {
        "Passed": counts["passed"],
        "Failure": counts["failed"] + 1,
        "Error": counts["error"] + counts["blocked"],
        "Skipped": counts["skipped"] + counts["not-supported"] + counts["unverifiable"],
    }
    (suite,) = junitparser.JUnitXml.fromfile(str(files.junit))
    assert (suite.failures, suite.errors, suite.skipped, suite.tests) == (
        kinds["Failure"], kinds["Error"], kinds["Skipped"], len(files.report["checks"]) + 1,
    )  # fmt: skip


def test_junit_says_it_in_our_words(files: Files) -> None:
    """Failure has evidence and fix, an error its cause, a skip our word first."""
    found = cases(files)
    failure = found["CM-SRV-001"].result[0]
    for words in ("it is broken", "expected: whole", "SELECT 'mended';", "needs superuser"):
        assert words in failure.text
    assert "error: RuntimeError: the ground shook" in found["CM-ROL-001"].result[0].message
    assert "blocked: blocked by CM-EXT-001" in found["CM-EXT-002"].result[0].message
    firsts = {"CM-SRV-003": "skipped", "CM-SRV-002": "unverifiable", "CM-CON-008": "not-supported"}
    for id_, word in firsts.items():
        assert found[id_].result[0].message.startswith(f"{word}: "), id_
    assert "the operator says so" in found["CM-SRV-003"].result[0].message


def test_junit_carries_metadata(files: Files) -> None:
    """Level, effect and reference of a check, and the verdict's facts, are properties."""
    found = cases(files)
    for check in files.report["checks"]:
        facts = properties(found[check["id"]])
        assert facts["costmgmt_level"] == check["level"]
        assert facts["costmgmt_effect"] == check["effect"]
        assert facts["costmgmt_reference"] == check["reference"]
    verdict = found["verdict"]
    facts = properties(verdict)
    assert facts["costmgmt_verdict"] == "non-conformant"
    assert facts["costmgmt_profile"] == "smoke"
    assert facts["costmgmt_run"] == files.report["run"]["id"]
    assert verdict.result[0].message.startswith("non-conformant")


def test_allure_shows_our_outcomes(files: Files) -> None:
    """Failed is failed, error and blocked are broken, what was not judged is skipped."""
    status = {"passed": "passed", "failed": "failed", "error": "broken", "blocked": "broken"}
    found = results(files)
    assert set(found) == {check["id"] for check in files.report["checks"]}
    for check in files.report["checks"]:
        told = found[check["id"]]
        assert told["status"] == status.get(check["outcome"], "skipped"), check["id"]
        if check["outcome"] != "passed":
            assert told["statusDetails"]["message"].startswith(f"{check['outcome']}: ")


def test_allure_knows_what_a_check_is(files: Files) -> None:
    """Feature is the group, severity the level; the description holds title and rationale."""
    found = results(files)
    for check in files.report["checks"]:
        told = found[check["id"]]
        labels = [(label["name"], label["value"]) for label in told["labels"]]
        assert [v for n, v in labels if n == "feature"] == [check["group"]]
        severity = "critical" if check["level"] == "MUST" else "normal"
        assert [v for n, v in labels if n == "severity"] == [severity]
        for words in (check["title"], check["rationale"], check["reference"]):
            assert words in told["description"]
        links = [link["url"] for link in told.get("links", [])]
        assert links == ([check["reference"]] if check["reference"].startswith("http") else [])


def test_allure_has_evidence_and_fix(files: Files) -> None:
    """A failure's evidence and fix are attached; every check that was judged has evidence."""
    attached = {
        id_: {a["name"]: (files.allure / a["source"]).read_text() for a in told["attachments"]}
        for id_, told in results(files).items()
    }
    for check in files.report["checks"]:
        wanted = {"evidence", "fix"} if check["outcome"] == "failed" else {"evidence"}
        assert set(attached[check["id"]]) == wanted, check["id"]
        for each in check["examined"]:
            assert each in attached[check["id"]]["evidence"]
    assert "expected: whole" in attached["CM-SRV-001"]["evidence"]
    assert "SELECT 'mended';" in attached["CM-SRV-001"]["fix"]
    assert "database koku, needs superuser" in attached["CM-SRV-001"]["fix"]


def test_a_password_is_in_none_of_them_and_the_rest_is_readable(files: Files) -> None:
    """What a server said is masked in each file, and only that."""
    texts = {"junit": files.junit.read_text(), "page": files.page, "out": files.out}
    texts["report"] = json.dumps(files.report)
    texts |= {path.name: path.read_text() for path in files.allure.iterdir()}
    for name, text in texts.items():
        assert "hunter2" not in text, name
    for name in ("junit", "page", "out", "report"):
        assert "it said ******** aloud" in texts[name], name


def test_files_are_for_their_owner_alone(files: Files) -> None:
    """JUnit's and Allure's files are 0600 as ours are."""
    assert files.junit.stat().st_mode & 0o777 == 0o600
    assert {path.stat().st_mode & 0o777 for path in files.allure.iterdir()} == {0o600}


def test_the_report_is_what_its_schema_says(files: Files) -> None:
    """report.json is valid; a report with an outcome that we do not know is not."""
    schema = json.loads((PACKAGE / "engine" / "report" / "report.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(files.report, schema)
    wrong = {**files.report, "checks": [{**files.report["checks"][0], "outcome": "green"}]}
    with pytest.raises(jsonschema.ValidationError, match="green"):
        jsonschema.validate(wrong, schema)
