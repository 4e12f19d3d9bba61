"""The body of ``costmgmt bootstrap``: make a server ready, and say each step."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from pytest_costmgmt.errors import UsageProblem
from pytest_costmgmt.initialize import migrations
from pytest_costmgmt.initialize.server import initialize, plan
from pytest_costmgmt.initialize.step import Initialized, Step, fixes
from pytest_costmgmt.postgres.dsn import effective_password
from pytest_costmgmt.postgres.login import Login
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
    return _external(settings, requirements, environ, dry_run=dry_run, echo=echo)


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
    settings: Settings,
    requirements: Requirements,
    environ: Mapping[str, str],
    *,
    dry_run: bool,
    echo: Echo,
) -> int:
    settings = _with_password_files(settings, dry_run=dry_run, echo=echo)
    server = external_server(settings, requirements, environ)
    server = msgspec.structs.replace(server, application=_known(server))
    echo(f"{'Plan for' if dry_run else 'Bootstrap of'} {server.label} ({requirements.name})")
    planned = plan(
        server.administrator,
        requirements=requirements,
        application=server.application,
        hive_password=server.hive.password if server.hive else None,
        deadline=settings.connect_timeout,
    )
    if dry_run:
        return _show(planned, settings, echo)
    _need_passwords(planned, server, requirements)
    done = initialize(
        server.administrator,
        requirements=requirements,
        application=server.application,
        hive_password=server.hive.password if server.hive else None,
        deadline=settings.connect_timeout,
        told=lambda step: echo(step.line),
    )
    return _finish(done, settings, requirements, echo)


def _known(server: Server) -> Login:
    """Return the application's login with the password that libpq would find for it."""
    login = server.application
    if login.password is not None:
        return login
    return msgspec.structs.replace(login, password=effective_password(login))


def _with_password_files(settings: Settings, *, dry_run: bool, echo: Echo) -> Settings:
    """Generate a password into each named file that does not exist; in a dry run leave it out."""
    for attribute, role in (
        ("password_file", "the application"),
        ("hive_password_file", "hive"),
    ):
        path: Path | None = getattr(settings, attribute)
        if path is None or path.exists():
            continue
        if dry_run:
            settings = msgspec.structs.replace(settings, **{attribute: None})
        elif not create_password_file(path):
            continue
        would = "would be" if dry_run else "was"
        echo(f"a password for {role} {would} generated into {path.name}")
    return settings


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
    """Print a dry run's SQL."""
    database = None
    for step in planned:
        echo(f"-- {step.line}")
        if step.sql and step.database != database:
            database = step.database
            echo(f"-- in database {database}:")
        if step.action == "planned":
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
    with tempfile.TemporaryDirectory(prefix="costmgmt-") as scratch:
        migrated = migrations.migrate(
            settings.manage,
            migrations.surroundings(done, requirements, Path(scratch)),
            deadline=settings.migrate_timeout,
            progress=echo,
            log=log,
        )
    echo(f"migrated {len(migrated.applied)} in {migrated.seconds:.1f} s")
