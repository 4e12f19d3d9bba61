"""Names of one test's own on a shared server, and a process that initializes them."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from pytest_costmgmt.initialize.fingerprint import Fingerprint, fingerprint
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.initialize.step import Initialized
from pytest_costmgmt.postgres.connect import connect
from pytest_costmgmt.postgres.login import Login, pack
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret

CHILD = """
import json, sys, time
from pytest_costmgmt.initialize.server import initialize
from pytest_costmgmt.postgres.login import unpack
from tests.server.initialize_bed import Bed
given = json.loads(sys.stdin.readline())
bed = Bed(unpack(given["superuser"]), given["tag"])
left = given["steps"]
def told(step):
    global left
    print(step.action, flush=True)
    left -= 1
    if not left:
        print("waiting", flush=True)
        time.sleep(60)
bed.initialize(told=told)
print("done", flush=True)
"""

ALL = 12
"Steps of koku-hive, with both logins."


class Bed:
    """An application and a hive under names that need quoting, on the shared server."""

    def __init__(self, superuser: Login, tag: str = "", era: str = "koku-hive") -> None:
        self.superuser, self.tag = superuser, tag or secrets.token_hex(3)
        self.role, self.database = f"Kök-u \"r'{{}}%s {self.tag}", f"Kök-u d\\b {self.tag}"
        needs = load(era).named(role=self.role, database=self.database)
        hive = msgspec.structs.replace(
            needs.hive, role=f"Hïve r {self.tag}", database=f"Hïve d {self.tag}"
        )
        self.needs = msgspec.structs.replace(needs, hive=hive)
        # Known to two processes of one test without being handed over.
        self.password, self.hive_password = Secret(f"app '\\ {self.tag}"), Secret(f"hv {self.tag}")

    def initialize(self, administrator: Login | None = None, **given: Any) -> Initialized:
        """Initialize with the bed's passwords; by default as the superuser, on a server of ours."""
        given = {
            "application_password": self.password,
            "hive_password": self.hive_password,
            "ours": True,
            **given,
        }
        return initialize(administrator or self.superuser, requirements=self.needs, **given)

    @property
    def application(self) -> Login:
        """The application's login."""
        return self.superuser.acting_as(self.role, self.password, database=self.database)

    def fingerprint(self) -> Fingerprint:
        """Return the catalogs of the databases that exist."""
        wanted = (self.database, self.needs.hive.database, "postgres")
        found = self.rows("SELECT datname FROM pg_database WHERE datname = ANY (%s)", list(wanted))
        databases = [self.superuser.on(row[0]) for row in found]
        return fingerprint(databases, ("django_migrations",), deadline=10)

    def rows(self, query: str, *values: Any, on: str = "postgres") -> list[tuple[Any, ...]]:
        """Run a query as the superuser."""
        with connect(self.superuser.on(on), deadline=10) as connection:
            return connection.execute(query.encode(), values or None).fetchall()

    def sql(self, *statements: str, on: str = "postgres") -> None:
        """Run statements as the superuser."""
        with connect(self.superuser.on(on), deadline=10) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def process(self, steps: int = 0) -> subprocess.Popen[str]:
        """Start a process that initializes, and waits for its end after so many steps."""
        child = subprocess.Popen(
            [sys.executable, "-c", CHILD],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        given = {"superuser": pack(self.superuser), "tag": self.tag, "steps": steps}
        assert child.stdin is not None
        child.stdin.write(json.dumps(given) + "\n")
        child.stdin.flush()
        return child


def actions(done: Initialized) -> dict[str, str]:
    """Return what each step did."""
    return {step.name: step.action for step in done.steps}


def only(done: Initialized, action: str) -> Sequence[str]:
    """Return the names of the steps that did so."""
    return [step.name for step in done.steps if step.action == action]
