"""Whose a deployment is: only what a run of ours that is over left may be removed by another."""

from __future__ import annotations

import copy
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from pytest_costmgmt.engine import deployment_mark as marks
from pytest_costmgmt.engine.deployment_mark import Mark
from pytest_costmgmt.kubernetes.owner import owner

DEAD = f"{owner().rsplit(' ', 2)[0]} 1 1"
"A process of this machine that ended: the first one began at another time."


def hours(number: float) -> str:
    """Return a time so many hours from now."""
    return (datetime.now(timezone.utc) + timedelta(hours=number)).isoformat(timespec="seconds")


def namespace(mark: Mark) -> dict[str, Any]:
    """Return a namespace that bears a mark, as this run makes one."""
    meta = {"name": "any", "labels": marks.MANAGED, "annotations": mark.annotations}
    return {"metadata": copy.deepcopy(meta)}


@pytest.mark.parametrize(
    ("mark", "over"),
    [
        pytest.param(Mark(run="0a", expires=hours(-1)), True, id="expired"),
        pytest.param(Mark(run="0a", expires=hours(1), owner=DEAD), True, id="process-ended"),
        pytest.param(marks.ours("0a"), False, id="ours-alive"),
        pytest.param(Mark(run="0a", expires=hours(1), owner="another 1 1"), False, id="elsewhere"),
        pytest.param(Mark(run="0a"), False, id="kept"),
        pytest.param(Mark(run="0a", expires="soon"), False, id="no-time"),
        pytest.param(Mark(run="0a", expires="2020-01-01"), False, id="no-zone"),
    ],
)  # fmt: skip
def test_when_a_run_is_over(mark: Mark, *, over: bool) -> None:
    """Past its time, or its process known to have ended; in doubt it lives."""
    assert mark.over is over


def test_a_mark_is_read_as_it_was_written() -> None:
    """On a namespace and on a Lease."""
    mark = marks.ours("0a0b0c0d")
    assert marks.of_namespace(namespace(mark)) == mark
    assert marks.of_note(mark.text) == mark


@pytest.mark.parametrize("name", marks.MANAGED)
def test_a_namespace_without_all_labels_is_somebodys(name: str) -> None:
    """Whatever its annotations say."""
    found = namespace(Mark(run="0a", expires=hours(-1)))
    del found["metadata"]["labels"][name]
    assert marks.of_namespace(found) is None


@pytest.mark.parametrize("text", [None, "", "run", "[]", "{}", '{"run": 1}'])
def test_a_note_that_is_no_mark(text: str | None) -> None:
    """It is nobody's word that anything may be removed."""
    assert marks.of_note(text) is None
