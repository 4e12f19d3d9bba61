"""Upgrades: whatever is upgraded, rows, password, extensions and roles are as they were."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from pytest_costmgmt.errors import FactUnavailable
from pytest_costmgmt.facts.release_seen import ReleaseFacts
from pytest_costmgmt.facts.upgrades import Held, Stage, Upgrades
from pytest_costmgmt.judge.finding import (
    Finding,
    Fix,
    Judgement,
    Unverified,
    judgement,
    not_supported,
)
from pytest_costmgmt.judge.release import OUTSIDE, objects_of, of_no_known_release

Act = Callable[[], Upgrades]

_SAME = ("row", "server", "claim", "secret", "roles", "extensions")
_CALLED = {
    "row": "a row of this run",
    "server": "the server's system_identifier",
    "claim": "the claim's uid",
    "secret": "the password in the Secret",
    "roles": "the roles",
    "extensions": "the extensions",
}


def kept(facts: ReleaseFacts, act: Act, *stages: str) -> Judgement:
    """Judge what each of these steps left of what was there; ``act`` does all, once for a run."""
    if (impossible := _impossible(facts)) is not None:
        return impossible
    seen = act()
    if seen.error or seen.before is None:
        raise FactUnavailable(seen.error or "no upgrade was tried")
    findings: list[Finding] = []
    unverified: list[Unverified] = []
    for name in stages:
        stage = _stage(seen, name)
        if stage.left_out:
            unverified.append(Unverified(what=stage.left_out, who=stage.who, how=stage.how))
        if stage.refused:
            findings.append(_refused(stage))
        elif stage.after is None and not stage.left_out:
            raise FactUnavailable(f"{name}: what it left was not looked at")
        elif stage.after is not None:
            findings += _changed(stage.what, seen.before, stage.after)
    tried = [name for name in stages if not _stage(seen, name).left_out]
    return judgement(
        [f"{part} after {name}" for name in tried for part in _CALLED.values()],
        findings,
        unverified=unverified,
        summary=f"after {' and '.join(tried)} all is as it was",
    )


def growth(facts: ReleaseFacts, act: Act, stage: str) -> Judgement:
    """Judge that a larger volume is refused before anything is touched, with the way to have it."""
    if (impossible := _impossible(facts)) is not None:
        return impossible
    seen = act()
    if seen.error:
        raise FactUnavailable(seen.error)
    said = _stage(seen, stage).refused
    told = Finding(
        summary="an upgrade to a larger volume is not refused with the way to have one",
        expected="a refusal before anything is touched, which names --cascade=orphan",
        found=said or "Helm would have applied it, and Kubernetes refused it half way",
        fix=Fix(
            kind="values",
            text="# use the chart of this version, which asks the cluster before it renders",
            needs="who installs the chart",
        ),
    )
    return judgement(
        ["helm upgrade --dry-run=server with a larger volume"],
        () if "--cascade=orphan" in said else [told],
        summary="a larger volume is refused before anything is touched, with the commands for it",
    )


def _impossible(facts: ReleaseFacts) -> Judgement | None:
    if facts.absent:
        return not_supported(facts.absent)
    objects = objects_of(facts)
    if objects.external:
        return not_supported(f"{objects.external} is no release's: {OUTSIDE}")
    if (unknown := of_no_known_release(objects)) is not None:
        return unknown
    if not objects.release:
        return not_supported(
            "StatefulSet postgres was not installed by Helm: nothing can be upgraded by it"
        )
    return None


def _stage(seen: Upgrades, name: str) -> Stage:
    stage = seen.stages.get(name)
    if stage is None or stage.error:
        raise FactUnavailable(f"{name}: {stage.error if stage else 'it was not tried'}")
    return stage


def _refused(stage: Stage) -> Finding:
    return Finding(
        summary=f"the release cannot be upgraded: {stage.what}",
        expected="an upgrade that comes about",
        found=stage.refused,
        fix=Fix(
            kind="shell",
            text="helm history RELEASE\nkubectl describe pod postgres-0",
            needs="who installs the chart",
        ),
    )


def _changed(what: str, before: Held, after: Held) -> Iterator[Finding]:
    fix = Fix(
        kind="shell",
        text="# Nothing is to be upgraded again before this is understood.\n"
        "helm history RELEASE\nkubectl get pvc,secret",
        needs="who installs the chart",
    )
    for part in _SAME:
        one, other = getattr(before, part), getattr(after, part)
        if one != other:
            yield Finding(
                summary=f"{_CALLED[part]} changed: {what}",
                expected=_told(part, one),
                found=_told(part, other) or "gone",
                fix=fix,
            )
    if before.opens and not after.opens:
        yield Finding(
            summary=f"the Secret does not open the database any more: {what}",
            expected="a login that is let in",
            found="it is refused",
            fix=fix,
        )


def _told(part: str, value: object) -> str:
    if part == "secret":
        return f"(hash {str(value)[:12]})"
    return ", ".join(value) if isinstance(value, tuple) else str(value)
