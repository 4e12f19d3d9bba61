"""Roles and databases of a real server: what is read, judged, fixed, and found right again."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from pytest_costmgmt.facts import roles
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.roles import FileGrant, RoleFacts
from pytest_costmgmt.judge import powers
from pytest_costmgmt.judge import roles as judge
from pytest_costmgmt.judge.finding import Finding, Judgement
from pytest_costmgmt.judge.sqltext import ident, literal
from pytest_costmgmt.postgres.connect import connect, read_only
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.programs import Programs
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import embedded

Judge = Callable[[RoleFacts, Requirements], Judgement]


class Bed:
    """An application's and hive's roles and databases, under names that need quoting."""

    def __init__(self, superuser: Login, psql: Path) -> None:
        self.superuser, self.psql = superuser, psql
        self.tag = secrets.token_hex(4)
        self.role, self.hive = f"Kök-u \"'db {self.tag}", f"Hïve\\ {self.tag}"
        self.password = Secret.generate()
        named = load("koku-hive").named(role=self.role, database=self.role)
        hive = msgspec.structs.replace(named.hive, role=self.hive, database=self.hive)
        self.requirements = msgspec.structs.replace(named, hive=hive)
        self.context = Context(
            mode="external",
            profile="smoke",
            ours=False,
            writable=False,
            role=self.role,
            database=self.role,
            has_administrator=True,
            failed_logins=0,
            application="",
            run_id=self.tag,
            today="2026-11-23",
        )
        password = literal(self.password.reveal())
        for name in (self.role, self.hive):
            self.sql(
                f"CREATE ROLE {ident(name)} LOGIN PASSWORD {password}",
                f"CREATE DATABASE {ident(name)} OWNER {ident(name)}",
                f"REVOKE CONNECT ON DATABASE {ident(name)} FROM PUBLIC",
                on="postgres",
            )

    @contextmanager
    def connected(self, login: Login) -> Iterator[Connection[TupleRow]]:
        """Yield a connection to the application's database."""
        with connect(login.on(self.role), deadline=10) as connection:
            yield connection

    @property
    def application(self) -> Login:
        """The application's login."""
        return self.superuser.acting_as(self.role, self.password, database=self.role)

    def sql(self, *statements: str, on: str = "") -> None:
        """Run statements as the superuser, each on its own, in the application's database.

        ``{role}``, ``{hive}`` are the quoted names and ``{team}``, ``{dba}`` two more roles'.
        """
        names = {"role": self.role, "hive": self.hive, "team": self.team, "dba": self.dba}
        quoted = {key: ident(name) for key, name in names.items()}
        with connect(self.superuser.on(on or self.role), deadline=10) as connection:
            for statement in statements:
                filled = statement
                for key, name in quoted.items():
                    filled = filled.replace(f"{{{key}}}", name)
                connection.execute(filled.encode())

    @property
    def team(self) -> str:
        """The name of a role between."""
        return f"team {self.tag}"

    @property
    def dba(self) -> str:
        """The name of a mighty role."""
        return f"dba {self.tag}"

    def facts(self, login: Login | None = None) -> RoleFacts:
        """Return the facts, as the superuser or as ``login``, through their JSON form."""
        seer = (login or self.superuser).on(self.role)
        with (
            connect(seer, deadline=10) as connection,
            read_only(connection, timeout=10) as cursor,
        ):
            read = roles.read(cursor, self.requirements, self.context)
        return msgspec.json.decode(msgspec.json.encode(read), type=RoleFacts)

    def findings(self, judged: Judge) -> tuple[Finding, ...]:
        """Return what a judge finds now; it must have looked at something."""
        judgement = judged(self.facts(), self.requirements)
        assert judgement.examined
        return judgement.findings

    def fix(self, finding: Finding) -> None:
        """Run a finding's fix as a database administrator would: psql, stopping at an error."""
        assert finding.fix is not None
        assert finding.fix.kind == "sql"
        login = self.superuser
        packed = login.password.reveal() if login.password else ""
        done = subprocess.run(
            [str(self.psql), "-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", login.where["host"],
             "-p", login.where.get("port", "5432"), "-U", login.role],
            env={**os.environ, "PGPASSWORD": packed, "PGDATABASE": self.role,
                 "PGCLIENTENCODING": "UTF8"},
            input=finding.fix.text, capture_output=True, encoding="utf-8", timeout=240, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr + finding.fix.text

    def drop(self) -> None:
        """Remove everything that this bed made."""
        with connect(self.superuser.on("postgres"), deadline=10) as connection:
            like = f"% {self.tag}"
            for (name,) in connection.execute(
                "SELECT datname::text FROM pg_database WHERE datname LIKE %s", [like]
            ).fetchall():
                connection.execute(f"ALTER DATABASE {ident(name)} IS_TEMPLATE false".encode())
                connection.execute(f"DROP DATABASE {ident(name)} WITH (FORCE)".encode())
            for (name,) in connection.execute(
                "SELECT rolname::text FROM pg_roles WHERE rolname LIKE %s", [like]
            ).fetchall():
                connection.execute(f"DROP ROLE {ident(name)}".encode())


@pytest.fixture(scope="module")
def instance(programs: Programs) -> Iterator[embedded.Instance]:
    """Start a server of this module's own."""
    server = embedded.start(run_id=f"roles-{secrets.token_hex(4)}", programs=programs)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def bed(instance: embedded.Instance) -> Iterator[Bed]:
    """Make a healthy application's and hive's roles and databases on the shared server."""
    made = Bed(instance.superuser, instance.programs.bindir / "psql")
    try:
        yield made
    finally:
        made.drop()


JUDGES: tuple[Judge, ...] = (
    judge.login_roles, judge.own_database, judge.database_owner, judge.strangers,
    judge.hive_database, judge.verifiers, judge.expired, judge.expiring,
    powers.superusers, powers.creators, powers.row_security, powers.server_files,
    powers.replication,
)  # fmt: skip


def test_a_healthy_server_has_no_finding(bed: Bed) -> None:
    """Roles and databases as the bootstrap makes them satisfy every judge."""
    facts = bed.facts()
    for judged in JUDGES:
        judgement = judged(facts, bed.requirements)
        assert judgement.examined
        assert not judgement.findings, judgement
        assert not judgement.unverified


def test_the_application_sees_what_the_superuser_sees_but_verifiers(bed: Bed) -> None:
    """An ordinary login reads the same facts; how passwords are stored is unverifiable to it."""
    seen, all_of_it = bed.facts(bed.application), bed.facts()
    assert seen.verifiers is None
    assert msgspec.structs.replace(all_of_it, verifiers=None, reader=bed.role) == seen
    judgement = judge.verifiers(seen, bed.requirements)
    assert judgement.unverified
    assert not judgement.findings


# What is planted, the judge that must say so, and how many findings there are.
FAULTS = {
    "nologin": (("ALTER ROLE {hive} NOLOGIN",), judge.login_roles, 1),
    "no-session": (("ALTER ROLE {hive} NOLOGIN CONNECTION LIMIT 0",), judge.login_roles, 2),
    "template": (("ALTER DATABASE {role} IS_TEMPLATE true",), judge.own_database, 1),
    "stranger": (
        ("CREATE ROLE {team}", "ALTER DATABASE {role} OWNER TO {team}"),
        judge.database_owner,
        1,
    ),
    "superuser": (("ALTER ROLE {role} SUPERUSER",), powers.superusers, 1),
    "superuser-both-ways": (
        (
            "ALTER ROLE {role} SUPERUSER",
            "CREATE ROLE {dba} SUPERUSER",
            "CREATE ROLE {team}",
            "GRANT {dba} TO {team}",
            "GRANT {team} TO {role}",
        ),
        powers.superusers,
        2,
    ),
    "superuser-two-paths": (
        (
            "CREATE ROLE {dba} SUPERUSER",
            "CREATE ROLE {team}",
            "GRANT {dba} TO {team}",
            "GRANT {team} TO {hive} WITH ADMIN OPTION",
            "GRANT {dba} TO {hive}",
        ),
        powers.superusers,
        2,
    ),
    "superuser-by-noinherit": (
        ("CREATE ROLE {dba} SUPERUSER", "ALTER ROLE {role} NOINHERIT", "GRANT {dba} TO {role}"),
        powers.superusers,
        1,
    ),
    "createrole-and-createdb": (
        ("ALTER ROLE {role} CREATEROLE CREATEDB", "ALTER ROLE {hive} CREATEDB"),
        powers.creators,
        3,
    ),
    "createdb-by-membership": (
        ("CREATE ROLE {team} CREATEDB", "GRANT {team} TO {role}"),
        powers.creators,
        1,
    ),
    "bypassrls": (("ALTER ROLE {hive} BYPASSRLS",), powers.row_security, 1),
    "replication": (("ALTER ROLE {role} REPLICATION",), powers.replication, 1),
    "program": (("GRANT pg_execute_server_program TO {role}",), powers.server_files, 1),
    "files-by-membership": (
        (
            "CREATE ROLE {team}",
            "GRANT pg_read_server_files, pg_write_server_files TO {team}",
            "GRANT {team} TO {hive}",
        ),
        powers.server_files,
        1,
    ),
    "files-by-functions": (
        (
            "CREATE ROLE {team}",
            "GRANT {team} TO {hive}",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_read_file(text) TO {role}",
            "GRANT EXECUTE ON FUNCTION pg_catalog.lo_export(oid, text) TO PUBLIC",
            "GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text) TO {team}",
        ),
        powers.server_files,
        3,
    ),
    "open-to-all": (
        (
            "GRANT CONNECT ON DATABASE {role} TO PUBLIC",
            "GRANT CONNECT ON DATABASE {hive} TO PUBLIC",
        ),
        judge.strangers,
        2,
    ),
    "open-by-name": (("GRANT CONNECT ON DATABASE {role} TO {hive}",), judge.strangers, 1),
    "open-by-team": (
        (
            "CREATE ROLE {team}",
            "GRANT {team} TO {hive}",
            "GRANT CONNECT ON DATABASE {role} TO {team}",
        ),
        judge.strangers,
        1,
    ),
    "open-by-membership": (("GRANT {hive} TO {role}",), judge.strangers, 1),
    "hive-database-stranger": (
        ("CREATE ROLE {team}", "ALTER DATABASE {hive} OWNER TO {team}"),
        judge.hive_database,
        1,
    ),
    "hive-database-missing": (("DROP DATABASE {hive}",), judge.hive_database, 1),
    "hive-database-closed": (
        ("ALTER DATABASE {hive} ALLOW_CONNECTIONS false",),
        judge.hive_database,
        1,
    ),
    "hive-database-limited": (
        ("ALTER DATABASE {hive} CONNECTION LIMIT 0",),
        judge.hive_database,
        1,
    ),
    "expired": (("ALTER ROLE {role} VALID UNTIL '2020-02-02'",), judge.expired, 1),
    "expired-long-ago": (("ALTER ROLE {hive} VALID UNTIL '-infinity'",), judge.expired, 1),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_its_fix_ends_it(bed: Bed, name: str) -> None:
    """Each planted fault is found once for each cause, and the shown SQL, twice run, ends it."""
    planted, judged, count = FAULTS[name]
    bed.sql(*planted)
    found = bed.findings(judged)
    assert len(found) == count, found
    for _ in range(2):
        for finding in found:
            bed.fix(finding)
    assert not bed.findings(judged)


@pytest.mark.parametrize("name", [name for name in FAULTS if name.startswith("open-")])
def test_who_enters_is_what_the_server_says(bed: Bed, name: str) -> None:
    """The way through grants and memberships comes to the server's own answer."""
    bed.sql(*FAULTS[name][0])
    said = set()
    with bed.connected(bed.superuser) as connection:
        for role, database in ((bed.role, bed.hive), (bed.hive, bed.role)):
            asked = "SELECT pg_catalog.has_database_privilege(%s, %s, 'CONNECT')"
            if connection.execute(asked, [role, database]).fetchone() == (True,):
                said.add(f"{role} may enter database {database}")
    assert {finding.summary for finding in bed.findings(judge.strangers)} == said


def test_a_missing_hive_is_made_by_the_fixes(bed: Bed) -> None:
    """The fixes make role and database, owned by hive and closed to others, without a password."""
    bed.sql("DROP DATABASE {hive}", "DROP ROLE {hive}")
    for judged in (judge.login_roles, judge.hive_database):
        for finding in bed.findings(judged):
            assert finding.fix is not None
            assert "PASSWORD '" not in finding.fix.text
            bed.fix(finding)
    facts = bed.facts()
    for judged in (judge.login_roles, judge.hive_database, judge.strangers):
        assert not judged(facts, bed.requirements).findings


def test_owning_by_inheritance_is_owning(bed: Bed) -> None:
    """A role owns what a role owns whose privileges it inherits, and only then."""
    bed.sql("CREATE ROLE {team}", "ALTER DATABASE {role} OWNER TO {team}", "GRANT {team} TO {role}")
    assert not bed.findings(judge.database_owner)
    version = bed.facts().version
    # Until 15 the member's attribute decides, then the grant.
    bed.sql(
        "ALTER ROLE {role} NOINHERIT"
        if version < 160000
        else "GRANT {team} TO {role} WITH INHERIT FALSE"
    )
    assert bed.findings(judge.database_owner)


def test_a_grant_by_another_is_revoked_too(bed: Bed) -> None:
    """A membership that another role granted is ended by the fix as well."""
    bed.sql(
        "CREATE ROLE {dba} BYPASSRLS",
        "CREATE ROLE {team}",
        "GRANT {dba} TO {team} WITH ADMIN OPTION",
        "GRANT {dba} TO {role} GRANTED BY {team}"
        if bed.facts().version >= 160000
        else "GRANT {dba} TO {role}",
    )
    for finding in bed.findings(powers.row_security):
        bed.fix(finding)
    assert not bed.findings(powers.row_security)


def test_an_empty_membership_gives_nothing(bed: Bed) -> None:
    """A grant with neither INHERIT nor SET nor ADMIN is no power; with ADMIN it is (16+)."""
    if bed.facts().version < 160000:
        pytest.skip("grants have options since PostgreSQL 16")
    bed.sql(
        "CREATE ROLE {dba} SUPERUSER",
        "GRANT {dba} TO {role} WITH INHERIT FALSE, SET FALSE",
        "GRANT pg_read_server_files TO {hive} WITH INHERIT FALSE, SET FALSE",
    )
    assert not bed.findings(powers.superusers)
    assert not bed.findings(powers.server_files)
    bed.sql("GRANT {dba} TO {role} WITH ADMIN TRUE")
    assert bed.findings(powers.superusers)


def test_validity_counts_by_the_servers_clock(bed: Bed) -> None:
    """A validity that ends in ten days is a warning, one that ends in a year is none."""
    bed.sql(f"ALTER ROLE {{role}} VALID UNTIL {literal(_in_days(bed, 10))}")
    assert bed.findings(judge.expiring)
    assert not bed.findings(judge.expired)
    bed.sql(f"ALTER ROLE {{role}} VALID UNTIL {literal(_in_days(bed, 365))}")
    assert not bed.findings(judge.expiring)
    bed.sql("ALTER ROLE {role} VALID UNTIL 'infinity'")
    assert not bed.findings(judge.expiring)


def _in_days(bed: Bed, days: int) -> str:
    with connect(bed.superuser, deadline=10) as connection:
        row = connection.execute("SELECT (now() + make_interval(days => %s))::text", [days])
        return str((row.fetchone() or [""])[0])


def test_verifiers_never_leave_the_server(bed: Bed) -> None:
    """Of a verifier only its kind is a fact; md5 is found."""
    bed.sql("ALTER ROLE {hive} PASSWORD 'md50123456789abcdef0123456789abcdef'")
    facts = bed.facts()
    text = msgspec.json.encode(facts).decode()
    assert "0123456789abcdef" not in text
    assert "SCRAM-SHA-256$" not in text
    (finding,) = bed.findings(judge.verifiers)
    assert bed.hive in finding.summary
    assert finding.found == "md5"


def test_grants_of_file_functions_are_read(bed: Bed) -> None:
    """EXECUTE on a function that reads files is a fact, with the signature that REVOKE needs."""
    bed.sql("GRANT EXECUTE ON FUNCTION pg_catalog.pg_stat_file(text, boolean) TO {hive}")
    grant = FileGrant(function="pg_stat_file(text, boolean)", grantee=bed.hive)
    assert bed.facts().file_grants == (grant,)


def test_forbidden_hive_is_found(bed: Bed) -> None:
    """Where hive is forbidden, its role and its database are findings, and nothing is dropped."""
    hive = msgspec.structs.replace(bed.requirements.hive, policy="forbidden")
    forbidden = msgspec.structs.replace(bed.requirements, hive=hive)
    judgement = judge.hive_absent(bed.facts(), forbidden)
    assert [finding.fix.kind for finding in judgement.findings if finding.fix] == ["shell"] * 2
    bed.sql("DROP DATABASE {hive}")
    (finding,) = judge.hive_absent(bed.facts(), forbidden).findings
    bed.fix(finding)
    assert not judge.hive_absent(bed.facts(), forbidden).findings
