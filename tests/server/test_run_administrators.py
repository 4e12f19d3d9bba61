"""An administrator of a managed server, who is no superuser: he hides nothing from a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pytest_costmgmt.facts.migration_expected import Expected, Migration, export
from pytest_costmgmt.postgres.programs import Programs
from tests.server.access_server import OwnServer, own_server
from tests.server.run_support import Place, Ran

PASSWORD, HIVES, HIS = "koku's own password", "hive's own password", "the managed one's"
EXPECTED = Expected(
    source="manifest",
    label="expected",
    django="4.2",
    migrations=(Migration(name="api.0001_a"), Migration(name="api.0002_b")),
)
JUDGED = {"passed", "failed"}


@pytest.fixture(scope="module")
def server(programs: Programs) -> Iterator[OwnServer]:
    """A server of the application, which has applied one of its two migrations."""
    settings = ("max_connections=60", "timezone=UTC", "shared_preload_libraries=pg_stat_statements")
    with own_server(programs, settings) as started:
        started.sql(
            f"CREATE ROLE koku LOGIN PASSWORD $${PASSWORD}$$",
            f"CREATE ROLE hive LOGIN PASSWORD $${HIVES}$$",
            f"CREATE ROLE managed LOGIN CREATEDB CREATEROLE PASSWORD $${HIS}$$",
            "GRANT pg_monitor, pg_signal_backend TO managed",
            "CREATE DATABASE koku OWNER koku",
            "CREATE DATABASE hive OWNER hive",
            "REVOKE CONNECT ON DATABASE koku, hive FROM PUBLIC",
        )
        started.sql(
            "CREATE EXTENSION pg_stat_statements",
            "SET ROLE koku",
            "CREATE TABLE django_migrations (id serial PRIMARY KEY, app text, name text,"
            " applied timestamptz DEFAULT now())",
            "CREATE TABLE api_tenant (id serial PRIMARY KEY, schema_name text)",
            "INSERT INTO django_migrations (app, name) VALUES ('api', '0001_a')",
            database="koku",
        )
        yield started


@pytest.fixture(params=["kept out of the database", "let into the database"])
def administrator(server: OwnServer, request: pytest.FixtureRequest) -> Iterator[str]:
    """An administrator of the server, with CONNECT on the application's database or without."""
    word, way = ("GRANT", "TO") if request.param.startswith("let") else ("REVOKE", "FROM")
    server.sql(f"{word} CONNECT ON DATABASE koku {way} managed")
    yield "managed"
    server.sql("REVOKE CONNECT ON DATABASE koku FROM managed")


def judged(place: Place, server: OwnServer, administrator: str, *more: str) -> Ran:
    """Judge the server, by the application's login and perhaps by another's too."""
    manifest = place.folder / "expected"
    manifest.write_text(export(EXPECTED))
    also = (
        f"--costmgmt-admin-dsn=user={administrator} dbname=postgres",
        f"--costmgmt-admin-password-file={place.secret('admin', HIS)}",
    )
    return place.run(
        f"--costmgmt-dsn=host=127.0.0.1 port={server.port} user=koku dbname=koku",
        f"--costmgmt-password-file={place.secret('password', PASSWORD)}",
        f"--costmgmt-hive-password-file={place.secret('hive', HIVES)}",
        f"--costmgmt-migrations={manifest}",
        *(also if administrator else ()),
        *more,
    )


@pytest.mark.parametrize("profile", ["preflight", "smoke"])
def test_he_hides_nothing(
    place: Place, server: OwnServer, administrator: str, profile: str
) -> None:
    """What is judged without him is judged with him, and comes to the same."""
    alone = judged(place, server, "", f"--costmgmt-profile={profile}")
    beside = judged(place, server, administrator, f"--costmgmt-profile={profile}")
    assert alone.outcomes["CM-MIG-002"] == "failed", alone.said
    seen = {key: outcome for key, outcome in alone.outcomes.items() if outcome in JUDGED}
    assert {key: beside.outcomes[key] for key in seen} == seen, beside.said
    assert beside.status == alone.status == 1


FULL = ("--costmgmt-profile=full", "--costmgmt-allow=scratch", "--costmgmt-accept-disk-risk=yes")
MADE = {"CM-BKP-004": "passed", "CM-BKP-005": "passed"}
RESTORED = ("CM-BKP-006", "CM-BKP-007", "CM-BKP-008")


def of_backups(ran: Ran) -> dict[str, str]:
    """Return how the checks of a backup that is made ended."""
    return {key: ran.outcomes[key] for key in (*MADE, *RESTORED)}


@pytest.mark.usefixtures("administrator")
def test_a_backup_is_the_applications_own(place: Place, server: OwnServer) -> None:
    """He may not read it, nor act for its owner: that it comes back is unverifiable, no fault."""
    ran = judged(place, server, "managed", *FULL)
    assert of_backups(ran) == MADE | dict.fromkeys(RESTORED, "unverifiable"), ran.said
    assert "role managed may not act for role koku" in " ".join(ran.said.split())


@pytest.mark.usefixtures("administrator")
def test_he_restores_what_he_may_act_for(place: Place, server: OwnServer) -> None:
    """CREATEDB is his, the rows are the application's; an extension is a superuser's to create."""
    server.sql("GRANT koku TO managed")
    try:
        ran = judged(place, server, "managed", *FULL)
    finally:
        server.sql("REVOKE koku FROM managed")
    passed = MADE | dict.fromkeys(RESTORED, "passed")
    assert of_backups(ran) == passed | {"CM-BKP-007": "unverifiable"}, ran.said
    assert "extension pg_stat_statements" in ran.said
