"""The ``costmgmt`` command: thin, over the same rooms as the pytest plugin."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from pytest_costmgmt import __version__
from pytest_costmgmt.cli_options import RELEASING, backing_up, clustered, releasing, restoring
from pytest_costmgmt.errors import ArchiveFault, CostMgmtError, UsageProblem
from pytest_costmgmt.options import OPTIONS, Option

USAGE = 4
UNKNOWN = 8
FLAGS = frozenset(option.name for option in OPTIONS if option.kind == "flag")
"What was asked could not be found out, or done."


def _click_option(option: Option) -> Callable[[Any], Any]:
    if option.kind == "flag":
        return click.option(
            f"--{option.name}", option.attribute, flag_value="yes", default=None, help=option.help
        )
    kind: Any = click.Choice(option.choices) if option.choices else str
    return click.option(
        f"--{option.name}",
        option.attribute,
        type=kind,
        metavar=option.metavar or None,
        help=option.help.replace("--costmgmt-", "--"),
        multiple=option.kind == "list",
        default=None,
    )


def all_options(function: Any) -> Any:
    """Give a command every option of the plugin, without the prefix."""
    for option in reversed(OPTIONS):
        function = _click_option(option)(function)
    return function


def given(values: dict[str, Any]) -> dict[str, Any]:
    """Return the options that were given, by their names."""
    named = {option.name: values.get(option.attribute) for option in OPTIONS}
    return {name: value for name, value in named.items() if value is not None and value != ()}


class _Commands(click.Group):
    """A command line that cannot be read is exit 4, as everywhere, and no older report survives."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[__name__] = list(args)
        with _usage(args):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        with _usage(ctx.meta[__name__]):
            return super().invoke(ctx)


@contextmanager
def _usage(args: list[str]) -> Iterator[None]:
    try:
        yield
    except click.UsageError as error:
        error.exit_code = USAGE  # type: ignore[misc] # click asks the one that was raised
        if args[:1] == ["check"]:
            from pytest_costmgmt.engine.report import folder  # noqa: PLC0415

            report = _said(args, "--report") or os.environ.get("COSTMGMT_REPORT")
            folder.clear(report, _said(args, "--junitxml"))
        raise


def _said(args: list[str], option: str) -> str | None:
    """Return an option's value from a command line that could not be read."""
    for at, arg in enumerate(args):
        if arg.startswith(f"{option}="):
            return arg.partition("=")[2]
        if arg == option and at + 1 < len(args):
            return args[at + 1]
    return None


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="costmgmt")
def main() -> None:
    """Is this PostgreSQL ready for Cost Management (koku), and will my data survive?"""


@main.command(context_settings={"ignore_unknown_options": False})
@all_options
@click.option("-n", "workers", default=None, metavar="N", help="worker processes (pytest-xdist)")
@click.option("--junitxml", default=None, metavar="FILE", help="write a JUnit file")
@click.option("--alluredir", default=None, metavar="DIR", help="write results for Allure")
@click.option("-v", "--verbose", count=True, help="name each check")
@click.option("-q", "--quiet", count=True, help="say less")
def check(
    workers: str | None,
    junitxml: str | None,
    alluredir: str | None,
    verbose: int,
    quiet: int,
    **values: Any,
) -> None:
    """Judge a server: the same run as `pytest --costmgmt`, for gates.

    Exit status: 0 conformant, 1 non-conformant, 8 inconclusive, 4 a usage error.

    The user's addopts, PYTEST_ADDOPTS and third-party plugins have no say in it; costmgmt_* ini
    keys and COSTMGMT_* variables count.
    """
    # Nearly all that a short run makes is modules, which stay: to look 160 times for what may go
    # took a twelfth of its processor time.
    gc.set_threshold(10_000)
    import pytest  # noqa: PLC0415 - only this command needs it

    arguments = _arguments(given(values))
    if workers is not None:
        arguments.extend(["-p", "xdist", "-n", workers])
    if junitxml is not None:
        arguments.append(f"--junitxml={junitxml}")
    if alluredir is not None:
        arguments.extend(["-p", "allure_pytest.plugin", f"--alluredir={alluredir}"])
    arguments.extend(["-v"] * verbose + ["-q"] * quiet)
    sys.exit(int(pytest.main(arguments)))


def _arguments(options: dict[str, Any]) -> list[str]:
    """Return pytest's arguments for a run that nothing from outside changes."""
    arguments = ["--costmgmt", "-p", "costmgmt", *_sealed()]
    for name, value in options.items():
        many = value if isinstance(value, tuple) else (value,)
        if name in FLAGS:
            arguments.append(f"--costmgmt-{name}")
            continue
        arguments.extend(f"--costmgmt-{name}={each}" for each in many)
    return arguments


def _sealed() -> list[str]:
    """Keep out what would change the run from outside; return pytest's arguments for it."""
    for variable in ("PYTEST_ADDOPTS", "PYTEST_PLUGINS"):
        os.environ.pop(variable, None)
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    empty = ("addopts", "filterwarnings", "testpaths", "required_plugins")
    return [part for key in empty for part in ("-o", f"{key}=")]


@main.command()
@all_options
@releasing
@click.option("--dry-run", is_flag=True, help="print what would be done, change nothing")
def bootstrap(dry_run: bool, **values: Any) -> None:
    """Make a server ready: databases, roles, extensions, then the application's migrations.

    With --namespace: deploy the chart's release there, or find it, wait for it, make it ready,
    migrate and validate. What is done stays done: it may be run again at any time.
    """  # fmt: skip
    from pytest_costmgmt.engine import bootstrap_command, release_bootstrap  # noqa: PLC0415
    from pytest_costmgmt.settings import environment, resolve  # noqa: PLC0415

    deploying = {name: values.pop(name) for name in RELEASING}

    def run() -> int:
        environ = environment()
        settings = resolve(given(values), environ, lambda _: None)
        if settings.mode == "release":
            if settings.deploy:
                raise UsageProblem("costmgmt bootstrap deploys anyway: leave --deploy out.")
            asked = release_bootstrap.Asked(
                settings=settings,
                dry_run=dry_run,
                release=settings.release,
                chart=settings.chart,
                values=settings.values,
                **deploying,
            )
            smoke = partial(_smoke, given(values))
            return release_bootstrap.run(asked, environ, validate=smoke, echo=click.echo)
        if any(deploying.values()):
            raise UsageProblem("--timeout and its like deploy: give --namespace.")
        return bootstrap_command.run(settings, environ, dry_run=dry_run, echo=click.echo)

    sys.exit(_told(run))


def _smoke(options: dict[str, Any]) -> int:
    """Judge a release by the smoke profile, with the same options."""
    import pytest  # noqa: PLC0415

    return int(pytest.main([*_arguments({**options, "profile": "smoke"}), "-q"]))


@main.command()
@click.argument("target", metavar="[TARGET]", required=False)
@backing_up
@clustered
def backup(**values: Any) -> None:
    """Back a database up in one snapshot, with a manifest of what must come back.

    TARGET is a URI or conninfo without a password, or service=NAME; --namespace in its place backs
    up the release there. Exit status: 0 done, 4 a usage error, 8 it could not be done, and nothing
    is left of it.
    """  # fmt: skip
    from pytest_costmgmt.engine import backup_command as command  # noqa: PLC0415
    from pytest_costmgmt.engine import release_way  # noqa: PLC0415
    from pytest_costmgmt.settings import environment  # noqa: PLC0415

    def run() -> int:
        wanted = command.Wanted(**release_way.placed(values))
        return command.backup(wanted, environment(), echo=click.echo)

    sys.exit(_proven(run))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("target", metavar="[TARGET]", required=False)
@restoring
def verify(folder: Path, target: str | None, bindir: Path | None, **values: Any) -> None:
    """Say whether a backup is whole, and the one that its manifest describes.

    With TARGET it is restored there into a scratch database, proven and removed; without, no
    server is asked. Exit status: 0 it is, 1 it is not, 4 a usage error, 8 that could not be found
    out.
    """  # fmt: skip
    from pytest_costmgmt.engine import backup_command, restore_command  # noqa: PLC0415
    from pytest_costmgmt.settings import environment  # noqa: PLC0415

    def run() -> int:
        environ = environment()
        if target is None:
            return backup_command.verify(folder, bindir=bindir, environ=environ, echo=click.echo)
        wanted = restore_command.Wanted(folder=folder, target=target, bindir=bindir, **values)
        return restore_command.verify(wanted, environ, echo=click.echo)

    sys.exit(_proven(run))


@main.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("target", metavar="[TARGET]", required=False)
@click.option("--database", required=True, metavar="NAME", help="what it is to be called")
@click.option(
    "--replace",
    is_flag=True,
    help="put it in the place of the database of that name, once it is proven",
)
@click.option("--disconnect", is_flag=True, help="with --replace: end the sessions of others")
@click.option("--drop-old", is_flag=True, help="with --replace: do not keep the old database")
@click.option(
    "--accept-lost-writes",
    is_flag=True,
    help="with --replace: what was written since the backup may be lost",
)
@click.option(
    "--fix",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="what an administrator must run; default: fix.sql, never over another file",
)
@restoring
@clustered
def restore(**values: Any) -> None:
    """Restore a backup into a database that is created for it, and prove it.

    TARGET is a URI or conninfo without a password, or service=NAME; --namespace in its place
    restores into the release there. Exit status: 0 done and proven, 1 the archive or what was
    restored is not as it must be, 4 a usage error, 8 it could not be done. Unless it is 0, or 1
    with what an administrator must run, nothing was changed.
    """  # fmt: skip
    from pytest_costmgmt.engine import release_way  # noqa: PLC0415
    from pytest_costmgmt.engine import restore_command as command  # noqa: PLC0415
    from pytest_costmgmt.settings import environment  # noqa: PLC0415

    def run() -> int:
        wanted = command.Wanted(**release_way.placed(values))
        return command.run(wanted, environment(), echo=click.echo)

    sys.exit(_proven(run))


@main.group()
def migrations() -> None:
    """What the application's migrations are."""


@migrations.command()
@click.option("--manage", required=True, metavar="COMMAND", help='e.g. "python manage.py"')
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="default: stdout")
@click.option("--timeout", default=60.0, show_default=True, help="deadline in seconds")
def export(manage: str, out: Path | None, timeout: float) -> None:
    """Write the manifest of expected migrations, asked of the application itself."""
    from pytest_costmgmt.engine import manifest_command  # noqa: PLC0415

    sys.exit(_told(lambda: manifest_command.run(manage, out, timeout, echo=click.echo)))


@main.command("support-bundle")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE.tar.gz",
    help="default: costmgmt-support-RUN.tar.gz in the working folder",
)  # fmt: skip
def support_bundle(folder: Path, out: Path | None) -> None:
    """Pack a run's reports, versions, sources of settings and logs, without passwords.

    DIR is what --costmgmt-report named. Only files of ours are packed.
    """
    from pytest_costmgmt.engine import support_bundle as bundle  # noqa: PLC0415
    from pytest_costmgmt.settings import environment  # noqa: PLC0415

    sys.exit(_told(lambda: bundle.run(folder, out, environment(), echo=click.echo)))


@main.command()
@click.option("--json", "as_json", is_flag=True, help="the catalogue as JSON")
def catalogue(as_json: bool) -> None:
    """List all checks."""
    from pytest_costmgmt.engine import catalogue as known  # noqa: PLC0415

    if as_json:
        click.echo(known.CATALOGUE.read_text(encoding="utf-8"), nl=False)
        return
    group = ""
    for each in known.load():
        if each.group != group:
            group = each.group
            click.echo(f"\n{group}")
        click.echo(f"  {each.id}  {each.level:<6} {each.effect:<10} {each.title}")


def _proven(run: Callable[[], int]) -> int:
    """Run a command whose status 1 says that something was examined and is not as it must be."""

    def known() -> int:
        try:
            return run()
        except (ArchiveFault, AssertionError) as error:
            if not isinstance(error, CostMgmtError):
                raise
            click.echo(f"costmgmt: {error}", err=True)
            return 1

    return _told(known, failed=UNKNOWN)


def _told(run: Callable[[], int], *, failed: int = 1) -> int:
    """Run a command; a person's mistake is a message, not a traceback."""
    try:
        return run()
    except UsageProblem as error:
        click.echo(f"costmgmt: {error}", err=True)
        return USAGE
    except CostMgmtError as error:
        click.echo(f"costmgmt: {error}", err=True)
        return failed
    except KeyboardInterrupt as error:
        click.echo("costmgmt: interrupted", err=True)
        return int(getattr(error, "status", 130))


if __name__ == "__main__":
    main()
