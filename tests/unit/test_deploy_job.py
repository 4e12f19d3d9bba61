"""A migration Job that only waits for its deadline: seen as such, and with what may be done."""

from __future__ import annotations

import pytest

from pytest_costmgmt.initialize.deploy_job import end_of, trouble
from pytest_costmgmt.kubernetes.shapes import ContainerState, Event, Meta, Pod, PodTemplate


def a_pod(reason: str, message: str = "", **more: object) -> Pod:
    """Return a Job's pod whose container waits."""
    state = ContainerState(
        name="migration", state="waiting", reason=reason, message=message, **more  # type: ignore[arg-type]
    )  # fmt: skip
    return Pod(
        meta=Meta(name="m-1", namespace="ns"), template=PodTemplate(), phase="Pending",
        node="node", conditions=(), states=(state,),
    )  # fmt: skip


def refused(message: str) -> Event:
    """Return the event of a Job whose pod is not admitted."""
    return Event(
        kind="Job", name="m", type="Warning", reason="FailedCreate", message=message, count=1,
        last="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("pods", "events", "said"),
    [
        pytest.param((a_pod("ImagePullBackOff", "of x"),), (), ("pulled", "migration.image"),
                     id="image"),
        pytest.param((a_pod("CreateContainerConfigError", 'secret "x" not found'),), (),
                     ('secret "x"', "key of it is missing"), id="secret"),
        pytest.param((a_pod("CrashLoopBackOff", last_reason="Error", last_exit_code=1),), (),
                     ("again and again (Error with status 1)", "log"), id="crash"),
        pytest.param((), (refused("exceeded quota: small"),), ("exceeded quota", "Raise the quota"),
                     id="quota"),
        pytest.param((), (refused("denied request: not here"),), ("not here", "admission"),
                     id="policy"),
    ],
)  # fmt: skip
def test_what_does_not_heal(
    pods: tuple[Pod, ...], events: tuple[Event, ...], said: tuple[str, str]
) -> None:
    """Each names what is wrong and what to do about it."""
    found = trouble(pods, events)
    assert found is not None
    assert said[0] in found.why
    assert said[1] in found.hint


def test_what_may_heal_is_waited_for() -> None:
    """A first pull that failed, a pod that starts, and one that came after a refusal."""
    assert trouble((a_pod("ErrImagePull"),), ()) is None
    assert trouble((a_pod("ContainerCreating"),), ()) is None
    assert trouble((a_pod("PodInitializing"),), (refused("exceeded quota"),)) is None
    assert trouble((), ()) is None


def test_one_failed_pull_is_enough_not_to_join() -> None:
    """Between two tries its state is ErrImagePull: such a Job is not worth joining."""
    assert trouble((a_pod("ErrImagePull"),), (), pulled=True) is not None


def test_how_a_job_ended() -> None:
    """Only a condition that is true is an end."""
    ends = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "late"}
    assert end_of({"status": {"conditions": [ends]}}) == ("Failed", "DeadlineExceeded late")
    assert end_of({"status": {"conditions": [{**ends, "status": "False"}]}}) == ("", "")
    assert end_of({}) == ("", "")
