"""Where a secret could come out: a plugin that plants it everywhere, and a look at what came."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

from tests.unit.test_secret import CODES, ESCAPES

PLANTER = """
import base64, logging, os, pathlib, warnings
import pytest

SECRET = pathlib.Path(os.environ["PLANTED"]).read_bytes().decode()
WHERE = os.environ.get("PLANTED_AT", "checks")

def say():
    local_password = "postgresql://koku:" + SECRET + "@db/koku"
    logging.getLogger("psycopg").debug("connecting with password=%s", SECRET)
    logging.getLogger("psycopg").warning("a url: %s", local_password)
    warnings.warn("deprecated way to give " + SECRET)
    if WHERE == "checks":
        raw = SECRET.encode()
        print("stdout has", SECRET, base64.b64encode(base64.b64encode(raw)), raw.hex(":"))

def crash(*args, **kwargs):
    local_password = "password=" + SECRET
    try:
        say()
        raise ValueError("first " + SECRET)
    except ValueError as error:
        logging.getLogger("psycopg").exception("it broke")
        kind = KeyboardInterrupt if WHERE == "interrupt" else RuntimeError
        raise kind("planted: " + local_password) from error

def finding(*args, **kwargs):
    from pytest_costmgmt.judge.finding import Finding, Fix, Judgement
    say()
    fix = Fix(kind="sql", text="ALTER ROLE koku PASSWORD '" + SECRET.replace("'", "''") + "';",
              needs="superuser")
    return Judgement(examined=("role koku", SECRET), findings=(Finding(
        summary="the finding of " + SECRET, expected="evidence stays", found=repr(SECRET),
        fix=fix),))

def vanish(*args, **kwargs):
    say()
    os._exit(7)

def pytest_configure(config):
    logging.getLogger("psycopg").setLevel(logging.DEBUG)  # it is quiet by default
    from pytest_costmgmt.engine import controller, gather
    from pytest_costmgmt.judge import server
    if WHERE == "checks":
        server.version_floor, server.encoding = finding, crash
    elif WHERE == "interrupt":
        server.encoding = crash
    elif WHERE == "vanish" and hasattr(config, "workerinput"):
        server.encoding = vanish
    elif WHERE == "controller":
        controller.Controller._record = crash
    elif WHERE == "facts":
        gather.Gathering.everything = crash

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.sections.append(("from " + SECRET, "a section with " + SECRET))
    report.user_properties.append(("planted", SECRET))
    return report
"""

USER_TESTS = """
import logging, os, pathlib, warnings
import pytest

PASSWORD = pathlib.Path(os.environ["PLANTED"]).read_bytes().decode()

@pytest.mark.parametrize("login", ["role=koku password=" + PASSWORD])
def test_evidence_by_id(costmgmt_server, login, record_property):
    url, whole = "postgresql://koku:" + PASSWORD + "@db/koku", ["x" * 90, PASSWORD, "y" * 90]
    deep = {"list": [{"password": PASSWORD}]}
    logging.getLogger("mine").warning("connecting to %s", url)
    warnings.warn("careful with " + PASSWORD)
    print("connecting to", url)
    record_property("url", url)
    assert url == "evidence stays", PASSWORD

@pytest.fixture
def url(costmgmt_database):
    return costmgmt_database.url

def test_evidence_of_a_database(costmgmt_database, url):
    conninfo, environ = costmgmt_database.conninfo, costmgmt_database.environ()
    raise RuntimeError("evidence stays: " + conninfo)
"""

LOUD = (
    "-vvv", "-l", "--showlocals", "--tb=long", "--full-trace", "-rA", "--log-file=all.log",
    "--log-file-level=DEBUG", "--log-cli-level=DEBUG", "--junitxml=junit.xml",
    "--alluredir=allure",
)  # fmt: skip


def written(*folders: Path) -> Iterator[tuple[str, str]]:
    """Yield the name and the content of every file."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                yield str(path), path.name
                data = path.read_bytes()
                if path.suffix == ".gz":
                    data = gzip.decompress(data)
                yield str(path), data.decode(errors="backslashreplace")


def leaks(secret: str, said: dict[str, str]) -> list[str]:
    """Return where a secret can be read, and in which form."""
    spelled = {name: escape(secret) for name, escape in (ESCAPES | CODES).items()}
    spelled |= {"first half": secret[: len(secret) // 2], "last half": secret[len(secret) // 2 :]}
    return [
        f"{where}: {name}: {text[max(0, text.index(form) - 80) :][:200]!r}"
        for where, text in said.items()
        for name, form in spelled.items()
        if len(form) >= 8 and form in text
    ]
