"""Plants a fault into a fresh copy of a healthy server, runs the suite on it, applies the fix."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.login import Login, pack
from pytest_costmgmt.servers import Server, embedded
from tests.faults.forked import Runs
from tests.faults.model import Fault, Sql, Who

PARENT = "import subprocess, sys; sys.exit(subprocess.call(sys.argv[2:]))"
"Starts what follows its own first argument, which everybody can read meanwhile."


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
    runs: Runs
    environ: dict[str, str] = field(default_factory=dict)
    passwords: dict[Who, str] = field(default_factory=dict)
    "Those that are not the healthy server's."
    elsewhere: Bed | None = None
    "Where the administrator's login of a harmed run leads, if not here."

    def login(self, who: Who) -> Login:
        """Return the login of admin, app or hive."""
        logins = {
            "app": self.server.application,
            "admin": self.server.administrator,
            "hive": self.server.hive,
        }
        login = logins[who]
        assert login is not None, who
        return login

    def dsn(self, who: Who, database: str = "", *, secret: bool = False) -> str:
        """Return a conninfo, without a password unless a test itself connects."""
        login = self.login(who)
        given = {**login.where, "user": login.role, "dbname": database or login.database}
        if secret:
            given["password"] = self.password(who)
        return psycopg.conninfo.make_conninfo("", **given)

    def password(self, who: Who) -> str:
        """Return a password, as a test must."""
        return self.passwords.get(who) or str(plain(self.login(who))["password"])

    def password_file(self, who: Who) -> Path:
        """Return a 0600 file that holds the password."""
        path = self.folder / f"{who}.password"
        path.write_text(f"{self.password(who)}\n")
        path.chmod(0o600)
        return path

    def execute(self, planted: Sql) -> None:
        """Run a fault's statements, one at a time, in autocommit."""
        database = planted.database.format(hive_database="hive") or self.server.application.database
        names = {
            "role": ident(self.server.application.role),
            "database": ident(self.server.application.database),
            "hive_role": ident("hive"),
            "hive_database": ident("hive"),
        }
        with psycopg.connect(
            self.dsn(planted.who, database, secret=True), autocommit=True
        ) as connection:
            for statement in planted.statements:
                connection.execute(statement.format(**names).encode())

    def plant(self, fault: Fault) -> None:
        """Break what the fault breaks in the running server, and make its files."""
        for planted in fault.plant:
            self.execute(planted)
        self._change_passwords(fault.passwords)
        for name, text in fault.open_files.items():
            path = self.folder / name
            path.write_text(text.format(**self._words()))
            path.chmod(0o644)

    def heal(self, fault: Fault, report: dict[str, Any]) -> None:
        """Apply the fix: the report's where it must do, else the fault's own."""
        if fault.fix == "report":
            self._run_fix_sql()
        elif fault.fix == "shell":
            self._run_shell(fault, report)
        else:
            for fix in fault.fix:
                self.execute(fix)
        before = {who: str(plain(self.login(who))["password"]) for who in self.passwords}
        self._change_passwords(before)
        self.passwords.clear()

    def _change_passwords(self, passwords: dict[Who, str]) -> None:
        with psycopg.connect(self.dsn("admin", secret=True), autocommit=True) as connection:
            for who, password in passwords.items():
                role = sql.Identifier(self.login(who).role)
                statement = sql.SQL("ALTER ROLE {} PASSWORD {}")
                connection.execute(statement.format(role, sql.Literal(password)))
        self.passwords.update(passwords)

    def _words(self) -> dict[str, str]:
        return {
            "folder": str(self.folder),
            "app_password": self.password("app"),
            "hive_password": self.password("hive"),
        }

    def check(
        self,
        fault: Fault | None = None,
        *extra: str,
        harmed: bool = False,
        by_command: bool = False,
    ) -> dict[str, Any]:
        """Run the suite as a customer would; return its report.json.

        A ``harmed`` run is given what the fault plants into the run itself. It is started by its
        command then, and ``by_command``; else it comes from a process that has the modules.
        """
        report = self.folder / "report"
        environ = {**os.environ, **self.environ, **(fault.environ if fault else {})}
        shown = ""
        if fault is not None and harmed:
            words = self._words()
            extra += tuple(option.format(**words) for option in fault.plant_options)
            environ |= {name: text.format(**words) for name, text in fault.plant_environ.items()}
            shown = fault.started_by.format(**words)
        arguments = [*self._arguments(fault, report, harmed=harmed), *map(_short, extra)]
        if extra or shown or environ != os.environ:
            by_command = True
        with self._over_and_over(fault.meanwhile if fault is not None and harmed else ""):
            if by_command:
                status, said = self._by_command(arguments, environ, shown)
            else:
                status, said = self.runs.run(
                    arguments, environ=environ, cwd=self.folder, deadline=240
                )
        written = report / "report.json"
        assert written.exists(), said
        whole: dict[str, Any] = json.loads(written.read_text())
        whole["exit"], whole["said"] = status, said
        return whole

    def _by_command(
        self, arguments: list[str], environ: dict[str, str], shown: str
    ) -> tuple[int, str]:
        """Run the command, by a process that shows ``shown``; return its status and words."""
        command = [sys.executable, "-m", "pytest_costmgmt.cli", *arguments]
        if shown:
            command = [sys.executable, "-I", "-S", "-c", PARENT, shown, *command]
        done = subprocess.run(
            command, env=environ, capture_output=True, text=True, timeout=240, cwd=self.folder,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout + done.stderr

    @contextmanager
    def _over_and_over(self, statement: str) -> Iterator[None]:
        """Run a statement again and again, as somebody else would who is at work on the server."""
        over = threading.Event()

        def work() -> None:
            with psycopg.connect(
                self.dsn("admin", "postgres", secret=True), autocommit=True
            ) as connection:
                while not over.wait(0.005):
                    connection.execute(statement.encode())

        thread = threading.Thread(target=work, daemon=True)
        if statement:
            thread.start()
        try:
            yield
        finally:
            over.set()
            if statement:
                thread.join(30)

    def _arguments(self, fault: Fault | None, report: Path, *, harmed: bool) -> list[str]:
        profile = fault.profile if fault else "smoke"
        arguments = [
            "check", "-q",
            "--dsn", self.dsn("app"),
            "--password-file", str(self.password_file("app")),
            "--profile", profile, "--report", str(report),
            "--failed-logins", "2",
        ]  # fmt: skip
        if profile in {"full", "release-gate"}:
            arguments += ["--allow", "scratch"]
        given = set(fault.options) if fault else set()
        if "--requirements" not in given:
            arguments += ["--requirements", fault.requirements if fault else "koku-hive"]
        if fault is None or fault.as_admin:
            there = self.elsewhere if harmed and self.elsewhere is not None else self
            arguments += ["--admin-dsn", there.dsn("admin")]
            arguments += ["--admin-password-file", str(there.password_file("admin"))]
        if fault is None or fault.requirements == "koku-hive":
            arguments += ["--hive-password-file", str(self.password_file("hive"))]
        return arguments + [_short(option) for option in (fault.options if fault else ())]

    def _run_fix_sql(self) -> None:
        """Run fix.sql as a database administrator would: psql, stopping at the first error."""
        fixes = self.folder / "report" / "fix.sql"
        assert fixes.exists(), "the report has no fix.sql"
        login = self.login("admin")
        done = subprocess.run(
            [str(self.programs / "psql"), "-X", "-v", "ON_ERROR_STOP=1", "-f", str(fixes),
             self.dsn("admin")],
            env={**os.environ, "PGPASSWORD": self.password("admin")}, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{login.role}: {done.stderr}\n{fixes.read_text()}"

    def _run_shell(self, fault: Fault, report: dict[str, Any]) -> None:
        """Run the shell commands that the report tells for the fault's check."""
        found = next(check["findings"] for check in report["checks"] if check["id"] == fault.check)
        fixes = [finding["fix"]["text"] for finding in found if finding["fix"]["kind"] == "shell"]
        assert fixes, "the report tells no shell command"
        where = self.login("admin").where
        environ = {
            **os.environ,
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "PGHOST": where["host"],
            "PGPORT": where["port"],
            "PGUSER": self.login("admin").role,
            "PGPASSWORD": self.password("admin"),
        }
        for fix in fixes:
            subprocess.run(["sh", "-e", "-c", fix], check=True, cwd=self.folder, env=environ)


def _short(option: str) -> str:
    return option.replace("--costmgmt-", "--")


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
