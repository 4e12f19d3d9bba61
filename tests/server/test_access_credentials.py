"""Every fault of a password, its file and its way here, planted and found."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.facts import credentials
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.credentials import CredentialFacts
from pytest_costmgmt.facts.roles import RoleFacts
from pytest_costmgmt.judge import credentials as judge
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import Server
from pytest_costmgmt.settings import resolve

GOOD, HIVES = "Kx7-an.entirely_good~one", "another-entirely-good-one"
NEEDS, ONPREM = load("koku-hive"), load("koku-onprem")


def collect(
    password: str | None = GOOD,
    hive: str | None = HIVES,
    *,
    options: Mapping[str, Any] = {},
    environ: Mapping[str, str] = {},
) -> CredentialFacts:
    """Return the facts, as a worker gets them; their text never holds a password."""
    where = {"host": "unused", "port": "5432"}
    if "PGPASSFILE" not in environ:
        where["passfile"] = "/nonexistent"
    secret = None if password is None else Secret(password)
    app = Login(role="koku", database="koku", where=where, password=secret)
    server = Server(
        mode="external",
        label="test",
        ours=False,
        application=app,
        hive=None if hive is None else app.acting_as("hive", Secret(hive), database="hive"),
    )
    settings = resolve({"dsn": "host=unused", **options}, {}, lambda _: None)
    encoded = msgspec.json.encode(credentials.collect(server, settings, environ, NEEDS))
    for value in filter(None, (password, hive)):
        assert len(value) < 8 or value.encode() not in encoded
    return msgspec.json.decode(encoded, type=CredentialFacts)


def judged(facts: CredentialFacts) -> dict[str, Judgement]:
    """Return every judgement on passwords."""
    return {
        "CM-CRD-001": judge.present(facts, NO_LOGINS, NO_ROLES),
        "CM-CRD-002": judge.whole(facts),
        "CM-CRD-003": judge.survives_koku(facts, NEEDS),
        "CM-CRD-004": judge.plain(facts),
        "CM-CRD-005": judge.not_trivial(facts),
        "CM-CRD-006": judge.hive_default(facts, NO_LOGINS, NEEDS),
        "CM-CRD-007": judge.long_enough(facts),
        "CM-CRD-008": judge.private_files(facts),
        "CM-CRD-009": judge.unseen_in_arguments(facts),
    }


NO_LOGINS = msgspec.json.decode(
    b'{"reach": {"label": "", "answered": true, "accepted": true, "kind": "", "sqlstate": null,'
    b' "message": "", "hint": "", "seconds": 0}, "application": {"role": "koku", "database":'
    b' "koku", "offered": "own", "outcome": "accepted"}}',
    type=AccessFacts,
)
NO_ROLES = RoleFacts(reader="koku", version=150000, roles=(), memberships=(), databases=())


def failing(facts: CredentialFacts) -> set[str]:
    """Return the checks that fail."""
    return {check for check, found in judged(facts).items() if found.findings}


def test_good_passwords_pass() -> None:
    """Nothing is found, and something was looked at."""
    found = judged(collect())
    assert not [check for check, judgement in found.items() if judgement.findings]
    assert not [c for c, j in found.items() if not j.examined and not j.not_supported]


@pytest.mark.parametrize(
    ("password", "hive", "expected"),
    [
        pytest.param("", HIVES, {"001", "005", "007"}, id="empty"),
        pytest.param(f"{GOOD}\n", HIVES, {"002", "003", "004"}, id="newline"),
        pytest.param(f"{GOOD}\r", HIVES, {"002", "003", "004"}, id="carriage-return"),
        pytest.param(f" {GOOD}", HIVES, {"002", "003", "004"}, id="blank-before"),
        pytest.param(f"{GOOD}\t{GOOD}", HIVES, {"002", "004"}, id="tab-inside"),
        pytest.param(f"\N{ZERO WIDTH NO-BREAK SPACE}{GOOD}", HIVES, {"002", "004"}, id="bom"),
        pytest.param(f"{GOOD}\x7f", HIVES, {"002", "004"}, id="delete"),
        pytest.param("p@ss/w:rd#1%", HIVES, {"003", "004"}, id="the-issues-own"),
        pytest.param(f"{GOOD}@", HIVES, {"003", "004"}, id="at"),
        pytest.param(f"{GOOD}%41", HIVES, {"003", "004"}, id="quoted-letter"),
        pytest.param(f"{GOOD}!", HIVES, {"004"}, id="harmless-to-libpq"),
        pytest.param(GOOD, f"{HIVES}'", {"003", "004"}, id="quote-in-hives"),
        pytest.param("koku", HIVES, {"005", "007"}, id="its-role's-name"),
        pytest.param("changeme", HIVES, {"005"}, id="tried-first"),
        pytest.param("00000000", HIVES, {"005"}, id="one-character"),
        pytest.param(GOOD, "hive", {"005", "006", "007"}, id="kokus-default"),
        pytest.param("x7Kp-2q", HIVES, {"007"}, id="short"),
    ],
)
def test_a_bad_password_fails_exactly_its_checks(
    password: str, hive: str, expected: set[str]
) -> None:
    """Each shape has its check, and no other one's."""
    found = {check.removeprefix("CM-CRD-") for check in failing(collect(password, hive))}
    assert found - {"003"} == expected - {"003"}
    # Blanks in a URI are refused by newer libpq only.
    assert (
        ("003" in found) is ("003" in expected)
        or password.strip() != password
        or ("\t" in password)
    )


def test_onprem_builds_no_uri() -> None:
    """With ONPREM=True migration 0039 returns early: nothing is pasted."""
    assert judge.survives_koku(collect("p@ss/w:rd#1%"), ONPREM).not_supported


def test_a_login_without_a_password_has_none_to_judge() -> None:
    """Peer and certificate logins are not supported here, not failed."""
    facts = collect(None, None)
    assert judge.whole(facts).not_supported
    assert (
        judge.present(facts, NO_LOGINS, NO_ROLES).unverified[0].what == "the password of role hive"
    )
    assert judge.hive_default(facts, NO_LOGINS, NEEDS).unverified


@pytest.mark.parametrize(("mode", "bad"), [(0o600, False), (0o400, False), (0o640, True)])
def test_a_password_file_must_be_private(tmp_path: Path, mode: int, bad: bool) -> None:
    """What others can read fails, with the chmod that ends it."""
    path = tmp_path / "pg pass"
    path.write_text("*:*:*:*:irrelevant\n")
    path.chmod(mode)
    facts = collect(environ={"PGPASSFILE": str(path)})
    assert ("CM-CRD-008" in failing(facts)) is bad
    if bad:
        fix = judge.private_files(facts).findings[0].fix
        assert fix is not None
        subprocess.run(["sh", "-c", fix.text], check=True)
        assert failing(collect(environ={"PGPASSFILE": str(path)})) == set()


def test_the_password_file_that_a_login_names_is_the_one_in_use(tmp_path: Path) -> None:
    """PGPASSFILE is not what libpq takes then, and the administrator's counts too."""
    private, seen = tmp_path / "private", tmp_path / "seen"
    for path, mode in ((private, 0o600), (seen, 0o644)):
        path.write_text("*:*:*:*:irrelevant\n")
        path.chmod(mode)
    where = {"host": "unused", "port": "5432"}
    app = Login(role="koku", database="koku", where={**where, "passfile": str(private)})
    admin = Login(role="postgres", database="postgres", where={**where, "passfile": str(seen)})
    settings = resolve({"dsn": "host=unused"}, {}, lambda _: None)
    server = Server(mode="external", label="", ours=False, application=app, administrator=admin)
    for environ in ({}, {"PGPASSFILE": str(private)}):
        facts = credentials.collect(server, settings, environ, NEEDS)
        assert [(file.path, file.open_to_others) for file in facts.files] == [
            (str(private), False),
            (str(seen), True),
        ]


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        pytest.param("[x]\nhost=unused\npassword=very-secret-indeed\n", True, id="password"),
        pytest.param("[x]\nhost=unused\n#password=\n", False, id="none"),
    ],
)
def test_a_service_file_is_private_if_it_holds_a_password(
    tmp_path: Path, text: str, bad: bool
) -> None:
    """Without a password others may read it."""
    path = tmp_path / "services"
    path.write_text(text)
    path.chmod(0o644)
    facts = collect(environ={"PGSERVICEFILE": str(path), "PGSERVICE": "x"})
    assert ("CM-CRD-008" in failing(facts)) is bad


def test_the_administrators_service_file_counts_too(tmp_path: Path) -> None:
    """Its password opens more than the application's."""
    path = tmp_path / "services"
    path.write_text("[boss]\nhost=unused\npassword=very-secret-indeed\n")
    path.chmod(0o644)
    where = {"host": "unused", "port": "5432"}
    app = Login(role="koku", database="koku", where=where)
    admin = Login(role="postgres", database="postgres", where={**where, "service": "boss"})
    settings = resolve({"dsn": "host=unused"}, {}, lambda _: None)
    server = Server(mode="external", label="", ours=False, application=app, administrator=admin)
    facts = credentials.collect(server, settings, {"PGSERVICEFILE": str(path)}, NEEDS)
    assert [(file.path, file.open_to_others) for file in facts.files] == [(str(path), True)]


@contextmanager
def showing(argument: str) -> Iterator[None]:
    """Run a process that shows ``argument``; the system may show it a moment after the start."""
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()", argument],
        stdin=subprocess.PIPE,
    )
    try:
        until = time.monotonic() + 30
        while argument.encode() not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            assert time.monotonic() < until
            time.sleep(0.01)
        yield
    finally:
        child.communicate()


@pytest.mark.parametrize(
    ("password", "argument"),
    [
        pytest.param("shown-to-everybody", "postgresql://u:shown-to-everybody@h/d", id="plain"),
        pytest.param("shown@to:everybody", "postgresql://u:shown%40to%3Aeverybody@h", id="quoted"),
        pytest.param("x7Kp2", "--password=x7Kp2", id="short"),
    ],
)
def test_a_password_in_arguments_is_seen(password: str, argument: str) -> None:
    """A process that we started shows it to every local user."""
    with showing(argument):
        facts = collect(password)
    assert "CM-CRD-009" in failing(facts)
    assert "CM-CRD-009" not in failing(collect(password))


def test_a_short_password_in_a_word_is_no_sight_of_it() -> None:
    """A short password is part of many words: only a whole argument counts."""
    with showing("archive"):
        assert "CM-CRD-009" not in failing(collect(GOOD, "hive"))


def test_an_empty_password_in_a_dsn_is_refused() -> None:
    """What a person left empty cannot be meant."""
    from pytest_costmgmt.postgres.dsn import parse_login  # noqa: PLC0415

    with pytest.raises(UsageProblem, match="empty password"):
        parse_login("host=h user=u password=''", what="COSTMGMT_DSN", source="environment")
