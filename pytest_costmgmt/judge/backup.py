"""Judge a backup that was rehearsed: made, damaged, restored, proven and removed."""

from __future__ import annotations

from pytest_costmgmt.facts.rehearsal import Differs, Rehearsal
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement
from pytest_costmgmt.judge.sqltext import ident

WHO = "somebody whose login may create databases on a server with the disk for a second copy"
NEEDED = ("schema entries", "database properties")
"Of these there is always something to compare."

VIEW = "materialized view"

TOLD = 40
"How many differences are findings of their own."


def made(seen: Rehearsal) -> Judgement:
    """Judge that the backup was made, and is whole.

    >>> made(Rehearsal(database="koku", files=3, bytes=2_000_000, seconds=0.5)).summary
    'koku backed up in 0.5 s: 3 files, 2.0 MB, each as the manifest says'
    >>> [f.summary for f in made(Rehearsal(database="koku", backup_error="disk full")).findings]
    ['database koku could not be backed up']
    """
    findings = []
    if seen.backup_error:
        findings.append(_broke(f"database {seen.database} could not be backed up",
                               "a backup of one snapshot", seen.backup_error))  # fmt: skip
    if seen.whole:
        findings.append(
            _broke("the new backup is not whole", "an archive as its manifest says", seen.whole)
        )
    examined = (f"{seen.files} files", f"{seen.bytes} bytes") if seen.files else ()
    return judgement(
        examined or (("the backup",) if findings else ()),
        findings,
        summary=""
        if findings
        else f"{seen.database} backed up in {seen.seconds:.1f} s: {seen.files} files,"
        f" {seen.bytes / 1e6:.1f} MB, each as the manifest says",
    )


def refused(seen: Rehearsal) -> Judgement:
    """Judge that every damage was refused."""
    findings = [
        Finding(
            summary=f"an archive with {damage.what} was taken for whole",
            expected="a damaged archive is refused before anything is restored",
            found="costmgmt verify said nothing",
        )
        for damage in seen.damages
        if not damage.said
    ]
    return judgement(
        (damage.what for damage in seen.damages),
        findings,
        summary="" if findings else f"{len(seen.damages)} damaged archives were refused",
    )


def restored(seen: Rehearsal) -> Judgement:
    """Judge that the backup was restored into a scratch database."""
    if seen.why_not:
        return _unverified(seen)
    findings = []
    if seen.restore_error:
        findings.append(
            _broke(
                "the backup could not be restored",
                "every statement of the restore succeeds",
                seen.restore_error,
            )
        )
    examined = (f"scratch database {seen.scratch}",) if seen.restored or findings else ()
    return judgement(
        examined, findings, summary="" if findings else f"restored into {seen.scratch}"
    )


def equal(seen: Rehearsal) -> Judgement:
    """Judge that what came back is what was there.

    >>> proof = {"schema entries": 9, "rows": 5, "relations": 2, "database properties": 13}
    >>> equal(Rehearsal(database="koku", restored=True, compared=proof)).summary
    '9 schema entries, 2 relations, 5 rows compared: equal'
    >>> equal(Rehearsal(database="koku", restored=True)).examined
    ()
    """
    if seen.why_not:
        return _unverified(seen)
    findings = tuple(_difference(seen, each) for each in seen.differences[:TOLD])
    complete = seen.restored and all(seen.compared.get(kind, 0) > 0 for kind in NEEDED)
    examined = [f"{count} {kind}" for kind, count in seen.compared.items()] if complete else []
    unverified = () if findings else tuple(map(_pending, seen.pending))
    summary = "" if findings or unverified else _equal(seen)
    return judgement(examined, findings, unverified=unverified, summary=summary)


def _pending(differs: Differs) -> Unverified:
    return Unverified(
        what=f"{differs.of}: whether its {differs.name} ({differs.expected}) comes back",
        who="a superuser, who alone may restore it",
        how="give a superuser's login by --costmgmt-admin-dsn",
    )


def _equal(seen: Rehearsal) -> str:
    kinds = ("schema entries", "relations", "rows")
    told = ", ".join(f"{seen.compared[kind]} {kind}" for kind in kinds if kind in seen.compared)
    more = f"; {len(seen.allowed)} differences that are right: " + "; ".join(seen.allowed)
    return f"{told} compared: equal" + (more if seen.allowed else "")


def removed(seen: Rehearsal) -> Judgement:
    """Judge that nothing of the rehearsal is left on the server."""
    if seen.why_not:
        return _unverified(seen)
    findings = [
        Finding(
            summary=f"database {name} of this run is still there",
            expected="what the run made is gone",
            found=f"database {name}",
            fix=Fix(
                kind="sql",
                text=f"ALTER DATABASE {ident(name)} IS_TEMPLATE false;\n"
                f"DROP DATABASE {ident(name)} WITH (FORCE);",
                needs="the owner of the database",
                database="postgres",
            ),
        )
        for name in seen.left
    ]
    examined = (f"scratch database {seen.scratch}",) if seen.looked_for_left else ()
    return judgement(examined, findings, summary="" if findings else "nothing is left of it")


def _unverified(seen: Rehearsal) -> Judgement:
    return judgement((), unverified=(Unverified(what=seen.why_not, who=WHO, how=seen.how),))


def _broke(summary: str, expected: str, found: str) -> Finding:
    return Finding(summary=summary, expected=expected, found=found)


def _difference(seen: Rehearsal, differs: Differs) -> Finding:
    return Finding(
        summary=f"{differs.of}: {differs.name} came back otherwise",
        expected=differs.expected,
        found=differs.found,
        fix=_refreshed(seen, differs),
    )


def _refreshed(seen: Rehearsal, differs: Differs) -> Fix | None:
    """A restore refreshes: rows that differ afterwards were stale before the backup."""
    kind, _, name = differs.of.partition(f"{VIEW} ")
    if kind or not name or differs.name not in {"rows", "content"}:
        return None
    return Fix(
        kind="sql",
        text=f"REFRESH MATERIALIZED VIEW {name};",
        needs="the view's owner",
        database=seen.database,
    )
