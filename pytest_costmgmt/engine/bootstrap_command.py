"""The body of ``costmgmt bootstrap``: make a server ready, and say each step."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt import folders
from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.initialize import migrations
from pytest_costmgmt.initialize.server import initialize, plan
from pytest_costmgmt.initialize.step import Initialized, Step, fixes
from pytest_costmgmt.judge.sqltext import ident
from pytest_costmgmt.postgres.dsn import effective_password
from pytest_costmgmt.postgres.passwords import create_password_file
from pytest_costmgmt.requirements.model import Requirements
from pytest_costmgmt.requirements.reader import load
from pytest_costmgmt.servers import Server
from pytest_costmgmt.servers.external import external_server
from pytest_costmgmt.settings import Settings

Echo = Callable[[str], None]

DONE, REFUSED = 0, 1


def run(settings: Settings, environ: Mapping[str, str], *, dry_run: bool, echo: Echo) -> int:
    """Initialize and migrate the server that the settings name; return the exit status.

    0: ready; 1: something was refused or failed. Raises UsageProblem (4) for what the operator
    wrote wrongly, and what a step raises.
    """
    requirements = load(settings.requirements)
    if settings.mode == "embedded":
        return _embedded(settings, requirements, dry_run=dry_run, echo=echo)
    if settings.mode != "external":
        raise UsageProblem(
            "costmgmt bootstrap cannot make a release yet: give --costmgmt-dsn and"
            " --costmgmt-admin-dsn."
        )
    if not dry_run and not settings.allows("scratch"):
        raise UsageProblem(
            f"costmgmt bootstrap changes the server, but {settings.allow} is all that is allowed:"
            " give --costmgmt-allow=scratch, or --dry-run to see its SQL first."
        )
    if settings.manage:
        migrations.check_command(settings.manage)
    if dry_run:
        return _rehearse(settings, requirements, environ, echo)
    return _external(settings, requirements, environ, echo)


def _embedded(settings: Settings, requirements: Requirements, *, dry_run: bool, echo: Echo) -> int:
    if dry_run or settings.keep != "always":
        raise UsageProblem(
            "The embedded server ends with the command: give --costmgmt-keep=always to bootstrap"
            " one and keep its data, or --costmgmt-dsn to bootstrap a server that exists."
        )
    from pytest_costmgmt.engine.provision import Embedded  # noqa: PLC0415 - starts a server

    target = Embedded(settings, requirements, secrets.token_hex(4), say=echo)
    ready = False
    try:
        target.start()
        ready = True
    finally:
        if told := target.end(keep=ready):
            echo(told)
    return DONE


def _external(
    settings: Settings, requirements: Requirements, environ: Mapping[str, str], echo: Echo
) -> int:
    for path, role in _missing_files(settings):
        if create_password_file(path):
            echo(f"a password for {role} was generated into {path.name}")
    server = _server(settings, requirements, environ)
    echo(f"bootstrap of {server.label} ({requirements.name})")
    _need_passwords(_planned(server, requirements, settings), server, requirements)
    done = initialize(
        server.administrator,
        requirements=requirements,
        application=server.application,
        hive_password=server.hive.password if server.hive else None,
        deadline=settings.connect_timeout,
        told=lambda step: echo(step.line),
    )
    return _finish(done, settings, requirements, echo)


def _rehearse(
    settings: Settings, requirements: Requirements, environ: Mapping[str, str], echo: Echo
) -> int:
    """Print what would be done, as a script for psql: everything but SQL is a comment."""
    said = []
    for path, role in _missing_files(settings):
        said.append(f"a password for {role} would be generated into {path.name}")
        attribute = "password_file" if path == settings.password_file else "hive_password_file"
        settings = msgspec.structs.replace(settings, **{attribute: None})
    server = _server(settings, requirements, environ)
    for line in (f"plan for {server.label} ({requirements.name})", *said):
        echo(f"-- {line}")
    return _show(_planned(server, requirements, settings), settings, echo)


def _server(settings: Settings, requirements: Requirements, environ: Mapping[str, str]) -> Server:
    """Return the server, with the password that libpq would find for the application."""
    server = external_server(settings, requirements, environ)
    login = server.application
    known = msgspec.structs.replace(login, password=effective_password(login))
    return msgspec.structs.replace(server, application=known)


def _planned(server: Server, requirements: Requirements, settings: Settings) -> tuple[Step, ...]:
    return plan(
        server.administrator,
        requirements=requirements,
        application=server.application,
        hive_password=server.hive.password if server.hive else None,
        deadline=settings.connect_timeout,
    )


def _missing_files(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Yield the named password files that do not exist, and whose they are to be."""
    for path, role in (
        (settings.password_file, "the application"),
        (settings.hive_password_file, "hive"),
    ):
        if path is not None and not path.exists():
            yield path, role


def _need_passwords(planned: tuple[Step, ...], server: Server, requirements: Requirements) -> None:
    """Refuse to create a role whose generated password nobody would ever learn."""
    new = {step.name for step in planned if step.action == "planned"}
    hive = requirements.hive.role
    for role, login, option in (
        (server.application.role, server.application, "--costmgmt-password-file"),
        (hive, server.hive, "--costmgmt-hive-password-file"),
    ):
        if f"role {role}" in new and (login is None or login.password is None):
            raise UsageProblem(
                f"Role {role} must be created and no password was given for it: give"
                f" {option}=FILE; a file that does not exist is written with a generated one."
            )


def _show(planned: tuple[Step, ...], settings: Settings, echo: Echo) -> int:
    """Print a dry run's SQL; psql's variable ``password`` stands for each new role's."""
    database = None
    for step in planned:
        echo(f"-- {step.line}")
        if step.action != "planned":
            continue
        if step.database != database:
            database = step.database
            echo(f"\\connect {ident(database)}")
        for statement in step.sql:
            echo(f"{statement};")
    for line in fixes(planned):
        echo(f"-- {line}")
    echo(
        f"-- then: {settings.manage[0]} ... migrate"
        if settings.manage
        else "-- no migrations: --costmgmt-manage was not given"
    )
    echo("-- Nothing was changed.")
    return REFUSED if any(s.action == "refused" and s.blocks for s in planned) else DONE


def _finish(done: Initialized, settings: Settings, requirements: Requirements, echo: Echo) -> int:
    if done.refused:
        for line in fixes(done.steps):
            echo(line)
        echo("Not ready: run the above, then costmgmt bootstrap again; what is done stays done.")
        return REFUSED
    if not settings.manage:
        echo("Ready for the migrations, which were not run: --costmgmt-manage was not given.")
    else:
        _migrate(done, settings, requirements, echo)
    echo("Next: costmgmt check with the same options says whether it is ready.")
    return DONE


def _migrate(done: Initialized, settings: Settings, requirements: Requirements, echo: Echo) -> None:
    log = None
    if settings.report is not None:
        settings.report.mkdir(parents=True, exist_ok=True)
        log = settings.report / "migrations.log"
    with folders.scratch("work") as folder:
        migrated = migrations.migrate(
            settings.manage,
            migrations.surroundings(done, requirements, folder),
            deadline=settings.migrate_timeout,
            progress=echo,
            log=log,
        )
    echo(f"migrated {len(migrated.applied)} in {migrated.seconds:.1f} s")
