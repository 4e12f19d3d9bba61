"""Judge initialization that ran again: it must have changed nothing."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_costmgmt.facts.initialization import Again, SeenStep
from pytest_costmgmt.judge.finding import Finding, Fix, Judgement, Unverified, judgement

NOTHING = "a second initialization changes nothing"
DONE = frozenset({"present"})
PASSWORD = "PASSWORD "  # noqa: S105 - SQL's word


def unchanged(again: Again, *, runs: int) -> Judgement:
    """Judge what ``runs`` runs, one after the other or at once, left behind.

    >>> from pytest_costmgmt.facts.initialization import SeenRun
    >>> quiet = SeenRun(steps=(SeenStep(name="role koku", action="present"),))
    >>> unchanged(Again(runs=(quiet,), parts=40, before="a", after="a"), runs=1).summary
    '1 more run of 1 step and the migrations changed none of 40 catalog facts'
    >>> [f.summary for f in unchanged(Again(runs=(quiet,), before="a", after="b"), runs=1).findings]
    ['running it again changed the catalog']
    """
    if again.why_not:
        who = "somebody who has both logins and the application"
        unverified = Unverified(what=again.why_not, who=who, how=again.how)
        return judgement((), unverified=(unverified,))
    if again.pending:
        return judgement(
            (step.name for step in again.pending), (_pending(step) for step in again.pending)
        )
    complete = again.runs[:runs] if len(again.runs) >= runs else ()
    examined = [
        f"{step.name} of run {n}" for n, run in enumerate(complete, 1) for step in run.steps
    ]
    steps = len(complete[0].steps) if complete else 0
    found = tuple(_found(again))
    summary = (
        f"{runs} more run{'s at once' if runs > 1 else ''} of {steps} step{'s' * (steps != 1)}"
        f" and the migrations changed none of {again.parts} catalog facts"
    )
    return judgement(
        examined if again.before and again.after else (), found, summary="" if found else summary
    )


def _pending(step: SeenStep) -> Finding:
    refused = step.action == "refused"
    return Finding(
        summary=f"initialization is not complete: {step.name}",
        expected="every step is done, so that initialization again changes nothing",
        found=f"{'it is refused' if refused else 'it would run'}:"
        f" {step.remark or '; '.join(step.sql)}",
        fix=_fix(step),
    )


def _fix(step: SeenStep) -> Fix | None:
    if not step.sql or any(line.startswith("DROP ") for line in step.sql):
        return None
    if any(PASSWORD in line or line.startswith("\\") for line in step.sql):
        return Fix(
            kind="shell",
            text="costmgmt bootstrap --allow=scratch --password-file=FILE"
            " --hive-password-file=FILE  # and the logins of this run",
            needs="an administrator of the server",
        )
    return Fix(
        kind="sql",
        text="\n".join(f"{line};" for line in step.sql),
        needs="an administrator of the server",
        database=step.database,
    )


def _found(again: Again) -> Iterator[Finding]:
    for number, run in enumerate(again.runs, 1):
        if run.error:
            yield Finding(
                summary=f"run {number} of {len(again.runs)} failed",
                expected="initialization again succeeds, also two at once",
                found=run.error,
            )
        for step in run.steps:
            if step.action not in DONE:
                yield Finding(
                    summary=f"run {number}: {step.name} was {step.action} again",
                    expected=NOTHING,
                    found=step.remark or "; ".join(step.sql) or step.action,
                )
        if run.applied:
            yield Finding(
                summary=f"run {number} applied migrations",
                expected="every migration was applied before",
                found=", ".join(run.applied[:20]),
            )
    if again.before != again.after:
        lines = [f"+ {line}" for line in again.appeared] + [f"- {line}" for line in again.vanished]
        yield Finding(
            summary="running it again changed the catalog",
            expected=NOTHING,
            found="\n".join(lines) or f"fingerprint {again.before} became {again.after}",
        )
