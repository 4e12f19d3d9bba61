"""The settings on which what is stored depends, wherever they are set."""

from __future__ import annotations

import msgspec
import pytest

from pytest_costmgmt.facts.server import AppliedSetting, KeepingSetting
from pytest_costmgmt.judge import keeping
from tests.unit.test_judge_server import CONTEXT, FACTS, fixes, having


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
        "none of 2 settings puts what is stored at risk"
    )
    assert keeping.kept(FACTS, embedded).not_supported
