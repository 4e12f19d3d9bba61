"""What is judged of a pod that was deleted on purpose, and of a release that was upgraded."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from pytest_costmgmt.facts.release_seen import NO_RELEASE, ReleaseFacts, decoded
from pytest_costmgmt.facts.survival import Identity, Survival
from pytest_costmgmt.facts.upgrades import Held, Stage, Upgrades
from pytest_costmgmt.judge import persistence, upgrade
from tests.unit.release_faults import (
    facts,
    outcome,
    raw,
)

WAS = Identity(pod="pod-1", claim="claim-1", server="7", row="token")
IS = msgspec.structs.replace(WAS, pod="pod-2")


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(Survival(before=WAS, after=IS), "passed", id="survived"),
        pytest.param(
            Survival(before=WAS, after=msgspec.structs.replace(IS, row="")), "failed", id="row-gone"
        ),
        pytest.param(
            Survival(before=WAS, after=msgspec.structs.replace(IS, server="8")), "failed",
            id="another-server",
        ),
        pytest.param(
            Survival(before=WAS, after=msgspec.structs.replace(IS, claim="claim-2")), "failed",
            id="another-claim",
        ),
        pytest.param(Survival(before=WAS, after=WAS), "error", id="not-deleted"),
        pytest.param(Survival(before=WAS, error="it broke"), "error", id="broke"),
        pytest.param(Survival(), "error", id="nothing-done"),
    ],
)  # fmt: skip
def test_what_a_deleted_pod_leaves(seen: Survival, expected: str) -> None:
    """Row, claim and server must be the same, and the pod another."""
    assert outcome(lambda facts: persistence.survives(facts, lambda: seen), ReleaseFacts()) == (
        expected
    )


HELD = Held(
    row="token", server="7", claim="claim-1", secret="hash", opens=True, roles=("koku",),
    extensions=("pg_trgm",),
)  # fmt: skip


def _after(**parts: Any) -> Upgrades:
    stage = Stage(what="x", after=msgspec.structs.replace(HELD, **parts))
    return Upgrades(before=HELD, stages={"x": stage})


def _after_the_same_image(**parts: Any) -> Upgrades:
    (stage,) = _after(**parts).stages.values()
    meant = msgspec.structs.replace(stage, left_out="no other image was tried", how="name another")
    return Upgrades(before=HELD, stages={"x": meant})


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        pytest.param(_after(), "passed", id="nothing-changed"),
        pytest.param(_after(row=""), "failed", id="row"),
        pytest.param(_after(server="8"), "failed", id="server"),
        pytest.param(_after(claim="claim-2"), "failed", id="claim"),
        pytest.param(_after(secret="other"), "failed", id="password"),
        pytest.param(_after(opens=False), "failed", id="does-not-open"),
        pytest.param(_after(roles=("koku", "new")), "failed", id="roles"),
        pytest.param(_after(extensions=()), "failed", id="extensions"),
        pytest.param(
            Upgrades(before=HELD, stages={"x": Stage(what="x", refused="no")}), "failed", id="no"
        ),
        pytest.param(
            Upgrades(before=HELD, stages={"x": Stage(what="x", error="broke")}), "error", id="broke"
        ),
        pytest.param(
            Upgrades(before=HELD, stages={"x": Stage(what="x", left_out="w", how="h")}),
            "unverifiable", id="left-out",
        ),
        pytest.param(_after_the_same_image(), "unverifiable", id="same-image"),
        pytest.param(_after_the_same_image(row=""), "failed", id="same-image-and-row-lost"),
        pytest.param(Upgrades(before=HELD, stages={"x": Stage(what="x")}), "error", id="unseen"),
        pytest.param(Upgrades(before=HELD), "error", id="not-tried"),
        pytest.param(Upgrades(error="no helm"), "error", id="no-helm"),
    ],
)  # fmt: skip
def test_what_an_upgrade_leaves(seen: Upgrades, expected: str) -> None:
    """Everything is as it was, or each that is not is a finding."""
    release_there = facts(raw())
    assert outcome(lambda each: upgrade.kept(each, lambda: seen, "x"), release_there) == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [("delete statefulset postgres --cascade=orphan", "passed"), ("", "failed"), ("x", "failed")],
)
def test_growth_is_refused_with_the_way_to_it(said: str, expected: str) -> None:
    """A refusal without the commands, or none at all, is a finding."""
    seen = Upgrades(before=HELD, stages={"x": Stage(what="x", refused=said)})
    assert outcome(lambda each: upgrade.growth(each, lambda: seen, "x"), facts(raw())) == expected


def test_what_helm_did_not_install_is_not_upgraded() -> None:
    """Nor is any other target."""
    found = raw()
    del found["stateful_set"]["metadata"]["annotations"]

    def never() -> Upgrades:
        raise AssertionError

    for seen in (facts(found), decoded("")):
        assert upgrade.kept(seen, never, "x").not_supported
        assert upgrade.growth(seen, never, "x").not_supported


def test_no_pod_is_deleted_where_there_is_no_release() -> None:
    """Another target is not acted upon."""

    def never() -> Survival:
        raise AssertionError

    assert persistence.survives(decoded(""), never).not_supported == NO_RELEASE
