"""What is judged of keeping what is stored: settings, and the ids that are left to write with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_costmgmt.facts.server import AppliedSetting, DatabaseAge, KeepingSetting, ServerFacts
from pytest_costmgmt.judge import keeping
from pytest_costmgmt.judge.finding import Fix
from tests.unit.test_judge_server import CONTEXT, FACTS, fixes, having


def aged(*ages: DatabaseAge, **facts: Any) -> ServerFacts:
    """Return the healthy facts with databases of these ages."""
    return having(ages=ages, **facts)


def age(
    transactions: int = 5000, multixacts: int = 1, *, of: str = "Kök-u db", connects: bool = True
) -> DatabaseAge:
    """Return a database's age."""
    return DatabaseAge(
        database=of, connects=connects, transactions=transactions, multixacts=multixacts
    )


@pytest.mark.parametrize(
    ("source", "fix"),
    [
        ("configuration file", "ALTER SYSTEM SET fsync = on;\nSELECT pg_catalog.pg_reload_conf();"),
        ("command line", "# fsync is set by the server's command line: start it without"),
    ],
)
def test_a_setting_that_risks_what_is_stored_is_ended_where_it_is_set(
    source: str, fix: str
) -> None:
    """ALTER SYSTEM is overruled by the command line."""
    off = KeepingSetting(name="fsync", value="off", source=source)
    (finding,) = keeping.kept(having(keeping=(*FACTS.keeping[:1], off)), CONTEXT).findings
    assert finding.found == f"fsync = off ({source})"
    assert finding.fix is not None
    assert finding.fix.text == fix


@pytest.mark.parametrize("seen_by", ["administrator", "Kök-u"])
def test_what_is_set_for_the_application_s_role_is_told_once(seen_by: str) -> None:
    """Who looks may have another setting; where it is the application, it has this one."""
    applied = AppliedSetting(name="zero_damaged_pages", value="yes", scope="role", wins=True)
    own = KeepingSetting(
        name="zero_damaged_pages", value="on" if seen_by == "Kök-u" else "off", source="user"
    )
    facts = having(seen_by=seen_by, settings=(applied,), keeping=(own,))
    (finding,) = keeping.kept(facts, CONTEXT).findings
    assert finding.found == "zero_damaged_pages = yes (role Kök-u)"
    assert fixes(keeping.kept(facts, CONTEXT)).startswith(
        'ALTER ROLE "Kök-u" RESET zero_damaged_pages;'
    )


def test_a_setting_that_a_better_one_covers_is_no_finding() -> None:
    """What the role has for the database wins over what the database has."""
    settings = (
        AppliedSetting(name="track_counts", value="on", scope="role in database", wins=True),
        AppliedSetting(name="track_counts", value="off", scope="database", wins=False),
    )
    assert not keeping.kept(having(settings=settings), CONTEXT).findings


def test_a_setting_of_the_administrator_s_own_role_is_ended_there() -> None:
    """A dump by a role that skips damaged pages lacks their rows; ALTER SYSTEM ends nothing."""
    own = KeepingSetting(name="zero_damaged_pages", value="on", source="user")
    judged = keeping.kept(having(seen_by="postgres", keeping=(own,)), CONTEXT)
    assert fixes(judged).splitlines() == [
        'ALTER ROLE "postgres" RESET zero_damaged_pages;',
        'ALTER ROLE "postgres" IN DATABASE "Kök-u db" RESET zero_damaged_pages;',
    ]


def test_what_ends_with_the_run_need_not_be_kept() -> None:
    """The embedded server has no fsync, and nothing to keep."""
    embedded = msgspec.structs.replace(CONTEXT, mode="embedded", ours=True)
    assert keeping.kept(FACTS, CONTEXT).summary == (
        "none of 2 settings puts what is stored at risk;"
        " more than 2,100 million transactions are left"
    )
    assert keeping.kept(FACTS, embedded).not_supported


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        pytest.param(aged(age(250_000_000)), "", id="autovacuum-is-at-it"),
        pytest.param(aged(age(1_600_000_000)), "", id="at-the-bound"),
        pytest.param(
            aged(age(1_600_000_001)),
            "database Kök-u db has transaction ids of age 1,600 million that are not frozen:"
            " the server refuses every write in 544 million transactions",
            id="beyond",
        ),
        pytest.param(
            aged(age(2_144_483_647)),
            "database Kök-u db has transaction ids of age 2,144 million that are not frozen:"
            " the server refuses every write now",
            id="writes-are-refused",
        ),
        pytest.param(
            aged(age(2_144_483_647), version_num=130023),
            "database Kök-u db has transaction ids of age 2,144 million that are not frozen:"
            " the server refuses every write in 2 million transactions",
            id="13-spares-fewer",
        ),
        pytest.param(
            aged(age(multixacts=1_700_000_000)),
            "database Kök-u db has multixact ids of age 1,700 million that are not frozen:"
            " the server refuses every lock on a row that two sessions share, as foreign keys have"
            " them do in 444 million multixacts",
            id="multixacts",
        ),
        pytest.param(
            aged(age(1_900_000_000), freeze_max_age=1_900_000_000), "", id="told-to-freeze-late"
        ),
        pytest.param(
            aged(age(multixacts=1_700_000_000), freeze_max_age=1_900_000_000),
            "database Kök-u db has multixact ids of age 1,700 million that are not frozen:"
            " the server refuses every lock on a row that two sessions share, as foreign keys have"
            " them do in 444 million multixacts",
            id="each-has-a-bound-of-its-own",
        ),
        pytest.param(
            aged(age(multixacts=1_700_000_000), multixact_freeze_max_age=1_900_000_000),
            "",
            id="told-to-freeze-multixacts-late",
        ),
    ],
)
def test_ids_that_are_not_frozen(facts: ServerFacts, told: str) -> None:
    """What no healthy server comes to is a finding: which database, how old, how many are left."""
    found = keeping.kept(facts, CONTEXT).findings
    assert [finding.summary for finding in found] == ([told] if told else [])


def fix_of(*ages: DatabaseAge) -> Fix:
    """Return the first finding's fix."""
    fix = keeping.kept(aged(*ages), CONTEXT).findings[0].fix
    assert fix is not None
    return fix


def test_the_nearest_to_the_end_is_frozen_first() -> None:
    """Each database is vacuumed in itself; what holds VACUUM back is asked for before."""
    judged = keeping.kept(
        aged(age(1_700_000_000, of="koku"), age(1_800_000_000, of="hive"), age(of="new")), CONTEXT
    )
    assert [f.fix.database for f in judged.findings if f.fix is not None] == ["hive", "koku"]
    fix = fix_of(age(1_700_000_000))
    for holder in ("pg_prepared_xacts", "pg_replication_slots", "pg_stat_activity"):
        assert f"pg_catalog.{holder}" in fix.text
    assert fix.text.endswith("\nVACUUM (FREEZE);")


def test_a_server_that_refuses_writes_is_not_made_to_freeze_all() -> None:
    """PostgreSQL's documentation: without FREEZE it is done sooner."""
    assert fix_of(age(2_145_000_000)).text.endswith("\nVACUUM;")


def test_a_database_to_which_nobody_may_connect_is_opened_meanwhile() -> None:
    """Else only autovacuum freezes template0; to open it is a write, which may be refused."""
    fix = fix_of(age(1_700_000_000, of="template0", connects=False))
    assert fix.text.splitlines()[-6:] == [
        'ALTER DATABASE "template0" ALLOW_CONNECTIONS true;',
        '\\connect "template0"',
        "VACUUM (FREEZE);",
        '\\connect "Kök-u db"',
        "SET default_transaction_read_only = off;",
        'ALTER DATABASE "template0" ALLOW_CONNECTIONS false;',
    ]
    assert fix_of(age(2_145_000_000, of="template0", connects=False)).kind == "shell"
