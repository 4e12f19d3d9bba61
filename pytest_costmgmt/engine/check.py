"""How a check is declared: data on a test function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import msgspec

MUST: Literal["MUST"] = "MUST"
SHOULD: Literal["SHOULD"] = "SHOULD"
READ_ONLY: Literal["read-only"] = "read-only"
PROBE: Literal["probe"] = "probe"
SCRATCH: Literal["scratch"] = "scratch"
DISRUPTIVE: Literal["disruptive"] = "disruptive"

Level = Literal["MUST", "SHOULD"]
Effect = Literal["read-only", "probe", "scratch", "disruptive"]
Function = TypeVar("Function", bound=Callable[..., Any])

ATTRIBUTE = "__costmgmt_check__"


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One conformance unit. ``group`` is its module's name, ``title`` its docstring.

    ``after`` names the checks that it depends on: if one of them did not pass, it is *blocked*.
    ``profiles`` is empty for "every profile that allows the effect".
    """

    id: str
    group: str
    title: str
    level: Level
    effect: Effect
    since: str
    rationale: str
    reference: str
    after: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    function: str = ""


def check(
    *,
    id: str,  # noqa: A002 - the field's standard term
    level: Level,
    effect: Effect,
    since: str,
    rationale: str,
    reference: str,
    after: tuple[str, ...] = (),
    profiles: tuple[str, ...] = (),
) -> Callable[[Function], Function]:
    """Declare a test function of ``conformance/test_GROUP.py`` to be the check ``id``."""

    def declare(function: Function) -> Function:
        group = function.__module__.rpartition(".")[2].removeprefix("test_")
        title = " ".join((function.__doc__ or "").split("\n\n")[0].split())
        declared = Check(
            id=id,
            group=group,
            title=title,
            level=level,
            effect=effect,
            since=since,
            rationale=rationale,
            reference=reference,
            after=after,
            profiles=profiles,
            function=function.__name__,
        )
        setattr(function, ATTRIBUTE, declared)
        return function

    return declare
