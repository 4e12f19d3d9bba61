"""Plants a fault into a fresh copy of a healthy server, runs the suite on it, applies the fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg

from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.login import Login, pack
from pytest_costmgmt.servers import Server, embedded
from tests.faults.model import Fault, Sql


def plain(login: Login) -> dict[str, Any]:
    """Return a login's parts, with its password: tests must be able to say it."""
    packed = pack(login)
    assert packed is not None
    return packed


@dataclass
class Bed:
    """One running copy of the healthy server."""

    server: Server
    programs: Path
    folder: Path
    instance: embedded.Instance
    environ: dict[str, str] = field(default_factory=dict)

    def login(self, who: str) -> Login:
        """Return the login of admin, app or hive."""
        logins = {
            "app": self.server.application,
            "admin": self.server.administrator,
            "hive": self.server.hive,
        }
        login = logins[who]
        assert login is not None, who
        return login

    def dsn(self, who: str, database: str = "", *, secret: bool = False) -> str:
        """Return a conninfo, without a password unless a test itself connects."""
        login = self.login(who)
        given = {**login.where, "user": login.role, "dbname": database or login.database}
        if secret:
            given["password"] = self.password(who)
        return psycopg.conninfo.make_conninfo("", **given)

    def password(self, who: str) -> str:
        """Return a password, as a test must."""
        return str(plain(self.login(who))["password"])

    def password_file(self, who: str) -> Path:
        """Return a 0600 file that holds the password."""
        path = self.folder / f"{who}.password"
        path.write_text(self.password(who))
        path.chmod(0o600)
        return path

    def execute(self, sql: Sql) -> None:
        """Run a fault's statements, one at a time, in autocommit."""
        database = sql.database.format(hive_database="hive") or self.server.application.database
        names = {
            "role": ident(self.server.application.role),
            "database": ident(self.server.application.database),
            "hive_role": ident("hive"),
            "hive_database": ident("hive"),
        }
        with psycopg.connect(
            self.dsn(sql.who, database, secret=True), autocommit=True
        ) as connection:
            for statement in sql.statements:
                connection.execute(statement.format(**names).encode())

    def check(self, fault: Fault | None = None, *extra: str) -> dict[str, Any]:
        """Run the suite as a customer would; return its report.json."""
        profile = fault.profile if fault else "smoke"
        report = self.folder / "report"
        command = [
            sys.executable, "-m", "pytest_costmgmt.cli", "check", "-q",
            "--dsn", self.dsn("app"),
            "--password-file", str(self.password_file("app")),
            "--profile", profile, "--report", str(report),
            "--failed-logins", "2",
        ]  # fmt: skip
        if profile in {"full", "release-gate"}:
            command += ["--allow", "scratch"]
        given = set(fault.options) if fault else set()
        if "--requirements" not in given:
            command += ["--requirements", fault.requirements if fault else "koku-hive"]
        if fault is None or fault.as_admin:
            command += ["--admin-dsn", self.dsn("admin")]
            command += ["--admin-password-file", str(self.password_file("admin"))]
        if fault is None or fault.requirements == "koku-hive":
            command += ["--hive-password-file", str(self.password_file("hive"))]
        command += [
            option.replace("--costmgmt-", "--") for option in (fault.options if fault else ())
        ]
        command += list(extra)
        environ = {**os.environ, **self.environ, **(fault.environ if fault else {})}
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=120, cwd=self.folder,
            check=False,
        )  # fmt: skip
        written = report / "report.json"
        assert written.exists(), done.stdout + done.stderr
        whole: dict[str, Any] = json.loads(written.read_text())
        whole["exit"], whole["said"] = done.returncode, done.stdout + done.stderr
        return whole

    def apply_fixes(self) -> None:
        """Run fix.sql as a database administrator would: psql, stopping at the first error."""
        fixes = self.folder / "report" / "fix.sql"
        assert fixes.exists(), "the report has no fix.sql"
        login = self.login("admin")
        done = subprocess.run(
            [str(self.programs / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", str(fixes),
             self.dsn("admin")],
            env={**os.environ, "PGPASSWORD": self.password("admin")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{login.role}: {done.stderr}\n{fixes.read_text()}"


def outcomes(report: dict[str, Any]) -> dict[str, str]:
    """Return each check's outcome by id."""
    return {check["id"]: check["outcome"] for check in report["checks"]}


def told(report: dict[str, Any], healthy: dict[str, str]) -> str:
    """Return what a failed comparison needs: every check that differs, in its own words."""
    lines = [f"verdict {report['verdict']}, exit {report['exit']}"]
    for check in report["checks"]:
        if check["outcome"] != healthy.get(check["id"]):
            was = healthy.get(check["id"])
            lines.append(f"{check['id']} {was} -> {check['outcome']}: {check['summary']}")
    return "\n".join(lines)
