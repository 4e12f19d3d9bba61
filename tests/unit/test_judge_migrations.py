"""Migrations are judged by facts alone: what is right, what is wrong, and what nobody knows."""

from __future__ import annotations

import msgspec
import pytest

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.migrations import Expected, Migration, MigrationFacts, Recorded
from pytest_costmgmt.judge import migrations as judge
from pytest_costmgmt.judge.finding import Judgement
from pytest_costmgmt.requirements.reader import load

ALL = ("api.0001_initial", "api.0039_create_hive_db", "api.0055_install", "reporting.0001_initial")
EXPECTED = Expected(
    source="application",
    label="python manage.py",
    django="5.2",
    command="python manage.py",
    migrations=tuple(
        Migration(name=name, dependencies=dependencies)
        for name, dependencies in zip(
            ALL, ((), ALL[:1], ALL[1:2], ("api.0001_initial",)), strict=True
        )
    ),
)
HEALTHY = MigrationFacts(
    database="koku",
    reader="koku",
    expected=EXPECTED,
    schemas=("acct1", "org2", "public", "template0"),
    recorded=(Recorded(schemas=("acct1", "org2", "public", "template0"), applied=ALL),),
    tenants=("acct1", "org2", "template0"),
)
EMPTY = MigrationFacts(
    database="koku", reader="koku", expected=None, schemas=("public",), recorded=(), tenants=None
)
JUDGES = (
    judge.recorded,
    judge.missing,
    judge.ahead,
    judge.inconsistent,
    judge.tenants,
    judge.template,
    judge.orphans,
    judge.leftovers,
)
ABOUT_THE_SET = (judge.missing, judge.ahead, judge.inconsistent, judge.leftovers)


def context(profile: str = "smoke") -> Context:
    """Return the circumstances of a run."""
    plain = {
        "mode": "external", "profile": profile, "ours": False, "writable": False, "role": "koku",
        "database": "koku", "has_administrator": False, "failed_logins": 0,
        "application": "given", "run_id": "r", "today": "2026-01-01",
    }  # fmt: skip
    return msgspec.convert(plain, Context)


def judged(function: object, facts: MigrationFacts, profile: str = "smoke") -> Judgement:
    """Return what one judge says."""
    assert callable(function)
    result = function(facts, load("koku-hive"), context(profile))
    assert isinstance(result, Judgement)
    return result


def changed(**values: object) -> MigrationFacts:
    """Return the healthy facts with some of them replaced."""
    return msgspec.structs.replace(HEALTHY, **values)


def records(*applied: str, schema: str = "org2") -> MigrationFacts:
    """Return the healthy facts, in which one schema records this instead."""
    rest = tuple(name for name in HEALTHY.schemas if name != schema)
    return changed(recorded=(Recorded(rest, ALL), Recorded((schema,), applied)))


def failing(facts: MigrationFacts, profile: str = "smoke") -> list[str]:
    """Return which judges have findings."""
    return [f.__name__ for f in JUDGES if judged(f, facts, profile).findings]


@pytest.mark.parametrize("profile", ["preflight", "smoke", "full", "release-gate"])
@pytest.mark.parametrize("function", JUDGES)
def test_a_healthy_database_is_right_in_every_profile(function: object, profile: str) -> None:
    """Every judge examined something and found nothing."""
    result = judged(function, HEALTHY, profile)
    assert result.examined
    assert result.summary
    assert not result.findings
    assert not result.unverified


@pytest.mark.parametrize("function", JUDGES)
def test_an_empty_database_is_right_before_an_install(function: object) -> None:
    """In preflight nothing is installed yet; that needs no expected set."""
    result = judged(function, EMPTY, "preflight")
    assert result.examined
    assert not result.findings
    assert not result.unverified


@pytest.mark.parametrize("profile", ["smoke", "full", "release-gate"])
def test_an_empty_database_is_wrong_after_a_deploy(profile: str) -> None:
    """Where something should be installed, nothing is a finding."""
    assert "recorded" in failing(EMPTY, profile)


@pytest.mark.parametrize("function", ABOUT_THE_SET)
@pytest.mark.parametrize("profile", ["preflight", "smoke"])
def test_without_the_expected_set_nothing_is_claimed(function: object, profile: str) -> None:
    """Who could tell, and how, is said instead of a pass."""
    result = judged(function, changed(expected=None), profile)
    assert not result.findings
    assert "--costmgmt-manage" in result.unverified[0].how
    assert "--costmgmt-migrations" in result.unverified[0].how


@pytest.mark.parametrize("function", ABOUT_THE_SET)
def test_an_empty_expected_set_proves_nothing(function: object) -> None:
    """Everything would meet it: it is an error."""
    nothing = msgspec.structs.replace(EXPECTED, migrations=())
    with pytest.raises(ValueError, match="empty"):
        judged(function, changed(expected=nothing))


CASES = [
    pytest.param(records(*ALL[:2], ALL[3]), ["missing"], id="leaf-missing-in-org"),
    pytest.param(records(ALL[0], *ALL[2:]), ["missing", "inconsistent"], id="middle-missing"),
    pytest.param(records(ALL[3]), ["missing", "inconsistent"], id="an-app-lost-in-a-tenant"),
    pytest.param(records("auth.0001_initial", schema="template0"), ["missing", "ahead"],
                 id="only-others-left-in-the-template"),
    pytest.param(records(*ALL, "api.0056_new"), ["ahead"], id="ahead"),
    pytest.param(records(*ALL, "newapp.0001_initial"), ["ahead"], id="ahead-by-an-app"),
    pytest.param(records("api.0002_old", *ALL), ["leftovers"], id="leftover-of-a-squash"),
    pytest.param(records("oldapp.0001_initial", *ALL), ["leftovers"], id="leftover-of-an-app"),
    pytest.param(records(schema="public"), ["recorded", "missing"], id="no-rows-in-public"),
    pytest.param(changed(schemas=("acct1", "public", "template0"),
                         recorded=(Recorded(("acct1", "public", "template0"), ALL),)),
                 ["tenants"], id="tenant-schema-dropped"),
    pytest.param(changed(recorded=(Recorded(("acct1", "public", "template0"), ALL),)),
                 ["recorded"], id="tenant-table-dropped"),
    pytest.param(changed(schemas=("acct1", "org2", "public"), tenants=("acct1", "org2"),
                         recorded=(Recorded(("acct1", "org2", "public"), ALL),)),
                 ["template"], id="no-template"),
    pytest.param(changed(tenants=("acct1", "template0")), ["orphans"], id="no-tenant"),
    pytest.param(changed(tenants=None), ["tenants"], id="no-tenant-table"),
    pytest.param(changed(schemas=()), ["tenants", "template"], id="no-schemas-at-all"),
    pytest.param(changed(recorded=(), public_tables=("t",)), ["recorded"], id="foreign-tables"),
    pytest.param(changed(unreadable={"org2": "no privilege USAGE on the schema"},
                         recorded=(Recorded(("acct1", "public", "template0"), ALL),)),
                 ["recorded"], id="the-application-itself-may-not"),
]  # fmt: skip


@pytest.mark.parametrize(("facts", "expected"), CASES)
def test_each_kind_of_damage_is_told_by_its_judge(
    facts: MigrationFacts, expected: list[str]
) -> None:
    """A damage fails the judge that is about it, and no other."""
    assert failing(facts) == expected


@pytest.mark.parametrize(("facts", "expected"), CASES)
def test_each_finding_says_how_it_ends(facts: MigrationFacts, expected: list[str]) -> None:
    """A finding holds what was expected, what was found, and a fix that can be pasted."""
    assert expected
    for function in JUDGES:
        for finding in judged(function, facts).findings:
            assert finding.summary
            assert finding.expected
            assert finding.found
            assert finding.fix is not None
            assert finding.fix.text
            assert finding.fix.needs


@pytest.mark.parametrize("profile", ["preflight", "smoke"])
def test_half_migrated_is_never_right(profile: str) -> None:
    """In preflight too: a database is empty or complete."""
    half = changed(schemas=("public",), tenants=(), recorded=(Recorded(("public",), ALL[:2]),))
    assert failing(half, profile) == ["missing"]


def test_a_thousand_schemas_alike_are_one_finding() -> None:
    """What many lack is told once, and all are counted."""
    many = tuple(f"acct{n}" for n in range(1000))
    facts = changed(
        schemas=(*many, "public", "template0"),
        tenants=(*many, "template0"),
        recorded=(Recorded(("public", "template0"), ALL), Recorded(many, ALL[:3])),
    )
    result = judged(judge.missing, facts)
    assert len(result.findings) == 1
    assert "1,000 schemas" in result.findings[0].summary
    assert "reporting.0001_initial" in result.findings[0].summary
    assert len(result.examined) == 1002


def test_names_are_quoted_in_what_is_pasted() -> None:
    """A schema may have any name: SQL and shell both take it as it is."""
    odd = "Kök-u 'x' \"y\" $z"
    facts = changed(
        schemas=("public", odd),
        tenants=(odd,),
        recorded=(Recorded(("public",), ALL), Recorded((odd,), (ALL[0], *ALL[2:]))),
    )
    fix = judged(judge.missing, facts).findings[0].fix
    assert fix is not None
    assert '"Kök-u \'x\' ""y"" $z"."django_migrations"' in fix.text


def test_another_applications_schema_is_not_held_against_this_one() -> None:
    """A schema with migrations of other apps only is told as one without a tenant, no more."""
    facts = changed(
        schemas=(*HEALTHY.schemas, "grafana"),
        recorded=(*HEALTHY.recorded, Recorded(("grafana",), ("auth.0001_initial",))),
    )
    assert failing(facts) == ["orphans"]


def test_a_schema_without_tenant_is_judged_as_well() -> None:
    """What records the application's migrations must have all of them, tenant or not."""
    facts = changed(
        schemas=(*HEALTHY.schemas, "acct9"),
        recorded=(*HEALTHY.recorded, Recorded(("acct9",), ALL[:2])),
    )
    assert failing(facts) == ["missing", "orphans"]
    fix = judged(judge.missing, facts).findings[0].fix
    assert fix is not None
    assert "--schema acct9" in fix.text


def test_what_another_login_may_not_read_is_unverifiable() -> None:
    """A login that is not the application's says who could read it."""
    facts = changed(
        reader="auditor",
        unreadable={"org2": "no privilege USAGE on the schema"},
        recorded=(Recorded(("acct1", "public", "template0"), ALL),),
    )
    result = judged(judge.missing, facts)
    assert not result.findings
    assert "org2" in result.unverified[0].what
    assert "--costmgmt-admin-dsn" in result.unverified[0].how
