"""What a refused statement says: a missing privilege, an event trigger, or something else."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_costmgmt.facts.server import EventTrigger
from pytest_costmgmt.facts.used_privileges import Attempted
from pytest_costmgmt.judge.sqltext import ident

INSUFFICIENT_PRIVILEGE = "42501"

# The server's own troubles (resources, operator, system, a lock not had) say nothing about rights.
_TROUBLES = ("53", "55", "57", "58")


def refusing_trigger(attempt: Attempted, triggers: Iterable[EventTrigger]) -> EventTrigger | None:
    """Return the event trigger whose function raised the refusal.

    The call stack names it in every language of the server's messages.
    """
    for trigger in triggers:
        if any(
            f"{name}()" in attempt.where for name in (trigger.function, ident(trigger.function))
        ):
            return trigger
    return None


def is_trouble(attempt: Attempted) -> bool:
    """Say whether the server was in trouble, rather than unwilling."""
    return attempt.sqlstate[:2] in _TROUBLES


def told(attempt: Attempted) -> str:
    """Return a refusal in one line."""
    return f"{attempt.message} (SQLSTATE {attempt.sqlstate})"
