"""Is it the release that was asked for, where one was, or the only one that it can be?"""

from __future__ import annotations

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.facts import release as facts


class WrongRelease(UsageProblem):
    """The namespace's database is of another release than was asked for, or of any of several."""


def be_sure(objects: facts.Objects, wanted: str) -> None:
    """Raise WrongRelease unless it is the release that was asked for, or the only one."""
    namespace, found = objects.namespace, objects.release
    if wanted and found and wanted != found:
        raise WrongRelease(
            f"--costmgmt-release={wanted}: the database in namespace {namespace!r} is of release"
            f" {found}.",
            hint=f"Give {found}, leave the option out, or name another namespace.",
        )
    if wanted and not found:
        unread = objects.refused.get(facts.RECORDS) or objects.unknown_release
        told = " or ".join(objects.holders)
        raise WrongRelease(
            f"--costmgmt-release={wanted}: the database in namespace {namespace!r} is of"
            + (f" {told}." if told else " no Helm release that can be seen: neither its"
               " StatefulSet nor Helm's records name one"
               f"{f' ({unread})' if unread else ''}."),
            hint="Leave the option out: what kubectl or Argo CD applied is judged as it is.",
        )  # fmt: skip
    if not found and objects.holders:
        told = ", ".join(objects.holders)
        raise WrongRelease(
            f"Several Helm releases render the database in namespace {namespace!r}: {told}.",
            hint="Say which is to be judged: --costmgmt-release.",
        )
