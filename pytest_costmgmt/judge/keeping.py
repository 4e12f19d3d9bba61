"""Judge on what it depends that what is stored is kept: settings, and ids to write with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pytest_costmgmt.facts.context import Context
from pytest_costmgmt.facts.server import AppliedSetting, KeepingSetting, ServerFacts
from pytest_costmgmt.judge import wraparound
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, judgement, not_supported
from pytest_costmgmt.judge.session import alter, is_on, place
from pytest_costmgmt.judge.sqltext import ident


class Rule(NamedTuple):
    """What a setting should be, and what comes of it otherwise."""

    good: str
    otherwise: str

    def broken(self, value: str) -> bool:
        """Return whether the value is the other one."""
        return is_on(value) is not (self.good == "on")


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
_ALTERED = frozenset({"global", "database", "user", "database user"})


def kept(server: ServerFacts, context: Context) -> Judgement:
    """Judge that neither a setting nor a lack of ids puts what is stored at risk."""
    if context.mode == "embedded":
        return not_supported("the embedded server ends with the run, and all that it stores")
    return judgement(
        [
            *(setting.name for setting in server.keeping),
            *(f"ids left to database {age.database}" for age in server.ages),
        ],
        [*_settings(server, context), *wraparound.findings(server)],
        summary=f"none of {len(server.keeping)} settings puts what is stored at risk;"
        f" {wraparound.summary(server)}",
    )


def _settings(server: ServerFacts, context: Context) -> Iterator[Finding]:
    """Find what the server sets, and what ALTER sets: for the application, and for who looked."""
    told = set()
    for name, rule in RULES.items():
        applied = [setting for setting in server.settings if setting.name.lower() == name]
        bad = [setting for setting in applied if rule.broken(setting.value)]
        winner = next((setting for setting in bad if setting.wins), None)
        if winner is not None:
            told.add(name)
            yield _altered(name, winner, bad, context)
    for setting in server.keeping:
        if not RULES[setting.name].broken(setting.value):
            continue
        if setting.source not in _ALTERED:
            yield _finding(setting, _of_the_server(setting, server.database))
        elif setting.name not in told:
            yield _finding(setting, _of_who_looked(setting, server))


def _altered(
    name: str, winner: AppliedSetting, bad: list[AppliedSetting], context: Context
) -> Finding:
    where = place(winner, context)
    return Finding(
        summary=f"{name} is {winner.value} by a setting of {where}: {RULES[name].otherwise}",
        expected=f"{name} = {RULES[name].good}",
        found=f"{name} = {winner.value} ({where})",
        fix=Fix(
            kind="sql",
            text="\n".join(f"{alter(setting, context)} RESET {name};" for setting in bad)
            + "\n-- Sessions that exist keep the old value: reconnect, or restart the pooler.",
            needs="superuser",
            database=context.database,
        ),
    )


def _finding(setting: KeepingSetting, fix: Fix) -> Finding:
    name, rule = setting.name, RULES[setting.name]
    return Finding(
        summary=f"{name} is {setting.value}: {rule.otherwise}",
        expected=f"{name} = {rule.good}",
        found=f"{name} = {setting.value} ({setting.source})",
        fix=fix,
    )


def _of_the_server(setting: KeepingSetting, database: str) -> Fix:
    name = setting.name
    if setting.source in _STARTED_WITH:
        return Fix(
            kind="shell",
            text=f"# {name} is set by the server's {setting.source}: start it without",
            needs="an administrator of the server's machine",
        )
    return Fix(
        kind="sql",
        text=f"ALTER SYSTEM SET {name} = {RULES[name].good};\nSELECT pg_catalog.pg_reload_conf();",
        needs="superuser (on a managed service: the provider's parameters)",
        database=database,
    )


def _of_who_looked(setting: KeepingSetting, server: ServerFacts) -> Fix:
    """Return what ends a setting of the administrator's role, which dumps and repairs."""
    role = ident(server.seen_by)
    return Fix(
        kind="sql",
        text=f"ALTER ROLE {role} RESET {setting.name};\n"
        f"ALTER ROLE {role} IN DATABASE {ident(server.database)} RESET {setting.name};",
        needs="superuser",
        database=server.database,
    )
