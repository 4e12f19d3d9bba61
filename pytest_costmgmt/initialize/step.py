"""A step of the initialization as data: what it is about, what it did, and by which statements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from pytest_costmgmt.errors import StepFailed
from pytest_costmgmt.postgres.login import Login
from pytest_costmgmt.postgres.statements import Statement

Action = Literal["created", "present", "changed", "refused", "planned"]

By = Literal["administrator", "superuser", "application", "hive"]
"""Who must do it. ``application`` and ``hive`` are owners; a superuser may stand in for them."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the catalog says must be done; neither statements nor refusal is *present*.

    ``statements`` run in one transaction, or, ``outside``, each on its own (CREATE DATABASE);
    then ``last`` runs in any case.
    ``refusal`` says why it is not ours to do; then the statements are a person's to run.
    """

    action: Literal["created", "changed"] = "created"
    statements: tuple[Statement, ...] = ()
    outside: bool = False
    last: tuple[Statement, ...] = ()
    refusal: str = ""
    remark: str = ""

    @property
    def shown(self) -> tuple[str, ...]:
        """All statements as text, without passwords."""
        return tuple(statement.shown for statement in (*self.statements, *self.last))


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """A step that is not done yet.

    ``look`` reads the catalog by a cursor in ``database`` and says what to do; ``fresh`` is what
    to do where that database does not exist yet. ``after`` names the steps that must not have been
    refused. ``shared``: what it looks at is seen from every database. ``blocks`` is False if the
    application can live with a refusal.
    """

    name: str
    database: str
    by: By
    look: Callable[[Any], Change]
    fresh: Change = Change()
    after: tuple[str, ...] = ()
    shared: bool = False
    blocks: bool = True


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was taken, or in a dry run would be (*planned*).

    ``sql`` are the statements, with placeholders for passwords; for a refused step they are what
    somebody else must run in ``database``. ``remark`` is a sentence for a person.
    """

    name: str
    action: Action
    database: str = ""
    sql: tuple[str, ...] = ()
    remark: str = ""
    blocks: bool = True

    @property
    def line(self) -> str:
        """The step as one line for a terminal.

        >>> Step(name="role koku", action="created").line
        'created  role koku'
        """
        return f"{self.action:<8} {self.name}{': ' * bool(self.remark)}{self.remark}"


class Initialized(msgspec.Struct, frozen=True, kw_only=True):
    """A server that was initialized, and the logins that now work on it.

    ``hive`` is None where the requirement set forbids it. A login whose password nobody told has
    none: libpq then looks for it where it always does.
    """

    steps: tuple[Step, ...]
    application: Login
    hive: Login | None = None

    @property
    def refused(self) -> tuple[Step, ...]:
        """The refused steps that stand in the application's way."""
        return tuple(s for s in self.steps if s.action == "refused" and s.blocks)

    @property
    def changed(self) -> tuple[Step, ...]:
        """The steps that changed something."""
        return tuple(s for s in self.steps if s.action in {"created", "changed"})

    def require(self) -> Initialized:
        """Return this, or raise StepFailed, which says what must be done and where."""
        if not (refused := self.refused):
            return self
        told = "; ".join(f"{step.name}: {step.remark}" for step in refused[1:])
        raise StepFailed(
            refused[0].name,
            refused[0].remark + f"; then {told}" * bool(told),
            hint="\n".join(fixes(refused)),
        )


def fixes(steps: tuple[Step, ...]) -> list[str]:
    r"""Return the lines that an administrator must run in psql for the refused of ``steps``.

    >>> refused = Step(name="x", action="refused", database="koku", sql=("CREATE EXTENSION x",))
    >>> print("\n".join(fixes((refused,))))
    An administrator must run, in database koku:
        CREATE EXTENSION x;
    """
    lines = []
    database = None
    for step in steps:
        if step.action != "refused" or not step.sql:
            continue
        if step.database != database:
            lines.append(f"An administrator must run, in database {step.database}:")
            database = step.database
        lines.extend("    " + line + ";" * (not line.startswith("\\")) for line in step.sql)
    return lines
