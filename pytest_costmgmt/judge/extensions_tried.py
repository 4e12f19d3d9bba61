"""Judge what creating the missing extensions came to, where it was tried and rolled back."""

from __future__ import annotations

from collections.abc import Sequence

from pytest_costmgmt.facts.server import EventTrigger
from pytest_costmgmt.facts.used_privileges import EXTENSIONS, Attempted, UsedPrivileges
from pytest_costmgmt.judge.extensions_fixes import PACKAGES
from pytest_costmgmt.judge.finding import Finding, Fix, Unverified
from pytest_costmgmt.judge.used import refusing_trigger, told
from pytest_costmgmt.requirements.model import ExtensionNeeds

# Resources, a lock that was not had, an operator's word: they say nothing about the extension.
_PASSING = ("53", "55", "57")
# A file that is not there, or cannot be loaded: an I/O error, or what the server has no word for.
_OF_FILES = ("58", "XX")


def creation(
    used: UsedPrivileges | None, triggers: Sequence[EventTrigger], need: ExtensionNeeds
) -> Attempted | None:
    """Return the attempt to create it that was refused, other than by an event trigger."""
    tried = () if used is None else used.at(EXTENSIONS)
    attempt = next((each for each in tried if each.what == need.name), None)
    if attempt is None or not attempt.sqlstate or refusing_trigger(attempt, triggers):
        return None
    return attempt


def unclear(attempt: Attempted) -> Unverified | None:
    """Return that a refusal says nothing about the extension, if so."""
    if not attempt.sqlstate.startswith(_PASSING):
        return None
    return Unverified(
        what=f"creating extension {attempt.what} could not be tried: {told(attempt)}",
        who="an administrator of the server",
        how="end what the message names, then run this again",
    )


def refused(attempt: Attempted, by_hand: Fix) -> Finding:
    """Return that the server offers an extension and cannot create it."""
    fix = Fix(kind="shell", text=PACKAGES, needs="an administrator of the server's machine")
    if not attempt.sqlstate.startswith(_OF_FILES):
        text = f"# First end what the message names; then, in psql:\n{by_hand.text}"
        fix = Fix(kind="shell", text=text, needs=by_hand.needs)
    return Finding(
        summary=f"creating extension {attempt.what} fails, although the server offers it",
        expected="the application's migrations can create it",
        found=f"used: {told(attempt)}",
        fix=fix,
    )
