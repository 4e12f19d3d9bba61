"""What the judges of extensions say of facts, as tables."""

from __future__ import annotations

import msgspec
import pytest

from pytest_costmgmt.facts.extensions import Available, ExtensionCatalog, Installed
from pytest_costmgmt.facts.usability import Counting, UsabilityFacts, Use
from pytest_costmgmt.judge import extensions as judge
from pytest_costmgmt.requirements.reader import load

HIVE = load("koku-hive")
NAMES = ("pg_stat_statements", "pg_trgm", "uuid-ossp")


def catalog(
    *there: str,
    available: tuple[Available, ...] = (),
    creates: bool | None = True,
    migrated: bool = True,
    tenants: int = 1,
) -> ExtensionCatalog:
    """Return a catalog with these extensions, all in public."""
    return ExtensionCatalog(
        installed=tuple(
            Installed(name=name, version="1", schema="public", relocatable=True, owner="postgres")
            for name in there
        ),
        available=available,
        role_creates=creates,
        role_superuser=False,
        migrated=migrated,
        migrated_tenants=tenants,
    )


def offer(name: str, *, trusted: bool, superuser: bool = True) -> Available:
    """Return what the server offers."""
    return Available(name=name, version="1", superuser=superuser, trusted=trusted)


def used(use: Use, counting: Counting | None = None) -> UsabilityFacts:
    """Return one use by role koku."""
    return UsabilityFacts(role="koku", uses=(use,), counting=counting)


@pytest.mark.parametrize(
    ("offered", "creates", "found"),
    [
        pytest.param(offer("pg_trgm", trusted=True), True, "", id="trusted"),
        pytest.param(offer("pg_trgm", trusted=False, superuser=False), True, "", id="anybody"),
        pytest.param(offer("pg_trgm", trusted=True), False, "lacks CREATE", id="no-create"),
        pytest.param(offer("pg_trgm", trusted=True), None, "lacks CREATE", id="no-role"),
        pytest.param(offer("pg_trgm", trusted=False), True, "only a superuser", id="untrusted"),
        pytest.param(None, True, "no files of pg_trgm", id="no-files"),
        pytest.param(
            msgspec.structs.replace(offer("pg_trgm", trusted=True), requires_missing=("cube",)),
            True,
            "no files of cube",
            id="what-it-needs-lacks-files",
        ),
    ],
)
def test_installable(offered: Available | None, creates: bool | None, found: str) -> None:
    """Files, trust and CREATE on the database: what lacks is said, with what ends it."""
    seen = catalog(
        "uuid-ossp",
        "pg_stat_statements",
        available=(offered,) if offered else (),
        creates=creates,
        migrated=False,
    )
    findings = judge.installable(seen, HIVE).findings
    assert len(findings) == bool(found)
    for finding in findings:
        assert found in finding.found
        assert finding.fix is not None


@pytest.mark.parametrize(
    ("migrated", "tenants", "missing"),
    [
        pytest.param(False, 0, [], id="before-any-migration"),
        pytest.param(True, 0, ["uuid-ossp"], id="public-alone"),
        pytest.param(True, 3, ["uuid-ossp", "pg_trgm"], id="with-tenants"),
    ],
)
def test_migrated(migrated: bool, tenants: int, missing: list[str]) -> None:
    """An extension is missing only if the migrations that create it have run."""
    offered = (offer("uuid-ossp", trusted=True), offer("pg_trgm", trusted=True))
    seen = catalog("pg_stat_statements", available=offered, migrated=migrated, tenants=tenants)
    judgement = judge.migrated(seen, HIVE)
    assert [f.summary for f in judgement.findings] == [
        f"extension {name} is not installed" for name in missing
    ]
    assert bool(judgement.not_supported) is not bool(missing)


@pytest.mark.parametrize(
    ("name", "answers", "right"),
    [
        ("uuid-ossp", ("0f0e0d0c-0b0a-4908-8706-050403020100",
                       "1f0e0d0c-0b0a-4908-8706-050403020100"), True),
        ("uuid-ossp", ("0f0e0d0c-0b0a-1908-8706-050403020100",
                       "1f0e0d0c-0b0a-1908-8706-050403020100"), False),
        ("uuid-ossp", ("0f0e0d0c-0b0a-4908-0706-050403020100",
                       "1f0e0d0c-0b0a-4908-0706-050403020100"), False),
        ("uuid-ossp", ("1", "2"), False),
        ("uuid-ossp", (), False),
        ("pg_trgm", ("1", "0", "true"), True),
        ("pg_trgm", ("1", "0", "false"), False),
        ("pg_trgm", ("0", "0", "true"), False),
        ("pg_stat_statements", ("17",), True),
        ("pg_stat_statements", ("-1",), False),
    ],
)  # fmt: skip
def test_answers(name: str, answers: tuple[str, ...], right: bool) -> None:
    """An answer is right or a finding."""
    facts = used(Use(extension=name, schema="public", answers=answers))
    judgement = judge.usable(catalog(*NAMES), facts, HIVE, name)
    assert judgement.examined
    assert (not judgement.findings) is right


@pytest.mark.parametrize(
    ("sqlstate", "kind", "text"),
    [
        ("55000", "sql", "shared_preload_libraries"),
        ("42501", "sql", 'GRANT SELECT ON "else where"."pg_stat_statements" TO "koku";'),
        ("42883", "sql", "UPDATE"),
        ("58P01", "shell", "postgresql-contrib"),
        ("XX000", "shell", "postgresql-contrib"),
    ],
)
def test_a_refusal_has_its_fix(sqlstate: str, kind: str, text: str) -> None:
    """Each way in which an extension can refuse to answer has a fix of its own."""
    refused = Use(
        extension="pg_stat_statements", schema="else where", sqlstate=sqlstate, message="no"
    )
    (finding,) = judge.usable(catalog(*NAMES), used(refused), HIVE, refused.extension).findings
    assert finding.fix is not None
    assert finding.fix.kind == kind
    assert text in finding.fix.text


def test_no_use_is_no_evidence() -> None:
    """An extension that is there and was not used proves nothing."""
    nothing = UsabilityFacts(role="koku", uses=())
    judgement = judge.usable(catalog(*NAMES), nothing, HIVE, "pg_trgm")
    assert not judgement.examined
    assert not judgement.not_supported


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("default", "ALTER SYSTEM SET"),
        ("configuration file", "ALTER SYSTEM SET"),
        ("database", 'ALTER DATABASE "koku" SET'),
        ("user", 'ALTER ROLE "koku" SET'),
        ("database user", 'ALTER ROLE "koku" IN DATABASE "koku" SET'),
        ("global", "ALTER ROLE ALL SET"),
    ],
)
def test_a_setting_is_corrected_where_it_is_set(source: str, where: str) -> None:
    """A broader place than where it is set would have no effect."""
    counting = Counting(
        by="queryid", runs=3, before=0, after=0, track="none", track_source=source, query_id="auto"
    )
    facts = UsabilityFacts(role="koku", uses=(), counting=counting)
    (finding,) = judge.counted(facts, HIVE).findings
    assert finding.fix is not None
    assert finding.fix.text.startswith(f"{where} pg_stat_statements.track = 'top';")


@pytest.mark.parametrize(("after", "count"), [(7, 0), (9, 0), (6, 1), (0, 1)])
def test_counting(after: int, count: int) -> None:
    """All runs must be counted; an entry that was evicted and began anew is none of ours."""
    counting = Counting(by="queryid", runs=3, before=4, after=after, track="top")
    facts = UsabilityFacts(role="koku", uses=(), counting=counting)
    assert len(judge.counted(facts, HIVE).findings) == count


def test_a_function_that_may_not_be_called_is_unverifiable() -> None:
    """Without the function nobody can tell whether statements are counted."""
    assert judge.counted(UsabilityFacts(role="koku", uses=()), HIVE).unverified
