"""fix.sql: what is missing, in order, commented and idempotent, for psql."""

from __future__ import annotations

from pytest_costmgmt.engine.report.model import ConformanceReport
from pytest_costmgmt.judge.finding import Finding

_HEAD = """\
-- What this server lacks for Cost Management, in the order in which to run it:
--     psql -v ON_ERROR_STOP=1 -f fix.sql "dbname=postgres user=..."
-- Each part says who may run it. It changes nothing where nothing is missing.
-- Read it before you run it; it holds no password.
\\set ON_ERROR_STOP 1
"""


def render(report: ConformanceReport) -> str:
    """Return fix.sql's text, or "" if no finding has SQL that ends it.

    A statement that several findings ask for is there once, at its first place.
    """
    parts: list[str] = []
    seen: set[tuple[str, str]] = set()
    for check in report.checks:
        for finding in check.findings:
            fix = finding.fix
            if fix is None or (fix.database, fix.text) in seen:
                continue
            seen.add((fix.database, fix.text))
            if fix.kind == "sql":
                parts.append(_part(f"{check.id} ({check.level})", finding))
            else:
                parts.append(_by_hand(f"{check.id} ({check.level})", finding))
    if not any(not part.startswith("-- BY HAND") for part in parts):
        return ""
    return _HEAD + "".join(f"\n{part}" for part in parts)


def _part(check: str, finding: Finding) -> str:
    fix = finding.fix
    if fix is None:  # pragma: no cover - render() looked
        return ""
    lines = [f"-- {check}: {_one_line(finding.summary)}"]
    if fix.needs:
        lines.append(f"-- needs: {_one_line(fix.needs)}")
    if fix.database:
        # Else a database or role that is read only by default would refuse its own mending.
        lines.append(f"\\connect {_connect_word(fix.database)}")
        lines.append("SET default_transaction_read_only = off;")
    return "\n".join([*lines, fix.text.rstrip(), ""])


def _by_hand(check: str, finding: Finding) -> str:
    fix = finding.fix
    if fix is None:  # pragma: no cover - render() looked
        return ""
    text = [f"--     {line}" for line in fix.text.splitlines()]
    head = f"-- BY HAND ({fix.kind}) {check}: {_one_line(finding.summary)}"
    return "\n".join([head, *text, ""])


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _connect_word(database: str) -> str:
    r"""Quote a database's name for ``\connect``: a conninfo would be taken apart.

    >>> print(_connect_word('k"u'))
    "k""u"
    """
    return '"' + database.replace('"', '""') + '"'
