"""The migrations that should have been applied: asked of the application, or of a manifest."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

from pytest_costmgmt.errors import FactUnavailable, UsageProblem
from pytest_costmgmt.facts import migration_command

API_VERSION: Literal["costmgmt.migrations/v1"] = "costmgmt.migrations/v1"
_PROBE = Path(__file__).with_name("_migration_probe.py")


class Migration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One migration file of the application; all names are "app.name".

    ``dependencies`` are Django's own, resolved; ``replaces`` are what a squashed migration stands
    for, whether or not their files are still there.
    """

    name: str
    dependencies: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """Every migration of the application, and where that is known from.

    ``command`` is how its management command is typed, if it is known.
    """

    source: Literal["application", "manifest"]
    label: str
    django: str
    migrations: tuple[Migration, ...]
    command: str = ""


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file that ``costmgmt migrations export`` writes."""

    apiVersion: Literal["costmgmt.migrations/v1"]  # noqa: N815 - as every versioned API spells it
    kind: Literal["MigrationManifest"]
    django: str
    migrations: tuple[Migration, ...]


class _Answer(msgspec.Struct, frozen=True):
    django: str
    migrations: tuple[Migration, ...]


def expected_from_application(
    manage: Sequence[str], environment: Mapping[str, str], *, deadline: float
) -> Expected:
    """Ask the application's own MigrationLoader; nothing is asked of its database.

    ``environment`` is all that the command gets, ``deadline`` are seconds. Raises FactUnavailable
    that names the cause: no such command, its exit status, no answer in time, no such answer.
    """
    asked = question()
    command = migration_command.shown(manage)
    output = migration_command.run(
        manage, "shell", "-c", asked.code, environment=environment, deadline=deadline
    )
    return asked.answered(output.stdout, command=command, beside=output.stderr)


class Question(NamedTuple):
    """What an application's interpreter is asked, and the mark around its answer."""

    code: str
    mark: str

    def answered(self, said: str, *, command: str, beside: str = "") -> Expected:
        """Return the answer in what the command said; ``beside`` went to standard error."""
        parts = said.split(self.mark)
        if len(parts) != 3:  # noqa: PLR2004 - before, between and after two marks
            last = migration_command.tail(beside) or migration_command.tail(said)
            raise FactUnavailable(
                f"`{command} shell -c` ended well, but told no migrations; it wrote last:\n{last}",
                hint="--costmgmt-manage must be the management command of a Django application.",
            )
        answer = msgspec.json.decode(parts[1], type=_Answer)
        if problem := _problem(answer.migrations):
            raise FactUnavailable(f"what `{command}` told of its migrations cannot be: {problem}.")
        return Expected(
            source="application",
            label=command,
            django=answer.django,
            migrations=answer.migrations,
            command=command,
        )


def question() -> Question:
    """Return the code to be run by ``MANAGE... shell -c``; it asks nothing of a database."""
    # The two halves meet only in the application: a command that echoes the code is no answer.
    halves = f"<costmgmt-{secrets.token_hex(8)}", f"{secrets.token_hex(8)}>"
    code = f"{_PROBE.read_text(encoding='utf-8')}\n\nanswer({halves[0]!r} + {halves[1]!r})\n"
    return Question(code, "".join(halves))


def expected_from_manifest(path: Path) -> Expected:
    """Read a manifest. Raises UsageProblem that names file, key and what was expected."""
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except msgspec.ValidationError as error:
        problem = f"is no manifest of {API_VERSION}: {error}"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        problem = f"is not JSON: {error}"
    else:
        problem = _problem(manifest.migrations)
    if problem:
        raise UsageProblem(
            f"--costmgmt-migrations: {path} {problem}.",
            hint="Write it anew: costmgmt migrations export --manage COMMAND > FILE",
        )
    return Expected(
        source="manifest",
        label=path.name,
        django=manifest.django,
        migrations=manifest.migrations,
    )


def export(expected: Expected) -> str:
    """Return the manifest of what was asked of an application, as JSON text that diffs well."""
    manifest = Manifest(
        apiVersion=API_VERSION,
        kind="MigrationManifest",
        django=expected.django,
        migrations=tuple(sorted(expected.migrations, key=lambda m: m.name)),
    )
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2).decode() + "\n"


def _problem(migrations: Sequence[Migration]) -> str:
    """Say what no set of migrations can be: "" if nothing is wrong with it."""
    if not migrations:
        # Nothing expected would be met by everything.
        return "$.migrations is empty: expected every migration of the application"
    names = Counter(migration.name for migration in migrations)
    known = set(names)
    for index, migration in enumerate(migrations):
        key = f"$.migrations[{index}]"
        app, dot, rest = migration.name.partition(".")
        if not (app and dot and rest):
            return f"{key}.name is {migration.name!r}: expected APP.NAME"
        if names[migration.name] > 1:
            return f"{key}.name {migration.name!r} is there twice: expected it once"
        known.update(migration.replaces)
    for index, migration in enumerate(migrations):
        for dependency in migration.dependencies:
            if dependency not in known:
                return (
                    f"$.migrations[{index}].dependencies has {dependency!r}:"
                    " expected the name of a migration in the same set"
                )
    return ""
