"""Judge the server's settings on which what is stored depends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.server import KeepingSetting, ServerFacts
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement, not_supported


class Rule(NamedTuple):
    """What a setting should be, and what comes of it otherwise."""

    good: str
    otherwise: str


RULES: Mapping[str, Rule] = {
    "fsync": Rule("on", "a crash of the machine may leave a database that cannot be repaired"),
    "zero_damaged_pages": Rule("off", "rows of a damaged page vanish for good, without an error"),
    "ignore_checksum_failure": Rule("off", "what the disk has spoilt is read as if it were right"),
    "autovacuum": Rule(
        "on", "dead rows fill the disk, and plans are made for tables as they once were"
    ),
    "track_counts": Rule("on", "autovacuum does not learn which tables have changed"),
}

# Where ALTER SYSTEM is overruled.
_STARTED_WITH = frozenset({"command line", "environment variable"})


def kept(server: ServerFacts, context: Context) -> Judgement:
    """Judge that no setting puts what is stored at risk."""
    if context.mode == "embedded":
        return not_supported("the embedded server ends with the run, and all that it stores")
    findings = [
        _finding(setting, server.database)
        for setting in server.keeping
        if setting.value != RULES[setting.name].good
    ]
    return judgement(
        [setting.name for setting in server.keeping],
        findings,
        summary=f"none of {len(server.keeping)} settings puts what is stored at risk",
    )


def _finding(setting: KeepingSetting, database: str) -> Finding:
    name, rule = setting.name, RULES[setting.name]
    fix = Fix(
        kind="sql",
        text=f"ALTER SYSTEM SET {name} = {rule.good};\nSELECT pg_catalog.pg_reload_conf();",
        needs="superuser (on a managed service: the provider's parameters)",
        database=database,
    )
    if setting.source in _STARTED_WITH:
        fix = Fix(
            kind="shell",
            text=f"# {name} is set by the server's {setting.source}: start it without",
            needs="an administrator of the server's machine",
        )
    return Finding(
        summary=f"{name} is {setting.value}: {rule.otherwise}",
        expected=f"{name} = {rule.good}",
        found=f"{name} = {setting.value} ({setting.source})",
        fix=fix,
    )
