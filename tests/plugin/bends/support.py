"""What a bend is, how it is planted from outside, and what must hold of the bent run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any, Literal

from pytest_costmgmt.engine.report.folder import UNFINISHED
from pytest_costmgmt.resources import PACKAGE
from tests.faults.harness import Bed

# What the run of these tests itself may have set.
INHERITED = ("PYTEST_", "COSTMGMT_", "PG", "PYTHON")


@dataclass(frozen=True, kw_only=True)
class Bend:
    """One attempt to make a verdict greener from outside.

    ``files`` are put into the working folder (``hostile.py`` is loaded by ``-p hostile``).
    ``expect`` is "same" for the outcomes, verdict and status of the unbent run, else "bent":
    inconclusive or worse, a status that is not 0, and one of the reasons holds ``named``.
    """

    id: str
    hostile: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    arguments: Sequence[str] = ()
    environ: Mapping[str, str] = field(default_factory=dict)
    expect: Literal["same", "bent"] = "bent"
    named: str = ""


@dataclass(frozen=True)
class Ran:
    """What one run of the suite came to."""

    status: int
    said: str
    report: dict[str, Any]

    @property
    def outcomes(self) -> dict[str, str]:
        """Each check's outcome by its id."""
        return {check["id"]: check["outcome"] for check in self.report["checks"]}

    @property
    def reasons(self) -> str:
        """The report's reasons, as one text."""
        return "\n".join(self.report["reasons"])


class Target:
    """A server with the arguments that make the suite judge it."""

    def __init__(self, bed: Bed) -> None:
        self.bed, self.runs = bed, 0
        self.last = bed.folder
        self.arguments = [
            f"--costmgmt-dsn={bed.dsn('app')}",
            f"--costmgmt-password-file={bed.password_file('app')}",
            f"--costmgmt-admin-dsn={bed.dsn('admin')}",
            f"--costmgmt-admin-password-file={bed.password_file('admin')}",
            f"--costmgmt-hive-password-file={bed.password_file('hive')}",
            "--costmgmt-failed-logins=2",
            "--costmgmt-profile=smoke",
        ]

    def folder(self, bend: Bend) -> Path:
        """Return a new working folder that holds the bend's files."""
        self.runs += 1
        folder = self.bed.folder / f"run-{self.runs}"
        folder.mkdir()
        files = dict(bend.files)
        if bend.hostile:
            files["hostile.py"] = dedent(bend.hostile)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    def run(
        self,
        bend: Bend,
        *,
        command: Sequence[str] = ("-m", "pytest"),
        target: Sequence[str] | None = None,
        prepare: Callable[[Path], Mapping[str, str]] = lambda _: {},
        reported: bool = True,
        line: str = "",
    ) -> Ran:
        """Run the suite in the bend's folder, as a person does.

        ``target`` replaces the arguments that name this server; ``prepare`` does more to the
        folder and returns more environment; ``line`` is the shell's, with the command as "$@".
        """
        folder = self.last = self.folder(bend)
        clean = {k: v for k, v in os.environ.items() if not k.startswith(INHERITED)}
        # The package that these tests stand beside, whatever is installed.
        path = f"{folder}{os.pathsep}{PACKAGE.parent}"
        environ = {**clean, "PYTHONPATH": path, **prepare(folder), **bend.environ}
        place = self.bed.folder / f"report-{self.runs}"
        arguments = [
            *(self.arguments if target is None else target),
            f"--costmgmt-report={place}",
        ]
        if "check" in command:
            arguments = [each.replace("--costmgmt-", "--") for each in arguments]
        if bend.hostile:
            arguments += ["-p", "hostile"]
        done = subprocess.run(
            [*(["sh", "-c", line, "sh"] if line else []),
             sys.executable, *command, *arguments, *bend.arguments], cwd=folder, env=environ,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        written, said = place / "report.json", done.stdout + done.stderr
        assert written.exists() or not reported, said
        report = json.loads(written.read_text()) if written.exists() else {}
        return Ran(done.returncode, said, report)


class Pair:
    """A healthy server and one with a planted fault, each with its unbent run."""

    def __init__(self, healthy: Target, faulty: Target, fault: str) -> None:
        self.healthy, self.faulty, self.fault = healthy, faulty, fault
        self.unbent = self.both(Bend(id="unbent"))
        for ran, verdict, status in zip(
            self.unbent, ("conformant", "non-conformant"), (0, 1), strict=True
        ):
            assert (ran.report["verdict"], ran.status) == (verdict, status), ran.said
        assert self.unbent[1].outcomes[fault] == "failed"

    def both(self, bend: Bend) -> tuple[Ran, Ran]:
        """Run the suite against both servers at once."""
        with ThreadPoolExecutor(2) as pool:
            first, second = pool.map(lambda t: t.run(bend), (self.healthy, self.faulty))
        return first, second

    def holds(self, bend: Bend) -> None:
        """Assert that neither server looks better than it is, and that the bend is named."""
        for ran, straight in zip(self.both(bend), self.unbent, strict=True):
            never_greener(ran, straight, self.fault)
            if bend.expect == "same":
                assert ran.outcomes == straight.outcomes, ran.said
                assert ran.report["verdict"] == straight.report["verdict"], ran.said
                assert ran.status == straight.status, ran.said
            else:
                assert ran.report["verdict"] != "conformant", ran.said
                assert ran.status != 0, ran.said
                assert bend.named in ran.reasons, f"{ran.reasons}\n{ran.said}"


def never_greener(ran: Ran, straight: Ran, fault: str) -> None:
    """Assert what holds of every bent run, whatever the bend."""
    for check, outcome in ran.outcomes.items():
        assert outcome == straight.outcomes[check] or outcome != "passed", (check, ran.said)
    if ran.status == 0:
        assert ran.report["verdict"] == "conformant", ran.said
    # As if a requirement were not met; but who leaves by os._exit(1) leaves the status, too.
    if ran.status == 1 and UNFINISHED not in ran.report["reasons"]:
        assert ran.report["verdict"] != "inconclusive", ran.said
    if ran.report["verdict"] == "conformant":
        assert ran.outcomes == straight.outcomes, ran.said
        assert straight.outcomes[fault] == "passed", ran.said
