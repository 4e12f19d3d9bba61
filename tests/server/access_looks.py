"""What logins show of a server of a test's own, and what is judged of it."""

from __future__ import annotations

import msgspec

from pytest_costmgmt.facts import access
from pytest_costmgmt.facts.access import AccessFacts
from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.judge import authentication as auth
from pytest_costmgmt.judge import connection as judge
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.secret import Secret
from pytest_costmgmt.servers import Server
from tests.server.access_server import OwnServer

KOKU, HIVE = "Kök-u r", "hive"
DATABASE = "Kök-u db"
KOKU_PASSWORD, HIVE_PASSWORD = "the-applications-own", "the-metastores-own"
NEEDS = load("koku-hive").named(role=KOKU, database=DATABASE)


def context(failed_logins: int | None = None) -> Context:
    """Return the circumstances of a preflight on a server of others."""
    return Context(
        mode="external",
        profile="preflight",
        ours=False,
        writable=False,
        role=KOKU,
        database=DATABASE,
        has_administrator=True,
        failed_logins=failed_logins,
        application="",
        run_id="test",
        today="2026-11-23",
    )


def look(
    own: OwnServer,
    application: Login | None = None,
    *,
    hive: str | None = HIVE_PASSWORD,
    failed_logins: int | None = None,
    administrator: Login | None = None,
) -> AccessFacts:
    """Return what logins show; the facts have been to a worker and back."""
    app = application or own.login(KOKU, KOKU_PASSWORD, DATABASE)
    server = Server(
        mode="external",
        label="test",
        ours=False,
        application=app,
        administrator=administrator or own.admin,
        hive=None if hive is None else app.acting_as(HIVE, Secret(hive), database=HIVE),
    )
    facts = access.collect(server, NEEDS, context(failed_logins), deadline=10)
    return msgspec.json.decode(msgspec.json.encode(facts), type=AccessFacts)


def outcome(judged: Judgement) -> str:
    """Return the outcome that the engine would decide on."""
    if judged.findings:
        return "failed"
    if judged.unverified:
        return "unverifiable"
    if judged.not_supported:
        return "not-supported"
    return "passed" if judged.examined else "error"


def outcomes(facts: AccessFacts) -> dict[str, str]:
    """Return the outcome of each check of the group that a login decides."""
    return {
        "reach": outcome(judge.reach(facts)),
        "own": outcome(judge.own_database(facts, NEEDS)),
        "primary": outcome(judge.primary(facts)),
        "hive": outcome(judge.hive_login(facts, NEEDS)),
        "trust": outcome(auth.trust(facts)),
        "scram": outcome(auth.scram(facts)),
        "wrong": outcome(auth.wrong_password(facts)),
        "tls": outcome(judge.tls(facts)),
        "intrusion": outcome(judge.intrusion(facts, NEEDS)),
        "administrator": outcome(judge.administrator(facts)),
    }
